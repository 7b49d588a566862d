//! The table as a page for people.

use std::fmt::Write;

use crate::class::CLASSES;
use crate::table::{Label, TABLE};

/// The text of `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n## Metrics\n\n| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n");
    for metric in TABLE {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{}`", label.name())).collect();
        let (kind, unit, labels) = (metric.kind.word(), metric.unit, labels.join(", "));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {kind} | {unit} | {labels} | {} |", metric.name, metric.help.trim());
    }
    page.push_str("\n## Labels\n\n| label | what it says | how many values |\n|---|---|---|\n");
    for label in Label::ALL {
        let _ = writeln!(page, "| `{}` | {} | {} |", label.name(), label.meaning().trim(), label.bound());
    }
    page.push_str("\n## Classes\n\n| class | what it does to a service | kinds |\n|---|---|---|\n");
    for class in CLASSES {
        let kinds: Vec<String> = class.kinds.iter().map(|kind| format!("`{kind}`")).collect();
        let kinds = if kinds.is_empty() { "every other".to_owned() } else { kinds.join(", ") };
        let _ = writeln!(page, "| `{}` | {} | {kinds} |", class.name, class.effect);
    }
    page
}

const INTRODUCTION: &str = "\
# Metrics

`pollscope watch DIR --metrics ADDRESS` serves these at `http://ADDRESS/metrics`, in the text format of Prometheus.
This page is made from the table in `crates/metrics`; `UPDATE=1 cargo test --test it dashboards` writes it anew.

Counters begin where the watch begins to read a recording, except for those that the agent itself counts since the start of its process: polls, dropped events and CPU time.
A watch that is restarted begins anew, which `rate()` and `increase()` know how to read.
The number of series is bounded, whatever the programs do: at most 64 processes, and in each of them at most 50 findings and 30 places of code a metric.
A label's value has at most 200 characters.
";

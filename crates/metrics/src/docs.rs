//! The table as a page for people.

use std::fmt::Write;

use crate::class::CLASSES;
use crate::table::{Label, TABLE};

/// The text of `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str(
        "\n## Metrics\n\n| metric | from | type | unit | labels | what it says |\n|---|---|---|---|---|---|\n",
    );
    for metric in TABLE {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{}`", label.name())).collect();
        let (from, kind, unit) = (metric.source.word(), metric.kind.word(), metric.unit);
        // Writing to a String cannot fail.
        let labels = labels.join(", ");
        let _ = writeln!(page, "| `{}` | {from} | {kind} | {unit} | {labels} | {} |", metric.name, metric.help.trim());
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

There are two sources, in the text format of Prometheus:

- `pollscope watch DIR --metrics ADDRESS` serves them at `http://ADDRESS/metrics`, from the recordings of any number of processes, with what is found in them.
- A program that links `pollscope-agent` with its feature `metrics` serves its own where `POLLSCOPE_METRICS=ADDRESS` says, with a recording or without one. It names no findings, but knows what tokio counts.

The column *from* says which of them has a metric: `watch`, `program` or `both`. What both have is counted by the same code, so a process should be scraped from one of them only.
This page is made from the table in `crates/metrics`; `UPDATE=1 cargo test --test it dashboards` writes it anew.

Counters of a watch begin where it begins to read a recording, except for those that the agent itself counts since the start of its process: polls, dropped events and CPU time.
A watch that is restarted begins anew, which `rate()` and `increase()` know how to read.
The number of series is bounded, whatever the programs do: at most 64 processes, and in each of them at most 50 findings, 8 runtimes and 30 places of code a metric.
A label's value has at most 200 characters.
";

//! `pollscope list`: what there is to run.

use super::options::{Format, ListOptions};
use super::scenario::Manifest;
use super::{Failure, HEALTHY, terminal};
use serde_json::json;
use std::fmt::Write;

pub(crate) fn list(options: &ListOptions) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    for scenario in pollscope_scenarios::healthy().iter().chain(pollscope_scenarios::all()) {
        let manifest = Manifest::of(scenario)?;
        rows.push([
            scenario.name.to_owned(),
            manifest.text("kind"),
            manifest.text("difficulty"),
            manifest.text("title"),
        ]);
    }
    let text = match options.format {
        Format::Json => {
            let entry = |[name, kind, difficulty, title]: &[String; 4]| json!({"name": name, "kind": kind, "title": title, "difficulty": difficulty});
            format!("{:#}\n", json!(rows.iter().map(entry).collect::<Vec<_>>()))
        }
        Format::Text => {
            let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            let widths = [width(0).max(4), width(1).max(4), width(2).max(10)];
            let mut text = String::new();
            let head = ["NAME", "KIND", "DIFFICULTY", "TITLE"].map(str::to_owned);
            for [name, kind, difficulty, title] in std::iter::once(&head).chain(&rows) {
                let [a, b, c] = widths;
                let kind = if kind == "none" { "no fault" } else { kind };
                let _ = writeln!(text, "{name:a$}  {kind:b$}  {difficulty:c$}  {title}");
            }
            text
        }
    };
    terminal::result(&text);
    Ok(HEALTHY)
}

//! The diagnosis as one HTML file that needs nothing beside it: no script, no font, no picture from elsewhere.
//!
//! Names, paths and sentences come from the observed program, so every one of them passes through the templates'
//! escaping; the policy in the head would stop what slipped through.

mod chart;
mod finding;
mod gauges;
mod idle;
mod metrics;
mod ring;
mod timeline;

use super::words;
use crate::detect::{Answer, Diagnosis, EdgeType, Location, Severity, Verdict};
use crate::model::Series;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeMap;

/// Nothing is loaded and nothing runs, whatever stands in the page.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
/// Most places whose source is shown.
const MOST_PLACES: usize = 40;
/// Findings with a section of their own; the rest are listed.
const MOST_FINDINGS: usize = 30;

/// Everything a page shows.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// What was concluded.
    pub diagnosis: &'a Diagnosis,
    /// What happened when; `None` where the recording is gone.
    pub series: Option<&'a Series>,
    /// The source around the places of [`places`].
    pub excerpts: &'a Excerpts,
    /// Flame graphs of the collectors.
    pub pictures: &'a [Picture],
    /// `metrics.jsonl`, where there is one.
    pub metrics: Option<&'a Metrics>,
    /// Where the evidence lies, as the user would write it.
    pub folder: &'a str,
}

/// Source code by file and line.
pub type Excerpts = BTreeMap<(String, u32), Excerpt>;

/// The source around a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excerpt {
    /// Some lines of the file.
    Lines {
        /// Number of the first one.
        first: u32,
        /// The lines.
        lines: Vec<String>,
        /// The file was written after the program was started, so the lines may be others than those that ran.
        changed: bool,
    },
    /// Why there is none, as a sentence without its full stop.
    Missing(String),
}

/// Figures of the runtime over time, as a collector wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// One JSON object each.
    pub rows: Vec<String>,
    /// 1 if these are all rows, n if only every nth was kept.
    pub every: usize,
}

/// A flame graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its file.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The picture as SVG; or why it is not shown.
    pub svg: Result<Vec<u8>, String>,
}

/// The places of a diagnosis whose source is worth showing, each once.
pub fn places(diagnosis: &Diagnosis) -> Vec<&Location> {
    let mut found: Vec<&Location> = Vec::new();
    for finding in diagnosis.findings.iter().take(MOST_FINDINGS) {
        for at in finding.culprit.at.iter().chain(finding::waiting_places(finding)).filter(|at| at.line > 0) {
            if found.len() < MOST_PLACES && !found.iter().any(|known| (&known.file, known.line) == (&at.file, at.line))
            {
                found.push(at);
            }
        }
    }
    found
}

/// The whole page.
pub fn page(page: &Page<'_>) -> String {
    let diagnosis = page.diagnosis;
    let (shown, more) = diagnosis.findings.split_at(diagnosis.findings.len().min(MOST_FINDINGS));
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (words::verdict(diagnosis)) " in " (words::program(diagnosis)) " (pollscope)" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    (head(page))
                    @for (index, finding) in shown.iter().enumerate() {
                        (finding::section(index + 1, finding, page))
                    }
                    @if !more.is_empty() {
                        section.card { h2 { "More findings" } ul.plain { @for finding in more {
                            li { (words::severity(finding.severity)) ": " (finding.kind) ": " (finding.title) }
                        } } }
                    }
                    (timeline::section(page))
                    (idle::section(diagnosis))
                    (checks(diagnosis))
                    (pictures(page.pictures))
                    (metrics::section(page.metrics))
                    (observation(diagnosis))
                    footer {
                        p { "Kept in " code { (page.folder) } "."
                            @if page.series.is_some() {
                                " The verdict again, from the recording: " code { "pollscope diagnose " (page.folder) } "."
                            } }
                        p { "Written by pollscope " (env!("CARGO_PKG_VERSION")) "." }
                    }
                }
            }
        }
    };
    // Control characters and turned reading directions are made visible everywhere at once.
    words::visible(&markup.into_string()).into_owned()
}

fn head(page: &Page<'_>) -> Markup {
    let diagnosis = page.diagnosis;
    let program = &diagnosis.program;
    let class = match diagnosis.verdict {
        Verdict::Healthy => "good",
        Verdict::Findings if diagnosis.findings.iter().any(|one| one.severity == Severity::Critical) => "critical",
        Verdict::Findings | Verdict::Environment | Verdict::Unknown => "warning",
    };
    let runtimes: Vec<String> = program
        .runtimes
        .iter()
        .map(|runtime| format!("{} with {}", runtime.flavor, words::counted(runtime.workers, "worker")))
        .collect();
    html! {
        header {
            h1 { "pollscope report on " (words::program(diagnosis)) }
            p.verdict.(class) { (headline(diagnosis)) }
            @match diagnosis.verdict {
                Verdict::Healthy => p { "Polls were seen, and none of what was looked for did harm." },
                Verdict::Environment => p { "The kernel ran others while the program was ready." },
                Verdict::Unknown => p { "That does not mean healthy: see what could not be seen." },
                Verdict::Findings => {},
            }
            dl.facts {
                (fact("observed for", &format!("{:.1} s", program.seconds)))
                (fact("polls", &diagnosis.observer.polls.to_string()))
                (fact("started", &started(&program.started_at)))
                (fact("tokio", &program.tokio))
                (fact("runtime", &runtimes.join(", ")))
                (fact("kept in", page.folder))
                (fact("process", &if program.pid == 0 { String::new() } else { program.pid.to_string() }))
            }
            @if diagnosis.findings.len() > 1 {
                nav aria-label="Findings" { ol { @for (index, finding) in diagnosis.findings.iter().take(MOST_FINDINGS).enumerate() {
                    li { b.(words::severity(finding.severity)) { (words::severity(finding.severity)) }
                        " " a href=(format!("#finding-{}", index + 1)) { (prose(&finding.title)) } }
                } } }
            }
        }
    }
}

fn headline(diagnosis: &Diagnosis) -> String {
    let text = words::verdict(diagnosis);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// `2026-11-23T13:03:14.607Z` without what nobody reads; anything else as it is.
fn started(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(day), Some("T"), Some(time)) => format!("{day} {time} UTC"),
        _ => text.to_owned(),
    }
}

/// A sentence whose words between backticks are code.
fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // An odd backtick belongs to the text.
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! { @for (index, part) in parts.iter().enumerate() {
        @if index % 2 == 1 { code { (part) } } @else { (part) }
    } }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { @if !value.is_empty() { div { dt { (name) } dd { (value) } } } }
}

fn checks(diagnosis: &Diagnosis) -> Markup {
    html! {
        section { h2 { "What was looked for" } div.card.scroll {
            @if diagnosis.checks.is_empty() { p { "Nothing." } }
            @else { table {
                thead { tr { th scope="col" { "Fault" } th scope="col" { "Answer" } th scope="col" { "On what grounds" } } }
                tbody { @for check in &diagnosis.checks { tr {
                    td { code { (check.kind) } }
                    td { @match check.answer {
                        Answer::Found => b.answer.critical { span.mark aria-hidden="true" { "●" } "found" },
                        Answer::Clear => span.answer.good { span.mark aria-hidden="true" { "○" } "clear" },
                        Answer::CannotTell => span.answer.warning { span.mark aria-hidden="true" { "?" } "cannot tell" },
                    } }
                    td { (prose(&check.why)) }
                } } }
            } }
        } }
    }
}

fn pictures(pictures: &[Picture]) -> Markup {
    html! {
        section { h2 { "Flame graphs" } div.card {
            @if pictures.is_empty() { p.soft { "None was taken in this run." } }
            @for picture in pictures { figure {
                figcaption { (picture.title) " (" code { (picture.name) } ")" }
                @match &picture.svg {
                    // As an image: what runs or loads inside an SVG document does not in a picture.
                    Ok(svg) => img alt=(picture.title) src=(format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg)));,
                    Err(why) => p { "Not shown here: " (why) "." },
                }
            } }
        } }
    }
}

fn observation(diagnosis: &Diagnosis) -> Markup {
    let observer = &diagnosis.observer;
    let level = if observer.level.is_empty() { "unknown" } else { &observer.level };
    let size = if observer.bytes == 0 { String::new() } else { words::bytes(observer.bytes) };
    html! {
        section { h2 { "How it was observed" } div.card {
            h3 style="margin-top:0" { "What could not be seen" }
            @if diagnosis.not_observable.is_empty() { p { "Nothing that the agent knows to look for." } }
            @else { ul.plain { @for sentence in &diagnosis.not_observable { li { (prose(sentence)) } } } }
            @if !diagnosis.notes.is_empty() {
                h3 { "Notes" } ul.plain { @for sentence in &diagnosis.notes { li { (prose(sentence)) } } }
            }
            h3 { "What observing cost" }
            dl.facts {
                (fact("CPU of the agent", &words::millis(observer.agent_cpu_ms)))
                (fact("events", &observer.events.to_string()))
                (fact("recording", &size))
                (fact("source", &observer.sources.join("+")))
                (fact("level", level))
                (fact("collectors", &observer.collectors.join(", ")))
            }
            @if observer.dropped_events > 0 {
                p { b.warning { (words::counted(observer.dropped_events, "event")) " lost" } " in full rings: counts are too low." }
            } @else { p.soft.small { "No event was lost." } }
        } }
    }
}

#[cfg(test)]
mod tests;

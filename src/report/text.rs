//! The diagnosis for people: one screen. Styled with ANSI sequences; whoever prints it strips them where they do not
//! belong.

use super::ring;
use crate::detect::{Answer, Diagnosis, Finding, Frame, Location, Severity, TaskRef, Verdict};
use anstyle::{AnsiColor, Style};
use std::fmt::Write;

/// Findings shown with everything; the others get one line.
const SHOWN_WHOLE: usize = 2;
/// Findings that get one line; the rest are counted.
const SHOWN_SHORT: usize = 5;
/// Frames of the user's own code shown of a stack.
const FRAMES: usize = 4;
/// Figures shown of a finding.
const EVIDENCE: usize = 4;
/// Victims shown of a finding.
const VICTIMS: usize = 2;
/// Columns a paragraph may take.
const WIDTH: usize = 96;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The whole verdict; `folder` is where the evidence lies.
pub fn verdict(diagnosis: &Diagnosis, folder: &str) -> String {
    let mut out = String::new();
    let program = &diagnosis.program;
    let harmful = diagnosis.findings.iter().filter(|finding| finding.severity >= Severity::Warning).count();
    let headline = match diagnosis.verdict {
        Verdict::Healthy => format!("{}healthy{:#}", color(AnsiColor::Green), color(AnsiColor::Green)),
        Verdict::Findings => {
            let style = color(AnsiColor::Red);
            format!("{style}{}{style:#}", counted(harmful.max(1), "fault"))
        }
        Verdict::Environment => {
            let style = color(AnsiColor::Yellow);
            format!("{style}the machine is to blame, not the program{style:#}")
        }
        Verdict::Unknown => {
            let style = color(AnsiColor::Yellow);
            format!("{style}unknown: too little was seen{style:#}")
        }
    };
    let name = if program.name.is_empty() { "the program" } else { &program.name };
    let _ =
        writeln!(out, "{BOLD}{name}{BOLD:#}, {:.1} s, {} polls: {headline}", program.seconds, diagnosis.observer.polls);
    for finding in diagnosis.findings.iter().take(SHOWN_WHOLE) {
        out.push('\n');
        whole(&mut out, finding);
    }
    let short: Vec<_> = diagnosis.findings.iter().skip(SHOWN_WHOLE).collect();
    if !short.is_empty() {
        out.push('\n');
    }
    for finding in short.iter().take(SHOWN_SHORT) {
        let _ = writeln!(out, "{} {}", tag(finding), finding.title);
    }
    if short.len() > SHOWN_SHORT {
        let _ = writeln!(out, "and {} more in diagnosis.json", short.len() - SHOWN_SHORT);
    }
    footer(&mut out, diagnosis, folder);
    out
}

/// One line about one finding, for a run under way.
pub fn line(finding: &Finding, seconds: f64) -> String {
    let style = severity_style(finding.severity);
    format!("{seconds:>5.1} s  {style}{}{style:#}  {}", finding.kind, finding.title)
}

fn whole(out: &mut String, finding: &Finding) {
    let _ = writeln!(out, "{} {BOLD}{}{BOLD:#}", tag(finding), finding.title);
    let culprit = &finding.culprit;
    if let Some(at) = &culprit.at {
        let call = culprit.call.as_ref().map(|call| format!("  calls {call}")).unwrap_or_default();
        field(out, "where", &format!("{BOLD}{}{BOLD:#}{call}", place(at)));
    }
    if let Some(task) = &culprit.task {
        field(out, "task", &task_text(task));
    }
    stack(out, &culprit.stack);
    let drawing = ring::draw(finding);
    if !drawing.is_empty() {
        field(out, "cycle", "");
        out.push_str(&drawing);
    }
    let o = &finding.occurrences;
    if o.count > 0 {
        let times = counted(usize::try_from(o.count).unwrap_or(usize::MAX), "time");
        let worst = if o.worst_ms > 0.0 { format!(", worst {}", millis(o.worst_ms)) } else { String::new() };
        let total = if o.total_ms > 0.0 { format!(", {} in all", millis(o.total_ms)) } else { String::new() };
        field(out, "how bad", &format!("{times}{worst}{total}"));
    }
    if !finding.amplifiers.is_empty() {
        field(out, "worse by", &finding.amplifiers.join(", "));
    }
    for victim in finding.victims.iter().take(VICTIMS) {
        let who = victim.task.as_ref().map_or_else(|| "the runtime".to_owned(), task_text);
        field(out, "harm", &format!("{who}: {} {}", victim.harm, figure(victim.value, &victim.unit)));
    }
    if finding.victims.len() > VICTIMS {
        field(out, "", &format!("{DIM}and {} more{DIM:#}", finding.victims.len() - VICTIMS));
    }
    for (index, evidence) in finding.evidence.iter().take(EVIDENCE).enumerate() {
        let name = if index == 0 { "evidence" } else { "" };
        field(out, name, &format!("{}: {}", evidence.what, figure(evidence.value, &evidence.unit)));
    }
    for (index, line) in wrap(&finding.repair).iter().enumerate() {
        field(out, if index == 0 { "repair" } else { "" }, line);
    }
}

fn footer(out: &mut String, diagnosis: &Diagnosis, folder: &str) {
    out.push('\n');
    let answered = |answer| diagnosis.checks.iter().filter(move |check| check.answer == answer);
    let clear: Vec<_> = answered(Answer::Clear).map(|check| check.kind.as_str()).collect();
    if !clear.is_empty() {
        for (index, line) in wrap(&clear.join(", ")).iter().enumerate() {
            field(out, if index == 0 { "clear" } else { "" }, line);
        }
    }
    for check in answered(Answer::CannotTell) {
        remark(out, "cannot tell", &format!("{}: {}", check.kind, check.why));
    }
    for sentence in &diagnosis.not_observable {
        remark(out, "not seen", sentence);
    }
    for sentence in &diagnosis.notes {
        remark(out, "note", sentence);
    }
    let observer = &diagnosis.observer;
    let mut cost = format!(
        "{} at level {}, {} events, {:.1} ms of CPU",
        observer.sources.join("+"),
        if observer.level.is_empty() { "unknown" } else { &observer.level },
        observer.events,
        observer.agent_cpu_ms
    );
    if observer.dropped_events > 0 {
        let style = color(AnsiColor::Yellow);
        let _ = write!(cost, ", {style}{} events lost{style:#}", observer.dropped_events);
    }
    field(out, "observed", &cost);
    field(out, "kept in", folder);
}

/// The user's frames first; what lies between and below them is counted.
fn stack(out: &mut String, stack: &[Frame]) {
    let user: Vec<_> = stack.iter().filter(|frame| is_users(frame)).collect();
    for (index, frame) in user.iter().take(FRAMES).enumerate() {
        let place = match (&frame.file, frame.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            _ => "?".to_owned(),
        };
        let name = if index == 0 { "stack" } else { "" };
        field(out, name, &format!("{place}  {DIM}{}{DIM:#}", frame.function));
    }
    let folded = stack.len() - user.len().min(FRAMES);
    if !user.is_empty() && folded > 0 {
        let frames = counted(folded, "other frame");
        field(out, "", &format!("{DIM}{frames} of libraries and the runtime folded{DIM:#}"));
    }
}

/// Whether the frame is of the program's own code rather than of a library or the runtime.
fn is_users(frame: &Frame) -> bool {
    const FOREIGN: [&str; 6] = ["/rustc/", ".cargo/registry", "/rustlib/", "library/std", "library/core", "/sysdeps/"];
    const RUNTIME: [&str; 6] = ["std", "core", "alloc", "tokio", "pollscope_agent", "libc"];
    let Some(file) = &frame.file else {
        return false;
    };
    !FOREIGN.iter().any(|part| file.contains(part))
        && !frame.krate.as_deref().is_some_and(|krate| RUNTIME.contains(&krate))
}

fn task_text(task: &TaskRef) -> String {
    let mut text = match (&task.name, &task.future) {
        (Some(name), _) => format!("`{name}`"),
        (None, Some(future)) => future.clone(),
        (None, None) => {
            let root = task.id & pollscope_recording::ROOT_TASK_BIT != 0;
            if root { "the root future".to_owned() } else { format!("task {}", task.id) }
        }
    };
    if let Some(at) = &task.spawned_at {
        let _ = write!(text, " spawned at {}:{}", at.file, at.line);
    }
    text
}

fn place(at: &Location) -> String {
    match &at.function {
        Some(function) => format!("{}:{}  in {function}", at.file, at.line),
        None => format!("{}:{}", at.file, at.line),
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    let line = format!("  {DIM}{name:<9}{DIM:#} {value}");
    let _ = writeln!(out, "{}", line.trim_end());
}

fn remark(out: &mut String, name: &str, sentence: &str) {
    for (index, line) in wrap(sentence).iter().enumerate() {
        field(out, if index == 0 { name } else { "" }, line);
    }
}

fn tag(finding: &Finding) -> String {
    let style = severity_style(finding.severity);
    let severity = match finding.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    format!("{style}{severity}: {}{style:#}", finding.kind)
}

fn severity_style(severity: Severity) -> Style {
    color(match severity {
        Severity::Info => AnsiColor::Cyan,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Critical => AnsiColor::Red,
    })
}

const fn color(color: AnsiColor) -> Style {
    color.on_default().bold()
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn figure(value: f64, unit: &str) -> String {
    match unit {
        "ms" => millis(value),
        _ if value.fract() == 0.0 => format!("{value:.0} {unit}"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// Milliseconds, in the unit people would choose.
fn millis(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{:.0} µs", value * 1e3),
        value if value < 1e3 => format!("{value:.1} ms"),
        value => format!("{:.2} s", value / 1e3),
    }
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH - 12 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Confidence, Culprit, Occurrences};

    #[test]
    fn a_finding_is_told_with_its_line() {
        let at = Location { file: "src/main.rs".into(), line: 7, ..Location::default() };
        let diagnosis = Diagnosis {
            verdict: Verdict::Findings,
            findings: vec![Finding {
                kind: "blocking-call".into(),
                severity: Severity::Critical,
                confidence: Confidence::Proven,
                title: "a task is blocked".into(),
                culprit: Culprit { at: Some(at), ..Culprit::default() },
                occurrences: Occurrences { count: 2, total_ms: 1500.0, worst_ms: 900.0, ..Occurrences::default() },
                amplifiers: Vec::new(),
                evidence: Vec::new(),
                victims: Vec::new(),
                graph: None,
                repair: "Use the async one.".into(),
                read_more: String::new(),
            }],
            ..Diagnosis::default()
        };
        let text = anstream::adapter::strip_str(&verdict(&diagnosis, "out")).to_string();
        assert!(text.contains("the program, 0.0 s, 0 polls: 1 fault\n"), "{text}");
        assert!(text.contains("where     src/main.rs:7\n"), "{text}");
        assert!(text.contains("2 times, worst 900.0 ms, 1.50 s in all"), "{text}");
    }

    #[test]
    fn long_sentences_are_wrapped() {
        assert!(wrap(&"word ".repeat(100)).iter().all(|line| line.len() <= WIDTH));
    }
}

//! How figures, places and tasks are put into words: the same in every report.

use crate::detect::{
    Confidence, Diagnosis, Edge, Frame, Graph, IdleGroup, Location, Node, NodeType, Severity, Span, TaskRef, Verdict,
};
use std::borrow::Cow;

/// The verdict in a few words.
pub(super) fn verdict(diagnosis: &Diagnosis) -> String {
    match diagnosis.verdict {
        Verdict::Healthy => "healthy".to_owned(),
        Verdict::Findings => {
            let harmful = diagnosis.findings.iter().filter(|finding| finding.severity >= Severity::Warning).count();
            counted(harmful.max(1) as u64, "fault")
        }
        Verdict::Environment => "the machine is to blame, not the program".to_owned(),
        Verdict::Unknown if diagnosis.observer.polls > 0 && !diagnosis.idle.is_empty() => {
            "unknown: nothing moves, and nothing tells why".to_owned()
        }
        Verdict::Unknown => "unknown: too little was seen".to_owned(),
    }
}

/// The program's name, or words for it.
pub(super) fn program(diagnosis: &Diagnosis) -> &str {
    if diagnosis.program.name.is_empty() { "the program" } else { &diagnosis.program.name }
}

pub(super) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

pub(super) const fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Proven => "proven",
    }
}

/// How many tasks are idle at one line, and since when.
pub(super) fn idle(group: &IdleGroup) -> String {
    let times = match (millis(group.shortest_ms), millis(group.longest_ms)) {
        (short, long) if group.tasks == 1 || short == long => long,
        (short, long) => format!("{short} to {long}"),
    };
    format!("{} for {times}", counted(group.tasks, "task"))
}

/// What the tasks idle at one line wait for, and how sure that is.
pub(super) fn awaited(group: &IdleGroup) -> String {
    let mut text = match group.no_waker {
        true if group.tasks == 1 => "and nothing is left to wake it".to_owned(),
        true => "and nothing is left to wake them".to_owned(),
        false => format!("for {}", group.waits_for),
    };
    if group.older {
        text.push_str("; polled since, so perhaps elsewhere");
    }
    text
}

/// What a task does with a lock it has not got: in a deadlock that only might be, nobody waits.
pub(super) const fn wants(edge: &Edge) -> &'static str {
    match edge.confidence {
        Confidence::Possible => "would take",
        Confidence::Likely | Confidence::Proven => "waits for",
    }
}

/// "1 poll", "2 polls".
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A figure with its unit.
pub(super) fn figure(value: f64, unit: &str) -> String {
    match unit {
        "ns" => millis(value / 1e6),
        "µs" | "us" => millis(value / 1e3),
        "ms" => millis(value),
        "s" => millis(value * 1e3),
        "" => number(value),
        // Units are plural words, and one of them is not.
        _ if value == 1.0 => format!("1 {}", unit.strip_suffix('s').unwrap_or(unit)),
        _ => format!("{} {unit}", number(value)),
    }
}

/// A number with no more digits than it deserves.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Milliseconds, in the unit people would choose.
pub(super) fn millis(value: f64) -> String {
    match value {
        0.0 => "0 ms".to_owned(),
        value if value.abs() < 1.0 => format!("{:.0} µs", value * 1e3),
        value if value.abs() < 1e3 => format!("{value:.1} ms"),
        value => format!("{:.2} s", value / 1e3),
    }
}

/// Bytes, in the unit people would choose.
pub(super) fn bytes(value: u64) -> String {
    match value {
        value if value < 1 << 10 => format!("{value} B"),
        value if value < 1 << 20 => format!("{:.1} KiB", value as f64 / 1024.0),
        value => format!("{:.1} MiB", value as f64 / 1_048_576.0),
    }
}

/// `file:line`, or the function where the program has no line tables.
pub(super) fn spot(at: &Location) -> String {
    if let Some(name) = at.function.as_ref().filter(|_| at.line == 0) {
        return function(name).to_owned();
    }
    format!("{}:{}", at.file, at.line)
}

/// The function of a place, where its spot is a line.
pub(super) fn function_at(at: &Location) -> Option<&str> {
    at.function.as_deref().filter(|_| at.line > 0).map(function)
}

/// A task by its name, its future or its number.
pub(super) fn task(task: &TaskRef) -> String {
    let root = task.id & pollscope_recording::ROOT_TASK_BIT != 0;
    match (&task.name, &task.future) {
        (Some(name), _) => format!("`{name}`"),
        (None, _) if root => "the root future".to_owned(),
        (None, Some(future)) => format!("task {} ({future})", task.id),
        (None, None) => format!("task {}", task.id),
    }
}

/// Spans as a log line shows them: `request{id=7} > thumbnail`.
pub(super) fn spans(spans: &[Span]) -> String {
    let shown: Vec<String> = spans.iter().map(span).collect();
    shown.join(" > ")
}

fn span(span: &Span) -> String {
    let fields: Vec<String> = span.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if fields.is_empty() { span.name.clone() } else { format!("{}{{{}}}", span.name, fields.join(" ")) }
}

/// The label of a node without the place that is shown beside it.
pub(super) fn node(node: &Node) -> String {
    let label = node.label.as_str();
    let Some(at) = node.at.as_ref().map(spot) else {
        return label.to_owned();
    };
    let bare = label.strip_suffix(&format!(" (spawned at {at})")).or(label.strip_suffix(&format!(" made at {at}")));
    let bare = bare.unwrap_or(label);
    bare.strip_prefix("the ").unwrap_or(bare).to_owned()
}

/// Short names of the resources of a graph, in the order they come: `lock A`, `lock B`.
pub(super) fn letter(graph: &Graph, id: &str) -> Option<String> {
    let resources = graph.nodes.iter().filter(|node| node.kind == NodeType::Resource);
    let index = resources.map(|node| node.id.as_str()).position(|one| one == id)?;
    Some(match u8::try_from(index) {
        Ok(small @ 0..26) => format!("lock {}", char::from(b'A' + small)),
        _ => format!("lock {}", index + 1),
    })
}

/// A frame's function as its author calls it: an async body is a closure of its function only to the compiler.
pub(super) fn function(name: &str) -> &str {
    let mut name = name;
    while let Some(outer) = name.strip_suffix("::{{closure}}") {
        name = outer;
    }
    name
}

/// A library's file without the place where libraries are kept: it is the same for all of them, and tells of the
/// machine rather than of the program.
pub(super) fn library_file(file: &str) -> &str {
    let after = |mark: &str| file.split_once(mark).and_then(|(_, rest)| rest.split_once('/')).map(|(_, rest)| rest);
    let kept = ["/registry/src/", "/git/checkouts/", "/rustc/"].into_iter().find_map(after);
    kept.filter(|rest| !rest.is_empty()).unwrap_or(file)
}

/// Whether a frame is of the program's own code rather than of a library or the runtime.
pub(super) fn is_users(frame: &Frame) -> bool {
    const FOREIGN: [&str; 6] = ["/rustc/", ".cargo/registry", "/rustlib/", "library/std", "library/core", "/sysdeps/"];
    const RUNTIME: [&str; 6] = ["std", "core", "alloc", "tokio", "pollscope-agent", "libc"];
    let Some(file) = &frame.file else {
        return false;
    };
    !FOREIGN.iter().any(|part| file.contains(part))
        && !frame.krate.as_deref().is_some_and(|krate| RUNTIME.contains(&krate))
}

/// `text` with every character made visible that would steer a terminal or turn the reading direction: names come
/// from the observed program, and a report must not be written by what it is about.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_carry_the_unit_people_would_choose() {
        assert_eq!(figure(0.0, "ms"), "0 ms");
        assert_eq!(figure(0.221, "ms"), "221 µs");
        assert_eq!(figure(123.96, "ms"), "124.0 ms");
        assert_eq!(figure(5580.0, "ms"), "5.58 s");
        assert_eq!(figure(198_072.0, "µs"), "198.1 ms");
        assert_eq!(figure(0.25, "s"), "250.0 ms");
        assert_eq!(figure(2.0, "tasks"), "2 tasks");
        assert_eq!(figure(1.0, "tasks"), "1 task");
        assert_eq!(bytes(3 << 20), "3.0 MiB");
    }

    #[test]
    fn a_library_is_named_without_its_shelf() {
        let shelf = "/home/dev/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        assert_eq!(library_file(&format!("{shelf}/tokio-1.54.1/src/task.rs")), "tokio-1.54.1/src/task.rs");
        assert_eq!(library_file("/rustc/5980/library/std/src/io.rs"), "library/std/src/io.rs");
        assert_eq!(library_file("src/main.rs"), "src/main.rs");
    }

    #[test]
    fn nothing_in_a_name_can_steer_the_terminal() {
        assert_eq!(visible("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(visible("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(visible("plain\ttext"), "plain\ttext");
    }
}

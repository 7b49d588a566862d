//! The diagnosis for people: one screen. Styled with ANSI sequences; whoever prints it strips them where they do not
//! belong.

use super::layout::{Page, Text};
use super::{ring, words};
use crate::detect::{Answer, Diagnosis, Finding, Frame, Severity, TaskRef, Verdict};
use anstyle::{AnsiColor, Style};

/// Findings shown with everything, if they do harm; the others get one line.
const SHOWN_WHOLE: usize = 2;
/// Findings that get one line; the rest are counted.
const SHOWN_SHORT: usize = 5;
/// Frames of the user's own code shown of a stack.
const FRAMES: usize = 4;
/// Figures shown of a finding.
const EVIDENCE: usize = 4;
/// Lines shown at which tasks are idle; and beside a fault.
const IDLE: usize = 8;
const IDLE_BESIDE: usize = 2;
/// Victims shown of a finding.
const VICTIMS: usize = 2;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// What the screen is like, and where the evidence lies.
#[derive(Debug, Clone, Copy)]
pub struct Screen<'a> {
    /// Columns of the terminal.
    pub columns: usize,
    /// The folder of the run, or the recording.
    pub folder: &'a str,
    /// The HTML report, where there is one.
    pub page: Option<&'a str>,
}

/// The whole verdict.
pub fn verdict(diagnosis: &Diagnosis, screen: &Screen<'_>) -> String {
    let mut page = Page::new(screen.columns);
    let observer = &diagnosis.observer;
    let polls = words::counted(observer.polls, "poll");
    let headline = Text::styled(BOLD, words::program(diagnosis))
        .and(&format!(", {:.1} s, {polls}: ", diagnosis.program.seconds))
        .with(verdict_style(diagnosis.verdict), &words::verdict(diagnosis));
    page.paragraph("", "  ", &headline);
    let harmful = diagnosis.findings.iter().take_while(|finding| finding.severity >= Severity::Warning).count();
    let (long, short) = diagnosis.findings.split_at(harmful.clamp(1, SHOWN_WHOLE).min(diagnosis.findings.len()));
    for finding in long {
        page.blank();
        whole(&mut page, finding);
    }
    if !short.is_empty() {
        page.blank();
    }
    for finding in short.iter().take(SHOWN_SHORT) {
        page.paragraph("", "  ", &tag(finding).and("  ").and(&finding.title));
    }
    if short.len() > SHOWN_SHORT {
        let more = words::counted((short.len() - SHOWN_SHORT) as u64, "more finding");
        page.paragraph("", "", &Text::styled(DIM, &format!("and {more} in diagnosis.json")));
    }
    page.blank();
    idle(&mut page, diagnosis);
    footer(&mut page, diagnosis, screen);
    page.finish()
}

/// A word about one finding, for a run under way; more than one line only where `columns` are few.
pub fn line(finding: &Finding, seconds: f64, columns: usize) -> String {
    let mut page = Page::new(columns);
    let when = format!("{seconds:>5.1} s  ");
    page.paragraph(&when, &" ".repeat(when.len()), &tag(finding).and("  ").and(&finding.title));
    page.finish().trim_end().to_owned()
}

fn whole(page: &mut Page, finding: &Finding) {
    page.paragraph("", "  ", &tag(finding).with(DIM, &format!(" ({})", words::confidence(finding.confidence))));
    page.paragraph("  ", "  ", &Text::styled(BOLD, &finding.title));
    let culprit = &finding.culprit;
    if let Some(at) = &culprit.at {
        let mut pieces = vec![Text::styled(BOLD, &words::spot(at))];
        pieces.extend(words::function_at(at).map(|function| Text::plain("in ").and(function)));
        pieces.extend(culprit.call.as_ref().map(|call| Text::plain("calls ").and(call)));
        beside_or_below(page, "where", &pieces);
    }
    if let Some(task) = &culprit.task {
        page.field("task", &task_text(task));
    }
    if !culprit.spans.is_empty() {
        page.field("in span", &Text::plain(&words::spans(&culprit.spans)));
    }
    stack(page, &culprit.stack);
    if let Some(graph) = &finding.graph {
        ring::draw(page, graph, finding.culprit.task.as_ref().map(|task| task.id));
    }
    let o = &finding.occurrences;
    let worst = if o.worst_ms > 0.0 { Some(words::millis(o.worst_ms)) } else { None };
    match (o.count, worst) {
        (0, _) => {}
        (1, None) => page.field("how bad", &Text::plain("once")),
        (1, Some(worst)) => page.field("how bad", &Text::plain(&format!("once, for {worst}"))),
        (count, None) => page.field("how bad", &Text::plain(&format!("{count} times"))),
        (count, Some(worst)) => {
            let total = words::millis(o.total_ms);
            page.field("how bad", &Text::plain(&format!("{count} times, worst {worst}, {total} in all")));
        }
    }
    if !finding.amplifiers.is_empty() {
        page.field("worse by", &Text::plain(&finding.amplifiers.join(", ")));
    }
    let harms = finding.victims.iter().take(VICTIMS).map(|victim| {
        let harm = Text::plain(&victim.harm);
        let harm = match &victim.task {
            Some(task) => harm.and(": ").append(task_text(task)),
            None => harm,
        };
        (words::figure(victim.value, &victim.unit), harm)
    });
    page.figures("harm", &harms.collect::<Vec<_>>());
    if finding.victims.len() > VICTIMS {
        page.field("", &Text::styled(DIM, &format!("and {} more", finding.victims.len() - VICTIMS)));
    }
    let figures = finding
        .evidence
        .iter()
        .take(EVIDENCE)
        .map(|evidence| (words::figure(evidence.value, &evidence.unit), Text::plain(&evidence.what)));
    page.figures("evidence", &figures.collect::<Vec<_>>());
    page.field("repair", &Text::plain(&finding.repair));
}

/// Where the tasks stand that nobody has polled for long.
fn idle(page: &mut Page, diagnosis: &Diagnosis) {
    // Of a fault that was found the rest of the program is no news.
    let most = if diagnosis.verdict == Verdict::Findings { IDLE_BESIDE } else { IDLE };
    for (index, group) in diagnosis.idle.iter().take(most).enumerate() {
        let mut pieces = vec![Text::plain(&words::idle(group))];
        if let Some(at) = &group.at {
            pieces.push(Text::plain("at ").with(BOLD, &words::spot(at)));
            pieces.extend(words::function_at(at).map(|function| Text::plain("in ").and(function)));
        } else if let Some(at) = group.examples.first().and_then(|task| task.spawned_at.as_ref()) {
            pieces.push(Text::plain("spawned at ").and(&words::spot(at)));
        }
        pieces.push(Text::styled(DIM, &words::awaited(group)));
        beside_or_below(page, if index == 0 { "idle" } else { "" }, &pieces);
    }
    let more: u64 = diagnosis.idle.iter().skip(most).map(|group| group.tasks).sum();
    if more > 0 {
        let text = format!("and {} elsewhere, in diagnosis.json", words::counted(more, "task"));
        page.field("", &Text::styled(DIM, &text));
    }
}

fn footer(page: &mut Page, diagnosis: &Diagnosis, screen: &Screen<'_>) {
    let answered = |answer| diagnosis.checks.iter().filter(move |check| check.answer == answer);
    // What was found has a finding, unless nobody in the program is to blame.
    for check in answered(Answer::Found).filter(|check| check.kind == "environment") {
        page.field("machine", &Text::plain(&check.why));
    }
    let clear: Vec<_> = answered(Answer::Clear).map(|check| check.kind.as_str()).collect();
    if !clear.is_empty() {
        page.field("clear", &Text::plain(&clear.join(", ")));
    }
    for check in answered(Answer::CannotTell) {
        page.field("unsure", &Text::plain(&format!("{}: cannot tell, {}", check.kind, check.why)));
    }
    for sentence in &diagnosis.not_observable {
        page.field("not seen", &Text::plain(sentence));
    }
    for sentence in &diagnosis.notes {
        page.field("note", &Text::plain(sentence));
    }
    let observer = &diagnosis.observer;
    let level = if observer.level.is_empty() { "unknown" } else { &observer.level };
    let mut cost = Text::plain(&format!(
        "{} at level {level}, {}, {}",
        observer.sources.join("+"),
        words::counted(observer.events, "event"),
        // The console works inside the program, and does not tell what it takes.
        if observer.sources.iter().any(|source| source == "console") {
            "its cost to the program is not known".to_owned()
        } else {
            format!("{} of CPU", words::millis(observer.agent_cpu_ms))
        }
    ));
    if observer.dropped_events > 0 {
        let lost = format!("{} lost", words::counted(observer.dropped_events, "event"));
        cost = cost.and(", ").with(color(AnsiColor::Yellow), &lost);
    }
    page.field("observed", &cost);
    page.field("kept in", &Text::plain(screen.folder));
    if let Some(report) = screen.page {
        page.field("report", &Text::plain(report));
    }
}

/// The pieces beside each other as far as they fit, else below.
fn beside_or_below(page: &mut Page, name: &str, pieces: &[Text]) {
    let mut rest = pieces;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = rest.iter().take_while(|piece| {
            used += piece.width() + 2;
            used <= page.room() + 2
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        let name = if rest.len() == pieces.len() { name } else { "" };
        match now {
            [alone] => page.field(name, alone),
            several => page.raw(name, &several.iter().map(Text::ansi).collect::<Vec<_>>().join("  ")),
        }
        rest = later;
    }
}

/// The user's frames; what lies between and below them is counted.
fn stack(page: &mut Page, stack: &[Frame]) {
    let user: Vec<_> = stack.iter().filter(|frame| words::is_users(frame)).take(FRAMES).collect();
    let places: Vec<_> = user.iter().map(|frame| Text::plain(&place(frame))).collect();
    let column = places.iter().map(Text::width).max().unwrap_or(0) + 2;
    let room = page.room().saturating_sub(column);
    let functions: Vec<_> = user.iter().map(|frame| words::function(&frame.function)).collect();
    // If one function must lose its modules, all lose those they share.
    let fit = functions.iter().all(|function| Text::plain(function).width() <= room);
    let shared = if fit { 0 } else { shared_modules(&functions) };
    for (index, (frame, place)) in user.iter().zip(&places).enumerate() {
        let name = if index == 0 { "stack" } else { "" };
        let gap = " ".repeat(column.saturating_sub(place.width()));
        let function = words::function(&frame.function);
        let tail = function.get(shared..).filter(|_| shared > 0).map(|tail| format!("…::{tail}"));
        match shortened(tail.as_deref().unwrap_or(function), room) {
            Some(function) => page.raw(name, &format!("{}{gap}{}", place.ansi(), Text::styled(DIM, &function).ansi())),
            None => {
                page.field(name, place);
                page.field("", &Text::styled(DIM, &format!("in {}", words::function(&frame.function))));
            }
        }
    }
    let folded = stack.len() - user.len();
    if !user.is_empty() && folded > 0 {
        let frames = words::counted(folded as u64, "other frame");
        page.field("", &Text::styled(DIM, &format!("{frames} of libraries and the runtime folded")));
    }
}

fn place(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        _ => "?".to_owned(),
    }
}

/// Bytes of the modules that all functions begin with.
fn shared_modules(functions: &[&str]) -> usize {
    let Some((first, rest)) = functions.split_first() else {
        return 0;
    };
    let ends = first.match_indices("::").map(|(at, _)| at + 2);
    let shared = |end: &usize| {
        let modules = first.get(..*end).unwrap_or_default();
        // What stands in angle brackets is no module.
        !modules.contains('<') && rest.iter().all(|function| function.starts_with(modules))
    };
    ends.take_while(shared).last().unwrap_or(0)
}

/// A function in at most `columns`, if need be without its outer modules: the place beside it is exact.
fn shortened(function: &str, columns: usize) -> Option<String> {
    let fits = |text: &str| Text::plain(text).width() <= columns;
    if fits(function) {
        return Some(function.to_owned());
    }
    // Inside angle brackets a `::` belongs to an argument.
    let mut depth = 0_usize;
    let bytes = function.as_bytes();
    let starts = function.char_indices().filter_map(|(at, c)| {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (depth == 0 && c == ':' && at > 0 && bytes.get(at - 1) == Some(&b':')).then_some(at + 1)
    });
    let tails: Vec<_> = starts.filter_map(|at| function.get(at..)).map(|tail| format!("…::{tail}")).collect();
    tails.into_iter().find(|tail| fits(tail))
}

fn task_text(task: &TaskRef) -> Text {
    let text = Text::plain(&words::task(task));
    let text = match &task.spawned_at {
        Some(at) => text.and(" spawned at ").and(&words::spot(at)),
        None => text,
    };
    if task.spans.is_empty() { text } else { text.and(" in span ").and(&words::spans(&task.spans)) }
}

fn tag(finding: &Finding) -> Text {
    let text = format!("{}: {}", words::severity(finding.severity), finding.kind);
    Text::styled(severity_style(finding.severity), &text)
}

const fn verdict_style(verdict: Verdict) -> Style {
    color(match verdict {
        Verdict::Healthy => AnsiColor::Green,
        Verdict::Findings => AnsiColor::Red,
        Verdict::Environment | Verdict::Unknown => AnsiColor::Yellow,
    })
}

const fn severity_style(severity: Severity) -> Style {
    color(match severity {
        Severity::Info => AnsiColor::Cyan,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Critical => AnsiColor::Red,
    })
}

const fn color(color: AnsiColor) -> Style {
    color.on_default().bold()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Check;
    use crate::report::samples;

    fn shown(diagnosis: &Diagnosis, columns: usize) -> String {
        let screen = Screen { columns, folder: "out", page: None };
        anstream::adapter::strip_str(&verdict(diagnosis, &screen)).to_string()
    }

    #[test]
    fn a_finding_is_told_with_its_line() {
        let text = shown(&samples::blocking(), 100);
        assert!(text.starts_with("shop, 3.0 s, 1807 polls: 1 fault\n"), "{text}");
        assert!(text.contains("critical: blocking-call (proven)\n"), "{text}");
        assert!(text.contains("where     src/main.rs:7  in shop::ask  calls std::io::Read::read\n"), "{text}");
        assert!(text.contains("  in span   request{id=7} > ask\n"), "{text}");
        assert!(text.contains("2 times, worst 900.0 ms, 1.50 s in all"), "{text}");
        assert!(text.contains("evidence  900.0 ms  longest poll\n              221 µs  of it on the CPU\n"), "{text}");
        assert!(text.contains("1 other frame of libraries and the runtime folded"), "{text}");
    }

    #[test]
    fn an_environment_that_is_to_blame_is_told_with_its_grounds() {
        let mut diagnosis = samples::blocking();
        let (kind, why) = ("environment".to_owned(), "the CPU quota throttled the program for 300 ms".to_owned());
        diagnosis.checks.push(Check { kind, answer: Answer::Found, why });
        let text = shown(&diagnosis, 100);
        assert!(text.contains("machine   the CPU quota throttled the program for 300 ms\n"), "{text}");
    }

    #[test]
    fn nothing_is_wider_than_the_screen_nor_steers_it() {
        for diagnosis in [samples::blocking(), samples::ring(5), samples::hostile()] {
            for columns in [80, 100, 120] {
                let text = shown(&diagnosis, columns);
                assert!(text.lines().all(|line| Text::plain(line).width() <= columns), "{text}");
                assert!(!text.contains('\u{7}') && !text.contains('\u{1b}'), "{text}");
            }
        }
        assert!(shown(&samples::ring(5), 80).lines().count() <= 45, "{}", shown(&samples::ring(5), 80));
    }

    #[test]
    fn a_run_under_way_is_told_in_few_columns_too() {
        let finding = &samples::blocking().findings[0];
        let text = anstream::adapter::strip_str(&line(finding, 1.25, 60)).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("  1.2 s  critical: blocking-call"), "{text}");
        assert!(lines.len() == 2 && lines[1].starts_with("         "), "{text}");
        assert_eq!(line(finding, 1.25, usize::MAX).lines().count(), 1);
    }

    #[test]
    fn shared_modules_end_at_colons() {
        assert_eq!(shared_modules(&["a::b::Shop::price", "a::b::serve"]), "a::b::".len());
        assert_eq!(shared_modules(&["a::b", "ab::b"]), 0);
        assert_eq!(shared_modules(&["<a::B as a::C>::d", "<a::B as a::C>::e"]), 0);
        assert_eq!(shared_modules(&[]), 0);
    }

    #[test]
    fn a_function_loses_its_outer_modules_first() {
        assert_eq!(shortened("a::b::c", 10).as_deref(), Some("a::b::c"));
        assert_eq!(shortened("krate::module::Type::call", 16).as_deref(), Some("…::Type::call"));
        assert_eq!(shortened("<krate::Type as krate::Trait>::call", 10).as_deref(), Some("…::call"));
        assert_eq!(shortened("a_very_long_function", 10), None);
    }
}

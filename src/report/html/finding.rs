//! One fault: what happened, where, how bad, what to do.

use super::{EdgeType, Excerpt, Page, prose, ring};
use crate::detect::{Evidence, Finding, Frame, Location, Severity, Stretch, TaskRef, Victim};
use crate::report::{ring as cycle, words};
use maud::{Markup, html};

/// Most frames of a stack that are written down.
const MOST_FRAMES: usize = 400;
/// Frames of the program's own code that are shown before the rest is folded.
const USERS: usize = 12;
/// Tasks of a cycle that are put into words, and of a longer one.
const STEPS: usize = 24;
const FEW_STEPS: usize = 12;
/// Most places whose source is shown.
const SOURCES: usize = 24;
/// Victims that are shown before the rest is folded.
const VICTIMS: usize = 5;

/// The lines that wait, of a finding about who waits for whom; the culprit's first.
pub(super) fn waiting_places(finding: &Finding) -> impl Iterator<Item = &Location> {
    let edges = finding.graph.iter().flat_map(|graph| &graph.edges);
    edges.filter(|edge| edge.kind == EdgeType::WaitsFor).filter_map(|edge| edge.at.as_ref())
}

pub(super) fn section(number: usize, finding: &Finding, page: &Page<'_>) -> Markup {
    let severity = words::severity(finding.severity);
    let culprit = &finding.culprit;
    let mark = match finding.severity {
        Severity::Info => "ℹ",
        Severity::Warning => "▲",
        Severity::Critical => "✖",
    };
    html! {
        article.card.finding.{ "is-" (severity) } id=(format!("finding-{number}")) {
            div.tags {
                span.tag.(severity) { span aria-hidden="true" { (mark) " " } (severity) }
                span.tag { code { (finding.kind) } }
                span.tag { (words::confidence(finding.confidence)) }
                @for amplifier in &finding.amplifiers { span.tag { "worse by " code { (amplifier) } } }
            }
            h2 { (prose(&finding.title)) }
            dl.rows {
                @if let Some(at) = &culprit.at {
                    dt { "Where" }
                    dd { code.place { (words::spot(at)) }
                        @if let Some(function) = words::function_at(at) { " in " code { (function) } } }
                }
                @if let Some(call) = &culprit.call { dt { "Calls" } dd { code { (call) } } }
                @if let Some(who) = &culprit.task { dt { "Task" } dd { (task(who)) } }
                @if !culprit.spans.is_empty() {
                    dt { "In span" } dd { code { (words::spans(&culprit.spans)) } }
                }
            }
            (numbers(finding, page))
            div.repair { h3 { "Repair" } p { (prose(&finding.repair)) } (read_more(&finding.read_more)) }
            @if let Some(graph) = &finding.graph {
                h3 { "Who waits for whom" }
                (ring::draw(number, graph, culprit.task.as_ref().map(|task| task.id)))
                (in_words(finding))
            }
            (sources(finding, page))
            @if !culprit.stack.is_empty() { h3 { "Stack, innermost call first" } (stack(&culprit.stack)) }
            div.pair {
                div { h3 { "Evidence" } (evidence(&finding.evidence, page)) }
                div { h3 { "Who was hurt" } (victims(finding)) }
            }
        }
    }
}

fn numbers(finding: &Finding, page: &Page<'_>) -> Markup {
    let o = &finding.occurrences;
    let since = page.series.map(|series| (page.moment(o.first_ns), page.moment(o.last_ns), series.width));
    html! {
        @if o.count > 0 { dl.numbers {
            @if o.count > 1 {
                div { dt { "times" } dd { (o.count) } }
            }
            @if o.worst_ms > 0.0 {
                @if o.count > 1 {
                    div { dt { "worst" } dd { (words::millis(o.worst_ms)) } }
                    div { dt { "in all" } dd { (words::millis(o.total_ms)) } }
                } @else { div { dt { "once, for" } dd { (words::millis(o.worst_ms)) } } }
            }
            @if let Some((from, to, _)) = since { div { dt { "from, to" } dd { (from) " – " (to) } } }
        } }
    }
}

impl Page<'_> {
    /// A time of the recording as people count: from its start.
    pub(super) fn moment(&self, at_ns: u64) -> String {
        let start = self.series.map_or(0, |series| series.start);
        format!("{:.2} s", at_ns.saturating_sub(start) as f64 / 1e9)
    }
}

fn task(task: &TaskRef) -> Markup {
    html! {
        @match (&task.name, &task.future) {
            (Some(name), _) => { code { (name) } " (task " (task.id) ")" },
            _ => (words::task(task)),
        }
        @if let Some(at) = &task.spawned_at { ", spawned at " code { (words::spot(at)) } }
        @if !task.spans.is_empty() { ", in span " code { (words::spans(&task.spans)) } }
    }
}

fn read_more(text: &str) -> Markup {
    html! {
        @if text.starts_with("https://") { p { a href=(text) rel="noreferrer" { "More about this kind of fault" } } }
        @else if !text.is_empty() { p.small { "More about this kind of fault: " code { (text) } } }
    }
}

fn in_words(finding: &Finding) -> Markup {
    let Some(graph) = &finding.graph else { return html! {} };
    let lock = |id: &str| words::letter(graph, id).unwrap_or_else(|| id.to_owned());
    let culprit = finding.culprit.task.as_ref().map(|task| task.id);
    let cycle::Shown { steps, left_out } = cycle::shown(graph, culprit, STEPS, FEW_STEPS);
    let last = steps.len().saturating_sub(1);
    html! {
        ol.words { @for (index, step) in steps.iter().enumerate() {
            @if left_out > 0 && index == last {
                li { (cycle::more(left_out)) " wait in the same way, each for the next." }
            }
            li {
            (words::node(step.task)) (made("spawned at", step.task.at.as_ref()))
            " holds " b { (lock(&step.holds.id)) } ", the " (words::node(step.holds)) (made("made at", step.holds.at.as_ref()))
            "; it " (words::wants(step.wait)) " " b { (lock(&step.wants.id)) } (made("at", step.wait.at.as_ref()))
            @if let Some(function) = step.wait.at.as_ref().and_then(words::function_at) { " in " code { (function) } }
            "."
            }
        } }
    }
}

fn made(verb: &str, at: Option<&Location>) -> Markup {
    html! { @if let Some(at) = at { " " (verb) " " code { (words::spot(at)) } } }
}

fn sources(finding: &Finding, page: &Page<'_>) -> Markup {
    let mut places: Vec<&Location> = Vec::new();
    for at in finding.culprit.at.iter().chain(waiting_places(finding)).filter(|at| at.line > 0) {
        if places.len() == SOURCES {
            break;
        }
        if !places.iter().any(|known| (&known.file, known.line) == (&at.file, at.line)) {
            places.push(at);
        }
    }
    html! {
        @for at in places {
            @match page.excerpts.get(&(at.file.clone(), at.line)) {
                Some(Excerpt::Lines { first, lines, changed }) => {
                    h3 { "Source: " code { (words::spot(at)) } }
                    pre.source { @for (number, line) in (*first..).zip(lines) {
                        span.hit[number == at.line] {
                            i { @if number == at.line { "▶ " } (number) }
                            // An empty line still has a height.
                            (if line.is_empty() { " " } else { line.as_str() })
                        }
                    } }
                    @if *changed { p.small.warning { "The file was changed after the program was started: these may not be the lines that ran." } }
                },
                Some(Excerpt::Missing(why)) => {
                    h3 { "Source: " code { (words::spot(at)) } }
                    p.soft.small { "Not shown: " (why) "." }
                },
                None => {},
            }
        }
    }
}

fn stack(stack: &[Frame]) -> Markup {
    let users: Vec<_> = stack.iter().filter(|frame| words::is_users(frame)).take(USERS).collect();
    let folded = stack.len() - users.len();
    html! {
        @if users.is_empty() { p.soft.small { "No frame of the program's own code was recognized." } }
        @else { ol.stack { @for frame in &users { (frame_row(frame, true)) } } }
        @if folded > 0 { details {
            summary { "The whole stack, with " (words::counted(folded as u64, "frame")) " more, most of libraries and the runtime" }
            ol.stack { @for frame in stack.iter().take(MOST_FRAMES) { (frame_row(frame, words::is_users(frame))) } }
            @if stack.len() > MOST_FRAMES { p.soft.small { (stack.len() - MOST_FRAMES) " outer frames left out." } }
        } }
    }
}

fn frame_row(frame: &Frame, own: bool) -> Markup {
    let file = frame.file.as_deref().map(words::library_file);
    let place = match (file, frame.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.to_owned(),
        _ => "unknown place".to_owned(),
    };
    html! { li.foreign[!own] {
        code.place[own] { (place) }
        code { (words::function(&frame.function)) @if frame.inlined { " (inlined)" } }
    } }
}

fn evidence(evidence: &[Evidence], page: &Page<'_>) -> Markup {
    if evidence.is_empty() {
        return html! { p.soft.small { "None is told." } };
    }
    let place = |at: &Stretch| match page.series {
        Some(_) => format!("{}, {} – {}", at.track, page.moment(at.from_ns), page.moment(at.to_ns)),
        None => at.track.clone(),
    };
    let mut places: Vec<String> = evidence.iter().filter_map(|one| one.at.as_ref()).map(place).collect();
    places.dedup();
    // Figures of one moment say it once, below them all.
    let several = places.len() > 1;
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "What" } th.figure scope="col" { "Figure" }
                @if several { th scope="col" { "Where to see it" } }
            } }
            tbody { @for one in evidence { tr {
                td.what { (prose(&one.what)) }
                (figure(one.value, &one.unit))
                @if several { td.soft { (one.at.as_ref().map(place).unwrap_or_default()) } }
            } } }
        } }
        @if let (false, Some(place)) = (several, places.first()) { p.small.soft { "To be seen on " (place) "." } }
    }
}

/// A cell with a figure; a unit may be any text, and a long one must wrap.
fn figure(value: f64, unit: &str) -> Markup {
    let text = words::figure(value, unit);
    html! { td.figure.long[text.chars().count() > 16] { (text) } }
}

fn victims(finding: &Finding) -> Markup {
    if finding.victims.is_empty() {
        return html! { p.soft.small { "Nobody that was seen." } };
    }
    let (first, more) = finding.victims.split_at(finding.victims.len().min(VICTIMS));
    html! {
        (victim_table(first))
        @if !more.is_empty() { details.short { summary { (more.len()) " more" } (victim_table(more)) } }
    }
}

fn victim_table(victims: &[Victim]) -> Markup {
    html! { div.scroll { table {
        thead { tr { th.figure scope="col" { "By" } th scope="col" { "Harm" } th scope="col" { "Who" } } }
        tbody { @for victim in victims { tr {
            (figure(victim.value, &victim.unit))
            td { (victim.harm) }
            td { @match &victim.task { Some(who) => (task(who)), None => "the runtime" } }
        } } }
    } } }
}

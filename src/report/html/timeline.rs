//! What happened when, as strips one below the other over the same time.

use super::chart::{Part, Strip, axis, ticks};
use super::{MOST_FINDINGS, Page, gauges};
use crate::model::{Lane, Series};
use crate::report::words;
use maud::{Markup, html};
use pollscope_recording::ROOT_TASK_BIT;

/// Most threads with a strip.
const MOST_LANES: usize = 12;
/// Most long polls of a thread that say who they were when pointed at.
const MOST_SPOKEN: usize = 60;
/// Most findings with a strip.
const MOST_ROWS: usize = 6;

pub(super) fn section(page: &Page<'_>) -> Markup {
    html! {
        section { h2 { "What happened when" } div.card {
            @match page.series {
                Some(series) if !series.is_empty() => (strips(page, series)),
                Some(_) => p.soft { "The recording holds no event." },
                None => p.soft { "There is no recording beside the diagnosis, so nothing can be drawn over time." },
            }
        } }
    }
}

fn strips(page: &Page<'_>, series: &Series) -> Markup {
    let count = series.len();
    let span = (series.width as f64) * count as f64;
    let seconds = span / 1e9;
    let part = |from: u64, to: u64| Part {
        from: from.saturating_sub(series.start) as f64 / span,
        to: to.saturating_sub(series.start) as f64 / span,
    };
    let grid: Vec<Part> = ticks(seconds).iter().map(|at| Part { from: at / seconds, to: at / seconds }).collect();
    let findings = page.diagnosis.findings.iter().take(MOST_FINDINGS.min(MOST_ROWS)).enumerate();
    let rows: Vec<_> = findings
        .map(|(index, finding)| {
            let worst: Vec<Part> =
                finding.evidence.iter().filter_map(|one| one.at.as_ref()).map(|at| part(at.from_ns, at.to_ns)).fold(
                    Vec::new(),
                    |mut known, part| {
                        if !known.contains(&part) {
                            known.push(part);
                        }
                        known
                    },
                );
            let whole = part(finding.occurrences.first_ns, finding.occurrences.last_ns);
            (index + 1, finding, whole, worst)
        })
        .collect();
    // What fills half the time points nowhere.
    let bands: Vec<Part> =
        rows.iter().flat_map(|(_, _, _, worst)| worst.iter().copied()).filter(|one| one.to - one.from < 0.5).collect();
    // A bucket may be wider than the unit people know.
    let per_100 = |polls: u64| polls as f64 * 1e8 / series.width as f64;
    let peak = series.polls.iter().copied().max().map_or(0.0, per_100);
    let latest = series.late.iter().copied().max().unwrap_or(0);
    let lanes = lanes(series);
    let strip =
        |label: String, height, bars| Strip { label, height, grid: &grid, bars, bands: &bands, ..Strip::default() };
    html! {
        div.lanes {
            @for (number, finding, whole, worst) in &rows {
                div { b { a href=(format!("#finding-{number}")) { (finding.kind) } } span.soft { "from first to last" } }
                div { (Strip { label: format!("When {} happened", finding.kind), height: 22,
                    tone: words::severity(finding.severity), grid: &grid,
                    bands: &[*whole], marks: worst.iter().map(|part| (*part, finding.title.clone())).collect(),
                    ..Strip::default() }.draw()) }
            }
            div { b { "Polls per 100 ms" } span.soft { "peak " (words::number(peak.round())) } }
            div { (strip(format!("Polls per 100 ms, at most {}", words::number(peak.round())), 64,
                scaled(&series.polls, count, per_100, peak)).draw()) }
            @for (tid, lane) in lanes.iter().take(MOST_LANES) { (lane_row(*tid, lane, series, &part, &strip)) }
            div { b { "Heartbeat lateness" } span.soft {
                @if series.beats == 0 { "no heartbeat was seen" } @else { "worst " (words::millis(latest as f64 / 1e6)) }
            } }
            div { (strip(format!("How late timers fired, at worst {}", words::millis(latest as f64 / 1e6)), 48,
                // Below a hundredth of a second nobody is late: no noise drawn large.
                scaled(&series.late, count, |late| late as f64, latest.max(10_000_000) as f64)).draw()) }
            (gauges::rows(series, &strip))
            div aria-hidden="true" {}
            (axis(seconds))
        }
        div.legend {
            span { i.bar {} "how much, against the most" }
            span { i.mark {} "a poll open for long" @if !rows.is_empty() { "; the worst of a finding" } }
            @if !rows.is_empty() { span { i.band {} "a finding from first to last; its worst on every strip" } }
        }
        @if lanes.len() > MOST_LANES { p.small.soft { (lanes.len() - MOST_LANES) " less busy threads are left out." } }
        @if series.stalls_not_kept > 0 { p.small.soft { (series.stalls_not_kept) " more long polls are not drawn." } }
        @if page.diagnosis.findings.len() > MOST_ROWS { p.small.soft { "Only the first " (MOST_ROWS) " findings have a strip." } }
    }
}

/// Bars of `count` buckets, each as a share of `most`.
pub(super) fn scaled(values: &[u64], count: usize, unit: impl Fn(u64) -> f64, most: f64) -> Vec<f64> {
    let value = |index: usize| values.get(index).copied().map_or(0.0, &unit);
    (0..count).map(|index| if most > 0.0 { value(index) / most } else { 0.0 }).collect()
}

/// Workers first, then whoever else polled, the busiest first.
fn lanes(series: &Series) -> Vec<(u64, &Lane)> {
    let busy = |lane: &Lane| lane.busy.iter().sum::<u64>();
    let stalled = |tid: u64| series.stalls.iter().any(|stall| stall.tid == tid);
    let mut lanes: Vec<_> = series.lanes.iter().map(|(tid, lane)| (*tid, lane)).collect();
    lanes.retain(|(tid, lane)| lane.role == "worker" || busy(lane) > 0 || stalled(*tid));
    lanes.sort_by_key(|(_, lane)| (lane.role != "worker", std::cmp::Reverse(busy(lane))));
    lanes
}

fn lane_row<'a>(
    tid: u64,
    lane: &Lane,
    series: &Series,
    part: &impl Fn(u64, u64) -> Part,
    strip: &impl Fn(String, u32, Vec<f64>) -> Strip<'a>,
) -> Markup {
    let name = match (lane.role.as_str(), lane.name.as_str()) {
        ("", "") => format!("thread {tid}"),
        ("" | "other", name) => format!("{name} {tid}"),
        (role, _) => format!("{role} {tid}"),
    };
    let share = lane.busy.iter().sum::<u64>() as f64 / series.end.saturating_sub(series.start).max(1) as f64;
    let mut stalls: Vec<_> = series.stalls.iter().filter(|stall| stall.tid == tid).collect();
    stalls.sort_by_key(|stall| std::cmp::Reverse(stall.to.saturating_sub(stall.from)));
    let long = stalls.len();
    let (spoken, silent) = stalls.split_at(long.min(MOST_SPOKEN));
    let label = format!("Share of time {name} was busy, {:.0} % in all; {long} long polls", 100.0 * share.min(1.0));
    let bars = scaled(&lane.busy, series.len(), |busy| busy as f64, series.width as f64);
    let strip = Strip {
        marks: spoken
            .iter()
            .map(|stall| {
                let lasted = words::millis(stall.to.saturating_sub(stall.from) as f64 / 1e6);
                let who = if stall.task & ROOT_TASK_BIT != 0 {
                    "the root future".to_owned()
                } else {
                    format!("task {}", stall.task)
                };
                (part(stall.from, stall.to), format!("a poll of {who}, open for {lasted}"))
            })
            .collect(),
        more_marks: silent.iter().map(|stall| part(stall.from, stall.to)).collect(),
        ..strip(label, 34, bars)
    };
    html! {
        div { b { (name) } span.soft { "busy " (format!("{:.0} %", 100.0 * share.min(1.0)))
            @if long > 0 { ", " (words::counted(long as u64, "long poll")) } } }
        div { (strip.draw()) }
    }
}

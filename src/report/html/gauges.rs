//! What was read from outside, as strips: memory, the blocking pools, throttling.

use super::chart::Strip;
use super::timeline::scaled;
use crate::model::{PoolLane, Series};
use crate::report::words;
use maud::{Markup, html};

pub(super) fn rows<'a>(series: &Series, strip: &impl Fn(String, u32, Vec<f64>) -> Strip<'a>) -> Markup {
    let peak = words::bytes(series.memory.peak());
    html! {
        @if !series.memory.is_empty() {
            div { b { "Memory in RAM" } span.soft { "peak " (peak) } }
            div { (strip(format!("Memory in RAM, at most {peak}"), 34, levels(series, &series.memory)).draw()) }
        }
        @for (runtime, lane) in &series.pools { (pool(*runtime, lane, series, strip)) }
        @if !series.throttled.is_empty() { (throttled(series, strip)) }
    }
}

/// Bars of a figure that stands until it changes.
fn levels(series: &Series, level: &crate::model::Level) -> Vec<f64> {
    scaled(&level.values(series.len()), series.len(), |value| value as f64, level.peak() as f64)
}

fn pool<'a>(
    runtime: u64,
    lane: &PoolLane,
    series: &Series,
    strip: &impl Fn(String, u32, Vec<f64>) -> Strip<'a>,
) -> Markup {
    let (busy, queued) = (lane.busy.peak(), lane.queued.peak());
    // Of several runtimes it matters whose pool it is.
    let name = if series.pools.len() > 1 { format!("Blocking pool {runtime}") } else { "Blocking pool".to_owned() };
    html! {
        div { b { (name) } span.soft { "at most " (busy) " of " (words::counted(lane.threads, "thread")) " busy" } }
        div { (strip(format!("{name}: threads at work, at most {busy}"), 34, levels(series, &lane.busy)).draw()) }
        @if queued > 0 {
            div { b { (name) ", queue" } span.soft { "peak " (queued) } }
            div { (strip(format!("{name}: closures that wait for a thread, at most {queued}"), 34,
                levels(series, &lane.queued)).draw()) }
        }
    }
}

fn throttled<'a>(series: &Series, strip: &impl Fn(String, u32, Vec<f64>) -> Strip<'a>) -> Markup {
    let total = words::millis(series.throttled.iter().sum::<u64>() as f64 / 1e6);
    let most = series.throttled.iter().copied().max().unwrap_or(0).max(series.width);
    html! {
        div { b { "Throttled" } span.soft { (total) " by the CPU quota" } }
        div { (strip(format!("Time the CPU quota kept the program from running, {total} in all"), 34,
            scaled(&series.throttled, series.len(), |nanos| nanos as f64, most as f64)).draw()) }
    }
}

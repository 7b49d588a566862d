//! What tokio-metrics counted, where a run collected it: one JSON object a line, with a time and any numbers.

use super::Metrics;
use super::chart::{Strip, axis};
use crate::report::words;
use maud::{Markup, html};
use serde_json::Value;

/// Fields worth a strip, the most telling first; a unit may follow their name.
const KNOWN: [&str; 14] = [
    "total_polls_count",
    "total_busy_duration",
    "busy_ratio",
    "mean_poll_duration",
    "global_queue_depth",
    "total_local_queue_depth",
    "blocking_queue_depth",
    "live_tasks_count",
    "workers_count",
    "total_park_count",
    "total_steal_count",
    "total_overflow_count",
    "budget_forced_yield_count",
    "io_driver_ready_count",
];
/// Names of time fields without their unit.
const TIMES: [&str; 8] = ["at", "t", "ts", "time", "timestamp", "elapsed", "since_start", "seconds"];
/// Most strips.
const MOST_STRIPS: usize = 8;
/// Most names of tasks.
const MOST_NAMES: usize = 64;
/// Most bars of a strip.
const MOST_BARS: usize = 600;

pub(super) fn section(metrics: Option<&Metrics>) -> Markup {
    let Some(metrics) = metrics else { return html! {} };
    let rows = metrics.rows.iter().filter_map(|row| serde_json::from_str(row).ok());
    // The head tells of the rows and is none.
    let rows = rows.filter(|row: &Value| row.is_object() && row.get("schema").is_none());
    let (rows, tasks): (Vec<Value>, Vec<Value>) = rows.map(flat).unzip();
    let fields = fields(&rows);
    let seconds = seconds(&rows);
    html! {
        section { h2 { "Runtime metrics" } div.card {
            @if fields.is_empty() { p.soft { code { "metrics.jsonl" } " holds no figures that could be drawn." } }
            @else {
                div.lanes {
                    @for field in &fields { (strip(field, &rows)) }
                    div aria-hidden="true" {}
                    @match seconds {
                        Some(seconds) => (axis(seconds)),
                        None => div.axis { span { "first row" } span.last style="left:100%" { "last row" } },
                    }
                }
                p.small.soft { (words::counted(rows.len() as u64, "row")) " of " code { "metrics.jsonl" }
                    @if metrics.every > 1 { ", one in " (metrics.every) } "." }
            }
            (named(tasks.last()))
        } }
    }
}

/// A row with the figures of its interval beside its time, and what it tells of tasks.
fn flat(mut row: Value) -> (Value, Value) {
    let interval = row.get_mut("interval").map(Value::take);
    let tasks = row.get_mut("tasks").map(Value::take).unwrap_or_default();
    if let (Some(row), Some(Value::Object(interval))) = (row.as_object_mut(), interval) {
        row.retain(|_, value| number(value).is_some());
        row.extend(interval);
    }
    (row, tasks)
}

/// The tasks the program gives a name for the metrics, as counted up to the last row.
fn named(tasks: Option<&Value>) -> Markup {
    let Some(tasks) = tasks.and_then(Value::as_object).filter(|tasks| !tasks.is_empty()) else { return html! {} };
    let figure = |task: &Value, name: &str| task.get(name).and_then(number).unwrap_or(0.0);
    let nanos = |task: &Value, name: &str| words::millis((figure(task, name) / 1e3).round() / 1e3);
    html! {
        h3 { "Tasks by name" }
        div.scroll { table {
            thead { tr {
                th scope="col" { "Name" } th.figure scope="col" { "Tasks" } th.figure scope="col" { "Polls" }
                th.figure scope="col" { "Time in polls" } th.figure scope="col" { "Slow polls" }
                th.figure scope="col" { "Waited to be polled" } th.figure scope="col" { "Idle" }
            } }
            tbody { @for (name, task) in tasks.iter().take(MOST_NAMES) { tr {
                td { code { (name) } }
                td.figure { (words::number(figure(task, "instrumented_count"))) }
                td.figure { (words::number(figure(task, "total_poll_count"))) }
                td.figure { (nanos(task, "total_poll_duration_ns")) }
                td.figure { (words::number(figure(task, "total_slow_poll_count"))) }
                td.figure { (nanos(task, "total_scheduled_duration_ns")) }
                td.figure { (nanos(task, "total_idle_duration_ns")) }
            } } }
        } }
    }
}

fn strip(field: &str, rows: &[Value]) -> Markup {
    let values: Vec<f64> = rows.iter().map(|row| row.get(field).and_then(number).unwrap_or(0.0)).collect();
    let worst = values.iter().copied().fold(0.0, f64::max);
    let (name, unit) = with_unit(field);
    let peak = words::figure((worst * 1000.0).round() / 1000.0, unit);
    // Neighbors that share a bar show the larger: a peak must not vanish.
    let size = values.len().div_ceil(MOST_BARS).max(1);
    let bars =
        values.chunks(size).map(|chunk| chunk.iter().copied().fold(0.0, f64::max) / worst.max(f64::MIN_POSITIVE));
    let drawing =
        Strip { label: format!("{name}, at most {peak}"), height: 48, bars: bars.collect(), ..Strip::default() };
    html! {
        div { b { (name.replace('_', " ")) } span.soft { "peak " (peak) } }
        div { (drawing.draw()) }
    }
}

/// The known fields that are there; if there are none, whatever is a number and not the time.
fn fields(rows: &[Value]) -> Vec<String> {
    let Some(first) = rows.iter().find_map(Value::as_object) else { return Vec::new() };
    let names: Vec<&String> = first.iter().filter(|(_, value)| number(value).is_some()).map(|(name, _)| name).collect();
    let known = KNOWN.iter().filter_map(|known| names.iter().find(|name| with_unit(name).0 == *known));
    let mut fields: Vec<String> = known.map(|name| (*name).clone()).collect();
    if fields.is_empty() {
        fields = names.into_iter().filter(|name| !TIMES.contains(&with_unit(name).0)).cloned().collect();
    }
    fields.truncate(MOST_STRIPS);
    fields
}

/// How long the rows cover, if they tell the time.
fn seconds(rows: &[Value]) -> Option<f64> {
    let first = rows.first()?.as_object()?;
    let field = first.keys().find(|name| TIMES.contains(&with_unit(name).0))?;
    let at = |row: &Value| row.get(field).and_then(number);
    let span = at(rows.last()?)? - at(rows.first()?)?;
    let scale = match with_unit(field).1 {
        "ns" => 1e-9,
        "µs" => 1e-6,
        "ms" => 1e-3,
        _ => 1.0,
    };
    Some(span * scale).filter(|span| *span > 0.0 && span.is_finite())
}

/// A field's name without its unit, and the unit.
fn with_unit(field: &str) -> (&str, &'static str) {
    for (suffix, unit) in [("_ns", "ns"), ("_us", "µs"), ("_ms", "ms"), ("_s", "s"), ("_seconds", "s"), ("_bytes", "B")]
    {
        if let Some(name) = field.strip_suffix(suffix) {
            return (name, unit);
        }
    }
    // serde writes a `Duration` as an object, which is read as seconds.
    if field.ends_with("_duration") { (field, "s") } else { (field, "") }
}

/// A finite number that is not negative; a `Duration` counts as its seconds.
fn number(value: &Value) -> Option<f64> {
    let part = |name: &str| value.get(name).and_then(Value::as_f64);
    let number = value.as_f64().or_else(|| Some(part("secs")? + part("nanos")? / 1e9));
    number.filter(|number| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> String {
        section(Some(&Metrics { rows: text.lines().map(str::to_owned).collect(), every: 1 })).into_string()
    }

    #[test]
    fn known_fields_are_drawn_and_unknown_ones_do_no_harm() {
        let text = "{\"at_ms\":0,\"zebra\":3,\"total_polls_count\":5,\"total_busy_duration_us\":9,\"odd\":\"x\"}\nnot json\n\
                    {\"at_ms\":500,\"total_polls_count\":7}\n[1]\n";
        let html = drawn(text);
        assert!(html.contains("total polls count") && html.contains("peak 7<"), "{html}");
        assert!(html.contains("total busy duration") && html.contains("peak 9 µs"), "{html}");
        assert!(!html.contains("zebra") && html.contains("2 rows") && html.contains("0.5 s"), "{html}");
    }

    #[test]
    fn rows_of_our_own_collector_are_drawn() {
        let head = "{\"schema\":\"pollscope.metrics/1\",\"every_ms\":100,\"units\":{}}\n";
        let row = |at: u64, polls: u64| {
            format!(
                "{{\"at_ns\":{at}000000,\"interval\":{{\"total_polls_count\":{polls},\"elapsed_ns\":1}},\"workers\":[{{}}],\
                 \"tasks\":{{\"<b>\":{{\"total_poll_count\":{at},\"total_poll_duration_ns\":2500000}}}}}}\n"
            )
        };
        let html = drawn(&format!("{head}{}{}", row(100, 5), row(600, 9)));
        assert!(html.contains("total polls count") && html.contains("peak 9<") && html.contains("0.5 s"), "{html}");
        assert!(html.contains("2 rows") && !html.contains("every"), "{html}");
        assert!(html.contains("<code>&lt;b&gt;</code>") && html.contains(">600<") && html.contains("2.5 ms"), "{html}");
    }

    #[test]
    fn any_number_is_better_than_none() {
        assert!(drawn("{\"t\":1,\"zebra\":3}\n").contains("zebra"));
        assert!(drawn("").contains("no figures"));
        assert!(section(None).into_string().is_empty());
    }
}

//! tokio-metrics each 100 ms, from an OS thread, as lines of JSON.
//!
//! The first line names the fields' units. Every other line holds the change since the line before (`interval`, all
//! that tokio-metrics has), the sums since the start (`total`) and the sums of each worker (`workers`), which
//! tokio-metrics does not tell apart; and the sums of the tasks of each name (`tasks`), once there is one.

use crate::complain;
use crate::tasks;
use crate::ticker::{self, Ticker, Turn};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeMetrics as Tokio};
use tokio_metrics::{RuntimeIntervals, RuntimeMetrics, RuntimeMonitor, TaskMonitor};

/// How often a row is written.
const PERIOD: Duration = Duration::from_millis(100);

/// A day of rows; then the file is full.
const MOST_ROWS: u64 = 24 * 60 * 60 * 10;

/// A metric's value, and the end of its name that tells the unit.
pub(crate) trait Figure {
    const UNIT: &'static str;
    fn json(&self) -> Value;
}

impl Figure for u64 {
    const UNIT: &'static str = "";
    fn json(&self) -> Value {
        (*self).into()
    }
}

impl Figure for usize {
    const UNIT: &'static str = "";
    fn json(&self) -> Value {
        (*self).into()
    }
}

impl Figure for Duration {
    const UNIT: &'static str = "_ns";
    fn json(&self) -> Value {
        nanos(*self).into()
    }
}

#[cfg(tokio_unstable)]
impl Figure for tokio_metrics::PollTimeHistogram {
    const UNIT: &'static str = "_ns";
    fn json(&self) -> Value {
        let seen = self.buckets().iter().filter(|bucket| bucket.count() > 0);
        seen.map(|bucket| {
            json!({"from": nanos(bucket.range_start()), "to": nanos(bucket.range_end()), "count": bucket.count()})
        })
        .collect()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn put<F: Figure>(row: &mut Map<String, Value>, name: &str, figure: &F) {
    row.insert(format!("{name}{}", F::UNIT), figure.json());
}

/// Makes the one function that knows every metric; a test compares it with what tokio-metrics has.
macro_rules! metrics {
    (stable { $($stable:ident)* } unstable { $($unstable:ident)* }) => {
        fn interval(metrics: &RuntimeMetrics) -> Map<String, Value> {
            let mut row = Map::new();
            $(put(&mut row, stringify!($stable), &metrics.$stable);)*
            #[cfg(tokio_unstable)]
            {
                $(put(&mut row, stringify!($unstable), &metrics.$unstable);)*
            }
            row
        }
    };
}

metrics! {
    stable {
        workers_count live_tasks_count total_park_count max_park_count min_park_count total_busy_duration
        max_busy_duration min_busy_duration global_queue_depth elapsed
    }
    unstable {
        mean_poll_duration mean_poll_duration_worker_min mean_poll_duration_worker_max poll_time_histogram
        total_noop_count max_noop_count min_noop_count total_steal_count max_steal_count min_steal_count
        total_steal_operations max_steal_operations min_steal_operations num_remote_schedules
        total_local_schedule_count max_local_schedule_count min_local_schedule_count total_overflow_count
        max_overflow_count min_overflow_count total_polls_count max_polls_count min_polls_count
        total_local_queue_depth max_local_queue_depth min_local_queue_depth blocking_queue_depth
        blocking_threads_count idle_blocking_threads_count budget_forced_yield_count io_driver_ready_count
    }
}

/// The sums since the start, over all workers.
fn totals(tokio: &Tokio) -> Map<String, Value> {
    let mut row = Map::new();
    let workers = || 0..tokio.num_workers();
    put(&mut row, "park_count", &workers().map(|at| tokio.worker_park_count(at)).sum::<u64>());
    put(&mut row, "busy_duration", &workers().map(|at| tokio.worker_total_busy_duration(at)).sum::<Duration>());
    #[cfg(tokio_unstable)]
    {
        put(&mut row, "spawned_tasks_count", &tokio.spawned_tasks_count());
        put(&mut row, "polls_count", &workers().map(|at| tokio.worker_poll_count(at)).sum::<u64>());
        put(&mut row, "remote_schedules_count", &tokio.remote_schedule_count());
        put(&mut row, "budget_forced_yield_count", &tokio.budget_forced_yield_count());
    }
    row
}

/// The sums since the start of one worker.
fn worker(tokio: &Tokio, at: usize) -> Value {
    let mut row = Map::new();
    put(&mut row, "park_count", &tokio.worker_park_count(at));
    put(&mut row, "busy_duration", &tokio.worker_total_busy_duration(at));
    #[cfg(tokio_unstable)]
    {
        put(&mut row, "polls_count", &tokio.worker_poll_count(at));
        put(&mut row, "steal_count", &tokio.worker_steal_count(at));
        put(&mut row, "local_queue_depth", &tokio.worker_local_queue_depth(at));
    }
    row.into()
}

struct Rows {
    file: File,
    started: Instant,
    tokio: Tokio,
    intervals: RuntimeIntervals,
    left: u64,
}

impl Rows {
    fn head(&mut self) -> std::io::Result<()> {
        let mut units: Map<String, Value> =
            interval(&RuntimeMetrics::default()).keys().map(|name| (name.clone(), unit(name).into())).collect();
        units.insert("at_ns".into(), "ns".into());
        let tasks = tasks::total(&TaskMonitor::new().cumulative());
        units.extend(tasks.keys().map(|name| (name.clone(), unit(name).into())));
        self.line(&json!({
            "schema": "pollscope.metrics/1",
            "every_ms": nanos(PERIOD) / 1_000_000,
            "clock": "monotonic, from the first poll of the program's root future",
            "tokio_unstable": cfg!(tokio_unstable),
            "units": units,
        }))
    }

    fn row(&mut self) -> std::io::Result<()> {
        let Some(metrics) = self.intervals.next() else { return Ok(()) };
        let mut row = json!({
            "at_ns": nanos(self.started.elapsed()),
            "interval": interval(&metrics),
            "total": totals(&self.tokio),
            "workers": (0..self.tokio.num_workers()).map(|at| worker(&self.tokio, at)).collect::<Vec<_>>(),
        });
        let tasks = tasks::totals();
        if !tasks.is_empty() {
            row["tasks"] = tasks.into();
        }
        self.line(&row)
    }

    /// One write a line, so that a killed program leaves whole lines.
    fn line(&mut self, value: &Value) -> std::io::Result<()> {
        self.file.write_all(format!("{value}\n").as_bytes())
    }
}

fn unit(name: &str) -> &'static str {
    if name.ends_with("_ns") { "ns" } else { "count" }
}

/// Writes rows about the runtime of `handle`.
pub(crate) fn start(dir: &Path, handle: &Handle) -> Option<Ticker> {
    let path = dir.join("metrics.jsonl");
    let unwritable = move |error| format!("{} cannot be written: {error}", path.display());
    let file = File::create(dir.join("metrics.jsonl"));
    let (started, tokio, intervals) = (Instant::now(), handle.metrics(), RuntimeMonitor::new(handle).intervals());
    let begun = file.map(|file| Rows { file, started, tokio, intervals, left: MOST_ROWS }).and_then(|mut rows| {
        rows.head()?;
        Ok(rows)
    });
    let mut rows = match begun {
        Ok(rows) => rows,
        Err(error) => {
            complain(&format!("metrics: {}", unwritable(error)));
            return None;
        }
    };
    ticker::start("metrics", PERIOD, move |turn| {
        rows.left = rows.left.saturating_sub(1);
        if rows.left == 0 && turn == Turn::Next {
            return Err(format!("{MOST_ROWS} rows are enough; no more are written"));
        }
        rows.row().map_err(&unwritable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tokio-metrics' own `Debug` names its fields.
    #[test]
    fn no_metric_is_forgotten() {
        let shown = format!("{:#?}", RuntimeMetrics::default());
        let fields = shown.lines().filter_map(|line| line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')));
        let fields: Vec<_> = fields.filter_map(|line| line.split_once(": ").map(|(name, _)| name)).collect();
        assert!(fields.len() >= 10, "{shown}");
        let row = interval(&RuntimeMetrics::default());
        for field in &fields {
            assert!(row.contains_key(*field) || row.contains_key(&format!("{field}_ns")), "{field} is left out");
        }
        assert_eq!(row.len(), fields.len());
    }
}

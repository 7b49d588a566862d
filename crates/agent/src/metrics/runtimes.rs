//! What tokio itself counts, runtime by runtime. Read where it is kept: tokio-metrics would only make differences of the
//! same figures, which Prometheus does better.

use crate::session::Session;
use pollscope_metrics::{self as table, Exposition, MOST_RUNTIMES};
use std::time::Duration;
use tokio::runtime::RuntimeMetrics;

/// Adds the figures of the runtimes that are alive, as far as they are bounded.
pub(super) fn expose(out: &mut Exposition, [service, process]: [&str; 2], session: &Session) {
    let mut shown = 0;
    for runtime in session.runtimes() {
        if shown == MOST_RUNTIMES {
            break;
        }
        let known = runtime.with_handle(|handle| {
            let number = runtime.id.to_string();
            one(out, [service, process, &number], &handle.metrics());
        });
        shown += usize::from(known.is_some());
    }
}

fn one(out: &mut Exposition, labels: [&str; 3], tokio: &RuntimeMetrics) {
    let workers = || 0..tokio.num_workers();
    let sum = |of: fn(&RuntimeMetrics, usize) -> u64| workers().map(|at| of(tokio, at)).sum::<u64>() as f64;
    let busy: Duration = workers().map(|at| tokio.worker_total_busy_duration(at)).sum();
    let local: usize = workers().map(|at| tokio.worker_local_queue_depth(at)).sum();
    for (metric, value) in [
        (table::RUNTIME_WORKERS, tokio.num_workers() as f64),
        (table::RUNTIME_TASKS, tokio.num_alive_tasks() as f64),
        (table::RUNTIME_GLOBAL_QUEUE, tokio.global_queue_depth() as f64),
        (table::RUNTIME_LOCAL_QUEUE, local as f64),
        (table::RUNTIME_BUSY, busy.as_secs_f64()),
        (table::RUNTIME_PARKS, sum(RuntimeMetrics::worker_park_count)),
        (table::RUNTIME_STEALS, sum(RuntimeMetrics::worker_steal_count)),
        (table::RUNTIME_LOCAL_SCHEDULES, sum(RuntimeMetrics::worker_local_schedule_count)),
        (table::RUNTIME_REMOTE_SCHEDULES, tokio.remote_schedule_count() as f64),
        (table::RUNTIME_OVERFLOWS, sum(RuntimeMetrics::worker_overflow_count)),
        (table::RUNTIME_FORCED_YIELDS, tokio.budget_forced_yield_count() as f64),
    ] {
        out.add(metric, &labels, value);
    }
}

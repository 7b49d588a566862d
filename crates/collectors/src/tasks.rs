//! tokio-metrics of single tasks: those whose futures the program gives a name, all of one name together.

use crate::metrics::put;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio_metrics::{Instrumented, TaskMetrics, TaskMonitor};

/// Names that are told apart. They stand in the source, so there are only a few.
const MOST_NAMES: usize = 64;

static MONITORS: Mutex<BTreeMap<&'static str, TaskMonitor>> = Mutex::new(BTreeMap::new());

/// A future that is measured. In a box, so that one that is not measured is no larger for it.
#[derive(Debug)]
pub struct Metered<F>(Pin<Box<Instrumented<F>>>);

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(context)
    }
}

/// Measures `future` under this name; gives it back if there are too many names.
pub(crate) fn metered<F: Future>(name: &'static str, future: F) -> Result<Metered<F>, F> {
    let mut monitors = MONITORS.lock().unwrap_or_else(PoisonError::into_inner);
    if monitors.len() >= MOST_NAMES && !monitors.contains_key(name) {
        return Err(future);
    }
    let monitor = monitors.entry(name).or_insert_with(TaskMonitor::new).clone();
    drop(monitors);
    Ok(Metered(Box::pin(monitor.instrument(future))))
}

/// The sums since the start of the tasks of each name.
pub(crate) fn totals() -> Map<String, Value> {
    let monitors = MONITORS.lock().unwrap_or_else(PoisonError::into_inner);
    monitors.iter().map(|(name, monitor)| ((*name).to_owned(), total(&monitor.cumulative()).into())).collect()
}

/// Makes the one function that knows every metric; a test compares it with what tokio-metrics has.
macro_rules! metrics {
    ($($name:ident)*) => {
        pub(crate) fn total(metrics: &TaskMetrics) -> Map<String, Value> {
            let mut row = Map::new();
            $(put(&mut row, stringify!($name), &metrics.$name);)*
            row
        }
    };
}

metrics! {
    instrumented_count dropped_count first_poll_count total_first_poll_delay total_idled_count total_idle_duration
    max_idle_duration total_scheduled_count total_scheduled_duration total_poll_count total_poll_duration
    total_fast_poll_count total_fast_poll_duration total_slow_poll_count total_slow_poll_duration
    total_short_delay_count total_short_delay_duration total_long_delay_count total_long_delay_duration
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tokio-metrics' own `Debug` names its fields.
    #[test]
    fn no_metric_is_forgotten() {
        let metrics = TaskMonitor::new().cumulative();
        let shown = format!("{metrics:#?}");
        let fields = shown.lines().filter_map(|line| line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')));
        let fields: Vec<_> = fields.filter_map(|line| line.split_once(": ").map(|(name, _)| name)).collect();
        assert!(fields.len() >= 10, "{shown}");
        let row = total(&metrics);
        for field in &fields {
            assert!(row.contains_key(*field) || row.contains_key(&format!("{field}_ns")), "{field} is left out");
        }
        assert_eq!(row.len(), fields.len());
    }

    #[tokio::test]
    async fn futures_of_one_name_are_summed_up_and_names_are_bounded() {
        for _ in 0..3 {
            metered("worker", tokio::task::yield_now()).unwrap_or_else(|_| panic!("there is room")).await;
        }
        let worker = &totals()["worker"];
        assert_eq!((&worker["dropped_count"], &worker["total_poll_count"]), (&3.into(), &6.into()));
        for at in 0..MOST_NAMES {
            let _ = metered(Box::leak(format!("{at}").into_boxed_str()), async {});
        }
        assert!(metered("one too many", async {}).is_err() && metered("worker", async {}).is_ok());
        assert_eq!(totals().len(), MOST_NAMES);
    }
}

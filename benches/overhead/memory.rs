//! Memory that tasks leave resident in their process.

use crate::spawner::{result, spawn};
use crate::workloads::Measured;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const LIVE: u64 = 100_000;
const FINISHED: u64 = 1_000_000;
const AT_ONCE: u64 = 500;
/// For an observer's threads to do what is left to do: longer than any of them sleeps.
const SETTLE: Duration = Duration::from_millis(700);
/// Whoever takes longer for a million tasks is measured on fewer: it may take gigabytes too.
const ENOUGH: Duration = Duration::from_secs(6);

/// Bytes for each task that waits.
pub(crate) async fn live(_: Duration) -> Measured {
    let before = resident();
    let bell = Arc::new(Notify::new());
    let waiting: Vec<_> = (0..LIVE)
        .map(|_| {
            let bell = bell.clone();
            spawn(async move { bell.notified().await })
        })
        .collect();
    tokio::time::sleep(SETTLE).await;
    let each = resident().saturating_sub(before) as f64 / LIVE as f64;
    // All have been polled by now, so all hear it.
    bell.notify_waiters();
    for task in waiting {
        task.await.expect("no task of a benchmark panics");
    }
    Measured::of("bytes-per-task", each, LIVE)
}

/// Growth for a million tasks, after the first twentieth of them.
pub(crate) async fn finished(_: Duration) -> Measured {
    let first = some(FINISHED / 20).await;
    tokio::time::sleep(SETTLE).await;
    let before = resident();
    let tasks = some(FINISHED).await;
    tokio::time::sleep(SETTLE).await;
    let grown = resident() as f64 - before as f64;
    Measured::of("growth", grown / 1024.0 * (FINISHED as f64 / tasks as f64), first + tasks)
}

/// Has so many tasks come and go, or fewer if they take too long; how many there were.
async fn some(tasks: u64) -> u64 {
    let since = Instant::now();
    result(async move {
        let mut done = 0;
        while done < tasks && since.elapsed() < ENOUGH {
            done += AT_ONCE;
            let batch: Vec<_> = (0..AT_ONCE).map(|_| spawn(tokio::task::yield_now())).collect();
            for task in batch {
                task.await.expect("no task of a benchmark panics");
            }
        }
        done
    })
    .await
}

/// Bytes of this process in memory; 0 where nothing tells.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

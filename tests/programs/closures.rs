//! Closures on a blocking pool of two threads. A comment marks the line that is to be named in the program it names.

use std::sync::{Arc, Barrier};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

// These programs need runtimes of their own, so they do without the runner of the others.
fn main() {
    match std::env::args().nth(2).as_deref() {
        Some("current_thread") => current_thread(),
        Some("four") => four_workers(),
        _ => two_workers(),
    }
}

async fn chosen() {
    match std::env::args().nth(1).as_deref() {
        Some("nested") => nested().await,
        Some("endless") => endless().await,
        Some("batch") => batch().await,
        other => panic!("no program {other:?}"),
    }
}

#[pollscope_agent::main(flavor = "current_thread", max_blocking_threads = 2)]
async fn current_thread() {
    chosen().await;
}

#[pollscope_agent::main(worker_threads = 2, max_blocking_threads = 2)]
async fn two_workers() {
    chosen().await;
}

#[pollscope_agent::main(worker_threads = 4, max_blocking_threads = 2)]
async fn four_workers() {
    chosen().await;
}

/// Each keeps a thread and waits for one more.
async fn nested() {
    let (handle, both) = (Handle::current(), Arc::new(Barrier::new(2)));
    let mut outer = JoinSet::new();
    for _ in 0..2 {
        let (handle, both) = (handle.clone(), both.clone());
        outer.spawn_blocking(move || {
            both.wait();
            handle.block_on(async { spawn_blocking(|| 1).await.unwrap_or(0) }) // nested
        });
    }
    while outer.join_next().await.is_some() {}
}

/// Two that never end, and files that wait behind them.
async fn endless() {
    let mut endless = JoinSet::new();
    for _ in 0..2 {
        endless.spawn_blocking(|| std::thread::sleep(Duration::from_secs(60))); // endless
    }
    drop(tokio::fs::read("/proc/self/status").await);
}

/// More than there are threads for, all of one line.
async fn batch() {
    for _ in 0..10 {
        let mut all = JoinSet::new();
        for _ in 0..40 {
            all.spawn_blocking(|| std::thread::sleep(Duration::from_millis(10)));
        }
        while all.join_next().await.is_some() {}
        sleep(Duration::from_millis(10)).await;
    }
}

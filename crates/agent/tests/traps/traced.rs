//! The tracing source: our own subscriber, a layer in the program's, and what keeps tokio's events from us.

use crate::harness::{Entry, entries};
use crate::record::*;
use pollscope_recording::ROOT_TASK_BIT;
use std::sync::Arc;

pub const PROGRAMS: &[Entry] = entries!("traced": local_program, lock_program, taken_program, pool_program,
    started_program, layer_program, filter_program);
pub const TESTS: &[Entry] = entries!("traced": local_set, lock_wait, another_subscriber, blocking_pool,
    tasks_without_hooks,
    #[cfg(feature = "layer")] layer, #[cfg(feature = "layer")] filtered_layer);

fn record_traced(program: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    start(program, folder, &[("POLLSCOPE", path.to_str().unwrap()), ("POLLSCOPE_TRACE", "1")])
}

#[inline(never)]
fn hang_in_the_program() {
    wait_for_the_test();
    std::hint::black_box(());
}

#[pollscope_agent::main(flavor = "current_thread")]
async fn local_program() {
    let local = tokio::task::LocalSet::new();
    let task = local.spawn_local(async {
        say("task", own_id());
        tokio::task::yield_now().await;
        hang_in_the_program();
    });
    local.await;
    task.await.unwrap();
}

fn local_set() {
    let mut run = record_traced("traced::local_program");
    let task = run.said("task");
    let seen = run.until("the stack of the local task", |seen| {
        seen.stalls_of(task).iter().any(|stall| seen.is_in(&stall.stack, "hang_in_the_program"))
    });
    let told = seen.task(task).unwrap();
    assert_eq!((told.runtime, &*told.kind), (1, "local"));
    assert!(told.spawned.file.ends_with("traps/traced.rs"), "{told:?}");
    // The innermost open poll is the task's, not that of the root around it.
    assert!(seen.stalls().iter().all(|stall| stall.task == task), "{}", seen.summary());
    run.tell();
    let ended = run.end().well();
    // The drop of its future, which can block as well, is told as one more.
    assert_eq!(ended.seen.polls_of(task), 3);
    assert!(ended.seen.task_ends().iter().any(|end| end.task == task));
}

#[inline(never)]
async fn wait_for_the_lock(lock: Arc<tokio::sync::Mutex<u64>>) {
    say("waits", own_id());
    *lock.lock().await += 1;
}

async fn contend() {
    let lock = Arc::new(tokio::sync::Mutex::new(0));
    let held = lock.clone();
    let holder = tokio::spawn(async move {
        let guard = held.lock().await;
        say("holds", own_id());
        told_by_the_test().await;
        drop(guard);
    });
    while lock.try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::spawn(wait_for_the_lock(lock.clone())).await.unwrap();
    holder.await.unwrap();
    say("total", *lock.lock().await);
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn lock_program() {
    contend().await;
}

fn is_wait_seen(mut run: Run) {
    let (holder, waiter) = (run.said("holds"), run.said("waits"));
    let seen = run.until("where the wait began", |seen| {
        seen.wait_stacks().iter().any(|wait| seen.is_in(&wait.stack, "wait_for_the_lock"))
    });
    let wait = seen.waits().into_iter().find(|wait| wait.task == waiter).unwrap();
    let resource = seen.resources().into_iter().find(|resource| resource.resource == wait.resource).unwrap();
    assert_eq!(&*resource.kind, "Mutex");
    assert!(resource.made.file.ends_with("traps/traced.rs"), "{resource:?}");
    assert!(seen.acquired().iter().any(|taken| (taken.resource, taken.task) == (wait.resource, holder)));
    assert!(!seen.wait_ends().iter().any(|end| end.wait == wait.wait));
    run.tell();
    let ended = run.end().well();
    assert_eq!(ended.said("total"), 1);
    assert!(ended.seen.wait_ends().iter().any(|end| end.wait == wait.wait && end.ready));
    assert!(ended.seen.acquired().iter().any(|taken| (taken.resource, taken.task) == (wait.resource, waiter)));
}

fn lock_wait() {
    is_wait_seen(record_traced("traced::lock_program"));
}

fn taken_program() {
    tracing_subscriber::fmt().with_writer(std::io::stdout).init();
    taken_main();
}

#[pollscope_agent::main]
async fn taken_main() {
    tokio::spawn(async { say("task", own_id()) }).await.unwrap();
}

fn another_subscriber() {
    let ended = record_traced("traced::taken_program").end().well();
    assert!(ended.seen.is_not_observable("a tracing subscriber of its own"));
    assert_eq!(ended.seen.polls_of(ended.said("task")), 1);
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn pool_program() {
    tokio::task::spawn_blocking(wait_for_the_test).await.unwrap();
}

fn blocking_pool() {
    let mut run = record_traced("traced::pool_program");
    let seen = run.until("two seconds of life and the closure", |seen| {
        seen.costs().len() >= 2 && seen.tasks().iter().any(|task| &*task.kind == "blocking")
    });
    let closures: Vec<_> = seen.tasks().into_iter().filter(|task| &*task.kind == "blocking").collect();
    assert_eq!(closures.len(), 1, "{closures:?}");
    assert_eq!(closures[0].parent, ROOT_TASK_BIT | 1);
    run.tell();
    let ended = run.end().well();
    assert!(ended.seen.stalls().is_empty(), "{}", ended.seen.summary());
    assert!(ended.seen.task_ends().iter().any(|end| end.task == closures[0].task));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn started_program() {
    let _agent = pollscope_agent::init();
    tokio::spawn(async {
        say("task", own_id());
        tokio::task::yield_now().await;
        hang_in_the_program();
    })
    .await
    .unwrap();
}

fn tasks_without_hooks() {
    let mut run = record_traced("traced::started_program");
    let task = run.said("task");
    let seen = run.until("the stack of the task's poll", |seen| {
        seen.stalls_of(task).iter().any(|stall| seen.is_in(&stall.stack, "hang_in_the_program"))
    });
    let told = seen.task(task).unwrap();
    assert_eq!((told.runtime, &*told.kind), (1, "task"));
    assert!(told.spawned.file.ends_with("traps/traced.rs"), "{told:?}");
    assert_eq!(seen.tasks().len(), 1, "the agent's own tasks are not the program's: {:?}", seen.tasks());
    run.tell();
    let ended = run.end().well();
    // The drop of its future, which can block as well, is told as one more.
    assert_eq!(ended.seen.polls_of(task), 3);
    assert!(ended.seen.task_ends().iter().any(|end| end.task == task));
}

#[cfg(feature = "layer")]
fn with_layer(level: tracing_core::LevelFilter) {
    use tracing_subscriber::prelude::*;
    tracing_subscriber::registry().with(level).with(pollscope_agent::layer()).init();
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn layer_program() {
    #[cfg(feature = "layer")]
    with_layer(tracing_core::LevelFilter::TRACE);
    contend().await;
}

#[cfg(feature = "layer")]
fn layer() {
    is_wait_seen(record("traced::layer_program"));
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn filter_program() {
    #[cfg(feature = "layer")]
    with_layer(tracing_core::LevelFilter::INFO);
    tokio::spawn(async { say("task", own_id()) }).await.unwrap();
    told_by_the_test().await;
}

#[cfg(feature = "layer")]
fn filtered_layer() {
    let mut run = record("traced::filter_program");
    let task = run.said("task");
    run.until("that a filter hides tokio's events", |seen| {
        seen.is_not_observable("tokio's tracing events do not arrive")
    });
    run.tell();
    let ended = run.end().well();
    assert_eq!(ended.seen.polls_of(task), 1);
}

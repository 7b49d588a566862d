//! tokio keeps one hook of each kind: a program's own may replace ours.

use crate::harness::{Entry, entries};
use crate::record::*;
use std::sync::atomic::{AtomicU64, Ordering};

pub const PROGRAMS: &[Entry] = entries!("hooks": before_program, after_program, both_program);
pub const TESTS: &[Entry] = entries!("hooks": before_replaced, after_replaced, both_replaced);

static CALLED: AtomicU64 = AtomicU64::new(0);

fn count() {
    CALLED.fetch_add(1, Ordering::Relaxed);
}

fn run(replace: impl Fn(&mut tokio::runtime::Builder)) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1);
    pollscope_agent::instrument(&mut builder);
    replace(&mut builder);
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        for _ in 0..20 {
            tokio::spawn(tokio::task::yield_now()).await.unwrap();
        }
        say("called", CALLED.load(Ordering::Relaxed));
        told_by_the_test().await;
    });
    drop(runtime);
    drop(pollscope_agent::init());
}

fn before_program() {
    run(|builder| _ = builder.on_before_task_poll(|_| count()));
}

fn after_program() {
    run(|builder| _ = builder.on_after_task_poll(|_| count()));
}

fn both_program() {
    run(|builder| {
        builder.on_before_task_poll(|_| count());
        builder.on_after_task_poll(|_| count());
    });
}

fn check(program: &str) -> Ended {
    let mut run = record(program);
    let called = run.said("called");
    run.until("that polls cannot be seen", |seen| seen.is_not_observable("hooks of its own"));
    // A poll whose end is never told must not look open for ever.
    run.until("a second of life", |seen| !seen.costs().is_empty());
    run.tell();
    let ended = run.end().well();
    assert!(called >= 20, "the program's own hooks are called: {called}");
    assert!(ended.seen.stalls().is_empty(), "{}", ended.seen.summary());
    assert!(ended.seen.tasks().len() >= 20);
    ended
}

fn before_replaced() {
    check("hooks::before_program");
}

fn after_replaced() {
    check("hooks::after_program");
}

fn both_replaced() {
    let ended = check("hooks::both_program");
    assert_eq!(ended.seen.polls().len(), 0);
}

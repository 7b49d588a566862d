//! The agent that is not asked for does nothing, and the one that cannot record gets out of the way.

use crate::harness::{Entry, entries};
use crate::record::*;
use std::sync::atomic::{AtomicU64, Ordering};

pub const PROGRAMS: &[Entry] = entries!("dormant": program, unwritable_program, own_subscriber_program);
pub const TESTS: &[Entry] = entries!("dormant": installs_nothing, unwritable_folder, subscriber_of_the_program);

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect()
}

/// Signals with a handler, as the kernel tells it.
fn caught_signals() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned()
}

fn program() {
    let signals = caught_signals();
    let guard = pollscope_agent::init();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // A hook that was there stays: a dormant agent sets none.
    static CALLED: AtomicU64 = AtomicU64::new(0);
    builder.on_before_task_poll(|_| _ = CALLED.fetch_add(1, Ordering::Relaxed));
    pollscope_agent::instrument(&mut builder);
    builder.build().unwrap().block_on(async { tokio::spawn(tokio::task::yield_now()).await.unwrap() });
    say("called", CALLED.load(Ordering::Relaxed));
    attributed();
    say("threads", threads().len());
    say("signals", u64::from(signals != caught_signals()));
    say("subscriber", u64::from(tracing_core::dispatcher::has_been_set()));
    tracing_subscriber::fmt().with_writer(std::io::stdout).init();
    drop(guard);
}

#[pollscope_agent::main(flavor = "current_thread")]
async fn attributed() {
    tokio::spawn(async {}).await.unwrap();
}

fn installs_nothing() {
    for environment in [&[][..], &[("POLLSCOPE", ""), ("POLLSCOPE_TRACE", "1")]] {
        let ended = start("dormant::program", tempfile::tempdir().unwrap(), environment).end();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert_eq!(ended.stderr, "");
        assert_eq!(ended.said("called"), 2);
        assert_eq!((ended.said("threads"), ended.said("signals"), ended.said("subscriber")), (1, 0, 0));
        assert!(ended.seen.events.is_empty());
    }
}

#[pollscope_agent::main]
async fn unwritable_program() {
    let sum = tokio::spawn(async { 40 + 2 }).await.unwrap();
    say("sum", sum);
    say("threads", threads().iter().filter(|name| name.starts_with("pollscope")).count());
}

fn unwritable_folder() {
    let environment = [("POLLSCOPE", "/dev/null/recordings")];
    let ended = start("dormant::unwritable_program", tempfile::tempdir().unwrap(), &environment).end();
    assert!(ended.status.success());
    assert_eq!((ended.said("sum"), ended.said("threads")), (42, 0));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("pollscope: cannot record into /dev/null/recordings: "), "{}", ended.stderr);
}

#[pollscope_agent::main]
async fn own_subscriber_program() {
    tracing_subscriber::fmt().with_writer(std::io::stdout).init();
    tokio::spawn(async { say("task", own_id()) }).await.unwrap();
}

fn subscriber_of_the_program() {
    let ended = record("dormant::own_subscriber_program").end().well();
    assert_eq!(ended.seen.polls_of(ended.said("task")), 1);
}

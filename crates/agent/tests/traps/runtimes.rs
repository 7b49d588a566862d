//! Every sort of runtime, and the ways a poll can stay open on it.

use crate::harness::{Entry, entries};
use crate::record::*;
use pollscope_recording::ROOT_TASK_BIT;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub const PROGRAMS: &[Entry] = entries!("runtimes": multi_program, current_program, several_program, pool_program,
    paused_program, pausing_program, timerless_program, in_place_program, root_program, panic_program, busy_program,
    signals_program, threads_program, flood_program);
pub const TESTS: &[Entry] = entries!("runtimes": multi_thread, current_thread, several_runtimes, blocking_pool,
    paused_clock, clock_paused_later, no_time_driver, block_in_place, blocked_root, panic_in_a_task, busy_thread,
    no_signal_left, threads_that_end, full_level, full_rings);

#[inline(never)]
fn hang_in_the_program() {
    wait_for_the_test();
    std::hint::black_box(());
}

async fn hang_as_a_task() {
    say("task", own_id());
    hang_in_the_program();
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn multi_program() {
    tokio::spawn(hang_as_a_task()).await.unwrap();
}

fn multi_thread() {
    let mut run = record("runtimes::multi_program");
    let task = run.said("task");
    let seen = run.until("the stack of the hanging poll", |seen| {
        seen.stalls_of(task).iter().any(|stall| seen.is_in(&stall.stack, "hang_in_the_program"))
    });
    let stall = seen.stalls_of(task)[0];
    assert!(stall.since <= stall.observed && stall.observed < stall.at, "{stall:?}");
    assert_eq!((stall.state, stall.syscall), (u64::from(b'S'), libc::SYS_read as u64));
    let runtime = seen.runtimes()[0];
    assert_eq!((runtime.runtime, &*runtime.flavor, runtime.workers, runtime.timers), (1, "multi_thread", 2, true));
    let told = seen.task(task).unwrap();
    assert_eq!((told.runtime, &*told.kind), (1, "task"));
    assert!(told.spawned.file.ends_with("traps/runtimes.rs") && told.spawned.line > 0, "{told:?}");
    assert_eq!(told.parent, ROOT_TASK_BIT | 1);
    let thread = seen.threads().into_iter().rfind(|thread| thread.tid == stall.tid).unwrap();
    assert_eq!((thread.runtime, &*thread.role), (1, "worker"));
    run.tell();
    let ended = run.end().well();
    let end = ended.seen.stall_ends().into_iter().find(|end| end.task == task).unwrap();
    assert_eq!((end.since, end.observed), (stall.since, stall.observed));
    assert_eq!(ended.seen.polls_of(task), 1);
    assert!(ended.seen.task_ends().iter().any(|end| end.task == task));
}

#[pollscope_agent::main(flavor = "current_thread")]
async fn current_program() {
    tokio::spawn(hang_as_a_task()).await.unwrap();
}

fn current_thread() {
    let mut run = record("runtimes::current_program");
    let task = run.said("task");
    let seen = run.until("the stack of the hanging poll", |seen| {
        seen.stalls_of(task).iter().any(|stall| seen.is_in(&stall.stack, "hang_in_the_program"))
    });
    let runtime = seen.runtimes()[0];
    assert_eq!((&*runtime.flavor, runtime.workers), ("current_thread", 1));
    let thread = seen.threads().into_iter().rfind(|thread| thread.tid == seen.stalls_of(task)[0].tid).unwrap();
    assert_eq!((thread.runtime, &*thread.role), (1, "main"));
    run.tell();
    run.end().well();
}

async fn yield_often(name: &str) {
    say(name, own_id());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 1)]
async fn several_program() {
    tokio::spawn(yield_often("first")).await.unwrap();
    let other = std::thread::spawn(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        pollscope_agent::instrument(&mut builder);
        let runtime = builder.build().unwrap();
        runtime.block_on(async { tokio::spawn(yield_often("second")).await.unwrap() });
        let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
        bare.block_on(async { tokio::spawn(yield_often("third")).await.unwrap() });
    });
    tokio::task::spawn_blocking(|| other.join().unwrap()).await.unwrap();
}

fn several_runtimes() {
    let ended = record("runtimes::several_program").end().well();
    let (first, second, third) = (ended.said("first"), ended.said("second"), ended.said("third"));
    let ids: Vec<u64> = ended.seen.runtimes().iter().map(|runtime| runtime.runtime).collect();
    assert!(ids.contains(&1) && ids.contains(&2) && ids.iter().all(|id| *id <= 2), "{ids:?}");
    assert_eq!(ended.seen.task(first).unwrap().runtime, 1);
    assert_eq!(ended.seen.task(second).unwrap().runtime, 2);
    assert_eq!((ended.seen.polls_of(first), ended.seen.polls_of(second)), (11, 11));
    if cfg!(not(feature = "tracing")) {
        assert!(ended.seen.task(third).is_none(), "nobody instrumented the third runtime");
    }
    for (task, runtime) in [(first, 1), (second, 2)] {
        let polls = ended.seen.polls().into_iter().find(|polls| polls.task == task).unwrap();
        let thread = ended.seen.threads().into_iter().rfind(|thread| thread.tid == polls.tid).unwrap();
        assert_eq!(thread.runtime, runtime);
    }
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn pool_program() {
    tokio::task::spawn_blocking(wait_for_the_test).await.unwrap();
}

fn blocking_pool() {
    let mut run = record("runtimes::pool_program");
    run.until("three seconds of life", |seen| seen.costs().len() >= 3);
    run.tell();
    let ended = run.end().well();
    assert!(ended.seen.stalls().is_empty(), "{}", ended.seen.summary());
}

#[pollscope_agent::main(flavor = "current_thread", start_paused = true)]
async fn paused_program() {
    let before = tokio::time::Instant::now();
    tokio::spawn(tokio::time::sleep(Duration::from_secs(3600))).await.unwrap();
    say("slept", before.elapsed().as_secs());
}

fn paused_clock() {
    let ended = record("runtimes::paused_program").end().well();
    assert_eq!(ended.said("slept"), 3600);
    assert!(!ended.seen.runtimes()[0].timers);
    assert!(ended.seen.beats().is_empty() && ended.seen.late_beats().is_empty());
}

#[pollscope_agent::main(flavor = "current_thread")]
async fn pausing_program() {
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    say("slept", before.elapsed().as_secs());
}

fn clock_paused_later() {
    let ended = record("runtimes::pausing_program").end().well();
    // tokio's timers are exact to a millisecond each.
    assert!((10_000..=10_001).contains(&ended.said("slept")), "{}", ended.stdout);
    // The heartbeat that was on its way may still come; it must not go on through the hours that pass in no time.
    let beats: u64 = ended.seen.beats().iter().map(|beats| beats.count).sum();
    assert!(beats <= 2, "{beats} heartbeats on a paused clock");
}

fn timerless_program() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    pollscope_agent::instrument(&mut builder);
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        tokio::spawn(yield_often("task")).await.unwrap();
        told_by_the_test().await;
    });
    drop(runtime);
    drop(pollscope_agent::init());
}

fn no_time_driver() {
    let mut run = record("runtimes::timerless_program");
    run.until("a second of life", |seen| !seen.costs().is_empty());
    run.tell();
    let ended = run.end().well();
    assert_eq!(ended.seen.polls_of(ended.said("task")), 11);
    assert!(ended.seen.beats().is_empty() && ended.seen.late_beats().is_empty());
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 1)]
async fn in_place_program() {
    let held = Arc::new(AtomicBool::new(false));
    let seen = held.clone();
    let other = tokio::spawn(async move {
        while !seen.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        yield_often("other").await;
        say("went", 1);
    });
    tokio::spawn(async move {
        say("task", own_id());
        tokio::task::block_in_place(|| {
            held.store(true, Ordering::Release);
            hang_in_the_program();
        });
    })
    .await
    .unwrap();
    other.await.unwrap();
}

fn block_in_place() {
    let mut run = record("runtimes::in_place_program");
    let (task, other) = (run.said("task"), run.said("other"));
    // The one worker was handed off: the other task goes on.
    run.said("went");
    let seen = run.until("the poll open under block_in_place", |seen| {
        seen.stalls_of(task).iter().any(|stall| seen.is_in(&stall.stack, "block_in_place"))
            && seen.task_ends().iter().any(|end| end.task == other)
    });
    let held = seen.stalls_of(task)[0].tid;
    run.tell();
    let ended = run.end().well();
    assert!(ended.seen.polls().iter().any(|polls| polls.task == other && polls.tid != held));
    assert!(ended.seen.stall_ends().iter().any(|end| end.task == task));
    assert!(!ended.seen.is_not_observable("hooks"));
}

#[pollscope_agent::main]
async fn root_program() {
    hang_in_the_program();
}

fn blocked_root() {
    let mut run = record("runtimes::root_program");
    let root = ROOT_TASK_BIT | 1;
    let seen = run.until("the stack of the root future", |seen| {
        seen.stalls_of(root).iter().any(|stall| seen.is_in(&stall.stack, "hang_in_the_program"))
    });
    let task = seen.task(root).unwrap();
    assert_eq!((task.runtime, &*task.kind), (1, "root"));
    assert!(task.spawned.file.ends_with("traps/runtimes.rs"), "{task:?}");
    run.tell();
    let ended = run.end().well();
    assert!(ended.seen.task_ends().iter().any(|end| end.task == root));
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 1)]
async fn panic_program() {
    let outcome = tokio::spawn(async {
        say("panics", own_id());
        tokio::task::yield_now().await;
        panic!("on purpose");
    })
    .await;
    say("panicked", u64::from(outcome.unwrap_err().is_panic()));
    tokio::spawn(yield_often("after")).await.unwrap();
}

fn panic_in_a_task() {
    let ended = record("runtimes::panic_program").end();
    assert!(ended.status.success());
    assert_eq!(ended.stderr.matches("panicked at").count(), 1, "{}", ended.stderr);
    assert_eq!(ended.said("panicked"), 1);
    let task = ended.said("panics");
    assert!(ended.seen.task_ends().iter().any(|end| end.task == task));
    assert_eq!((ended.seen.polls_of(task), ended.seen.polls_of(ended.said("after"))), (2, 11));
    assert!(!ended.seen.is_not_observable("hooks"));
}

#[inline(never)]
fn grind(stop: &AtomicBool) -> u64 {
    let mut differences = 0;
    let mut first = None;
    while !stop.load(Ordering::Relaxed) {
        let sum = (0..100_000u64).fold(1.0f64, |sum, number| sum.mul_add(0.999, number as f64).sqrt());
        differences += u64::from(*first.get_or_insert(sum) != sum);
    }
    differences
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 1)]
async fn busy_program() {
    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        wait_for_the_test();
        STOP.store(true, Ordering::Relaxed);
    });
    tokio::spawn(async {
        say("task", own_id());
        say("differences", grind(&STOP));
    })
    .await
    .unwrap();
}

fn busy_thread() {
    let mut run = record("runtimes::busy_program");
    let task = run.said("task");
    let seen = run.until("the stack of a running thread", |seen| {
        let stalls = seen.stalls_of(task);
        stalls.iter().any(|stall| stall.cpu_ns > 0 && seen.is_in(&stall.stack, "grind")) && stalls.len() > 4
    });
    assert!(seen.stalls_of(task).iter().all(|stall| stall.syscall == u64::MAX));
    run.tell();
    let ended = run.end().well();
    assert_eq!(ended.said("differences"), 0);
}

fn signals_program() {
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: ignoring a signal needs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    busy_program();
    // SAFETY: asks only.
    let kept = (libc::SIGRTMIN()..=libc::SIGRTMAX()).all(|signal| unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    });
    say("kept", u64::from(kept));
}

fn no_signal_left() {
    let mut run = record("runtimes::signals_program");
    let task = run.said("task");
    let seen = run.until("that running threads have no stacks", |seen| {
        seen.is_not_observable("no real-time signal is free") && seen.stalls_of(task).len() > 2
    });
    assert!(seen.stalls_of(task).iter().all(|stall| stall.stack.is_empty()));
    run.tell();
    let ended = run.end().well();
    assert_eq!((ended.said("differences"), ended.said("kept")), (0, 1));
    let told = |event: &&pollscope_recording::Event| matches!(event, pollscope_recording::Event::NotObservable(one) if one.what.contains("real-time"));
    assert_eq!(ended.seen.events.iter().filter(told).count(), 1, "it is said once");
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 1)]
async fn threads_program() {
    static ENTERED: AtomicU64 = AtomicU64::new(0);
    for _ in 0..50 {
        let thread = std::thread::spawn(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            pollscope_agent::instrument(&mut builder);
            builder.build().unwrap().block_on(async { tokio::spawn(async {}).await.unwrap() });
            ENTERED.fetch_add(1, Ordering::Relaxed);
        });
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    }
    say("entered", ENTERED.load(Ordering::Relaxed));
}

fn threads_that_end() {
    let ended = record("runtimes::threads_program").end().well();
    assert_eq!(ended.said("entered"), 50);
    assert!(ended.seen.thread_ends().len() >= 50, "{}", ended.seen.thread_ends().len());
    // The counts of threads that are gone still count.
    assert!(ended.seen.costs().last().unwrap().polls >= 50);
    assert!(!ended.seen.is_not_observable("hooks"));
}

fn record_fully(program: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    start(program, folder, &[("POLLSCOPE", path.to_str().unwrap()), ("POLLSCOPE_LEVEL", "full")])
}

fn single_polls(seen: &Seen, task: u64) -> u64 {
    let of_task = |event: &&pollscope_recording::Event| matches!(event, pollscope_recording::Event::Poll(poll) if poll.task == task);
    seen.events.iter().filter(of_task).count() as u64
}

fn full_level() {
    let ended = record_fully("runtimes::several_program").end().well();
    assert_eq!(single_polls(&ended.seen, ended.said("first")), 11);
    assert_eq!(single_polls(&ended.seen, ended.said("second")), 11);
}

const FLOOD: u64 = 200_000;

#[pollscope_agent::main(flavor = "current_thread")]
async fn flood_program() {
    tokio::spawn(async {
        say("task", own_id());
        for _ in 0..FLOOD {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

fn full_rings() {
    let ended = record_fully("runtimes::flood_program").end().well();
    let (told, cost) = (single_polls(&ended.seen, ended.said("task")), ended.seen.costs().last().copied().cloned());
    let cost = cost.unwrap();
    // Whatever did not fit is counted, and nothing is told twice.
    assert!(cost.polls > FLOOD, "{cost:?}");
    assert!(told <= FLOOD + 1 && told + cost.dropped > FLOOD, "{told} told, {cost:?}");
}

//! `init()` in a program whose runtime is out of reach.

use crate::harness::{Entry, entries};
use crate::record::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const PROGRAMS: &[Entry] = entries!("started": task_program, current_program, root_program, healthy_program,
    timerless_program, paused_program, outside_program, instrumented_program);
pub const TESTS: &[Entry] = entries!("started": stuck_worker, stuck_current_thread, stuck_root, healthy_is_silent,
    no_time_driver, paused_clock, outside_of_a_runtime, heartbeat_for_an_instrumented_runtime);

#[inline(never)]
fn hang_in_the_program() {
    wait_for_the_test();
    std::hint::black_box(());
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn task_program() {
    let _agent = pollscope_agent::init();
    told_by_the_test().await;
    tokio::spawn(async { hang_in_the_program() }).await.unwrap();
    told_by_the_test().await;
}

#[tokio::main(flavor = "current_thread")]
async fn current_program() {
    let _agent = pollscope_agent::init();
    tokio::spawn(async { hang_in_the_program() }).await.unwrap();
    told_by_the_test().await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn root_program() {
    let _agent = pollscope_agent::init();
    hang_in_the_program();
    told_by_the_test().await;
}

fn is_stuck(mut run: Run, flavor: &str, workers: u64) {
    let is_found =
        |seen: &Seen| seen.stalls().into_iter().find(|stall| seen.is_in(&stall.stack, "hang_in_the_program")).cloned();
    let seen = run.until("the stack of the stuck thread", |seen| is_found(seen).is_some());
    let stall = is_found(&seen).unwrap();
    assert_eq!((stall.task, stall.syscall), (0, libc::SYS_read as u64));
    let runtime = seen.runtimes()[0];
    assert_eq!((&*runtime.flavor, runtime.workers, runtime.timers), (flavor, workers, true));
    let thread = seen.threads().into_iter().rfind(|thread| thread.tid == stall.tid).unwrap();
    assert_eq!(thread.runtime, runtime.runtime);
    // Nobody else is under suspicion.
    assert!(seen.stalls().iter().all(|other| other.tid == stall.tid), "{}", seen.summary());
    run.tell();
    run.until("its end", |seen| seen.stall_ends().iter().any(|end| end.since == stall.since));
    run.tell();
    let ended = run.end().well();
    assert!(ended.seen.is_not_observable("single polls") || cfg!(feature = "layer"));
}

fn stuck_worker() {
    let mut run = record("started::task_program");
    // A worker gets a stack once a task of ours has been there.
    run.until("both workers", |seen| {
        let mut workers: Vec<u64> =
            seen.threads().iter().filter(|thread| &*thread.role == "worker").map(|thread| thread.tid).collect();
        workers.sort_unstable();
        workers.dedup();
        workers.len() == 2
    });
    run.tell();
    is_stuck(run, "multi_thread", 2);
}

fn stuck_current_thread() {
    is_stuck(record("started::current_program"), "current_thread", 1);
}

fn stuck_root() {
    is_stuck(record("started::root_program"), "multi_thread", 2);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_program() {
    let _agent = pollscope_agent::init();
    static STOP: AtomicBool = AtomicBool::new(false);
    let busy = tokio::spawn(async {
        while !STOP.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    });
    told_by_the_test().await;
    STOP.store(true, Ordering::Relaxed);
    busy.await.unwrap();
}

fn healthy_is_silent() {
    let mut run = record("started::healthy_program");
    run.until("heartbeats and three seconds of life", |seen| seen.beats().len() >= 2 && seen.costs().len() >= 3);
    run.tell();
    let ended = run.end().well();
    let stalls = ended.seen.stalls();
    // Whoever is wrongly taken for stuck stays so; a machine that stands still for a moment does not.
    assert!(stalls.iter().all(|stall| stall.at - stall.since < 2_000_000_000), "{}", ended.seen.summary());
}

fn timerless_program() {
    std::panic::set_hook(Box::new(|_| eprintln!("the program's own hook")));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let _agent = pollscope_agent::init();
        let outcome = tokio::spawn(async { panic!("on purpose") }).await;
        say("panicked", u64::from(outcome.unwrap_err().is_panic()));
        told_by_the_test().await;
    });
}

fn no_time_driver() {
    let mut run = record("started::timerless_program");
    run.until("a second of life", |seen| !seen.costs().is_empty());
    run.tell();
    let ended = run.end();
    assert!(ended.status.success());
    assert_eq!(ended.said("panicked"), 1);
    assert_eq!(ended.stderr, "the program's own hook\n", "one panic is the program's, the other is nobody's");
    assert!(!ended.seen.runtimes()[0].timers);
    assert!(ended.seen.beats().is_empty() && ended.seen.late_beats().is_empty());
}

fn paused_program() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let _agent = pollscope_agent::init();
        let before = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        say("slept", before.elapsed().as_secs());
    });
}

fn paused_clock() {
    let ended = record("started::paused_program").end().well();
    assert_eq!(ended.said("slept"), 3600);
    assert!(!ended.seen.runtimes()[0].timers && ended.seen.beats().is_empty());
}

fn outside_program() {
    let _agent = pollscope_agent::init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(tokio::task::yield_now()).await.unwrap() });
}

fn outside_of_a_runtime() {
    let ended = record("started::outside_program").end().well();
    assert!(ended.seen.is_not_observable("outside of a tokio runtime"));
    assert!(ended.seen.runtimes().is_empty());
}

fn instrumented_program() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    pollscope_agent::instrument(&mut builder);
    builder.build().unwrap().block_on(async {
        let _agent = pollscope_agent::init();
        tokio::spawn(async { say("task", own_id()) }).await.unwrap();
        told_by_the_test().await;
    });
}

fn heartbeat_for_an_instrumented_runtime() {
    let mut run = record("started::instrumented_program");
    let task = run.said("task");
    let seen = run.until("a heartbeat", |seen| !seen.beats().is_empty());
    let runtime = seen.runtimes().into_iter().next_back().unwrap();
    assert_eq!((runtime.runtime, &*runtime.flavor, runtime.workers, runtime.timers), (1, "multi_thread", 1, true));
    assert!(seen.runtimes().iter().all(|runtime| runtime.runtime == 1));
    assert_eq!(seen.polls_of(task), 1);
    // The heartbeat itself is not the program's.
    assert_eq!(seen.tasks().len(), 1, "{:?}", seen.tasks());
    run.tell();
    run.end().well();
}

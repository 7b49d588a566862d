//! Scripted programs that look like a fault and are none, each beside the fault it looks like.

use pollscope_recording::*;

use super::tests::{MS, alive, answer, place, program, symbols, text};
use super::{Answer, Confidence, Diagnosis, Finding, Severity, Thresholds, Verdict, diagnose};
use crate::model::Model;

fn answers(model: &Model) -> Diagnosis {
    let known = [
        (1, "std::thread::sleep", "std", 0),
        (2, "svc::work", "svc", 42),
        (30, "<std::sys::sync::mutex::futex::Mutex>::lock_contended", "std", 0),
        (31, "svc::rates", "svc", 50),
        (32, "svc::other", "svc", 60),
        (33, "std::sync::poison::condvar::Condvar::wait", "std", 0),
        (40, "core::task::wake::Waker::wake_by_ref", "core", 0),
        (41, "<svc::Next as core::future::future::Future>::poll", "svc", 70),
        (42, "tokio::task::yield_now::yield_now::{{closure}}", "tokio", 0),
        (43, "svc::spin::{{closure}}", "svc", 71),
        (44, "tokio::task::coop::poll_proceed", "tokio", 0),
        (45, "tokio::sync::task::atomic_waker::AtomicWaker::register", "tokio", 0),
        (46, "futures_util::stream::FuturesUnordered::poll_next", "futures-util", 0),
        (50, "core::panicking::panic_fmt", "core", 0),
        (51, "svc::price", "svc", 80),
    ];
    diagnose(model, &mut symbols(&known), &Thresholds::default())
}

fn only(diagnosis: &Diagnosis) -> &Finding {
    assert_eq!(diagnosis.findings.len(), 1, "{:#?}", diagnosis.findings);
    &diagnosis.findings[0]
}

fn line(finding: &Finding) -> Option<u32> {
    finding.culprit.at.as_ref().map(|at| at.line)
}

/// A poll of `task` on `tid` from 100 ms on that sleeps with this stack; without an end it lasts.
fn asleep(model: &mut Model, task: u64, tid: u64, stack: &[u64], futex: u64, end: Option<u64>) {
    let (since, observed) = (100 * MS, 101 * MS);
    if futex != 0 {
        model.feed(&FutexWait { at: 130 * MS, task, tid, since, address: futex }.into());
    }
    let (at, state, syscall, stack) = (130 * MS, u64::from(b'S'), 202, stack.to_vec());
    model.feed(&Stall { at, task, tid, since, observed, cpu_ns: 0, run_delay_ns: 0, state, syscall, stack }.into());
    if let Some(at) = end {
        model.feed(&StallEnd { at, task, tid, since, cpu_ns: 0, run_delay_ns: 0, observed }.into());
    }
}

fn polls(model: &mut Model, from: u64, task: u64, tid: u64, polls: u64, each_ns: u64) {
    let mut histogram = [0; POLL_BUCKETS];
    histogram[poll_bucket(each_ns)] = polls as u32;
    let (at, busy_ns, max_ns) = (from + 100 * MS, polls * each_ns, each_ns);
    model.feed(&Polls { at, task, tid, from, polls, busy_ns, max_ns, histogram }.into());
}

fn with_root(mut model: Model) -> Model {
    let (kind, name, spawned) = (text("root"), text(""), place(9));
    model.feed(&Task { at: 0, task: ROOT_TASK_BIT | 1, runtime: 1, kind, name, spawned, parent: 0 }.into());
    model
}

#[test]
fn a_lock_that_nobody_running_can_hold() {
    let mut model = with_root(program("hooks,tracing,watchdog"));
    asleep(&mut model, 1, 10, &[30, 31], 0xf00, None);
    asleep(&mut model, 2, 11, &[30, 32], 0xf00, None);
    alive(&mut model, 3000 * MS);
    let found = answers(&model);
    // Two lines want one lock: one fault.
    let finding = only(&found);
    assert_eq!((finding.kind.as_str(), finding.severity), ("sync-guard-across-await", Severity::Critical));
    assert_eq!(finding.confidence, Confidence::Likely);
    assert!(finding.title.contains("the root future"), "{}", finding.title);
    assert_eq!(finding.graph.as_ref().map(|graph| (graph.nodes.len(), graph.edges.len())), Some((4, 3)));
    assert_eq!(answer(&found, "blocking-call"), Some(Answer::Clear));
}

#[test]
fn a_lock_that_somebody_running_may_hold() {
    // Its holder sleeps under it: the sleep is the fault, and the wait for the lock part of its harm.
    let mut held = with_root(program("hooks,tracing,watchdog"));
    asleep(&mut held, 1, 10, &[30, 31], 0xf00, Some(400 * MS));
    asleep(&mut held, 2, 11, &[1, 2], 0, Some(400 * MS));
    alive(&mut held, 3000 * MS);
    let found = answers(&held);
    let finding = only(&found);
    assert_eq!((finding.kind.as_str(), line(finding)), ("blocking-call", Some(42)));
    assert!(finding.evidence.iter().any(|figure| figure.what.contains("likely held here")), "{finding:#?}");
    // It is handed on from poll to poll: the others are at work all the while.
    let mut contended = with_root(program("hooks,tracing,watchdog"));
    asleep(&mut contended, 1, 10, &[30, 31], 0xf00, None);
    for from in [100, 200, 300] {
        polls(&mut contended, from * MS, 2, 11, 90, MS);
    }
    contended.feed(
        &StallEnd { at: 400 * MS, task: 1, tid: 10, since: 100 * MS, cpu_ns: 0, run_delay_ns: 0, observed: 101 * MS }
            .into(),
    );
    // Two threads hold a lock each and want the other's.
    let mut crossed = with_root(program("hooks,tracing,watchdog"));
    asleep(&mut crossed, 1, 10, &[30, 31], 0xf00, None);
    asleep(&mut crossed, 2, 11, &[30, 32], 0xf40, None);
    // A condition variable gives its lock back while it waits.
    let mut condition = with_root(program("hooks,tracing,watchdog"));
    asleep(&mut condition, 1, 10, &[33, 31], 0xf00, None);
    // A thread of the program's own had it for a while.
    let mut lent = with_root(program("hooks,tracing,watchdog"));
    asleep(&mut lent, 1, 10, &[30, 31], 0xf00, Some(2000 * MS));
    let contention = "sync-lock-contention";
    let models =
        [(contended, contention), (crossed, contention), (condition, "thread-wait-in-task"), (lent, contention)];
    for (mut model, kind) in models {
        alive(&mut model, 3000 * MS);
        let found = answers(&model);
        assert_eq!(answer(&found, "sync-guard-across-await"), Some(Answer::Clear), "{:#?}", found.findings);
        assert_eq!(answer(&found, kind), Some(Answer::Found), "{:#?}", found.findings);
    }
}

#[test]
fn a_closure_on_the_blocking_pool_may_hold_the_lock() {
    let mut model = with_root(program("hooks,tracing,watchdog"));
    let (kind, name, spawned) = (text("blocking"), text(""), place(7));
    model.feed(&Task { at: MS, task: 9, runtime: 0, kind, name, spawned, parent: 0 }.into());
    asleep(&mut model, 1, 10, &[30, 31], 0xf00, None);
    alive(&mut model, 3000 * MS);
    assert_eq!(only(&answers(&model)).confidence, Confidence::Possible);
}

#[test]
fn what_makes_a_long_poll_worse() {
    let late = LateBeat { at: 400 * MS, runtime: 1, due: 110 * MS, late_ns: 290 * MS };
    let blocked = |tasks: &[(u64, u64)], late: Option<&LateBeat>| {
        let mut model = with_root(program("hooks,tracing,watchdog"));
        for &(task, tid) in tasks {
            asleep(&mut model, task, tid, &[1, 2], 0, Some(400 * MS));
        }
        let tid = tasks[0].1;
        model.feed(&Delay { at: 400 * MS, task: 4, tid, delay_ns: 200 * MS }.into());
        late.into_iter().for_each(|late| model.feed(&late.clone().into()));
        alive(&mut model, 1000 * MS);
        let found = answers(&model);
        (only(&found).amplifiers.clone(), only(&found).severity)
    };
    let (harmful, harmless) = (Severity::Critical, Severity::Info);
    assert_eq!(blocked(&[(1, 10)], Some(&late)), (vec!["driver-held".to_owned()], harmful));
    // Timers fired: another worker had taken over.
    assert_eq!(blocked(&[(1, 10)], None), (Vec::new(), harmful));
    // No worker was left to do so.
    assert_eq!(blocked(&[(1, 10), (2, 11)], Some(&late)), (Vec::new(), harmful));
    // The thread of the root future serves no timers and keeps nobody: what was late meanwhile was so for other reasons.
    assert_eq!(blocked(&[(ROOT_TASK_BIT | 1, 9)], Some(&late)), (Vec::new(), harmless));
    let mut one = program("hooks,watchdog");
    one.feed(&Runtime { at: 0, runtime: 1, flavor: text("current_thread"), workers: 1, timers: true }.into());
    asleep(&mut one, 1, 10, &[1, 2], 0, Some(400 * MS));
    one.feed(&late.into());
    alive(&mut one, 1000 * MS);
    assert_eq!(only(&answers(&one)).amplifiers, ["single-thread-starved"]);
}

/// A task polled `often` times in each of `windows` windows of 100 ms, looked at in each second one.
fn busy(model: &mut Model, task: u64, windows: u64, often: u64, each_ns: u64, look: Option<&SelfWakes>) {
    for from in (0..windows).map(|window| window * 100 * MS) {
        polls(model, from, task, 10, often, each_ns);
        if let Some(look) = look.filter(|_| from % (200 * MS) == 0) {
            model.feed(&SelfWakes { at: from + 100 * MS, from, ..look.clone() }.into());
        }
    }
    alive(model, 4000 * MS);
}

fn look(own: u64, others: u64, outside: u64, woke: bool, stack: &[u64]) -> SelfWakes {
    SelfWakes { at: 0, task: 1, from: 0, polls: 10_000, own, others, outside, woke, stack: stack.to_vec() }
}

#[test]
fn a_task_that_polls_itself() {
    let wakes = look(10_000, 3, 5, true, &[40, 41]);
    let yields = look(10_000, 0, 10_000, false, &[42, 43]);
    for (look, expected) in [(&wakes, 70), (&yields, 71)] {
        let mut model = program("hooks,tracing,watchdog");
        busy(&mut model, 1, 20, 10_000, 800, Some(look));
        let found = answers(&model);
        let finding = only(&found);
        assert_eq!((finding.kind.as_str(), finding.severity), ("busy-poll", Severity::Warning));
        assert_eq!(line(finding), Some(expected));
    }
}

/// What came of three tasks on a thread that had the CPU for 10 ms of each 100: for three seconds they take turns at being
/// looked at, and are polled `seldom`; in each window of `moments` `often`.
fn in_a_crowd(seldom: u64, often: u64, moments: &[u64], look: &SelfWakes) -> Diagnosis {
    let mut model = program("hooks,tracing,watchdog");
    for window in 0..30 {
        let (from, at) = (window * 100 * MS, (window + 1) * 100 * MS);
        model.feed(&RunDelay { at, tid: 10, from, cpu_ns: 10 * MS, run_delay_ns: 90 * MS }.into());
        let many = if moments.contains(&window) { often } else { seldom };
        for task in 1..=3 {
            polls(&mut model, from, task, 10, many, 800);
        }
        let own = if look.own == 0 { 0 } else { many };
        let look = SelfWakes { at, from, task: window % 3 + 1, polls: many, own, outside: many, ..look.clone() };
        model.feed(&look.into());
    }
    alive(&mut model, 4000 * MS);
    answers(&model)
}

#[test]
fn tasks_that_poll_themselves_as_often_as_others_leave_them_the_cpu() {
    let (yields, waits) = (look(1, 0, 0, false, &[42, 43]), look(1, 0, 0, false, &[45, 43]));
    // By the clock 3000 times a second; by the time they had, thirty thousand.
    let all: Vec<u64> = (0..30).collect();
    let found = in_a_crowd(0, 300, &all, &yields);
    assert_eq!((only(&found).severity, line(only(&found))), (Severity::Warning, Some(71)));
    // The program's work takes nearly all they had, but for a moment.
    let found = in_a_crowd(20, 300, &[14], &yields);
    assert_eq!((only(&found).severity, line(only(&found))), (Severity::Warning, Some(71)));
    // A few items with a yield after each are never done with there either.
    assert!(in_a_crowd(20, 20, &[], &yields).findings.is_empty());
    // And who waits for others is busy.
    assert!(in_a_crowd(20, 300, &all, &waits).findings.is_empty());
}

#[test]
fn many_tasks_that_spin_at_one_line_are_one_fault() {
    let mut model = program("hooks,tracing,watchdog");
    for task in 1..=3 {
        let look = SelfWakes { task, ..look(400, 0, 400, false, &[42, 43]) };
        let look = SelfWakes { polls: 400, ..look };
        busy(&mut model, task, 20, 400, 800, Some(&look));
    }
    assert_eq!(line(only(&answers(&model))), Some(71));
}

#[test]
fn busy_and_healthy() {
    let clear = [
        // A consumer of a channel, woken by the producers; one of a socket, woken by the driver.
        (10_000, 800, look(10_000, 9_500, 0, false, &[45, 43])),
        (10_000, 800, look(10_000, 0, 10_000, false, &[45, 43])),
        // Work in pieces, with a yield between.
        (2_000, 45_000, look(2_000, 0, 2_000, false, &[42, 43])),
        // A stream that is always ready: tokio makes it yield after a hundred items.
        (10_000, 6_000, look(10_000, 0, 10_000, false, &[44, 43])),
        // Yields once in a while among many polls for others' sake.
        (10_000, 800, look(50, 9_900, 0, false, &[42, 43])),
        // A timer of a millisecond.
        (100, 800, look(100, 0, 100, false, &[42, 43])),
    ];
    for (often, each_ns, look) in clear {
        let mut model = program("hooks,tracing,watchdog");
        busy(&mut model, 1, 20, often, each_ns, Some(&look));
        let found = answers(&model);
        assert_eq!(answer(&found, "busy-poll"), Some(Answer::Clear), "{look:?}");
        assert!(found.findings.is_empty());
    }
}

#[test]
fn busy_for_a_moment_or_by_a_library_or_unseen() {
    let wakes = look(10_000, 0, 0, true, &[40, 41]);
    let mut moment = program("hooks,tracing,watchdog");
    busy(&mut moment, 1, 6, 10_000, 800, Some(&wakes));
    assert_eq!(answer(&answers(&moment), "busy-poll"), Some(Answer::Clear));
    let mut library = program("hooks,tracing,watchdog");
    busy(&mut library, 1, 20, 10_000, 800, Some(&look(10_000, 0, 0, true, &[40, 46, 43])));
    let found = answers(&library);
    assert_eq!((only(&found).severity, only(&found).confidence), (Severity::Info, Confidence::Possible));
    assert_eq!(found.verdict, Verdict::Healthy);
    // Addresses nobody has a line for show neither a yield nor a wait.
    let lineless = Some(look(10_000, 0, 10_000, false, &[9001, 9002]));
    for blind in [None, Some(look(0, 0, 0, false, &[])), lineless] {
        let mut unseen = program("hooks,watchdog");
        busy(&mut unseen, 1, 20, 10_000, 800, blind.as_ref());
        assert_eq!(answer(&answers(&unseen), "busy-poll"), Some(Answer::CannotTell));
    }
}

fn panicked(sources: &str, awaited: Option<bool>, until: u64) -> Diagnosis {
    let mut model = with_root(program(sources));
    let (message, stack) = (text("attempt to divide by zero"), vec![50, 51]);
    model.feed(&Panic { at: 100 * MS, task: 1, tid: 10, place: place(80), message, stack }.into());
    if let Some(awaited) = awaited {
        model.feed(&PanicEnd { at: 101 * MS, task: 1, awaited }.into());
        model.feed(&TaskEnd { at: 101 * MS, task: 1 }.into());
    }
    alive(&mut model, until);
    answers(&model)
}

#[test]
fn a_panic_that_nobody_saw() {
    let found = panicked("hooks,tracing,watchdog", Some(false), 2000 * MS);
    let finding = only(&found);
    assert_eq!((finding.kind.as_str(), finding.severity), ("swallowed-panic", Severity::Warning));
    assert_eq!(line(finding), Some(80));
    assert_eq!(finding.culprit.at.as_ref().and_then(|at| at.function.as_deref()), Some("svc::price"));
}

#[test]
fn a_panic_that_somebody_saw_or_caught() {
    for ended in [Some(true), None] {
        let found = panicked("hooks,tracing,watchdog", ended, 2000 * MS);
        assert_eq!(answer(&found, "swallowed-panic"), Some(Answer::Clear));
        assert!(found.findings.is_empty());
    }
}

#[test]
fn a_panic_whose_handle_may_be_next() {
    let mut model = with_root(program("hooks,tracing,watchdog"));
    let (kind, name) = (text("task"), text(""));
    model.feed(&Task { at: 0, task: 7, runtime: 1, kind, name, spawned: place(1), parent: 0 }.into());
    let (message, stack) = (text(""), vec![50, 51]);
    model.feed(&Panic { at: 100 * MS, task: 1, tid: 10, place: place(80), message, stack }.into());
    model.feed(&PanicEnd { at: 101 * MS, task: 1, awaited: false }.into());
    model.feed(&Awaited { at: 1500 * MS, task: 7 }.into());
    alive(&mut model, 2000 * MS);
    assert_eq!(only(&answers(&model)).severity, Severity::Info);
}

#[test]
fn a_panic_of_which_too_little_is_known() {
    // The program ended with it; or nothing tells who awaits whom.
    let ended = panicked("hooks,tracing,watchdog", Some(false), 150 * MS);
    let blind = panicked("hooks,watchdog", Some(false), 2000 * MS);
    for found in [&ended, &blind] {
        assert_eq!(only(found).severity, Severity::Info);
    }
    assert_eq!(answer(&blind, "swallowed-panic"), Some(Answer::CannotTell));
}

//! Scripted programs that stand still, and those that only look so.

use pollscope_recording::*;

use crate::detect::tests::{MS, answer, place, program, symbols, text};
use crate::detect::{Answer, Confidence, Diagnosis, Severity, Thresholds, Verdict, diagnose};
use crate::model::Model;

const ROOT: u64 = ROOT_TASK_BIT | 1;
const JOIN: &[u64] = &[10, 11];
const RECV: &[u64] = &[20, 21];
const NOTIFIED: &[u64] = &[30, 31];
const ACCEPT: &[u64] = &[40, 41];
const OWN: &[u64] = &[50, 51];
const SLEEP: &[u64] = &[60, 61];

fn answers(model: &Model) -> Diagnosis {
    let known = [
        (10, "tokio::runtime::task::join::JoinHandle<T>::poll", "tokio", 0),
        (11, "svc::main::{{closure}}", "svc", 1),
        (20, "tokio::sync::mpsc::chan::Rx<T,S>::recv", "tokio", 0),
        (21, "svc::worker::{{closure}}", "svc", 2),
        (30, "tokio::sync::notify::Notified::poll_notified", "tokio", 0),
        (31, "svc::waiter::{{closure}}", "svc", 3),
        (40, "tokio::runtime::io::registration::Registration::readiness", "tokio", 0),
        (41, "svc::accept::{{closure}}", "svc", 4),
        (50, "<core::task::wake::Waker as core::clone::Clone>::clone", "core", 0),
        (51, "<svc::Ticket as core::future::future::Future>::poll", "svc", 5),
        (60, "tokio::runtime::time::entry::TimerEntry::poll_elapsed", "tokio", 0),
        (61, "svc::tick::{{closure}}", "svc", 6),
    ];
    diagnose(model, &mut symbols(&known), &Thresholds::default())
}

/// A program of a root future and tasks 1 to 4, of which the root has spawned all. At 2 s task 4 has ended.
fn service() -> Model {
    let mut model = program("hooks,tracing,watchdog");
    let task = |task, kind: &str, parent, line| Task {
        at: 0,
        task,
        runtime: 1,
        kind: text(kind),
        name: text(""),
        spawned: place(line),
        parent,
    };
    model.feed(&task(ROOT, "root", 0, 100).into());
    for id in 1..=4 {
        model.feed(&task(id, "task", ROOT, 7).into());
    }
    model.feed(&TaskEnd { at: 2000 * MS, task: 4 }.into());
    model
}

/// `task` stands still since 2 s, where `stacks` tell.
fn idle(model: &mut Model, task: u64, stacks: &[&[u64]]) {
    for stack in stacks {
        let (since, stack) = (2000 * MS, stack.to_vec());
        let idle = Idle { at: 3000 * MS, task, since, registered: since, wakers: 1, woken: false, stack };
        model.feed(&idle.into());
    }
}

/// `task` was polled once more at 2 s and kept no waker.
fn forgotten(model: &mut Model, task: u64, registered: u64, stack: &[u64], wakers: u64) {
    let (since, stack) = (2000 * MS, stack.to_vec());
    model.feed(&Idle { at: 3000 * MS, task, since, registered, wakers, woken: false, stack }.into());
}

/// The end of what is known, at 5 s.
fn told(mut model: Model) -> Diagnosis {
    model.feed(&Cost { at: 5000 * MS, agent_cpu_ns: 0, dropped: 0, polls: 100 }.into());
    answers(&model)
}

/// Kind and line of the findings.
fn found(diagnosis: &Diagnosis) -> Vec<(&str, Option<u32>)> {
    let line = |finding: &crate::detect::Finding| finding.culprit.at.as_ref().map(|at| at.line);
    diagnosis.findings.iter().map(|finding| (finding.kind.as_str(), line(finding))).collect()
}

/// The root joins, and tasks 1 to 3 stand where `stack` tells.
fn still(stack: &[u64]) -> Model {
    let mut model = service();
    idle(&mut model, ROOT, &[JOIN]);
    (1..=3).for_each(|task| idle(&mut model, task, &[stack]));
    model
}

#[test]
fn a_receiver_left_behind_hangs_the_end() {
    let diagnosis = told(still(RECV));
    assert_eq!(found(&diagnosis), [("shutdown-hang", Some(2))]);
    assert_eq!(diagnosis.verdict, Verdict::Findings);
    let group = &diagnosis.idle[0];
    assert_eq!((group.tasks, group.waits_for.as_str(), group.longest_ms), (3, "a message", 3000.0));
}

#[test]
fn a_server_at_rest_is_healthy() {
    // A socket, a timer, a task that moves, a thread that feeds, a task that was not seen: each may wake the rest.
    let mut listens = still(RECV);
    idle(&mut listens, 3, &[ACCEPT]);
    let mut ticks = still(RECV);
    idle(&mut ticks, 3, &[SLEEP]);
    let mut moves = still(RECV);
    moves.feed(&Poll { at: 4500 * MS, task: 3, tid: 10, duration_ns: MS }.into());
    let mut fed = still(RECV);
    fed.feed(&Foreign { at: 3000 * MS, threads: 1, wakes: 9 }.into());
    let mut unseen = still(RECV);
    let (kind, spawned) = (text("task"), place(9));
    unseen.feed(&Task { at: 3000 * MS, task: 9, runtime: 1, kind, name: text(""), spawned, parent: 1 }.into());
    for (which, model) in [listens, ticks, moves, fed, unseen].into_iter().enumerate() {
        let diagnosis = told(model);
        assert_eq!((found(&diagnosis), diagnosis.verdict), (vec![], Verdict::Healthy), "{which}");
        assert!(!diagnosis.idle.is_empty(), "{which}");
    }
}

#[test]
fn a_program_that_has_only_ever_waited_is_not_ending() {
    // Nobody has ended, so nothing tells that anybody should.
    let mut model = program("hooks,tracing,watchdog");
    let (kind, spawned) = (text("root"), place(100));
    model.feed(&Task { at: 0, task: ROOT, runtime: 1, kind, name: text(""), spawned, parent: 0 }.into());
    idle(&mut model, ROOT, &[JOIN]);
    (1..=4).for_each(|task| idle(&mut model, task, &[RECV]));
    let diagnosis = told(model);
    assert_eq!((found(&diagnosis), diagnosis.verdict), (vec![], Verdict::Unknown));
    assert!(diagnosis.notes[0].contains("nothing has moved for 3.0 s: each of 5 tasks"), "{:?}", diagnosis.notes);
}

#[test]
fn a_notification_is_lost_only_where_others_got_through_and_nothing_moves() {
    let diagnosis = told(still(NOTIFIED));
    assert_eq!(found(&diagnosis), [("lost-notify", Some(3))]);
    let mut moving = still(NOTIFIED);
    idle(&mut moving, 3, &[SLEEP]);
    let diagnosis = told(moving);
    assert_eq!((found(&diagnosis), diagnosis.verdict), (vec![], Verdict::Healthy));
    // One that also listens to something else ends when that does.
    let mut selecting = still(NOTIFIED);
    (1..=3).for_each(|task| idle(&mut selecting, task, &[NOTIFIED, ACCEPT]));
    assert_eq!(told(selecting).verdict, Verdict::Healthy);
}

#[test]
fn a_waker_that_was_used_up_and_not_replaced_is_lost() {
    let mut model = service();
    forgotten(&mut model, 1, 1900 * MS, OWN, 0);
    let diagnosis = told(model);
    assert_eq!(found(&diagnosis), [("lost-wakeup", Some(5))]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    assert!(diagnosis.idle[0].no_waker);
}

#[test]
fn who_waits_on_purpose_or_still_has_a_waker_is_not_lost() {
    // `pending()` alone, and after another wait of tokio's: the same to us as a future that never registers.
    for (registered, stack) in [(0, &[][..]), (1900 * MS, RECV)] {
        let mut model = service();
        forgotten(&mut model, 1, registered, stack, 0);
        let diagnosis = told(model);
        assert_eq!((found(&diagnosis), diagnosis.verdict), (vec![], Verdict::Healthy));
        assert_eq!(answer(&diagnosis, "lost-wakeup"), Some(Answer::CannotTell));
    }
    // A waker is left somewhere; a root future; one that was polled since; one that has ended.
    let mut kept = service();
    forgotten(&mut kept, 1, 1900 * MS, OWN, 1);
    let mut root = service();
    forgotten(&mut root, ROOT, 1900 * MS, OWN, 0);
    let mut polled = service();
    forgotten(&mut polled, 1, 1900 * MS, OWN, 0);
    polled.feed(&Poll { at: 2500 * MS, task: 1, tid: 10, duration_ns: MS }.into());
    let mut ended = service();
    forgotten(&mut ended, 1, 1900 * MS, OWN, 0);
    ended.feed(&TaskEnd { at: 2500 * MS, task: 1 }.into());
    for (which, model) in [kept, root, polled, ended].into_iter().enumerate() {
        let diagnosis = told(model);
        assert_eq!((found(&diagnosis), diagnosis.verdict), (vec![], Verdict::Healthy), "{which}");
    }
}

/// The root future is over at 2 s; a closure of the blocking pool ends at `end`, or not.
fn blocking(end: Option<u64>) -> Diagnosis {
    let mut model = service();
    let (kind, spawned) = (text("blocking"), place(8));
    model.feed(&Task { at: 0, task: 8, runtime: 1, kind, name: text(""), spawned, parent: ROOT }.into());
    (1..=3).for_each(|task| model.feed(&TaskEnd { at: 2000 * MS, task }.into()));
    model.feed(&TaskEnd { at: 2000 * MS, task: ROOT }.into());
    if let Some(at) = end {
        model.feed(&TaskEnd { at, task: 8 }.into());
    }
    told(model)
}

#[test]
fn a_closure_that_does_not_return_hangs_the_end() {
    let diagnosis = blocking(None);
    assert_eq!(found(&diagnosis), [("shutdown-hang", Some(8))]);
    let finding = &diagnosis.findings[0];
    assert_eq!((finding.severity, finding.confidence), (Severity::Critical, Confidence::Proven));
    assert_eq!(found(&blocking(Some(4900 * MS))), []);
}

#[test]
fn without_the_tracing_source_nothing_is_claimed() {
    let mut model = program("hooks,watchdog");
    idle(&mut model, 1, &[RECV]);
    let diagnosis = told(model);
    assert_eq!(answer(&diagnosis, "lost-wakeup"), Some(Answer::CannotTell));
    assert!(diagnosis.idle.is_empty());
}

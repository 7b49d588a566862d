//! Scripted programs, one for each answer.

use std::sync::Arc;

use pollscope_recording::*;

use super::{Answer, Confidence, Diagnosis, Severity, Thresholds, Verdict, diagnose};
use crate::model::Model;
use crate::symbols::{self, Symbols};

pub(super) const MS: u64 = 1_000_000;

pub(super) fn text(text: &str) -> Text {
    Arc::from(text)
}

pub(super) fn place(line: u32) -> Place {
    Place { file: text("src/main.rs"), line, column: 1 }
}

pub(super) fn program(sources: &str) -> Model {
    let mut model = Model::default();
    let empty = || text("");
    model.feed(&Event::from(Process {
        at: 0,
        program: text("svc"),
        exe: empty(),
        pid: 1,
        build_id: empty(),
        wall_ns: 1_700_000_000_000_000_000,
        tokio: text("1.54.1"),
        sources: text(sources),
        level: text("summary"),
        segment: 0,
    }));
    model.feed(&Runtime { at: 0, runtime: 1, flavor: text("multi_thread"), workers: 2, timers: true }.into());
    model.feed(&Thread { at: 0, tid: 10, runtime: 1, name: text("w"), role: text("worker") }.into());
    for task in 1..=4 {
        let (kind, spawned) = (text("task"), place(task as u32));
        model.feed(&Task { at: 0, task, runtime: 1, kind, name: empty(), spawned, parent: 0 }.into());
    }
    model
}

/// It lives up to this time, and says so once a second.
pub(super) fn alive(model: &mut Model, at: u64) {
    let said = (model.last_at + 1000 * MS..at).step_by(1000 * MS as usize);
    for at in said.chain([at]) {
        model.feed(&Cost { at, agent_cpu_ns: 0, dropped: 0, polls: 100 }.into());
    }
}

fn stall(model: &mut Model, since: u64, length: u64, cpu_ns: u64, run_delay_ns: u64) {
    let (task, tid, observed) = (1, 10, since);
    let (at, state, syscall) = (since + length / 2, u64::from(b'S'), 230);
    let stack = vec![1, 2];
    model.feed(&Stall { at, task, tid, since, observed, cpu_ns: 0, run_delay_ns: 0, state, syscall, stack }.into());
    model.feed(&StallEnd { at: since + length, task, tid, since, cpu_ns, run_delay_ns, observed }.into());
}

/// Symbols that know these functions: address, name, crate, line. Those of `svc` are the program's own.
pub(super) fn symbols(known: &[(u64, &str, &str, u32)]) -> Symbols {
    let mut symbols = Symbols::new();
    for &(address, function, krate, line) in known {
        let frame = symbols::Frame {
            function: function.into(),
            file: Some("src/main.rs".into()),
            line: Some(line),
            krate: Some(krate.into()),
            library: krate != "svc",
            ..Default::default()
        };
        symbols.set(address, vec![frame]);
    }
    symbols
}

fn answers(model: &Model) -> Diagnosis {
    let frame = |function: &str, line, library| symbols::Frame {
        function: function.into(),
        file: Some("src/main.rs".into()),
        line: Some(line),
        library,
        ..Default::default()
    };
    let mut symbols = Symbols::new();
    symbols.set(1, vec![frame("std::thread::sleep", 9, true)]);
    symbols.set(2, vec![frame("svc::handler::{{closure}}", 42, false)]);
    symbols.set(20, vec![frame("svc::transfer::{{closure}}", 77, false)]);
    diagnose(model, &mut symbols, &Thresholds::default())
}

pub(super) fn answer(diagnosis: &Diagnosis, kind: &str) -> Option<Answer> {
    diagnosis.checks.iter().find(|check| check.kind == kind).map(|check| check.answer)
}

#[test]
fn a_blocking_call_that_delays_another_task() {
    let mut model = program("hooks,watchdog");
    stall(&mut model, 100 * MS, 200 * MS, MS, 0);
    model.feed(&Delay { at: 300 * MS, task: 2, tid: 10, delay_ns: 150 * MS }.into());
    model.feed(&LateBeat { at: 300 * MS, runtime: 1, due: 110 * MS, late_ns: 190 * MS }.into());
    alive(&mut model, 1000 * MS);
    let found = answers(&model);
    assert_eq!(found.verdict, Verdict::Findings);
    let finding = &found.findings[0];
    assert_eq!((finding.kind.as_str(), finding.severity), ("blocking-call", Severity::Critical));
    let at = finding.culprit.at.as_ref().expect("a line");
    assert_eq!((at.line, at.function.as_deref()), (42, Some("svc::handler")));
    assert_eq!(finding.culprit.call.as_deref(), Some("std::thread::sleep"));
    assert_eq!(finding.amplifiers, ["driver-held"]);
    assert_eq!(finding.victims.len(), 2);
    assert_eq!(answer(&found, "cpu-bound-poll"), Some(Answer::Clear));
    assert_eq!(answer(&found, "lock-cycle"), Some(Answer::CannotTell));
    assert_eq!(found.program.started_at, "2023-11-14T22:13:20.000Z");
}

#[test]
fn computing_is_told_from_blocking_also_on_a_crowded_machine() {
    let mut model = program("hooks,watchdog");
    stall(&mut model, 100 * MS, 200 * MS, 100 * MS, 95 * MS);
    model.feed(&Delay { at: 300 * MS, task: 2, tid: 10, delay_ns: 60 * MS }.into());
    let found = answers(&model);
    assert_eq!(found.findings.len(), 1);
    assert_eq!((found.findings[0].kind.as_str(), found.findings[0].severity), ("cpu-bound-poll", Severity::Warning));
}

#[test]
fn the_machine_is_blamed_only_if_nothing_else_explains_it() {
    let mut model = program("hooks,watchdog");
    stall(&mut model, 100 * MS, 200 * MS, 5 * MS, 194 * MS);
    model.feed(&Delay { at: 300 * MS, task: 2, tid: 10, delay_ns: 150 * MS }.into());
    let found = answers(&model);
    assert_eq!(found.verdict, Verdict::Environment);
    assert!(found.findings.is_empty());
    assert_eq!(answer(&found, "environment"), Some(Answer::Found));
}

#[test]
fn a_long_poll_at_startup_that_hurts_nobody_is_no_fault() {
    let mut model = program("hooks,watchdog");
    stall(&mut model, MS, 60 * MS, 60 * MS, 0);
    alive(&mut model, 1000 * MS);
    let found = answers(&model);
    assert_eq!(found.verdict, Verdict::Healthy);
    assert!(found.findings.iter().all(|finding| finding.severity == Severity::Info));
}

#[test]
fn a_poll_that_never_ends_is_critical() {
    let mut model = program("hooks,watchdog");
    let (task, tid, since, observed) = (1, 10, 10 * MS, 20 * MS);
    let (at, state, syscall, stack) = (500 * MS, u64::from(b'S'), 0, vec![1, 3]);
    model.feed(&Stall { at, task, tid, since, observed, cpu_ns: 0, run_delay_ns: 0, state, syscall, stack }.into());
    alive(&mut model, 3000 * MS);
    assert_eq!(answers(&model).findings[0].severity, Severity::Critical);
}

#[test]
fn nothing_seen_is_unknown() {
    let found = answers(&Model::default());
    assert_eq!(found.verdict, Verdict::Unknown);
    assert_eq!(answer(&found, "blocking-call"), Some(Answer::CannotTell));
}

/// Task 1 holds lock 1 and wants 2; task 2 holds 2 and wants 1; task 3 queues for 1.
fn locks() -> Model {
    let mut model = program("hooks,tracing,watchdog");
    for resource in [1, 2] {
        let made = place(10 + resource as u32);
        model.feed(
            &Resource {
                at: 0,
                resource,
                parent: 0,
                kind: text("Mutex"),
                made,
                permits: 0,
                returned: false,
                stranger: 0,
            }
            .into(),
        );
        model.feed(&Acquired { at: 5 * MS, resource, task: resource, permits: 1, owned: false }.into());
    }
    for (wait, task, resource) in [(1, 1, 2), (2, 2, 1), (3, 3, 1)] {
        let at = (10 + wait) * MS;
        model.feed(&Wait { at, wait, resource, task, operation: text("Mutex::lock"), until: 0 }.into());
        model.feed(&WaitStack { at: 600 * MS, wait, stack: vec![20] }.into());
        // The window in which the wait began ends after it.
        let (from, histogram) = (0, [0; POLL_BUCKETS]);
        model.feed(&Polls { at: 100 * MS, task, tid: 10, from, polls: 2, busy_ns: 1, max_ns: 1, histogram }.into());
    }
    model
}

#[test]
fn two_locks_in_opposite_order() {
    let mut model = locks();
    alive(&mut model, 2000 * MS);
    let found = answers(&model);
    assert_eq!(found.findings.len(), 1);
    let finding = &found.findings[0];
    assert_eq!(finding.kind, "lock-cycle");
    assert_eq!(finding.culprit.at.as_ref().map(|at| at.line), Some(77));
    assert_eq!(finding.victims.len(), 3);
    let graph = finding.graph.as_ref().expect("a graph");
    assert_eq!((graph.nodes.len(), graph.edges.len()), (4, 4));
}

#[test]
fn a_wait_too_short_or_with_progress_or_beside_a_timer_is_no_deadlock() {
    let mut short = locks();
    alive(&mut short, 500 * MS);
    let mut timer = locks();
    timer.feed(
        &Resource {
            at: 0,
            resource: 9,
            parent: 0,
            kind: text("Sleep"),
            made: place(1),
            permits: 0,
            returned: false,
            stranger: 0,
        }
        .into(),
    );
    timer.feed(&Wait { at: 13 * MS, wait: 9, resource: 9, task: 1, operation: text("Sleep"), until: 0 }.into());
    alive(&mut timer, 2000 * MS);
    let mut moving = locks();
    moving.feed(&Poll { at: 1500 * MS, task: 2, tid: 10, duration_ns: MS }.into());
    alive(&mut moving, 2000 * MS);
    let mut freed = locks();
    freed.feed(&Released { at: 20 * MS, resource: 1, task: 1, permits: 1 }.into());
    alive(&mut freed, 2000 * MS);
    for model in [short, timer, moving, freed] {
        assert_eq!(answer(&answers(&model), "lock-cycle"), Some(Answer::Clear));
    }
}

#[test]
fn a_poll_that_a_crowded_machine_held_up_after_the_wait_is_no_progress() {
    let mut model = locks();
    // The waits began in the middle of these.
    let histogram = [0; POLL_BUCKETS];
    model.feed(&Poll { at: 9 * MS, task: 2, tid: 10, duration_ns: 400 * MS }.into());
    let (at, from, took) = (500 * MS, 9 * MS, 400 * MS);
    model.feed(&Polls { at, task: 1, tid: 10, from, polls: 1, busy_ns: took, max_ns: took, histogram }.into());
    alive(&mut model, 2000 * MS);
    assert_eq!(answer(&answers(&model), "lock-cycle"), Some(Answer::Found));
}

#[test]
fn a_timeout_far_away_frees_nobody_yet() {
    for (until, answers_so) in [(60_000 * MS, Answer::Found), (2500 * MS, Answer::Clear)] {
        let mut model = locks();
        let operation = text("Sleep::new_timeout");
        model.feed(&Wait { at: 13 * MS, wait: 9, resource: 9, task: 1, operation, until }.into());
        alive(&mut model, 2000 * MS);
        let found = answers(&model);
        assert_eq!(answer(&found, "lock-cycle"), Some(answers_so));
        assert!(found.findings.iter().all(|finding| finding.confidence == Confidence::Likely));
    }
}

/// Tasks 1 and 2 hold a permit each of a semaphore of `permits`, and want one more.
fn permits(permits: u64, stranger: u64) -> Model {
    let mut model = program("hooks,tracing,watchdog");
    let (made, returned) = (place(10), true);
    model.feed(
        &Resource { at: 0, resource: 1, parent: 0, kind: text("Semaphore"), made, permits, returned, stranger }.into(),
    );
    for task in [1, 2] {
        model.feed(&Acquired { at: 5 * MS, resource: 1, task, permits: 1, owned: false }.into());
    }
    for (wait, task) in [(1, 1), (2, 2)] {
        let operation = text("Semaphore::acquire");
        model.feed(&Wait { at: 10 * MS, wait, resource: 1, task, operation, until: 0 }.into());
    }
    model
}

#[test]
fn permits_are_concluded_from_only_where_all_are_accounted_for() {
    let spawn = |parent| {
        let (kind, name, spawned) = (text("task"), text(""), place(70));
        Task { at: 6 * MS, task: 3, runtime: 1, kind, name, spawned, parent }
    };
    let even = permits(2, 0);
    let unseen = permits(3, 0);
    let moving = permits(2, 7);
    let mut handed_on = permits(2, 0);
    handed_on.feed(&spawn(2).into());
    let mut unrelated = permits(2, 0);
    unrelated.feed(&spawn(9).into());
    for (mut model, answers_so) in [
        (even, Answer::Found),
        (unseen, Answer::Clear),
        (moving, Answer::Clear),
        (handed_on, Answer::Clear),
        (unrelated, Answer::Found),
    ] {
        alive(&mut model, 2000 * MS);
        assert_eq!(answer(&answers(&model), "pool-starvation"), Some(answers_so));
    }
}

#[test]
fn a_stranger_is_forgiven_while_the_books_are_balanced() {
    for (capacity, balanced, answers_so) in
        [(2, true, Answer::Found), (2, false, Answer::Clear), (3, true, Answer::Clear)]
    {
        let mut model = permits(capacity, 7);
        model.feed(&Books { at: 5 * MS, resource: 1, balanced, stays: false }.into());
        alive(&mut model, 2000 * MS);
        let found = answers(&model);
        assert_eq!(answer(&found, "pool-starvation"), Some(answers_so));
        assert!(found.findings.iter().all(|finding| finding.confidence == Confidence::Likely));
    }
}

#[test]
fn a_task_that_left_its_wait_aside_does_not_wait_there() {
    for idle in [true, false] {
        let mut model = locks();
        model.feed(&WaitIdle { at: 700 * MS, wait: 2, idle: true }.into());
        model.feed(&WaitIdle { at: 800 * MS, wait: 2, idle }.into());
        alive(&mut model, 2000 * MS);
        let answers_so = if idle { Answer::Clear } else { Answer::Found };
        assert_eq!(answer(&answers(&model), "lock-cycle"), Some(answers_so));
    }
}

/// Task 1 waits for a lock it took; whether the guard is still its own is another question.
#[test]
fn a_guard_that_can_be_sent_is_held_only_where_it_stays() {
    let spawned = |parent| {
        let (kind, name, spawned) = (text("task"), text(""), place(70));
        Task { at: 6 * MS, task: 3, runtime: 1, kind, name, spawned, parent }
    };
    let busy = Poll { at: 900 * MS, task: 9, tid: 10, duration_ns: MS };
    for (owned, stays, child, busy, answers_so) in [
        (false, false, None, Some(busy.clone()), Answer::Found),
        (true, false, None, None, Answer::Found),
        (true, false, None, Some(busy.clone()), Answer::Clear),
        (true, true, None, Some(busy.clone()), Answer::Found),
        (true, true, Some(spawned(1)), Some(busy), Answer::Clear),
    ] {
        let mut model = program("hooks,tracing,watchdog");
        let (kind, made) = (text("Mutex"), place(10));
        let (parent, permits, returned, stranger) = (0, 0, false, 0);
        model.feed(&Resource { at: 0, resource: 1, parent, kind, made, permits, returned, stranger }.into());
        model.feed(&Books { at: 0, resource: 1, balanced: true, stays }.into());
        model.feed(&Acquired { at: 500 * MS, resource: 1, task: 1, permits: 1, owned }.into());
        child.into_iter().for_each(|child| model.feed(&Task { at: 501 * MS, ..child }.into()));
        let operation = text("Mutex::lock");
        model.feed(&Wait { at: 510 * MS, wait: 1, resource: 1, task: 1, operation, until: 0 }.into());
        busy.into_iter().for_each(|poll| model.feed(&poll.into()));
        alive(&mut model, 2000 * MS);
        assert_eq!(answer(&answers(&model), "self-deadlock"), Some(answers_so), "{owned} {stays}");
    }
}

#[test]
fn a_stopped_process_blocks_nobody() {
    for (stopped, answers_so) in [(true, Answer::Clear), (false, Answer::Found)] {
        let mut model = program("hooks,watchdog");
        let (task, tid, since, observed) = (1, 10, 10 * MS, 11 * MS);
        let (state, syscall, stack) = (u64::from(b'S'), 0, vec![1, 3]);
        alive(&mut model, 12 * MS);
        let look = |at| Stall {
            at,
            task,
            tid,
            since,
            observed,
            cpu_ns: 0,
            run_delay_ns: 0,
            state,
            syscall,
            stack: stack.clone(),
        };
        if !stopped {
            [1000, 2000].iter().for_each(|at| model.feed(&look(at * MS).into()));
        }
        model.feed(&look(3000 * MS).into());
        model.feed(&StallEnd { at: 3001 * MS, task, tid, since, cpu_ns: 0, run_delay_ns: 0, observed }.into());
        assert_eq!(answer(&answers(&model), "blocking-call"), Some(answers_so));
    }
}

#[test]
fn the_contract_survives_the_way_through_json() {
    let mut model = locks();
    alive(&mut model, 2000 * MS);
    let found = answers(&model);
    let json = serde_json::to_string(&found).expect("json");
    assert_eq!(serde_json::from_str::<Diagnosis>(&json).expect("diagnosis"), found);
}

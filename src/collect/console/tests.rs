//! What a console is told, and what follows from it.

use super::events::Translator;
use super::locks::Locks;
use super::names::Names;
use console_api::async_ops::{AsyncOp, AsyncOpUpdate, Stats as OpStats};
use console_api::field::{Name, Value};
use console_api::instrument::Update;
use console_api::resources::{Resource, ResourceUpdate, Stats as ResourceStats};
use console_api::tasks::{Stats as TaskStats, Task, TaskUpdate};
use console_api::{Attribute, Field, Id, PollStats};
use pollscope_recording::{Event, Nanos, TaskId};
use prost_types::Timestamp;
use std::collections::BTreeSet;

const LOCK: u64 = 90;
const SECOND: u64 = 1_000_000_000;

fn id(id: u64) -> Option<Id> {
    Some(Id { id })
}

fn time(nanos: u64) -> Option<Timestamp> {
    let (seconds, nanos) = (nanos / SECOND, nanos % SECOND);
    Some(Timestamp { seconds: seconds.cast_signed(), nanos: i32::try_from(nanos).unwrap_or(0) })
}

fn attributes(list: &[(&str, Value)]) -> Vec<Attribute> {
    let field = |(name, value): &(&str, Value)| Field {
        name: Some(Name::StrName((*name).to_owned())),
        value: Some(value.clone()),
        metadata_id: None,
    };
    list.iter().map(|one| Attribute { field: Some(field(one)), unit: None }).collect()
}

/// A program with one lock: operations are numbered in tens, their parts one more.
struct Program {
    locks: Locks,
    now: u64,
    update: Update,
    next: u64,
    ended: BTreeSet<TaskId>,
}

impl Program {
    fn new(kind: &str) -> Program {
        let lock = Resource { id: id(LOCK), concrete_type: kind.to_owned(), ..Resource::default() };
        let resource_update = ResourceUpdate { new_resources: vec![lock], ..ResourceUpdate::default() };
        let update = Update {
            resource_update: Some(resource_update),
            async_op_update: Some(AsyncOpUpdate::default()),
            ..Update::default()
        };
        Program { locks: Locks::default(), now: 0, update, next: 100, ended: BTreeSet::new() }
    }

    fn is(mut self, state: &[(&str, Value)]) -> Program {
        let stats = ResourceStats { attributes: attributes(state), ..ResourceStats::default() };
        let update = self.update.resource_update.get_or_insert_default();
        update.stats_update.insert(LOCK, stats);
        self
    }

    /// A task asks for the lock, and gets it if `ended`.
    fn asks(mut self, task: u64, operation: &str, ended: bool) -> Program {
        self.now += 1_000;
        let (whole, part) = (self.next, self.next + 1);
        self.next += 10;
        let ops = self.update.async_op_update.get_or_insert_default();
        for (op, source, parent) in [(whole, operation, None), (part, "Acquire::new", Some(whole))] {
            ops.new_async_ops.push(AsyncOp {
                id: id(op),
                resource_id: id(if parent.is_some() { LOCK + 1 } else { LOCK }),
                source: source.to_owned(),
                parent_async_op_id: parent.and_then(id),
                ..AsyncOp::default()
            });
            let obtained = Value::U64Val(u64::from(ended));
            let stats = OpStats {
                created_at: time(self.now),
                dropped_at: if ended { time(self.now + 10) } else { None },
                task_id: id(task),
                poll_stats: Some(PollStats { polls: 1, ..PollStats::default() }),
                attributes: attributes(&[("permits_requested", Value::U64Val(1)), ("permits_obtained", obtained)]),
            };
            ops.stats_update.insert(op, stats);
        }
        self
    }

    /// The update goes out; who is told to have taken and given back.
    fn told(&mut self) -> (Vec<TaskId>, Vec<TaskId>) {
        self.now += SECOND;
        let fresh = Update { async_op_update: Some(AsyncOpUpdate::default()), ..Update::default() };
        let mut update = std::mem::replace(&mut self.update, fresh);
        update.now = time(self.now);
        let mut events = Vec::new();
        self.locks.update(&update, &Names::default(), |task| task, &self.ended, &mut events);
        let (mut taken, mut given) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Acquired(event) => taken.push(event.task),
                Event::Released(event) => given.push(event.task),
                _ => {}
            }
        }
        (taken, given)
    }

    fn uncertain(&self) -> bool {
        !self.locks.uncertain(self.now + SECOND).is_empty()
    }
}

fn readers(number: u64) -> [(&'static str, Value); 2] {
    [("write_locked", Value::BoolVal(false)), ("current_readers", Value::U64Val(number))]
}

#[test]
fn a_mutex_is_with_the_last_who_took_it() {
    let locked = |locked| [("locked", Value::BoolVal(locked))];
    let program = Program::new("Mutex").is(&locked(true)).asks(1, "Mutex::lock", true).asks(2, "Mutex::lock", true);
    let mut program = program.asks(3, "Mutex::lock", false);
    assert_eq!(program.told(), (vec![2], vec![]));
    assert!(!program.uncertain());
    let mut program = program.is(&locked(false));
    assert_eq!(program.told(), (vec![], vec![2]));
    // Taken again, but by `try_lock`, of which nothing is told.
    let mut program = program.is(&locked(true));
    assert_eq!(program.told(), (vec![], vec![]));
    assert!(program.uncertain());
}

#[test]
fn readers_are_told_only_where_there_is_no_choice() {
    let reads = || Program::new("RwLock").asks(1, "RwLock::read", true).asks(2, "RwLock::read", true);
    let mut both = reads().is(&readers(2)).asks(3, "RwLock::write", false);
    assert_eq!(both.told(), (vec![1, 2], vec![]));
    let mut one_of_two = reads().is(&readers(1)).asks(3, "RwLock::write", false);
    assert_eq!(one_of_two.told(), (vec![], vec![]));
    assert!(one_of_two.uncertain());
    // Whichever has it waits for itself.
    let mut program = one_of_two.asks(1, "RwLock::read", false).asks(2, "RwLock::read", false);
    assert_eq!(program.told(), (vec![1, 2], vec![]));
}

#[test]
fn what_was_seen_free_was_given_back() {
    let mut program = Program::new("RwLock").asks(1, "RwLock::read", true).is(&readers(1));
    program.told();
    let mut program = program.is(&readers(0));
    program.told();
    let mut program = program.asks(2, "RwLock::read", true).is(&readers(1)).asks(3, "RwLock::write", false);
    assert_eq!(program.told(), (vec![2], vec![]));
}

#[test]
fn permits_that_can_be_sent_away_are_nobodys() {
    assert_eq!(permits(Some(1), "Semaphore::acquire", &[]), [1]);
    assert!(permits(Some(1), "Semaphore::acquire_owned", &[]).is_empty());
}

#[test]
fn permits_that_may_be_lost_are_nobodys() {
    assert_eq!(permits(Some(2), "Semaphore::acquire", &[]), [1]);
    // Who comes when none is free knows not how many there are.
    assert!(permits(None, "Semaphore::acquire", &[]).is_empty());
    // A task that took some has ended.
    assert!(permits(Some(2), "Semaphore::acquire", &[7]).is_empty());
}

/// Who is told to hold permits of a semaphore with so many, after task 1 took one, those who ended took others, and task
/// 2 waits.
fn permits(all: Option<u64>, operation: &str, ended: &[u64]) -> Vec<TaskId> {
    let free = |permits| [("permits", Value::U64Val(permits))];
    let mut program = Program::new("Semaphore").is(&free(all.unwrap_or(0)));
    program.told();
    let mut program = program.is(&free(0)).asks(1, operation, true);
    program = ended.iter().fold(program, |program, task| program.asks(*task, operation, true));
    program.ended = ended.iter().copied().collect();
    program.asks(2, "Semaphore::acquire", false).told().0
}

/// The stalls that come of what is told of a task's last poll, one update a second: begin, end, and length if it ended.
fn stalls(polls: &[(Nanos, Option<Nanos>)]) -> Vec<(Nanos, Option<Nanos>)> {
    let mut translator = Translator::default();
    let mut found: Vec<(Nanos, Option<Nanos>)> = Vec::new();
    for (number, (started, ended)) in (1..).zip(polls) {
        let task = Task { id: id(1), ..Task::default() };
        let poll_stats = PollStats {
            polls: number,
            last_poll_started: time(*started),
            last_poll_ended: ended.and_then(time),
            ..PollStats::default()
        };
        let stats = TaskStats { poll_stats: Some(poll_stats), ..TaskStats::default() };
        let task_update = TaskUpdate {
            new_tasks: if number == 1 { vec![task] } else { Vec::new() },
            stats_update: [(1, stats)].into(),
            ..TaskUpdate::default()
        };
        let update = Update { now: time(number * SECOND), task_update: Some(task_update), ..Update::default() };
        for event in translator.update(&update) {
            match event {
                Event::Stall(event) if found.last().is_none_or(|(since, _)| *since != event.since) => {
                    found.push((event.since, None));
                }
                Event::StallEnd(event) => found.last_mut().unwrap_or(&mut (0, None)).1 = Some(event.at),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn what_is_told_twice_counts_once() {
    let task = Task { id: id(1), ..Task::default() };
    let poll_stats = Some(PollStats { polls: 3, ..PollStats::default() });
    let stats = TaskStats { poll_stats, dropped_at: time(SECOND), ..TaskStats::default() };
    let (new_tasks, stats_update) = (vec![task], [(1, stats)].into());
    let update = TaskUpdate { new_tasks, stats_update, ..TaskUpdate::default() };
    let update = Update { now: time(SECOND), task_update: Some(update), ..Update::default() };
    let mut translator = Translator::default();
    let mut polls = || -> u64 {
        let events = translator.update(&update).into_iter();
        events.map(|event| if let Event::Polls(polls) = event { polls.polls } else { 0 }).sum()
    };
    assert_eq!((polls(), polls()), (3, 0));
    // Nor does an operation take twice: seen free in between, nobody has it.
    let mut program = Program::new("RwLock").asks(1, "RwLock::read", true).is(&readers(0));
    let again = program.update.clone();
    program.told();
    program.update = again;
    program.told();
    let mut program = program.asks(2, "RwLock::read", true).is(&readers(1)).asks(3, "RwLock::write", false);
    assert_eq!(program.told(), (vec![2], vec![]));
}

#[test]
fn a_poll_that_was_seen_open_ends_when_the_next_is_seen() {
    let (first, second) = (SECOND / 2, SECOND + SECOND / 2);
    assert_eq!(stalls(&[(first, None)]), [(first, None)]);
    let end = first + SECOND;
    assert_eq!(stalls(&[(first, None), (first, Some(end))]), [(first, Some(end))]);
    // It lasted at least until it was looked at; when it ended is not told.
    assert_eq!(stalls(&[(first, None), (second, Some(second + 10))]), [(first, Some(SECOND))]);
    assert_eq!(stalls(&[(first, None), (second, Some(first + 10))]), [(first, Some(SECOND)), (second, None)]);
    assert!(stalls(&[(first, Some(first + 1_000))]).is_empty());
}

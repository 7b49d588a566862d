//! Tasks that are polled very often, and tasks that panicked.

use std::collections::BTreeMap;

use pollscope_recording::{Event, Nanos, POLL_BUCKETS, Place, Polls, TaskId};

use super::Model;

/// Polls a second from which a window of a task is remembered: twice what a timer makes at most.
const RATE: u64 = 2_000;
/// Most tasks remembered so, looks kept of one, and panics kept.
const KEPT: usize = 1000;

/// What is known of a task in those windows in which it was polled very often.
#[derive(Debug, Clone, Default)]
pub struct SpinFacts {
    /// Its polls in them.
    pub polls: u64,
    /// Their time.
    pub busy_ns: Nanos,
    /// Their durations; buckets as in the recording.
    pub histogram: [u64; POLL_BUCKETS],
    /// Length of those windows.
    pub lasted_ns: Nanos,
    /// Start of the first.
    pub first: Nanos,
    /// End of the last.
    pub last: Nanos,
    /// Looks at who wakes it.
    pub looks: Vec<WakeLook>,
}

/// One look at who wakes a task.
#[derive(Debug, Clone, Default)]
pub struct WakeLook {
    /// Polls of the task while it was looked at.
    pub polls: u64,
    /// Wakes by itself, within its own poll, and handing out of its waker there.
    pub own: u64,
    /// Wakes by other tasks.
    pub others: u64,
    /// Wakes from outside of polls.
    pub outside: u64,
    /// Whether the stack is that of a wake.
    pub woke: bool,
    /// Where one of its own happened.
    pub stack: Vec<u64>,
}

/// A panic of a task.
#[derive(Debug, Clone, Default)]
pub struct PanicFacts {
    /// When.
    pub at: Nanos,
    /// The task.
    pub task: TaskId,
    /// Where it was raised.
    pub place: Place,
    /// Its message, if a literal.
    pub message: String,
    /// Innermost first.
    pub stack: Vec<u64>,
    /// Set when it ended the task: whether somebody who awaited the task was woken.
    pub ended: Option<bool>,
}

impl Model {
    pub(super) fn often(&mut self, polls: &Polls) {
        let window = polls.at.saturating_sub(polls.from).max(1);
        let rate = polls.polls as f64 * 1e9 / window as f64;
        // A window may be cut short, as the last one is; a few polls in it say nothing.
        let often = rate >= RATE as f64 && polls.polls >= RATE / 100;
        if !often {
            return;
        }
        let Some(facts) = room(&mut self.spins, polls.task) else { return };
        facts.polls += polls.polls;
        facts.busy_ns += polls.busy_ns;
        for (sum, count) in facts.histogram.iter_mut().zip(polls.histogram) {
            *sum += u64::from(count);
        }
        // A task that moved to another thread has two entries in one window.
        if polls.at > facts.last {
            if facts.lasted_ns == 0 {
                facts.first = polls.from;
            }
            facts.lasted_ns += window;
            facts.last = polls.at;
        }
    }

    pub(super) fn feed_rare(&mut self, event: &Event) {
        match event {
            Event::SelfWakes(seen) => {
                let Some(facts) = room(&mut self.spins, seen.task).filter(|facts| facts.looks.len() < KEPT) else {
                    return;
                };
                facts.looks.push(WakeLook {
                    polls: seen.polls,
                    own: seen.own,
                    others: seen.others,
                    outside: seen.outside,
                    woke: seen.woke,
                    stack: seen.stack.clone(),
                });
            }
            Event::Panic(panic) if self.panics.len() < KEPT => self.panics.push(PanicFacts {
                at: panic.at,
                task: panic.task,
                place: panic.place.clone(),
                message: panic.message.to_string(),
                stack: panic.stack.clone(),
                ended: None,
            }),
            Event::Panic(_) => self.not_kept += 1,
            Event::LockOrder(order) => self.ordered(order),
            Event::Awaited(awaited) => {
                if let Some(task) = self.tasks.get(&awaited.task) {
                    self.awaited.insert(task.spawned.clone());
                }
            }
            Event::PanicEnd(end) => {
                if let Some(panic) = self.panics.iter_mut().rev().find(|panic| panic.task == end.task) {
                    panic.ended = Some(end.awaited);
                }
            }
            _ => self.feed_gauges(event),
        }
    }
}

fn room(spins: &mut BTreeMap<TaskId, SpinFacts>, task: TaskId) -> Option<&mut SpinFacts> {
    let room = spins.len() < KEPT || spins.contains_key(&task);
    room.then(|| spins.entry(task).or_default())
}

//! Tasks that are polled very often, and tasks that panicked.

use std::collections::BTreeMap;

use pollscope_recording::{Event, Nanos, Place, Polls, TaskId};

use super::Model;

/// Polls a second from which a window of a task is remembered, of the time that its thread was not kept off the CPU: twice
/// what a timer makes at most.
const RATE: u64 = 2_000;
/// The least of them by the clock: what a timer makes at most.
const LEAST: u64 = 1_000;
/// Polls below `2^(9 + TINY_BUCKETS)` ns, 16 µs, are too short for work worth a poll, also in debug builds.
const TINY_BUCKETS: usize = 5;
/// Most tasks remembered so, looks kept of one, and panics kept.
const KEPT: usize = 1000;

/// What is known of a task in those windows in which it was polled very often.
#[derive(Debug, Clone, Default)]
pub struct SpinFacts {
    /// Its polls in them.
    pub polls: u64,
    /// Their time.
    pub busy_ns: Nanos,
    /// Those of them too short for work worth a poll.
    pub tiny: u64,
    /// Length of those windows.
    pub lasted_ns: Nanos,
    /// The same without what the kernel kept its thread off the CPU.
    pub given_ns: Nanos,
    /// Of the last one.
    last_given: Nanos,
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
    /// Start of the window.
    pub from: Nanos,
    /// Its end.
    pub at: Nanos,
    /// Set where the kernel kept the thread of the task off the CPU for half of the window or more: how many of its polls
    /// there were too short for work worth a poll.
    pub kept_off: Option<u64>,
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
        let delay = self.run_delays.get(&polls.tid).filter(|delay| delay.at == polls.at);
        let given = delay.map_or(window, |delay| window.saturating_sub(delay.run_delay_ns).max(1));
        let rate = |time: Nanos| polls.polls as f64 * 1e9 / time as f64;
        let tiny: u64 = polls.histogram.iter().take(TINY_BUCKETS).map(|&count| u64::from(count)).sum();
        if given <= window / 2 {
            if self.kept_off.0 != polls.at {
                self.kept_off = (polls.at, BTreeMap::new());
            }
            *self.kept_off.1.entry(polls.task).or_default() += tiny;
        }
        // A window may be cut short, as the last one is; a few polls in it say nothing.
        let often = rate(given) >= RATE as f64 && rate(window) >= LEAST as f64 && polls.polls >= RATE / 100;
        if !often {
            return;
        }
        let Some(facts) = room(&mut self.spins, polls.task) else { return };
        facts.polls += polls.polls;
        facts.busy_ns += polls.busy_ns;
        facts.tiny += tiny;
        // A task that moved to another thread has two entries in one window.
        if polls.at > facts.last {
            if facts.lasted_ns == 0 {
                facts.first = polls.from;
            }
            facts.lasted_ns += window;
            facts.last = polls.at;
            facts.last_given = 0;
        }
        facts.given_ns += given.saturating_sub(facts.last_given);
        facts.last_given = facts.last_given.max(given);
    }

    pub(super) fn feed_rare(&mut self, event: &Event) {
        match event {
            Event::RunDelay(delay) => drop(self.run_delays.insert(delay.tid, delay.clone())),
            Event::SelfWakes(seen) => {
                let (at, tiny) = &self.kept_off;
                let kept_off = tiny.get(&seen.task).copied().filter(|_| *at == seen.at);
                let Some(facts) = room(&mut self.spins, seen.task).filter(|facts| facts.looks.len() < KEPT) else {
                    return;
                };
                facts.looks.push(WakeLook {
                    from: seen.from,
                    at: seen.at,
                    kept_off,
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

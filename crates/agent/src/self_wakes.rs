//! Who wakes a task that is polled very often. Polls of a microsecond leave no stack for the watchdog; but a task that
//! wakes itself does so on a thread that stands, at that moment, in the line that is to blame. One task at a time is
//! looked at, for one window of the drain's.

use crate::raw::Noted;
use crate::stack::Unwinder;
use crate::table::Entry;
#[cfg(feature = "tracing")]
use crate::{clock, raw::What, slots, trace::user_spans};
use pollscope_recording::{Nanos, SELF_WAKES_COPIED, SelfWakes, TaskId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Polls a second from which a task is worth a look, of the time that its thread was not kept off the CPU.
const RATE: u64 = 2_000;
/// The least of them by the clock: what a timer makes at most.
const LEAST: u64 = 1_000;
/// Polls in a window that are worth a look on a thread that the kernel kept off the CPU for half of it or more, if no
/// other task has many more: what polls itself is polled as often as anybody.
pub(crate) const FEW: u64 = 3;
/// Longer polls than this on average do work.
const TINY: Nanos = 50_000;

static SUSPECT: AtomicU64 = AtomicU64::new(0);
static OWN: AtomicU64 = AtomicU64::new(0);
static OTHERS: AtomicU64 = AtomicU64::new(0);
static OUTSIDE: AtomicU64 = AtomicU64::new(0);
/// Own wakes to let pass before the one whose stack is taken: a look should not always meet the first.
static SKIP: AtomicU64 = AtomicU64::new(0);
static WANTED: AtomicBool = AtomicBool::new(false);
/// So many of the first ones are all copied, and the last of them is told: what the task did last, it still waits for.
static EACH: AtomicU64 = AtomicU64::new(0);

/// The waker of a task was used: to wake it, or else handed out.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn noticed(task: TaskId, woke: bool) {
    if SUSPECT.load(Ordering::Relaxed) == task {
        count(task, woke);
    }
}

#[cfg(feature = "tracing")]
#[cold]
fn count(task: TaskId, woke: bool) {
    let Some(slot) = slots::current() else { return };
    match slot.current_task() {
        Some(current) if current == task => {
            let before = OWN.fetch_add(1, Ordering::Relaxed);
            let wanted = before >= SKIP.load(Ordering::Relaxed) && WANTED.swap(false, Ordering::Relaxed);
            let each = before < EACH.load(Ordering::Relaxed);
            if wanted || each {
                let room = slot.bounds.as_ref().filter(|_| Noted::has_room(!wanted));
                let stack = room.and_then(Noted::here);
                let now = clock::now();
                if wanted {
                    user_spans::note(slot, now, task);
                }
                slot.note(now, What::SelfWake { task, woke, stack });
            }
        }
        _ if !woke => {}
        Some(_) => drop(OTHERS.fetch_add(1, Ordering::Relaxed)),
        None => drop(OUTSIDE.fetch_add(1, Ordering::Relaxed)),
    }
}

/// The window is half over: whatever own wake comes next is worth its stack. A task may be polled less often now than in
/// the window before, which was all there was to go by.
pub(crate) fn hurry() {
    SKIP.store(0, Ordering::Relaxed);
}

fn per_second(polls: u64, time: Nanos) -> u64 {
    polls.saturating_mul(1_000_000_000) / time.max(1)
}

/// What a task did in a window.
#[derive(Default)]
struct Polled {
    polls: u64,
    busy: Nanos,
    /// The longest of them.
    max: Nanos,
    /// The window without what its thread was kept off the CPU.
    given: Nanos,
}

impl Polled {
    fn is_tiny(&self) -> bool {
        // One of them may have been interrupted.
        self.busy.saturating_sub(self.max) / self.polls.saturating_sub(1).max(1) <= TINY
    }

    fn is_often(&self, window: Nanos) -> bool {
        per_second(self.polls, window) >= LEAST && per_second(self.polls, self.given) >= RATE
    }

    /// Whether its thread was kept off the CPU for half of the window.
    fn is_kept_off(&self, window: Nanos) -> bool {
        self.given <= window / 2
    }
}

/// Who is worth a look, and how often each was polled.
fn suspects(polled: &BTreeMap<TaskId, Polled>, window: Nanos) -> Vec<(TaskId, &Polled)> {
    let tiny = || polled.iter().filter(|(_, one)| one.polls >= FEW && one.is_tiny());
    let most = tiny().map(|(_, one)| one.polls).max().unwrap_or(0);
    let worth = |one: &Polled| one.is_often(window) || (one.is_kept_off(window) && one.polls >= most / 2);
    tiny().filter(|(_, one)| worth(one)).map(|(&task, one)| (task, one)).collect()
}

/// The drain's side: chooses whom to look at, and tells what was seen.
#[derive(Default)]
pub(crate) struct Suspects {
    armed: TaskId,
    seen: Option<(bool, Option<Noted>)>,
    /// In this window.
    polled: BTreeMap<TaskId, Polled>,
}

impl Suspects {
    /// The stack of one of the suspect's own wakes has come.
    pub(crate) fn seen(&mut self, task: TaskId, woke: bool, stack: Option<Noted>) {
        if task == self.armed {
            self.seen = Some((woke, stack));
        }
    }

    /// A task was polled in the window that ends, on a thread that was not kept off the CPU for so much of it.
    pub(crate) fn polled(&mut self, entry: &Entry, given: Nanos) {
        // Few tasks reach this: a window of a busy service must not cost a map of all its tasks.
        if entry.polls >= FEW || entry.task == self.armed {
            let sum = self.polled.entry(entry.task).or_default();
            *sum = Polled {
                polls: sum.polls + entry.polls,
                busy: sum.busy + entry.busy,
                max: sum.max.max(entry.max),
                given: sum.given.max(given),
            };
        }
    }

    /// The window ends: what was seen of the suspect, and the next one in turn; there is nothing to see without `tracing`.
    pub(crate) fn turn(
        &mut self,
        from: Nanos,
        now: Nanos,
        tracing: bool,
        unwinder: &mut Unwinder,
    ) -> Option<SelfWakes> {
        let polled = std::mem::take(&mut self.polled);
        let task = std::mem::take(&mut self.armed);
        SUSPECT.store(0, Ordering::Relaxed);
        let [own, others, outside] = [&OWN, &OTHERS, &OUTSIDE].map(|count| count.swap(0, Ordering::Relaxed));
        let (woke, stack) = self.seen.take().unwrap_or_default();
        let stack = stack.map(|stack| unwinder.unwind(&stack)).unwrap_or_default();
        let polls = polled.get(&task).map_or(0, |sum| sum.polls);
        let event = (task != 0 && polls > 0).then_some(SelfWakes {
            at: now,
            task,
            from,
            polls,
            own,
            others,
            outside,
            woke,
            stack,
        });
        if tracing {
            let window = now.saturating_sub(from);
            let suspects = suspects(&polled, window);
            let next = suspects.iter().find(|(next, _)| *next > task).or(suspects.first());
            if let Some(&(next, polled)) = next {
                self.armed = next;
                SKIP.store(now % (polled.polls / 4).max(1), Ordering::Relaxed);
                EACH.store(if polled.is_kept_off(window) { SELF_WAKES_COPIED } else { 0 }, Ordering::Relaxed);
                WANTED.store(true, Ordering::Relaxed);
                SUSPECT.store(next, Ordering::Release);
            }
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Nanos = 100_000_000;

    /// The tasks worth a look among these: polls, mean length, and the part of the window their thread was given.
    fn worth(polled: &[(u64, Nanos, Nanos)]) -> Vec<TaskId> {
        let of = |&(polls, mean, given): &(u64, Nanos, Nanos)| Polled { polls, busy: polls * mean, max: mean, given };
        suspects(&(1..).zip(polled.iter().map(of)).collect(), WINDOW).into_iter().map(|(task, _)| task).collect()
    }

    #[test]
    fn a_task_is_worth_a_look_by_the_time_its_thread_was_given() {
        assert_eq!(worth(&[(200, 800, WINDOW), (199, 800, WINDOW), (5000, 60_000, WINDOW)]), [1]);
        // Kept off for much of the window.
        assert_eq!(worth(&[(120, 800, WINDOW * 6 / 10)]), [1]);
        assert!(worth(&[(99, 800, WINDOW * 6 / 10)]).is_empty());
        // And for more than half of it: who is polled as often as anybody.
        assert_eq!(worth(&[(30, 800, WINDOW / 5), (16, 800, WINDOW / 5), (14, 800, WINDOW / 5)]), [1, 2]);
        assert!(worth(&[(2, 800, WINDOW / 5)]).is_empty());
    }

    #[test]
    fn an_interrupted_poll_hides_nobody() {
        let one = Polled { polls: 30, busy: 29 * 800 + 20_000_000, max: 20_000_000, given: WINDOW / 5 };
        assert!(one.is_tiny());
    }
}

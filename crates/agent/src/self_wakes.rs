//! Who wakes a task that is polled very often. Polls of a microsecond leave no stack for the watchdog; but a task that
//! wakes itself does so on a thread that stands, at that moment, in the line that is to blame. One task at a time is
//! looked at, for one window of the drain's.

#[cfg(feature = "tracing")]
use crate::{
    clock,
    raw::{Noted, What},
    slots,
    stack::capture_here,
    trace::user_spans,
};
use pollscope_recording::{Nanos, SelfWakes, TaskId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Polls a second from which a task is worth a look.
const RATE: u64 = 2_000;
/// Longer polls than this on average do work.
const TINY: Nanos = 50_000;

static SUSPECT: AtomicU64 = AtomicU64::new(0);
static OWN: AtomicU64 = AtomicU64::new(0);
static OTHERS: AtomicU64 = AtomicU64::new(0);
static OUTSIDE: AtomicU64 = AtomicU64::new(0);
/// Own wakes to let pass before the one whose stack is taken: a look should not always meet the first.
static SKIP: AtomicU64 = AtomicU64::new(0);
static WANTED: AtomicBool = AtomicBool::new(false);

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
            if before >= SKIP.load(Ordering::Relaxed) && WANTED.swap(false, Ordering::Relaxed) {
                let stack =
                    slot.bounds.as_ref().filter(|_| Noted::has_room(false)).and_then(capture_here).map(Noted::new);
                let now = clock::now();
                user_spans::note(slot, now, task);
                slot.note(now, What::SelfWake { task, woke, stack });
            }
        }
        _ if !woke => {}
        Some(_) => drop(OTHERS.fetch_add(1, Ordering::Relaxed)),
        None => drop(OUTSIDE.fetch_add(1, Ordering::Relaxed)),
    }
}

/// The drain's side: chooses whom to look at, and tells what was seen.
#[derive(Default)]
pub(crate) struct Suspects {
    armed: TaskId,
    seen: Option<(bool, Vec<u64>)>,
    /// Polls and their time in this window, of every task.
    polled: BTreeMap<TaskId, (u64, Nanos)>,
}

impl Suspects {
    /// The stack of one of the suspect's own wakes has come.
    pub(crate) fn seen(&mut self, task: TaskId, woke: bool, stack: Vec<u64>) {
        if task == self.armed {
            self.seen = Some((woke, stack));
        }
    }

    /// A task was polled in the window that ends.
    pub(crate) fn polled(&mut self, task: TaskId, polls: u64, busy: Nanos) {
        // Few tasks reach this: a window of a busy service must not cost a map of all its tasks.
        if polls >= RATE / 100 || task == self.armed {
            let sum = self.polled.entry(task).or_default();
            *sum = (sum.0 + polls, sum.1 + busy);
        }
    }

    /// The window ends: what was seen of the suspect, and the next one in turn; there is nothing to see without `tracing`.
    pub(crate) fn turn(&mut self, from: Nanos, now: Nanos, tracing: bool) -> Option<SelfWakes> {
        let polled = std::mem::take(&mut self.polled);
        let task = std::mem::take(&mut self.armed);
        SUSPECT.store(0, Ordering::Relaxed);
        let [own, others, outside] = [&OWN, &OTHERS, &OUTSIDE].map(|count| count.swap(0, Ordering::Relaxed));
        let (woke, stack) = self.seen.take().unwrap_or_default();
        let polls = polled.get(&task).map_or(0, |sum| sum.0);
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
            let window = now.saturating_sub(from).max(1);
            let often = |polls: u64| polls.saturating_mul(1_000_000_000) / window >= RATE;
            let suspects = polled.iter().filter(|(_, (polls, busy))| often(*polls) && busy / polls <= TINY);
            let suspects: Vec<(TaskId, u64)> = suspects.map(|(&task, &(polls, _))| (task, polls)).collect();
            let next = suspects.iter().find(|(next, _)| *next > task).or(suspects.first());
            if let Some(&(next, polls)) = next {
                self.armed = next;
                SKIP.store(now % (polls / 4).max(1), Ordering::Relaxed);
                WANTED.store(true, Ordering::Relaxed);
                SUSPECT.store(next, Ordering::Release);
            }
        }
        event
    }
}

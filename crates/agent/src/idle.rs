//! Where tasks await what tokio does not trace: channels, notifications, handles of tasks, sockets. Each of these clones
//! the waker of the task to be told of later, and at that moment the await stack is on the thread.
//!
//! Nobody knows which clone is the last before a task stands still, so the stack is copied at each, up to the poll's own
//! frame only, into a buffer of the thread's. At the end of the poll the buffer changes places with the task's. The drain
//! takes what has lain there for long; only then is anything unwound and written.

use crate::foreign;
use crate::session::Session;
use crate::slots::{self, Slot};
use crate::stack::{Look, RawStack, ThreadBounds, Unwinder, look_here};
use pollscope_recording::{Event, Foreign, Idle, Nanos, ROOT_TASK_BIT, TaskId};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A task that nobody polled for this long is idle: it is told where it awaits.
const LONG: Nanos = 1_000_000_000;
/// Stacks kept of one poll: a `select!` of more is told in part.
const MOST_LOOKS: usize = 4;
/// Bytes copied of one stack. The line wanted is that of the innermost frame of the program's own.
const MOST_BYTES: usize = 16 * 1024;
/// Bytes held for all tasks together; beyond that, tasks newly idle are told without a place.
const MOST_HELD: usize = 12 << 20;
/// Frames of the caller that lie above the address noted at the start of a poll.
const ABOVE: u64 = 1024;
/// Stacks unwound in one turn of the drain.
const MOST_UNWOUND: usize = 64;
/// One turn of the drain looks at every so many-th shard.
const ROUNDS: usize = 4;
const SHARDS: usize = 64;

/// The stacks on which a task handed out its waker in its last poll that did.
#[derive(Default)]
struct Capture {
    /// When that poll ended.
    registered: Nanos,
    /// When the last poll known ended: a later one in which no waker was handed out, and none is left.
    since: Nanos,
    bytes: Vec<u8>,
    looks: Vec<Look>,
}

impl Capture {
    fn clear(&mut self) {
        self.bytes.clear();
        self.looks.clear();
    }

    fn keep_last(&mut self, most: usize) {
        while self.looks.len() > most {
            let gone = self.looks.remove(0).length;
            self.bytes.drain(..gone);
        }
    }

    fn size(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A poll that is open on this thread.
#[derive(Default)]
struct OpenPoll {
    /// Where the stack ends that belongs to it.
    high: u64,
    capture: Capture,
}

thread_local! {
    /// One for each depth of nesting.
    static OPEN: RefCell<Vec<OpenPoll>> = const { RefCell::new(Vec::new()) };
}

static KNOWN: [Mutex<Option<FxHashMap<TaskId, Capture>>>; SHARDS] = [const { Mutex::new(None) }; SHARDS];
static HELD: AtomicUsize = AtomicUsize::new(0);
/// The wakers of tasks tell of themselves: without that, none handed out means nothing. Those of root futures always do.
static TOLD: AtomicBool = AtomicBool::new(false);
/// Wakes by threads that work for no runtime.
static FOREIGN: AtomicU64 = AtomicU64::new(0);

fn shard(task: TaskId) -> &'static Mutex<Option<FxHashMap<TaskId, Capture>>> {
    &KNOWN[task as usize % SHARDS]
}

fn locked(task: TaskId) -> MutexGuard<'static, Option<FxHashMap<TaskId, Capture>>> {
    shard(task).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wakers of tasks. Tasks whose numbers share a place share its sums, so a task may be taken to have a waker it has
/// not, and never the other way round.
struct Place {
    wakers: AtomicI64,
    woken: AtomicU64,
}

const PLACES: usize = 1 << 15;
static PLACE: [Place; PLACES] = [const { Place { wakers: AtomicI64::new(0), woken: AtomicU64::new(0) } }; PLACES];

fn place(task: TaskId) -> &'static Place {
    &PLACE[task as usize % PLACES]
}

/// A poll begins at this depth of nesting, in the frame at this address.
#[inline]
pub(crate) fn poll_started(depth: usize, frame: u64) {
    let _ = OPEN.try_with(|open| {
        let Ok(mut open) = open.try_borrow_mut() else { return };
        if open.len() <= depth {
            open.resize_with(depth + 1, OpenPoll::default);
        }
        open[depth].high = frame.saturating_add(ABOVE);
        open[depth].capture.clear();
    });
}

/// This thread's stack up to the frame of its innermost open poll: whose await stack is wanted needs no more of it.
pub(crate) fn within_poll(slot: &Slot) -> Option<ThreadBounds> {
    let mut bounds = slot.bounds?;
    if let Some(depth) = slot.depth().checked_sub(1) {
        let high = OPEN.try_with(|open| open.try_borrow().ok()?.get(depth).map(|open| open.high));
        bounds.end_at(high.ok().flatten().unwrap_or(u64::MAX));
    }
    Some(bounds)
}

/// The waker of a task was cloned, perhaps by what the task is about to await.
#[inline]
pub(crate) fn cloned(task: TaskId) {
    place(task).wakers.fetch_add(1, Ordering::Relaxed);
    if task & ROOT_TASK_BIT == 0 && !TOLD.load(Ordering::Relaxed) {
        TOLD.store(true, Ordering::Relaxed);
    }
    let Some(slot) = slots::current() else { return };
    let Some(depth) = slot.open_depth(task) else { return };
    let Some(bounds) = &slot.bounds else { return };
    let _ = OPEN.try_with(|open| {
        let Ok(mut open) = open.try_borrow_mut() else { return };
        let Some(open) = open.get_mut(depth) else { return };
        // The last ones count: what a poll went past on its way it no longer awaits.
        open.capture.keep_last(MOST_LOOKS - 1);
        let high = open.high.min(bounds.high());
        open.capture.looks.extend(look_here(high, MOST_BYTES, &mut open.capture.bytes));
    });
}

/// A waker of a task is gone: dropped, or used up by a wake.
#[inline]
pub(crate) fn dropped(task: TaskId) {
    place(task).wakers.fetch_sub(1, Ordering::Relaxed);
}

/// A task was woken.
#[inline]
pub(crate) fn woken(task: TaskId, now: Nanos) {
    place(task).woken.store(now, Ordering::Relaxed);
    if slots::is_foreign() {
        FOREIGN.fetch_add(1, Ordering::Relaxed);
    }
}

/// The poll of a task ends at this depth. `ended` says that the task did, too.
#[inline]
pub(crate) fn poll_ended(depth: usize, task: TaskId, since: Nanos, now: Nanos, ended: bool) {
    let _ = OPEN.try_with(|open| {
        let Ok(mut open) = open.try_borrow_mut() else { return };
        let Some(capture) = open.get_mut(depth).map(|open| &mut open.capture) else { return };
        if ended {
            capture.clear();
        } else if !capture.looks.is_empty() {
            // A timer takes a waker also when it has fired. What the poll went on from has given its waker back, so the
            // last ones are those that are still awaited, as many as there are wakers.
            let wakers = usize::try_from(place(task).wakers.load(Ordering::Relaxed)).unwrap_or(0).max(1);
            capture.keep_last(wakers);
            (capture.registered, capture.since) = (now, now);
            keep(task, capture);
        } else if (TOLD.load(Ordering::Relaxed) || task & ROOT_TASK_BIT != 0) && nobody_wakes(task, since) {
            forgotten(task, now);
        }
    });
}

/// Whether no waker of the task is left, and it was not woken since either.
fn nobody_wakes(task: TaskId, since: Nanos) -> bool {
    let place = place(task);
    place.wakers.load(Ordering::Relaxed) == 0 && place.woken.load(Ordering::Relaxed) < since
}

fn keep(task: TaskId, capture: &mut Capture) {
    // The drain holds a shard for a moment; a worker does not wait for it. The place is then unknown until the next poll.
    let mut shard = match shard(task).try_lock() {
        Ok(shard) => shard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    let known = shard.get_or_insert_default();
    match known.get_mut(&task) {
        Some(before) => std::mem::swap(before, capture),
        None if HELD.load(Ordering::Relaxed) > MOST_HELD => {}
        None => {
            let new = std::mem::take(capture);
            HELD.fetch_add(new.size(), Ordering::Relaxed);
            known.insert(task, new);
        }
    }
}

/// A poll ended, the task did not, and nothing is left that could wake it.
#[cold]
fn forgotten(task: TaskId, now: Nanos) {
    if let Ok(mut shard) = shard(task).try_lock() {
        shard.get_or_insert_default().entry(task).or_default().since = now;
    }
}

/// A task is no more.
pub(crate) fn task_ended(task: TaskId) {
    if let Some(gone) = locked(task).as_mut().and_then(|known| known.remove(&task)) {
        HELD.fetch_sub(gone.size().min(HELD.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}

/// The drain's side: what has lain for long is told, once.
#[derive(Default)]
pub(crate) struct IdleTasks {
    round: usize,
    /// Threads that work for no runtime, and their wakes, as last told.
    foreign: Option<(u64, u64)>,
}

impl IdleTasks {
    /// Who else might wake a task, if that has changed.
    pub(crate) fn foreign(&mut self, session: &Session, at: Nanos) -> Option<Foreign> {
        let (threads, wakes) = (foreign::threads(session)?, FOREIGN.load(Ordering::Relaxed));
        let changed = self.foreign.replace((threads, wakes)) != Some((threads, wakes));
        changed.then_some(Foreign { at, threads, wakes })
    }

    /// Tasks idle for long; `last` looks at all of them.
    pub(crate) fn ripe(&mut self, now: Nanos, last: bool, unwinder: &mut Unwinder) -> Vec<Event> {
        let mut events = Vec::new();
        let mut left = if last { usize::MAX } else { MOST_UNWOUND };
        self.round = (self.round + 1) % ROUNDS;
        for (index, shard) in KNOWN.iter().enumerate() {
            if left == 0 || (!last && index % ROUNDS != self.round) {
                continue;
            }
            let taken: Vec<(TaskId, Capture)> = {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(known) = shard.as_mut() else { continue };
                let ripe = known.extract_if(|_, capture| {
                    let ripe = left > 0 && now.saturating_sub(capture.since) >= LONG;
                    left = left.saturating_sub(capture.looks.len().max(1) * usize::from(ripe));
                    ripe
                });
                ripe.collect()
            };
            for (task, capture) in taken {
                HELD.fetch_sub(capture.size().min(HELD.load(Ordering::Relaxed)), Ordering::Relaxed);
                tell(task, capture, now, unwinder, &mut events);
            }
        }
        events
    }
}

fn tell(task: TaskId, capture: Capture, at: Nanos, unwinder: &mut Unwinder, events: &mut Vec<Event>) {
    let (since, registered) = (capture.since, capture.registered);
    let place = place(task);
    let wakers = u64::try_from(place.wakers.load(Ordering::Relaxed)).unwrap_or(0);
    let woken = place.woken.load(Ordering::Relaxed) >= since;
    let mut from = 0;
    let mut stacks: Vec<Vec<u64>> = Vec::new();
    for look in &capture.looks {
        let bytes = capture.bytes.get(from..from + look.length).unwrap_or_default().to_vec();
        from += look.length;
        let stack = unwinder.unwind(&RawStack::new(look, bytes));
        if !stacks.contains(&stack) {
            stacks.push(stack);
        }
    }
    if stacks.is_empty() {
        stacks.push(Vec::new());
    }
    events.extend(
        stacks.into_iter().map(|stack| Event::from(Idle { at, task, since, registered, wakers, woken, stack })),
    );
}

//! One slot a thread: the open-poll table, the summary and the ring. A slot is made on its thread's first event and found
//! by the watchdog and the drain through one list. It is freed once its thread has ended and the drain has its last
//! words: a program may start and end threads all day.

use crate::clock;
use crate::drain;
#[cfg(feature = "tracing")]
use crate::idle;
use crate::lent::Lent;
use crate::open_polls::{Open, OpenPolls};
use crate::raw::{Raw, What};
use crate::ring::Ring;
use crate::session;
use crate::stack::ThreadBounds;
use crate::table::{Entry, Table};
#[cfg(feature = "tracing")]
use crate::trace::{Span, user_spans::SpanStack};
use pollscope_recording::{Nanos, TaskId};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

/// The bounds of what is notable in the level `summary`; in `full` all is.
const NOTABLE: Nanos = 1_000_000;
const LATE: Nanos = 5_000_000;

pub(crate) struct Slot {
    pub(crate) tid: i32,
    #[cfg(tokio_unstable)]
    pub(crate) thread: std::thread::ThreadId,
    /// `None` where the thread's stack cannot be told: then it gets no stack.
    pub(crate) bounds: Option<ThreadBounds>,
    pub(crate) name: String,
    pub(crate) runtime: AtomicU64,
    pub(crate) role: AtomicU32,
    pub(crate) ended: AtomicBool,
    open: OpenPolls,
    /// The task of the innermost open poll has ended in it.
    ending: AtomicBool,
    /// The program's own spans.
    #[cfg(feature = "tracing")]
    pub(crate) spans: SpanStack,
    /// Set by the watchdog: the start of the poll at whose end the owner notes its CPU clock; 0 for none. Only that one's,
    /// since the kernel takes longer to tell it than a short poll lasts.
    pub(crate) watched: AtomicU64,
    /// End of the last watched poll, and the thread's CPU clock then.
    pub(crate) watched_end: AtomicU64,
    pub(crate) watched_cpu: AtomicU64,
    table: Lent<Table>,
    ring: Ring<Raw>,
    pub(crate) polls: AtomicU64,
    /// Polls at least this long, and those this late, are written one by one.
    notable: Nanos,
    late: Nanos,
}

pub(crate) const ROLE_OTHER: u32 = 0;
pub(crate) const ROLE_WORKER: u32 = 1;
pub(crate) const ROLE_MAIN: u32 = 2;

thread_local! {
    static CURRENT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    static OWNED: RefCell<Option<Owned>> = const { RefCell::new(None) };
    static RUNTIME: Cell<u64> = const { Cell::new(0) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A thread's hold on its slot, given up when the thread ends.
struct Owned(Arc<Slot>);

impl Drop for Owned {
    fn drop(&mut self) {
        CURRENT.with(|cell| cell.set(None));
        self.0.ended.store(true, Ordering::Release);
    }
}

/// Notes which runtime this thread works for. A thread that does nothing else, as those of the blocking pool, costs no
/// slot.
pub(crate) fn works_for(runtime: u64) {
    RUNTIME.set(runtime);
    if let Some(slot) = CURRENT.get() {
        slot.runtime.store(runtime, Ordering::Relaxed);
    }
}

/// Runs `body` unseen: what the agent itself does on this thread is not the program's.
pub(crate) fn quietly<T>(body: impl FnOnce() -> T) -> T {
    let before = set_quiet(true);
    let out = body();
    set_quiet(before);
    out
}

/// Sets whether this thread is unseen; the result is what it was.
pub(crate) fn set_quiet(quiet: bool) -> bool {
    QUIET.try_with(|cell| cell.replace(quiet)).unwrap_or(true)
}

/// Whether this thread is unseen at the moment (also while its thread-locals are being destroyed).
pub(crate) fn is_quiet() -> bool {
    QUIET.try_with(Cell::get).unwrap_or(true)
}

/// Whether this thread works for no runtime.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn is_foreign() -> bool {
    RUNTIME.get() == 0 && CURRENT.get().is_none_or(|slot| slot.runtime.load(Ordering::Relaxed) == 0)
}

/// The slot of this thread, made on first use. `None` without a session and at the thread's very end. It is good for as
/// long as the caller's own frame: the thread keeps it until its last frame is gone.
#[inline]
pub(crate) fn current() -> Option<&'static Slot> {
    CURRENT.try_with(|cell| cell.get().or_else(|| make(cell))).ok().flatten()
}

/// The slot of this thread, if it has one.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn known() -> Option<&'static Slot> {
    CURRENT.try_with(Cell::get).ok().flatten()
}

#[cold]
fn make(cell: &Cell<Option<&'static Slot>>) -> Option<&'static Slot> {
    let session = session::get()?;
    // SAFETY: the call takes no arguments and cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    let is_main = tid as u32 == std::process::id();
    let slot = Arc::new(Slot {
        tid,
        #[cfg(tokio_unstable)]
        thread: std::thread::current().id(),
        bounds: ThreadBounds::current(),
        name: std::thread::current().name().unwrap_or("").to_owned(),
        runtime: AtomicU64::new(RUNTIME.get()),
        role: AtomicU32::new(if is_main { ROLE_MAIN } else { ROLE_OTHER }),
        ended: AtomicBool::new(false),
        open: OpenPolls::default(),
        ending: AtomicBool::new(false),
        #[cfg(feature = "tracing")]
        spans: SpanStack::default(),
        watched: AtomicU64::new(0),
        watched_end: AtomicU64::new(0),
        watched_cpu: AtomicU64::new(0),
        table: Lent::new(Table::new()),
        ring: Ring::new(),
        polls: AtomicU64::new(0),
        notable: if session.full { 0 } else { NOTABLE },
        late: if session.full { 0 } else { LATE },
    });
    let shared = slot.clone();
    // SAFETY: the slot lives for as long as this thread's `OWNED`, whose end takes the reference out of `CURRENT`; it
    // runs below all frames of the thread that could have kept a copy.
    let current: &'static Slot = unsafe { &*Arc::as_ptr(&slot) };
    // At the thread's very end there is nothing left to hold it.
    OWNED.try_with(|owned| owned.replace(Some(Owned(slot)))).ok()?;
    session.slots.lock().unwrap_or_else(PoisonError::into_inner).push(shared);
    cell.set(Some(current));
    Some(current)
}

impl Slot {
    /// Notes an event of this thread.
    #[inline]
    pub(crate) fn note(&self, at: Nanos, what: What) {
        // SAFETY: slots are reached through `current()` by their own thread only, and the drain and the watchdog never
        // push.
        if unsafe { self.ring.push(Raw { at, what }) } {
            drain::call();
        }
    }

    /// A poll begins; `woken` is when its task was woken, if known, `hooks` the runtime whose hooks tell of it.
    #[inline]
    pub(crate) fn poll_start(&self, task: TaskId, woken: Option<Nanos>, hooks: u64) {
        let now = clock::now();
        self.open.enter(|open| {
            open.task.store(task, Ordering::Relaxed);
            open.since.store(now, Ordering::Relaxed);
            open.hooks.store(hooks, Ordering::Relaxed);
            #[cfg(feature = "tracing")]
            open.spans.store(self.spans.depth(), Ordering::Relaxed);
        });
        #[cfg(feature = "tracing")]
        idle::poll_started(self.open.depth() - 1, std::ptr::from_ref(&now) as u64);
        if let Some(delay) = woken.and_then(|woken| now.checked_sub(woken)).filter(|delay| *delay >= self.late) {
            self.note(now, What::Delay { task, delay });
        }
    }

    /// The innermost open poll ends.
    #[inline]
    pub(crate) fn poll_end(&self) {
        let depth = self.open.depth();
        if depth == 0 {
            return;
        }
        let now = clock::now();
        if let Some(open) = self.open.at(depth - 1) {
            let (task, since) = (open.task.load(Ordering::Relaxed), open.since.load(Ordering::Relaxed));
            let duration = now.saturating_sub(since);
            if self.watched.load(Ordering::Acquire) == since {
                self.watched_cpu.store(clock::own_cpu(), Ordering::Relaxed);
                self.watched_end.store(now, Ordering::Release);
            }
            self.polls.store(self.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let count = |table: &mut Table| {
                table.add(task, since, duration, |entry| self.pushed_out(now, entry));
            };
            // SAFETY: slots are reached through `current()` by their own thread only; to push out ends no poll.
            let counted = unsafe { self.table.using(count) }.is_some();
            // The drain has the table for the time of a swap; then the poll is written alone.
            if !counted || duration >= self.notable {
                self.note(since, What::Poll { task, duration });
            }
            #[cfg(feature = "tracing")]
            idle::poll_ended(depth - 1, task, since, now, self.ending.load(Ordering::Relaxed));
            self.ending.store(false, Ordering::Relaxed);
        }
        self.open.leave();
    }

    /// A sum that found its place taken by another task goes to the drain at once. Of most it is a single poll.
    fn pushed_out(&self, at: Nanos, entry: &Entry) {
        let (task, since, duration) = (entry.task, entry.last, entry.max);
        self.note(
            at,
            match entry.polls {
                1 => What::PolledOnce { task, since, duration },
                _ => What::Polled(Box::new(*entry)),
            },
        );
    }

    /// `task` has come to its end, perhaps in the innermost open poll; for the owner only.
    #[inline]
    pub(crate) fn ending_of(&self, task: TaskId) {
        if self.current_task() == Some(task) {
            self.ending.store(true, Ordering::Relaxed);
        }
    }

    /// How deep the open polls are nested; for the owner only.
    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.open.depth()
    }

    /// At which depth of nesting `task` is being polled, if it is the innermost; for the owner only.
    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn open_depth(&self, task: TaskId) -> Option<usize> {
        let depth = self.open.depth().checked_sub(1)?;
        (self.open.at(depth)?.task.load(Ordering::Relaxed) == task).then_some(depth)
    }

    /// Forgets the innermost open poll, whose end was never told.
    #[cold]
    pub(crate) fn poll_lost(&self) {
        self.open.leave();
    }

    /// The task being polled on this thread, innermost first; for the owner only.
    #[inline]
    pub(crate) fn current_task(&self) -> Option<TaskId> {
        Some(self.open.innermost()?.task.load(Ordering::Relaxed))
    }

    /// Whether the innermost open poll was opened by this runtime's hooks; for the owner only.
    #[inline]
    pub(crate) fn is_polling_for(&self, runtime: u64) -> bool {
        self.open.innermost().is_some_and(|open| open.hooks.load(Ordering::Relaxed) == runtime)
    }

    /// The innermost open poll, seen from another thread; `None` also when it changes at this moment.
    pub(crate) fn open_poll(&self) -> Option<Open> {
        self.open.seen()
    }

    /// The innermost of the program's spans that was entered in the open poll.
    #[cfg(feature = "tracing")]
    pub(crate) fn span_of_poll(&self) -> Option<Span> {
        self.spans.innermost(self.open.innermost()?.spans.load(Ordering::Relaxed))
    }

    /// Takes what was noted, until `each` has enough; for the drain only.
    pub(crate) fn take(&self, each: impl FnMut(Raw) -> bool) {
        // SAFETY: only the drain calls this, and there is one.
        unsafe { self.ring.drain(each) };
    }

    /// Takes the summary; for the drain only. `spare` comes back with it and must be empty.
    pub(crate) fn swap_table(&self, spare: &mut Table) {
        // SAFETY: only the drain calls this, and there is one.
        unsafe { self.table.borrowed(|table| std::mem::swap(table, spare)) };
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.ring.dropped()
    }
}

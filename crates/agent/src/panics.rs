//! Panics of tasks. The runtime catches them and keeps them in the `JoinHandle`; whether anybody looks there is told by
//! what follows: whoever awaits the handle is woken between the end of the unwinding and the end of the task.

use crate::clock;
use crate::open_polls::Open;
use crate::raw::{Noted, What};
use crate::slots::{self, Slot};
use pollscope_recording::{ROOT_TASK_BIT, TaskId};
use std::cell::Cell;
use std::panic::{Location, PanicHookInfo};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A panic under way on this thread.
#[derive(Clone, Copy)]
struct Pending {
    task: TaskId,
    /// The poll it was raised in; `None` in a closure of the blocking pool.
    poll: Option<Open>,
    /// It has left the program's code: nothing of the program's own caught it.
    escaped: bool,
}

thread_local! {
    static PENDING: Cell<Option<Pending>> = const { Cell::new(None) };
    /// The task whose poll was left last, and whether another was woken since.
    static LEFT: Cell<(TaskId, bool)> = const { Cell::new((0, false)) };
}

fn pending() -> Option<Pending> {
    PENDING.try_with(Cell::get).ok().flatten()
}

fn set(pending: Option<Pending>) {
    // At the thread's very end there is nothing left to note.
    let _ = PENDING.try_with(|cell| cell.set(pending));
}

/// Puts our hook before the program's: it notes, and then does what was done before, once. A hook that the program
/// sets later replaces both, unless it calls the one it found.
pub(crate) fn install() {
    if std::thread::panicking() {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        note(info);
        before(info);
    }));
}

fn note(info: &PanicHookInfo<'_>) {
    if slots::is_quiet() {
        return;
    }
    let Some(slot) = slots::current() else { return };
    let task = current_task(slot);
    // A panic of the root future or of a thread ends what everybody sees: only tasks can vanish unseen.
    if task == 0 || task & ROOT_TASK_BIT != 0 {
        return;
    }
    set(Some(Pending { task, poll: slot.open_poll(), escaped: false }));
    let place = info.location().map(|at| (at.file().into(), at.line(), at.column()));
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("");
    let stack = slot.bounds.as_ref().filter(|_| Noted::has_room(false)).and_then(Noted::here);
    let now = clock::now();
    #[cfg(feature = "tracing")]
    crate::trace::user_spans::note(slot, now, task);
    slot.note(now, What::Panic { task, place, message, stack });
}

#[cfg(feature = "tracing")]
fn current_task(_: &Slot) -> TaskId {
    crate::trace::current_task()
}

#[cfg(not(feature = "tracing"))]
fn current_task(slot: &Slot) -> TaskId {
    slot.current_task().unwrap_or(0)
}

/// The span of a task is left while the thread unwinds.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn escapes(task: TaskId) {
    if let Some(pending) = pending().filter(|pending| pending.task == task) {
        set(Some(Pending { escaped: true, ..pending }));
    }
}

/// A task is left by its poll: what is woken from here to its end are those that await it. What the dropped parts of a
/// future wake, they wake inside of its span.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn left(task: TaskId) {
    let _ = LEFT.try_with(|left| left.set((task, false)));
}

/// A task is entered.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn entered() {
    let _ = LEFT.try_with(|left| left.set((0, false)));
}

/// A task is woken.
#[inline]
pub(crate) fn woken(task: TaskId) {
    let _ = LEFT.try_with(|left| {
        let (ending, _) = left.get();
        if ending != 0 && ending != task && !std::thread::panicking() {
            left.set((ending, true));
        }
    });
}

/// A task has ended on this thread; `spawned` is where it was spawned.
#[cfg_attr(not(tokio_unstable), expect(dead_code, reason = "only the runtime's hooks tell of a task's end"))]
#[inline]
pub(crate) fn task_ended(slot: &Slot, task: TaskId, spawned: &'static Location<'static>) {
    let (left, woke) = LEFT.try_with(Cell::get).unwrap_or_default();
    let awaited = left == task && woke;
    if awaited && first_awaited(spawned) {
        slot.note(clock::now(), What::Awaited { task });
    }
    let Some(pending) = pending().filter(|pending| pending.task == task) else { return };
    set(None);
    // Without spans nothing tells whether the program caught the panic; a task that ended in that same poll rarely did.
    let caught = if tracing() { !pending.escaped } else { slot.open_poll() != pending.poll };
    if !caught {
        slot.note(clock::now(), What::PanicEnd { task, awaited });
    }
}

/// Whether this is the first task of its place that was awaited, as far as a small lossy table knows.
fn first_awaited(spawned: &'static Location<'static>) -> bool {
    static SEEN: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];
    let place = std::ptr::from_ref(spawned) as usize;
    SEEN[place / align_of::<usize>() % SEEN.len()].swap(place, Ordering::Relaxed) != place
}

fn tracing() -> bool {
    crate::session::get().is_some_and(|session| session.tracing && session.spans_seen.load(Ordering::Relaxed))
}

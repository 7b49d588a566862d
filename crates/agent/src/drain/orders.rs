//! In which order locks were taken, with the places where.

use super::locks::Locks;
use crate::raw::HeldLock;
use crate::stack::Unwinder;
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos, TaskId};

/// The events that say what was taken under a lock, and what locks these are.
pub(crate) fn told(at: Nanos, task: TaskId, held: &HeldLock, locks: &mut Locks, unwinder: &mut Unwinder) -> Vec<Event> {
    let mut events = Vec::new();
    let mut held_stack = None;
    for taken in &held.taken {
        events.extend([held.resource, taken.resource].into_iter().filter_map(|lock| locks.introduce(lock)));
        let taken_stack = taken.stack.as_ref().map(|stack| unwinder.unwind(&stack.0)).unwrap_or_default();
        let held_stack = match &held.stack {
            // The places of a pair are told together.
            Some(stack) if !taken_stack.is_empty() => {
                held_stack.get_or_insert_with(|| unwinder.unwind(&stack.0)).clone()
            }
            _ => Vec::new(),
        };
        let order = words::LockOrder {
            at,
            task,
            held: held.resource,
            held_shared: held.shared,
            since: held.since,
            taken: taken.resource,
            taken_shared: taken.shared,
            took: taken.at,
            beside: taken.beside.clone(),
            beside_shared: taken.beside_shared.clone(),
            held_stack,
            taken_stack,
        };
        events.push(order.into());
    }
    events
}

/// A task ended.
pub(crate) fn ended(task: TaskId) {
    #[cfg(feature = "tracing")]
    crate::trace::orders::ended(task);
    #[cfg(not(feature = "tracing"))]
    let _ = task;
}

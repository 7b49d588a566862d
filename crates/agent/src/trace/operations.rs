//! What is done to locks, semaphores and channels: who waits, who takes, who gives back.

use super::fields::Fields;
use super::orders;
use super::{
    CHANNEL, LOCK, OPERATION, OTHER_RESOURCE, PART_OF_LOCK, PART_OF_SEMAPHORE, SEMAPHORE, Span, alive, current_task,
    entered, innermost, user_spans,
};
use crate::clock;
use crate::idle;
use crate::raw::{Noted, What};
use crate::slots;
use pollscope_recording::{Nanos, ResourceId};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// An operation on a resource was polled.
pub(super) fn polled(fields: &Fields) {
    // The innermost resource tells whose poll this is; that of a part is told again by the whole.
    let (Some(resource), Some(operation)) = (innermost(Span::is_resource), innermost(|span| span.tag() == OPERATION))
    else {
        return;
    };
    let ready = fields.ready == Some(true);
    match resource.tag() {
        PART_OF_SEMAPHORE => {
            // The whole is ready too when its semaphore was closed; only what its part obtained was taken.
            let whole = operation.with(|part| part.whole.load(Ordering::Relaxed)).unwrap_or(operation.number());
            Span::new(OPERATION, whole).with(|whole| whole.obtained.store(ready.into(), Ordering::Relaxed));
            return;
        }
        LOCK | SEMAPHORE | CHANNEL | OTHER_RESOURCE => {}
        _ => return,
    }
    let Some(slot) = slots::current() else { return };
    if ready && resource.tag() == LOCK {
        orders::ready(resource.number());
    }
    let now = clock::now();
    let Some(before) = operation.with(|operation| {
        operation.polled.store(now, Ordering::Relaxed);
        if resource.tag() == SEMAPHORE {
            operation.semaphore.store(resource.number(), Ordering::Relaxed);
        }
        Before {
            waiting: operation.waiting.swap(!ready, Ordering::Relaxed),
            requested: operation.requested.load(Ordering::Relaxed),
            obtained: operation.obtained.load(Ordering::Relaxed),
            until: operation.until.load(Ordering::Relaxed),
        }
    }) else {
        return;
    };
    let name = alive::name(operation.number());
    let (wait, resource_id, task) = (operation.number(), resource.number(), current_task());
    if ready && resource.tag() == LOCK {
        // Who takes it is told next, and without this operation.
        LAST_READY.set((resource_id, name));
    }
    if ready && resource.tag() == SEMAPHORE && before.obtained > 0 {
        // Permits can be forgotten, and their takers end: then only this tells where they went.
        let bounds = slot.bounds.filter(|_| Noted::has_room(true) && is_sampled(resource_id, now));
        let stack = bounds.as_ref().and_then(Noted::here);
        let (permits, owned) = (before.requested.max(1), is_owned(name));
        slot.note(now, What::Acquired { resource: resource_id, task, permits, owned, stack });
        if is_single(resource) {
            orders::ready(resource_id);
            orders::taken(slot, resource_id, false, now);
        }
    }
    if before.waiting != ready {
        return;
    }
    if ready {
        slot.note(now, What::WaitEnd { wait, ready: true });
        return;
    }
    // The await stack of the user is on the thread right now, and nowhere later. What ends by itself needs none.
    let bounds = slot.bounds.filter(|_| resource.tag() != OTHER_RESOURCE).and_then(|_| idle::within_poll(slot));
    let stack = bounds.as_ref().filter(|_| Noted::has_room(false)).and_then(Noted::here);
    let operation = if resource.tag() == CHANNEL { "mpsc::Sender::send" } else { name };
    if let Some(spans) = bounds.and_then(|_| user_spans::of_poll(slot)) {
        slot.note(now, What::InSpans { task, wait, spans });
    }
    slot.note(now, What::Wait { wait, resource: resource_id, task, operation, until: before.until, stack });
}

/// An operation as it was until this poll of it.
struct Before {
    waiting: bool,
    requested: u64,
    obtained: u64,
    until: Nanos,
}

/// Whether a semaphore is used as a lock.
fn is_single(semaphore: Span) -> bool {
    semaphore.with(|semaphore| semaphore.capacity.load(Ordering::Relaxed)) == Some(1)
}

thread_local! {
    /// The operation on a lock that became ready last on this thread: the lock, and tokio's name of it.
    static LAST_READY: Cell<(ResourceId, &'static str)> = const { Cell::new((0, "")) };
}

/// Whether what an operation takes can be sent to another task. `acquire_many_owned` and the like end so.
fn is_owned(operation: &str) -> bool {
    operation.ends_with("_owned")
}

/// Stacks of takings are copied at this pace for a semaphore, and the first ones all.
const SAMPLE_EVERY: Nanos = 5_000_000;
const SAMPLES_AHEAD: Nanos = 128 * SAMPLE_EVERY;
/// Up to when the pace is used up, for the semaphores whose numbers share the entry.
static SAMPLED: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Whether the stack of this taking is to be copied.
fn is_sampled(resource: ResourceId, now: Nanos) -> bool {
    let entry = &SAMPLED[resource as usize % SAMPLED.len()];
    let used = entry.load(Ordering::Relaxed);
    let ahead = used.saturating_sub(now);
    // When takings come in pairs and only one can be told, it must not always be the first.
    let passes = now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1;
    if ahead >= SAMPLES_AHEAD || (ahead >= SAMPLES_AHEAD / 2 && passes) {
        return false;
    }
    let next = used.max(now) + SAMPLE_EVERY;
    entry.compare_exchange(used, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Permits were asked for, or given to an operation.
pub(super) fn permits(fields: &Fields) {
    let Some(operation) = innermost(|span| span.tag() == OPERATION) else { return };
    let Some(whole) = operation.with(|part| part.whole.load(Ordering::Relaxed)) else { return };
    let whole = Span::new(OPERATION, whole);
    if let Some(requested) = fields.permits_requested {
        for asking in [operation, whole] {
            asking.with(|asking| asking.requested.store(requested, Ordering::Relaxed));
        }
        return;
    }
    let Some(assigned) = fields.permits_obtained.filter(|permits| *permits > 0) else { return };
    if fields.permits_operation != "add" {
        return;
    }
    let Some((requested, obtained)) = operation.with(|part| {
        let before = part.obtained.fetch_add(assigned, Ordering::Relaxed);
        (part.requested.load(Ordering::Relaxed), before.wrapping_add(assigned))
    }) else {
        return;
    };
    // An operation takes for itself inside its own poll; from outside, somebody who gives back hands them over.
    let own = entered(|spans| {
        let last = spans.iter().rposition(|span| *span == operation);
        spans.last() != Some(&operation) || spans.iter().take(last.unwrap_or(0)).any(|span| *span == operation)
    });
    if own != Some(false) {
        return;
    }
    let Some(slot) = slots::current() else { return };
    let now = clock::now();
    let semaphore = whole.with(|whole| whole.semaphore.load(Ordering::Relaxed));
    if let Some(semaphore) = semaphore.filter(|semaphore| *semaphore != 0) {
        permit_released(slot, semaphore, now);
    }
    slot.note(now, What::HandedOver { wait: whole.number(), task: current_task(), permits: assigned });
    if obtained >= requested {
        slot.note(now, What::Granted { wait: whole.number() });
    }
}

/// A permit of a semaphore was given back. One with a single permit is a lock, until somebody gives back what it did
/// not take: then it is used in other ways.
fn permit_released(slot: &slots::Slot, number: ResourceId, now: Nanos) {
    let semaphore = Span::new(SEMAPHORE, number);
    if is_single(semaphore) && !orders::released(slot, number, now) {
        semaphore.with(|semaphore| semaphore.capacity.store(0, Ordering::Relaxed));
    }
}

/// The state of a resource changed.
pub(super) fn state(fields: &Fields) {
    let Some(resource) = innermost(Span::is_resource) else { return };
    let Some(slot) = slots::current() else { return };
    let (task, number) = (current_task(), resource.number());
    match resource.tag() {
        LOCK => {
            let taken = match (fields.locked, fields.write_locked, fields.readers) {
                (Some(locked), _, _) => locked,
                (_, Some(locked), _) => locked,
                (_, _, Some(_)) if fields.readers_operation == "add" => true,
                (_, _, Some(_)) if fields.readers_operation == "sub" => false,
                _ => return,
            };
            let what = match taken {
                true => {
                    // No operation comes before what was taken without waiting: it can be of either sort.
                    let (lock, operation) = LAST_READY.take();
                    let owned = lock != number || is_owned(operation);
                    What::Acquired { resource: number, task, permits: 1, owned, stack: None }
                }
                false => What::Released { resource: number, task, permits: 1 },
            };
            let now = clock::now();
            slot.note(now, what);
            if taken {
                orders::taken(slot, number, fields.readers.is_some(), now);
            } else {
                orders::released(slot, number, now);
            }
        }
        PART_OF_SEMAPHORE | CHANNEL => {
            let Some(permits) = fields.permits.filter(|permits| *permits > 0) else { return };
            let now = clock::now();
            match fields.permits_operation {
                "override" => {
                    let semaphore = Span::new(SEMAPHORE, number);
                    semaphore.with(|semaphore| semaphore.capacity.store(permits, Ordering::Relaxed));
                    slot.note(now, What::Capacity { resource: number, permits });
                }
                "add" => {
                    slot.note(now, What::Released { resource: number, task, permits });
                    permit_released(slot, number, now);
                }
                _ => {}
            }
        }
        OTHER_RESOURCE => {
            let Some(operation) = innermost(|span| span.tag() == OPERATION) else { return };
            let Some(duration) = fields.duration else { return };
            let until = clock::now().saturating_add(duration.saturating_mul(1_000_000));
            operation.with(|operation| operation.until.store(until, Ordering::Relaxed));
        }
        PART_OF_LOCK => {}
        _ => {}
    }
}

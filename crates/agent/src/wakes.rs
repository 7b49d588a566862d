//! When each task was last woken: a lossy table. Two tasks that share a place forget each other's wake, so a delay is
//! sometimes unknown and never wrong.

use pollscope_recording::{Nanos, TaskId};
use std::sync::atomic::{AtomicU64, Ordering};

const PLACES: usize = 4096;

struct Place {
    task: AtomicU64,
    at: AtomicU64,
}

static TABLE: [Place; PLACES] = [const { Place { task: AtomicU64::new(0), at: AtomicU64::new(0) } }; PLACES];

/// The task was woken; only the first wake since its last poll counts.
#[inline]
pub(crate) fn woken(task: TaskId, at: Nanos) {
    let place = &TABLE[task as usize & (PLACES - 1)];
    if place.task.load(Ordering::Relaxed) != task {
        place.at.store(at, Ordering::Relaxed);
        place.task.store(task, Ordering::Release);
    }
}

/// The task is about to be polled: when was it woken?
#[inline]
pub(crate) fn take(task: TaskId) -> Option<Nanos> {
    let place = &TABLE[task as usize & (PLACES - 1)];
    if place.task.load(Ordering::Acquire) != task {
        return None;
    }
    let at = place.at.load(Ordering::Relaxed);
    place.task.store(0, Ordering::Relaxed);
    Some(at)
}

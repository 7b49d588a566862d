//! What the lock-free parts are made of. `tests/orderings` puts the types of loom in this place, which try every order in
//! which threads can meet.

pub(crate) use crate::barrier::{heavy as heavy_fence, light as light_fence};
pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, fence};

/// A moment's rest in a loop that waits for another thread.
pub(crate) fn rest() {
    std::thread::sleep(std::time::Duration::from_micros(20));
}

/// A cell that several threads can reach, each access with a beginning and an end.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    #[inline(always)]
    pub(crate) const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Reads it.
    #[inline(always)]
    pub(crate) fn with<R>(&self, body: impl FnOnce(*const T) -> R) -> R {
        body(self.0.get())
    }

    /// Changes it.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, body: impl FnOnce(*mut T) -> R) -> R {
        body(self.0.get())
    }
}

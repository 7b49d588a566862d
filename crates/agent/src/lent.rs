//! A value that one thread uses all the time and another borrows a few times a second. The owner never waits and pays no
//! atomic operation that others would have to see at once: while the value is lent, it goes without.

use crate::sync::{AtomicBool, UnsafeCell, heavy_fence, light_fence, rest};
use std::sync::atomic::Ordering;

pub(crate) struct Lent<T> {
    /// The owner is at it. Only the owner writes this, and only the borrower the next one; each writes its own, fences,
    /// and reads the other's, so at least one of two that meet sees the other.
    in_use: AtomicBool,
    wanted: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the two flags keep its two users apart.
unsafe impl<T: Send> Sync for Lent<T> {}

/// Ends a use, also by a panic: the borrower waits for it.
struct InUse<'a>(&'a AtomicBool);

impl Drop for InUse<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<T> Lent<T> {
    pub(crate) fn new(value: T) -> Lent<T> {
        Lent { in_use: AtomicBool::new(false), wanted: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Uses the value; `None` while it is lent.
    ///
    /// # Safety
    /// For the owner's thread only, and not from inside of `body`.
    #[inline]
    pub(crate) unsafe fn using<R>(&self, body: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.in_use.store(true, Ordering::Relaxed);
        let _in_use = InUse(&self.in_use);
        light_fence();
        // With the store that ends a loan, what the borrower did is seen.
        if self.wanted.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the borrower sees that it is in use, and waits.
        Some(self.value.with_mut(|value| body(unsafe { &mut *value })))
    }

    /// Borrows the value, once the owner has finished what it is at: it never holds the value for long, but may be taken
    /// off its processor meanwhile.
    ///
    /// # Safety
    /// For one thread at a time.
    pub(crate) unsafe fn borrowed<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        self.wanted.store(true, Ordering::Relaxed);
        let _wanted = InUse(&self.wanted);
        heavy_fence();
        while self.in_use.load(Ordering::Acquire) {
            rest();
        }
        // SAFETY: the owner is not at it, and who comes now sees that it is lent.
        self.value.with_mut(|value| body(unsafe { &mut *value }))
    }
}

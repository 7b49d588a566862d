//! A bounded ring with one writer and one reader. A full ring refuses and counts; it never waits.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub(crate) struct Ring<T> {
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Written by the writer only: how many were ever pushed.
    head: AtomicUsize,
    /// Written by the reader only: how many were ever taken.
    tail: AtomicUsize,
    dropped: AtomicU64,
}

// SAFETY: one thread pushes and one thread drains (the callers' contract); a cell is touched by the reader only between
// the release of `head` past it and the release of `tail` past it, by the writer only outside that span.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    /// `capacity` must be a power of two.
    pub(crate) fn new(capacity: usize) -> Ring<T> {
        assert!(capacity.is_power_of_two(), "the capacity of a ring is a power of two");
        Ring {
            cells: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds one item, or counts it as dropped.
    ///
    /// # Safety
    /// Only one thread at a time may push.
    #[inline]
    pub(crate) unsafe fn push(&self, item: T) {
        let head = self.head.load(Ordering::Relaxed);
        if head.wrapping_sub(self.tail.load(Ordering::Acquire)) >= self.cells.len() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // SAFETY: the reader is done with this cell (`tail` is within one capacity of `head`), and we are the only
        // writer.
        unsafe { (*self.cells[head & (self.cells.len() - 1)].get()).write(item) };
        self.head.store(head.wrapping_add(1), Ordering::Release);
    }

    /// Takes everything there is now.
    ///
    /// # Safety
    /// Only one thread at a time may drain.
    pub(crate) unsafe fn drain(&self, mut take: impl FnMut(T)) {
        let head = self.head.load(Ordering::Acquire);
        let mut tail = self.tail.load(Ordering::Relaxed);
        while tail != head {
            // SAFETY: cells in `tail..head` were written and released by the writer, and are read once.
            let item = unsafe { (*self.cells[tail & (self.cells.len() - 1)].get()).assume_init_read() };
            tail = tail.wrapping_add(1);
            self.tail.store(tail, Ordering::Release);
            take(item);
        }
    }

    /// Items refused so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    #[test]
    fn keeps_order_and_counts_what_it_refuses() {
        let ring = Ring::new(4);
        // SAFETY: one thread does everything here.
        unsafe {
            (0..6).for_each(|item| ring.push(item));
            let mut seen = Vec::new();
            ring.drain(|item| seen.push(item));
            assert_eq!(seen, [0, 1, 2, 3]);
            assert_eq!(ring.dropped(), 2);
        }
    }

    #[test]
    fn hands_everything_from_one_thread_to_another() {
        let ring = std::sync::Arc::new(Ring::new(1024));
        let writer = {
            let ring = ring.clone();
            std::thread::spawn(move || {
                // SAFETY: this is the only thread that pushes.
                (0..100_000u64).for_each(|item| unsafe { ring.push(item) });
            })
        };
        let mut seen = 0u64;
        let mut last = None;
        loop {
            let finished = writer.is_finished();
            // SAFETY: this is the only thread that drains.
            unsafe {
                ring.drain(|item| {
                    assert!(last.is_none_or(|last| last < item));
                    last = Some(item);
                    seen += 1;
                });
            }
            if finished {
                break;
            }
        }
        assert_eq!(seen + ring.dropped(), 100_000);
    }
}

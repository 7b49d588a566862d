//! A queue with one writer and one reader that never makes the writer wait. It grows by chunks while the reader is late,
//! up to a bound for the whole process; beyond that it refuses and counts.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Items of one chunk.
const CELLS: usize = 1024;
/// Bytes of all chunks of the process together, beside the first one of each queue: half a second of the busiest worker.
const MOST_BYTES: usize = 64 << 20;
/// Chunks a queue keeps for the next burst while there is something to do.
const MOST_SPARES: usize = 64;
/// The reader is called once so many chunks were filled.
const CALL_EVERY: usize = 8;

/// Bytes of chunks beside the first ones.
static GROWN: AtomicUsize = AtomicUsize::new(0);

struct Chunk<T> {
    /// Cells written so far.
    written: AtomicUsize,
    /// Where the writer went on once this was full.
    next: AtomicPtr<Chunk<T>>,
    cells: [UnsafeCell<MaybeUninit<T>>; CELLS],
}

impl<T> Chunk<T> {
    fn boxed() -> Box<Chunk<T>> {
        let mut chunk = Box::<Chunk<T>>::new_uninit();
        let at = chunk.as_mut_ptr();
        // SAFETY: both fields that need a value get one; the cells may be anything.
        unsafe {
            (&raw mut (*at).written).write(AtomicUsize::new(0));
            (&raw mut (*at).next).write(AtomicPtr::new(std::ptr::null_mut()));
            chunk.assume_init()
        }
    }
}

/// Where one end stands.
struct End<T> {
    chunk: *mut Chunk<T>,
    cell: usize,
    /// Chunks it has left behind.
    passed: usize,
}

pub(crate) struct Ring<T> {
    /// The writer's own.
    writer: UnsafeCell<End<T>>,
    /// The reader's own.
    reader: UnsafeCell<End<T>>,
    /// Chunks the reader is done with.
    spares: Mutex<Vec<Box<Chunk<T>>>>,
    dropped: AtomicU64,
}

// SAFETY: one thread pushes and one thread drains (the callers' contract), and each end is touched by its own thread only.
// A cell is touched by the reader only once `written` was released past it, a chunk handed on only once it is full and
// read; it comes back to the writer through the mutex.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: it owns its chunks and what is in them.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    pub(crate) fn new() -> Ring<T> {
        let first = Box::into_raw(Chunk::boxed());
        let end = || UnsafeCell::new(End { chunk: first, cell: 0, passed: 0 });
        Ring { writer: end(), reader: end(), spares: Mutex::default(), dropped: AtomicU64::new(0) }
    }

    /// Adds one item, or counts it as dropped. Whether the reader should come soon.
    ///
    /// # Safety
    /// Only one thread at a time may push.
    #[inline]
    pub(crate) unsafe fn push(&self, item: T) -> bool {
        // SAFETY: this end is the calling thread's.
        let end = unsafe { &mut *self.writer.get() };
        let mut call = false;
        if end.cell == CELLS {
            let Some(next) = self.another() else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return true;
            };
            // SAFETY: the reader frees no chunk without a next one.
            unsafe { (*end.chunk).next.store(next, Ordering::Release) };
            *end = End { chunk: next, cell: 0, passed: end.passed + 1 };
            call = end.passed % CALL_EVERY == 0;
        }
        // SAFETY: the chunk lives while it has no next one; the reader does not touch this cell before the store below.
        unsafe {
            (*(*end.chunk).cells[end.cell].get()).write(item);
            (*end.chunk).written.store(end.cell + 1, Ordering::Release);
        }
        end.cell += 1;
        call
    }

    /// An empty chunk, if the bound allows for one.
    #[cold]
    fn another(&self) -> Option<*mut Chunk<T>> {
        // The reader holds the lock for the time of a push; then a new one does as well.
        if let Some(spare) = self.spares.try_lock().ok().and_then(|mut spares| spares.pop()) {
            return Some(Box::into_raw(spare));
        }
        let bytes = size_of::<Chunk<T>>();
        if GROWN.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_BYTES {
            GROWN.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Box::into_raw(Chunk::boxed()))
    }

    /// Takes what there is, until `take` says that it has enough.
    ///
    /// # Safety
    /// Only one thread at a time may drain.
    pub(crate) unsafe fn drain(&self, mut take: impl FnMut(T) -> bool) {
        // SAFETY: this end is the calling thread's.
        let end = unsafe { &mut *self.reader.get() };
        let passed = end.passed;
        loop {
            // SAFETY: only the reader frees chunks.
            let chunk = unsafe { &*end.chunk };
            let written = chunk.written.load(Ordering::Acquire);
            while end.cell < written {
                // SAFETY: cells below `written` were written and released, and each is read once.
                let item = unsafe { (*chunk.cells[end.cell].get()).assume_init_read() };
                end.cell += 1;
                if !take(item) {
                    return;
                }
            }
            let next = chunk.next.load(Ordering::Acquire);
            if end.cell < CELLS || next.is_null() {
                break;
            }
            let done = std::mem::replace(end, End { chunk: next, cell: 0, passed: end.passed + 1 });
            // SAFETY: full, read, and left by the writer: it is the reader's alone now.
            self.keep(unsafe { Box::from_raw(done.chunk) });
        }
        if end.passed == passed {
            // A quiet time: what a burst needed goes back.
            let spare = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
            spare.into_iter().for_each(free);
        }
    }

    fn keep(&self, mut chunk: Box<Chunk<T>>) {
        *chunk.written.get_mut() = 0;
        *chunk.next.get_mut() = std::ptr::null_mut();
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < MOST_SPARES {
            spares.push(chunk);
        } else {
            drop(spares);
            free(chunk);
        }
    }

    /// Items refused so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Gives back a chunk. Which of a queue's was its first does not matter: all but one were counted.
fn free<T>(chunk: Box<Chunk<T>>) {
    GROWN.fetch_sub(size_of::<Chunk<T>>(), Ordering::Relaxed);
    drop(chunk);
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more.
        unsafe { self.drain(|_| true) };
        let spares = std::mem::take(&mut *self.spares.lock().unwrap_or_else(PoisonError::into_inner));
        spares.into_iter().for_each(free);
        // SAFETY: everything is read, so both ends stand in the last chunk, which is nobody else's.
        drop(unsafe { Box::from_raw(self.reader.get_mut().chunk) });
    }
}

#[cfg(test)]
mod tests {
    use super::{CELLS, Chunk, MOST_BYTES, Ring};
    use std::sync::Arc;

    #[test]
    fn keeps_order_and_counts_what_it_refuses() {
        // Large items, so that the bound is near.
        type Item = (u64, [u8; 8192]);
        let ring: Ring<Item> = Ring::new();
        let room = (MOST_BYTES / size_of::<Chunk<Item>>() + 1) * CELLS;
        let pushed = room + CELLS;
        let mut seen = 0;
        // SAFETY: one thread does everything here.
        unsafe {
            (0..pushed).for_each(|item| _ = ring.push((item as u64, [0; 8192])));
            ring.drain(|(item, _)| {
                assert_eq!(item, seen);
                seen += 1;
                true
            });
        }
        assert!(ring.dropped() >= CELLS as u64, "what does not fit is refused");
        assert_eq!(seen + ring.dropped(), pushed as u64);
    }

    #[test]
    fn takes_no_more_than_is_wanted() {
        let ring = Ring::new();
        let mut seen = Vec::new();
        // SAFETY: one thread does everything here.
        unsafe {
            (0..CELLS * 3).for_each(|item| _ = ring.push(item));
            for most in [5, CELLS * 2, CELLS * 9] {
                ring.drain(|item| {
                    seen.push(item);
                    seen.len() < most
                });
            }
        }
        assert!(seen.iter().copied().eq(0..CELLS * 3));
    }

    #[test]
    fn hands_everything_from_one_thread_to_another_and_frees_the_rest() {
        let ring = Arc::new(Ring::new());
        let item = Arc::new(());
        let writer = {
            let (ring, item) = (ring.clone(), item.clone());
            std::thread::spawn(move || {
                // SAFETY: this is the only thread that pushes.
                (0..100_000_u64).for_each(|number| _ = unsafe { ring.push((number, item.clone())) });
            })
        };
        let mut seen = 0_u64;
        let mut last = None;
        loop {
            let finished = writer.is_finished();
            // SAFETY: this is the only thread that drains.
            unsafe {
                ring.drain(|(number, _)| {
                    assert!(last.is_none_or(|last| last < number));
                    last = Some(number);
                    seen += 1;
                    true
                });
            }
            if finished {
                break;
            }
        }
        assert_eq!(seen + ring.dropped(), 100_000);
        writer.join().expect("it only pushes");
        // SAFETY: the other thread has ended.
        (0..5000).for_each(|number| _ = unsafe { ring.push((number, item.clone())) });
        drop(ring);
        assert_eq!(Arc::strong_count(&item), 1, "what nobody took is dropped");
    }
}

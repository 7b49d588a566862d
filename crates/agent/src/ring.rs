//! A queue with one writer and one reader that never makes the writer wait. It grows by chunks while the reader is late,
//! up to a bound for the whole process; beyond that it refuses and counts.

use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Mutex, UnsafeCell};
use std::mem::MaybeUninit;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Bytes of all chunks of the process together, beside the first one of each queue: half a second of the busiest worker.
pub(crate) const MOST_BYTES: usize = 64 << 20;
/// Chunks a queue keeps for the next burst while there is something to do.
const MOST_SPARES: usize = 64;
/// The reader is called once so many chunks were filled.
const CALL_EVERY: usize = 8;

/// Bytes of chunks beside the first ones.
static GROWN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// `CELLS` items.
pub(crate) struct Chunk<T, const CELLS: usize> {
    /// Cells written so far.
    written: AtomicUsize,
    /// Where the writer went on once this was full.
    next: AtomicPtr<Chunk<T, CELLS>>,
    cells: [UnsafeCell<MaybeUninit<T>>; CELLS],
}

impl<T, const CELLS: usize> Chunk<T, CELLS> {
    /// A fresh one, in pages of its own: what a burst needed goes back to the kernel with it, whoever's allocator the
    /// program has. Null where there is no memory.
    fn mapped() -> *mut Chunk<T, CELLS> {
        const { assert!(align_of::<Chunk<T, CELLS>>() <= 4096, "a page is aligned to no more") };
        // SAFETY: a fresh private mapping of the chunk's size.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Chunk<T, CELLS>>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        let at = at.cast::<Chunk<T, CELLS>>();
        // SAFETY: every field gets a value; that of a cell may be anything, so this writes nothing there.
        unsafe {
            (&raw mut (*at).written).write(AtomicUsize::new(0));
            (&raw mut (*at).next).write(AtomicPtr::new(std::ptr::null_mut()));
            (0..CELLS).for_each(|cell| (&raw mut (*at).cells[cell]).write(UnsafeCell::new(MaybeUninit::uninit())));
        }
        at
    }

    /// Gives one back.
    ///
    /// # Safety
    /// It came from [`Self::mapped`], nobody else has it, and what was in its cells is taken.
    unsafe fn unmap(chunk: *mut Chunk<T, CELLS>) {
        // SAFETY: the caller's promise.
        unsafe {
            chunk.drop_in_place();
            libc::munmap(chunk.cast(), size_of::<Chunk<T, CELLS>>());
        }
    }
}

/// A chunk that is in use at neither end.
struct Spare<T, const CELLS: usize>(*mut Chunk<T, CELLS>);

// SAFETY: whoever has it is the only one.
unsafe impl<T: Send, const CELLS: usize> Send for Spare<T, CELLS> {}

/// Where one end stands.
struct End<T, const CELLS: usize> {
    chunk: *mut Chunk<T, CELLS>,
    cell: usize,
    /// Chunks it has left behind.
    passed: usize,
}

pub(crate) struct Ring<T, const CELLS: usize = 1024> {
    /// The writer's own.
    writer: UnsafeCell<End<T, CELLS>>,
    /// The reader's own.
    reader: UnsafeCell<End<T, CELLS>>,
    /// Chunks the reader is done with.
    spares: Mutex<Vec<Spare<T, CELLS>>>,
    /// Bytes it may take beyond the bound of all.
    reserve: usize,
    dropped: AtomicU64,
}

// SAFETY: one thread pushes and one thread drains (the callers' contract), and each end is touched by its own thread only.
// A cell is touched by the reader only once `written` was released past it, a chunk handed on only once it is full and
// read; it comes back to the writer through the mutex.
unsafe impl<T: Send, const CELLS: usize> Sync for Ring<T, CELLS> {}
// SAFETY: it owns its chunks and what is in them.
unsafe impl<T: Send, const CELLS: usize> Send for Ring<T, CELLS> {}

impl<T, const CELLS: usize> Default for Ring<T, CELLS> {
    fn default() -> Ring<T, CELLS> {
        Ring::new()
    }
}

impl<T, const CELLS: usize> Ring<T, CELLS> {
    pub(crate) fn new() -> Ring<T, CELLS> {
        Ring::with_reserve(0)
    }

    /// One that goes on for `reserve` bytes where others are refused.
    pub(crate) fn with_reserve(reserve: usize) -> Ring<T, CELLS> {
        let first = Chunk::mapped();
        if first.is_null() {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Chunk<T, CELLS>>());
        }
        let end = || UnsafeCell::new(End { chunk: first, cell: 0, passed: 0 });
        Ring { writer: end(), reader: end(), spares: Mutex::new(Vec::new()), reserve, dropped: AtomicU64::new(0) }
    }

    /// Adds one item, or counts it as dropped. Whether the reader should come soon.
    ///
    /// # Safety
    /// Only one thread at a time may push.
    #[inline]
    pub(crate) unsafe fn push(&self, item: T) -> bool {
        // SAFETY: the same promise.
        unsafe { self.push_or(item, |_| false) }
    }

    /// Adds one item. One there is no room for goes to `refused`, and is counted as dropped if that does not keep it.
    ///
    /// # Safety
    /// Only one thread at a time may push.
    #[inline]
    pub(crate) unsafe fn push_or(&self, item: T, refused: impl FnOnce(T) -> bool) -> bool {
        // SAFETY: this end is the calling thread's.
        self.writer.with_mut(|end| unsafe { self.push_at(&mut *end, item, refused) })
    }

    /// # Safety
    /// `end` is where the writer stands, and the calling thread is the writer.
    #[inline]
    unsafe fn push_at(&self, end: &mut End<T, CELLS>, item: T, refused: impl FnOnce(T) -> bool) -> bool {
        let mut call = false;
        if end.cell == CELLS {
            let Some(next) = self.another() else {
                if !refused(item) {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                return true;
            };
            // SAFETY: the reader frees no chunk without a next one.
            unsafe { (*end.chunk).next.store(next, Ordering::Release) };
            *end = End { chunk: next, cell: 0, passed: end.passed + 1 };
            call = end.passed.is_multiple_of(CALL_EVERY);
        }
        // SAFETY: the chunk lives while it has no next one; the reader does not touch this cell before the store below.
        unsafe {
            (*end.chunk).cells[end.cell].with_mut(|cell| (*cell).write(item));
            (*end.chunk).written.store(end.cell + 1, Ordering::Release);
        }
        end.cell += 1;
        call
    }

    /// An empty chunk, if the bound allows for one.
    #[cold]
    fn another(&self) -> Option<*mut Chunk<T, CELLS>> {
        // The reader holds the lock for the time of a push; then a new one does as well.
        if let Some(spare) = self.spares.try_lock().ok().and_then(|mut spares| spares.pop()) {
            return Some(spare.0);
        }
        let bytes = size_of::<Chunk<T, CELLS>>();
        let within = GROWN.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST_BYTES + self.reserve;
        let chunk = if within { Chunk::mapped() } else { std::ptr::null_mut() };
        if chunk.is_null() {
            GROWN.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(chunk)
    }

    /// Takes what there is, until `take` says that it has enough.
    ///
    /// # Safety
    /// Only one thread at a time may drain.
    pub(crate) unsafe fn drain(&self, take: impl FnMut(T) -> bool) {
        // SAFETY: this end is the calling thread's.
        self.reader.with_mut(|end| unsafe { self.drain_at(&mut *end, take) });
    }

    /// # Safety
    /// `end` is where the reader stands, and the calling thread is the reader.
    unsafe fn drain_at(&self, end: &mut End<T, CELLS>, mut take: impl FnMut(T) -> bool) {
        let passed = end.passed;
        loop {
            // SAFETY: only the reader frees chunks.
            let chunk = unsafe { &*end.chunk };
            let written = chunk.written.load(Ordering::Acquire);
            while end.cell < written {
                // SAFETY: cells below `written` were written and released, and each is read once.
                let item = chunk.cells[end.cell].with(|cell| unsafe { (*cell).assume_init_read() });
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
            // Full, read, and left by the writer: it is the reader's alone now.
            self.keep(Spare(done.chunk));
        }
        if end.passed == passed {
            // A quiet time: what a burst needed goes back, half of it at once and all of it soon.
            let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
            let left = spares.len() / 2;
            let gone = spares.split_off(left);
            spares.shrink_to(left * 2);
            drop(spares);
            gone.into_iter().for_each(free);
        }
    }

    fn keep(&self, chunk: Spare<T, CELLS>) {
        // SAFETY: a spare is whole, and nobody else has it.
        let fields = unsafe { &*chunk.0 };
        fields.written.store(0, Ordering::Relaxed);
        fields.next.store(std::ptr::null_mut(), Ordering::Relaxed);
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
fn free<T, const CELLS: usize>(chunk: Spare<T, CELLS>) {
    GROWN.fetch_sub(size_of::<Chunk<T, CELLS>>(), Ordering::Relaxed);
    // SAFETY: a spare is nobody else's and its cells are read.
    unsafe { Chunk::unmap(chunk.0) };
}

impl<T, const CELLS: usize> Drop for Ring<T, CELLS> {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more.
        unsafe { self.drain(|_| true) };
        let spares = std::mem::take(&mut *self.spares.lock().unwrap_or_else(PoisonError::into_inner));
        spares.into_iter().for_each(free);
        // SAFETY: everything is read, so both ends stand in the last chunk, which is nobody else's.
        self.reader.with_mut(|end| unsafe { Chunk::unmap((*end).chunk) });
    }
}

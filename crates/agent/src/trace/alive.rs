//! What is known of the spans that are alive: a slab on which no thread ever waits for another.
//!
//! A span's number is the place of its entry and how often that place was used before, so a number that is of no living
//! span any more finds nothing. An entry's one word of life says who may use it: its generation, and how many handles
//! there are. Whoever reads takes a handle or looks at the generation again afterwards. Free places are kept by the
//! thread that freed them; what is too many for it goes to a common store, if nobody else is there at the moment.

use super::user_spans::Live;
use pollscope_recording::Nanos;
use std::cell::RefCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// Bits of a number that say the place. The others, and those of a span's tag, make 64.
const PLACE_BITS: u32 = 24;
const HANDLE_BITS: u32 = 28;
const HANDLES: u64 = (1 << HANDLE_BITS) - 1;
/// Entries allocated together.
const CHUNK: usize = 1024;
const CHUNKS: usize = (1 << PLACE_BITS) / CHUNK;
/// New places a thread takes at a time, and free ones it keeps at most.
const BLOCK: u32 = 64;
const MOST_FREE: usize = 512;

/// A span that is alive. Which of these are used is a matter of its kind; those not used are zero.
#[derive(Default)]
pub(super) struct Alive {
    /// Generation and handles.
    life: AtomicU64,
    /// tokio's number of a task.
    pub(super) task: AtomicU64,
    /// tokio's name of an operation: an interned text.
    name: AtomicPtr<u8>,
    name_length: AtomicUsize,
    /// It was polled and is not ready.
    pub(super) waiting: AtomicBool,
    /// The operation that is waited for: this one's number, or that of the one it is part of.
    pub(super) whole: AtomicU64,
    /// Permits it asks for and has been given.
    pub(super) requested: AtomicU64,
    pub(super) obtained: AtomicU64,
    /// Of a timer: when it fires.
    pub(super) until: AtomicU64,
    /// When it was polled last.
    pub(super) polled: AtomicU64,
    /// Of a taking of permits: the semaphore's number.
    pub(super) semaphore: AtomicU64,
    /// Of a semaphore itself: the permits it began with.
    pub(super) capacity: AtomicU64,
    /// Of a span of the program's: an `Arc` of this entry's own.
    live: AtomicPtr<Live>,
}

/// What an entry begins with.
#[derive(Default)]
pub(super) struct Begin {
    pub(super) task: u64,
    pub(super) name: &'static str,
    /// Of a part: the whole's number. Zero stands for the span itself.
    pub(super) whole: u64,
    pub(super) live: Option<Arc<Live>>,
}

/// What was left of a span when its last handle went.
pub(super) struct Ended {
    pub(super) task: u64,
    pub(super) waiting: bool,
}

static TABLE: [AtomicPtr<Alive>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
static NEXT: AtomicU32 = AtomicU32::new(0);
/// Free places of threads that had too many, or ended.
static SPARE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

struct Free(RefCell<Vec<u32>>);

impl Drop for Free {
    fn drop(&mut self) {
        // A thread at its end keeps nobody waiting.
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).append(self.0.get_mut());
    }
}

thread_local! {
    static FREE: Free = const { Free(RefCell::new(Vec::new())) };
}

fn entry(place: u32) -> Option<&'static Alive> {
    let chunk = TABLE.get(place as usize / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: a chunk holds CHUNK entries and is never freed.
    (!chunk.is_null()).then(|| unsafe { &*chunk.add(place as usize % CHUNK) })
}

/// The entry at a place that nobody has used yet; None if that is beyond the table.
fn made(place: u32) -> Option<&'static Alive> {
    if let Some(entry) = entry(place) {
        return Some(entry);
    }
    let chunk = TABLE.get(place as usize / CHUNK)?;
    let new: Box<[Alive]> = (0..CHUNK).map(|_| Alive::default()).collect();
    let new = Box::into_raw(new).cast::<Alive>();
    if chunk.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: made above from a box of CHUNK entries, and nobody has seen it.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(new, CHUNK)) });
    }
    entry(place)
}

/// A place for a new span.
fn free_place() -> Option<u32> {
    let fill = |free: &mut Vec<u32>| {
        if let Ok(mut spare) = SPARE.try_lock() {
            let from = spare.len().saturating_sub(BLOCK as usize);
            free.extend(spare.drain(from..));
        }
        if free.is_empty() {
            let first = NEXT.fetch_add(BLOCK, Ordering::Relaxed).min(1 << PLACE_BITS);
            // Once full it stays full, and must not begin again from zero.
            NEXT.fetch_min((1 << PLACE_BITS) + BLOCK, Ordering::Relaxed);
            free.extend((first..(first + BLOCK).min(1 << PLACE_BITS)).rev());
        }
        free.pop()
    };
    FREE.try_with(|free| {
        // An allocator that traces would come here again.
        let mut free = free.0.try_borrow_mut().ok()?;
        free.pop().or_else(|| fill(&mut free))
    })
    .ok()?
}

fn give_back(place: u32) {
    let _ = FREE.try_with(|free| {
        let Ok(mut free) = free.0.try_borrow_mut() else { return };
        free.push(place);
        if free.len() > MOST_FREE
            && let Ok(mut spare) = SPARE.try_lock()
        {
            let from = free.len() - MOST_FREE / 2;
            spare.extend(free.drain(from..));
        }
    });
}

/// Begins a span with one handle: its number, or None if there are too many (16 million), or the thread is at its end.
pub(super) fn begin(begin: Begin) -> Option<u64> {
    let place = free_place()?;
    let entry = made(place)?;
    let generation = entry.life.load(Ordering::Relaxed) >> HANDLE_BITS;
    // Who read the entry in its former life and sees any of these sees that its generation is over, too.
    fence(Ordering::Release);
    let number = generation << PLACE_BITS | u64::from(place);
    entry.task.store(begin.task, Ordering::Relaxed);
    entry.name.store(begin.name.as_ptr().cast_mut(), Ordering::Relaxed);
    entry.name_length.store(begin.name.len(), Ordering::Relaxed);
    entry.whole.store(if begin.whole == 0 { number } else { begin.whole }, Ordering::Relaxed);
    entry.waiting.store(false, Ordering::Relaxed);
    for zero in [&entry.requested, &entry.obtained, &entry.until, &entry.polled, &entry.semaphore, &entry.capacity] {
        zero.store(0, Ordering::Relaxed);
    }
    let live = begin.live.map_or(ptr::null_mut(), |live| Arc::into_raw(live).cast_mut());
    entry.live.store(live, Ordering::Relaxed);
    entry.life.store(generation << HANDLE_BITS | 1, Ordering::Release);
    Some(number)
}

fn find(number: u64) -> (Option<&'static Alive>, u64) {
    (entry((number & ((1 << PLACE_BITS) - 1)) as u32), number >> PLACE_BITS)
}

fn is_alive(life: u64, generation: u64) -> bool {
    life >> HANDLE_BITS == generation && life & HANDLES != 0
}

/// Reads or changes a living span. What `body` reads is of no other span, or the result is None.
#[inline]
pub(super) fn with<T>(number: u64, body: impl FnOnce(&Alive) -> T) -> Option<T> {
    let (entry, generation) = find(number);
    let entry = entry.filter(|entry| is_alive(entry.life.load(Ordering::Acquire), generation))?;
    let result = body(entry);
    fence(Ordering::Acquire);
    is_alive(entry.life.load(Ordering::Relaxed), generation).then_some(result)
}

/// One more handle; false if the span is no more.
#[inline]
pub(super) fn hold(number: u64) -> bool {
    let (entry, generation) = find(number);
    entry.is_some_and(|entry| {
        let more = |life| (is_alive(life, generation) && life & HANDLES != HANDLES).then_some(life + 1);
        entry.life.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok()
    })
}

/// One handle less; what is left of the span if it was the last.
#[inline]
pub(super) fn release(number: u64) -> Option<Ended> {
    let (entry, generation) = find(number);
    let entry = entry?;
    let less = |life: u64| {
        let last = life & HANDLES == 1;
        // The generation goes up with the last handle; the place is then nobody's.
        let next = if last { ((life >> HANDLE_BITS) + 1) << HANDLE_BITS } else { life - 1 };
        is_alive(life, generation).then_some(next)
    };
    let before = entry.life.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()?;
    if before & HANDLES != 1 {
        return None;
    }
    // Nobody finds the entry any more, and nobody gets its place before it is given back.
    let ended = Ended { task: entry.task.load(Ordering::Relaxed), waiting: entry.waiting.load(Ordering::Relaxed) };
    let live = entry.live.load(Ordering::Relaxed);
    give_back((number & ((1 << PLACE_BITS) - 1)) as u32);
    if !live.is_null() {
        // SAFETY: the entry's own `Arc`, given up with its last handle.
        drop(unsafe { Arc::from_raw(live) });
    }
    Some(ended)
}

/// What is remembered of a span of the program's.
pub(super) fn live(number: u64) -> Option<Arc<Live>> {
    // With a handle of our own, the entry keeps its `Arc`.
    hold(number).then_some(())?;
    let (entry, _) = find(number);
    let live = entry.map_or(ptr::null_mut(), |entry| entry.live.load(Ordering::Relaxed));
    let live = (!live.is_null()).then(|| {
        // SAFETY: the entry has an `Arc` of it as long as there is a handle; this makes one more.
        unsafe {
            Arc::increment_strong_count(live);
            Arc::from_raw(live)
        }
    });
    release(number);
    live
}

impl Alive {
    pub(super) fn name(&self) -> Name {
        Name(self.name.load(Ordering::Relaxed), self.name_length.load(Ordering::Relaxed))
    }

    pub(super) fn polled(&self) -> Nanos {
        self.polled.load(Ordering::Relaxed)
    }
}

/// The two halves of a name: of one entry's life only if [`with`] gives them out.
#[derive(Clone, Copy)]
pub(super) struct Name(*mut u8, usize);

/// tokio's name of the operation; empty if the span is no more.
pub(super) fn name(number: u64) -> &'static str {
    with(number, Alive::name).map_or("", |Name(at, length)| {
        // SAFETY: both halves of one interned text, which lasts for ever.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(at, length)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_span_is_known_until_its_last_handle() {
        let number = begin(Begin { task: 7, name: "lock", ..Begin::default() }).unwrap();
        assert_eq!((name(number), with(number, |span| span.whole.load(Ordering::Relaxed))), ("lock", Some(number)));
        assert!(hold(number));
        assert!(release(number).is_none());
        with(number, |span| span.waiting.store(true, Ordering::Relaxed));
        let ended = release(number).unwrap();
        assert_eq!((ended.task, ended.waiting), (7, true));
        // Gone, and stays gone when another has its place.
        let next = begin(Begin { name: "read", ..Begin::default() }).unwrap();
        assert_ne!(next, number);
        assert!(
            !hold(number) && release(number).is_none() && with(number, |_| ()).is_none() && name(number).is_empty()
        );
        assert_eq!((name(next), with(next, |span| span.waiting.load(Ordering::Relaxed))), ("read", Some(false)));
        release(next).unwrap();
    }

    #[test]
    fn numbers_that_never_were_find_nothing() {
        for number in [u64::MAX, (1 << PLACE_BITS) - 1, 1 << 59] {
            assert!(!hold(number) && release(number).is_none() && with(number, |_| ()).is_none());
        }
    }

    /// Spans begun on one thread and ended on another, while a third looks at them.
    #[test]
    fn no_two_living_spans_share_a_place() {
        const SPANS: u64 = 20_000;
        let (tell, told) = std::sync::mpsc::sync_channel::<u64>(1000);
        let seen = AtomicU64::new(0);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (seen, over) = (&seen, &over);
            scope.spawn(move || {
                for task in 1..=SPANS {
                    let number = begin(Begin { task, ..Begin::default() }).unwrap();
                    seen.store(number, Ordering::Relaxed);
                    tell.send(number).unwrap();
                }
            });
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let number = seen.load(Ordering::Relaxed);
                    let first = with(number, |span| span.task.load(Ordering::Relaxed));
                    let second = with(number, |span| span.task.load(Ordering::Relaxed));
                    assert!(first.is_none() || second.is_none() || first == second, "{first:?} {second:?}");
                    if hold(number) {
                        release(number);
                    }
                }
            });
            let (mut waiting, mut living) = (Vec::new(), HashSet::new());
            let mut task = 0;
            for number in told {
                assert!(living.insert(number));
                waiting.push(number);
                if waiting.len() == 100 {
                    for number in waiting.drain(..) {
                        task += 1;
                        assert_eq!(with(number, |span| span.task.load(Ordering::Relaxed)), Some(task));
                        living.remove(&number);
                        release(number);
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

//! Buffers of copied stacks go round: who unwound one gives it back, and the next stack is copied into it.
//!
//! What a thread of the program allocates and the drain frees has both meet at a lock of the allocator, where the program
//! would wait for a drain that the kernel does not run.

use crate::stack::RawStack;
use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of buffers that lie here at most. What waits for the drain for one of its turns is as much at worst.
const MOST: usize = 16 << 20;
/// A larger one is rare, and would keep the room of many.
const LARGEST: usize = 16 << 10;
/// How many a thread takes at a time, to come here seldom.
const HANDFUL: usize = 64;

#[expect(clippy::vec_box, reason = "an event has room for the box alone")]
static GIVEN: Mutex<Vec<Box<RawStack>>> = Mutex::new(Vec::new());
static BYTES: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Those of one thread.
#[expect(clippy::vec_box, reason = "as above")]
struct Own(Vec<Box<RawStack>>);

thread_local! {
    static OWN: RefCell<Own> = const { RefCell::new(Own(Vec::new())) };
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.iter().for_each(|stack| forget(stack));
    }
}

fn forget(stack: &RawStack) {
    BYTES.fetch_sub(stack.size(), Ordering::Relaxed);
}

/// A buffer, a new one if there is none. Nobody waits here: where others are at it, there is none.
pub(crate) fn take() -> Box<RawStack> {
    let used = OWN.try_with(|own| {
        let own = &mut own.try_borrow_mut().ok()?.0;
        if own.is_empty()
            && let Ok(mut given) = GIVEN.try_lock()
        {
            let rest = given.len().saturating_sub(HANDFUL);
            own.extend(given.drain(rest..));
            TAKEN.store(true, Ordering::Relaxed);
        }
        own.pop()
    });
    let used = used.ok().flatten();
    used.inspect(|stack| forget(stack)).unwrap_or_default()
}

/// Gives one back.
pub(crate) fn give(stack: Box<RawStack>) {
    let size = stack.size();
    if size == 0 || size > LARGEST || BYTES.load(Ordering::Relaxed) + size > MOST {
        return;
    }
    if let Ok(mut given) = GIVEN.try_lock() {
        BYTES.fetch_add(size, Ordering::Relaxed);
        given.push(stack);
    }
}

/// Frees what lies here and was not asked for since the last time.
pub(crate) fn tidy() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let unused = GIVEN.try_lock().map(|mut given| std::mem::take(&mut *given)).unwrap_or_default();
    unused.iter().for_each(|stack| forget(stack));
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{BYTES, LARGEST, give, take, tidy};
    use crate::stack::{RawStack, ThreadBounds, capture_here};
    use std::sync::atomic::Ordering;

    fn of(bytes: usize) -> Box<RawStack> {
        let mut stack = Box::<RawStack>::default();
        let bounds = ThreadBounds::current().expect("Linux tells");
        assert!(capture_here(&bounds, &mut stack));
        stack.bytes = Vec::with_capacity(bytes);
        stack
    }

    #[test]
    fn buffers_go_round_and_what_is_not_used_is_freed() {
        give(of(4000));
        give(of(LARGEST + 1));
        assert_eq!(BYTES.load(Ordering::Relaxed), 4000, "a large one is freed");
        let mut stack = take();
        assert_eq!((stack.size(), BYTES.load(Ordering::Relaxed)), (4000, 0));
        let before = stack.bytes.as_ptr();
        let mut bounds = ThreadBounds::current().expect("Linux tells");
        // No deeper than the buffer is long.
        bounds.stack_high = bounds.stack_high.min((&raw const stack) as u64 + 500);
        assert!(capture_here(&bounds, &mut stack));
        assert!(stack.bytes.as_ptr() == before && !stack.bytes.is_empty());
        give(stack);
        // It was taken from a moment ago.
        tidy();
        assert_eq!(BYTES.load(Ordering::Relaxed), 4000);
        tidy();
        assert_eq!((BYTES.load(Ordering::Relaxed), take().size()), (0, 0));
    }
}

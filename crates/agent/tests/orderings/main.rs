//! What has no lock, in every order in which its threads can meet: also in those that this processor never shows.
#![allow(
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    unreachable_pub,
    reason = "all of this is test code, and not all of what it includes is used"
)]

#[path = "../../src/lent.rs"]
mod lent;
#[path = "../../src/open_polls.rs"]
mod open_polls;
#[path = "../../src/ring.rs"]
mod ring;

/// In the place of the agent's own.
mod sync {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, fence};
    pub(crate) use loom::thread::yield_now as rest;

    /// As where the kernel does not fence for both.
    pub(crate) fn light_fence() {
        fence(std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) use light_fence as heavy_fence;
}

use lent::Lent;
use loom::sync::Arc;
use open_polls::OpenPolls;
use ring::Ring;
use std::sync::atomic::{AtomicUsize, Ordering};

/// With this many forced changes of the thread, all orders there are: more is rarely what a fault takes.
fn every_order(body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(body);
}

/// Takes what there is, which comes in the order in which it was pushed.
fn take(ring: &Ring<usize, 2>, seen: &mut usize) {
    // SAFETY: each test drains on one thread alone.
    unsafe {
        ring.drain(|item| {
            assert_eq!(item, *seen);
            *seen += 1;
            true
        });
    }
}

#[test]
fn a_reader_beside_the_writer_sees_all_in_order() {
    const PUSHED: usize = 5;
    every_order(|| {
        let ring = Arc::new(Ring::<usize, 2>::new());
        let writer = {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                for item in 0..PUSHED {
                    // SAFETY: this is the only thread that pushes.
                    unsafe { ring.push(item) };
                }
            })
        };
        let mut seen = 0;
        take(&ring, &mut seen);
        take(&ring, &mut seen);
        writer.join().unwrap();
        take(&ring, &mut seen);
        assert_eq!((seen, ring.dropped()), (PUSHED, 0));
    });
}

#[test]
fn chunks_come_back_to_the_writer_and_what_nobody_took_is_dropped_once() {
    every_order(|| {
        let ring = Arc::new(Ring::<std::sync::Arc<()>, 2>::new());
        let item = std::sync::Arc::new(());
        let push = |ring: &Ring<_, 2>, items| {
            for _ in 0..items {
                // SAFETY: one thread at a time pushes.
                unsafe { ring.push(item.clone()) };
            }
        };
        // Two chunks are full and read, so there are spares for what follows.
        push(&ring, 5);
        // SAFETY: one thread at a time drains.
        unsafe { ring.drain(|_| true) };
        let reader = {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                let mut left = 2;
                // SAFETY: nobody else drains meanwhile.
                unsafe {
                    ring.drain(|_| {
                        left -= 1;
                        left > 0
                    });
                }
            })
        };
        push(&ring, 4);
        reader.join().unwrap();
        drop(ring);
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    });
}

#[test]
fn the_watchdog_sees_all_of_a_poll_or_nothing() {
    // How often each of the polls was seen, and none.
    static SEEN: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
    every_order(|| {
        let polls = Arc::new(OpenPolls::default());
        let watchdog = {
            let polls = polls.clone();
            loom::thread::spawn(move || {
                let open = polls.seen();
                if let Some(open) = open {
                    assert_eq!((open.since, open.hooks), (open.task * 10, open.task * 100));
                }
                SEEN[open.map_or(0, |open| open.task as usize)].fetch_add(1, Ordering::Relaxed);
            })
        };
        // On this thread, which loom runs first: it lets a look see what was there before, and never what comes later.
        for number in 1..=2 {
            polls.enter(|open| {
                open.task.store(number, Ordering::Relaxed);
                open.since.store(number * 10, Ordering::Relaxed);
                open.hooks.store(number * 100, Ordering::Relaxed);
            });
            if number == 1 {
                polls.leave();
            }
        }
        watchdog.join().unwrap();
        assert!(polls.seen().is_some_and(|open| open.task == 2));
    });
    assert!(SEEN.iter().all(|times| times.load(Ordering::Relaxed) > 0), "{SEEN:?}");
}

#[test]
fn what_is_lent_is_used_by_one_at_a_time_and_nothing_is_lost() {
    // Uses that found it lent, and those that did not.
    static SEEN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    every_order(|| {
        let count = Arc::new(Lent::new(0_usize));
        let borrower = {
            let count = count.clone();
            // SAFETY: nobody else borrows.
            loom::thread::spawn(move || unsafe { count.borrowed(std::mem::take) })
        };
        let mut without = 0;
        for _ in 0..2 {
            // SAFETY: this thread is the owner.
            let used = unsafe { count.using(|count| *count += 1) }.is_some();
            SEEN[usize::from(used)].fetch_add(1, Ordering::Relaxed);
            without += usize::from(!used);
        }
        let borrowed = borrower.join().unwrap();
        // SAFETY: as above.
        let left = unsafe { count.using(|count| *count) };
        assert_eq!(left.map(|left| borrowed + left + without), Some(2));
    });
    assert!(SEEN.iter().all(|times| times.load(Ordering::Relaxed) > 0), "{SEEN:?}");
}

//! The ring by itself. `tests/orderings` compiles `ring.rs` without these.

use crate::ring::{Chunk, MOST_BYTES, Ring};
use std::sync::Arc;

/// Items of one chunk.
const CELLS: usize = 1024;

#[test]
fn keeps_order_and_counts_what_it_refuses() {
    // Large items, so that the bound is near.
    type Item = (u64, [u8; 8192]);
    let ring: Ring<Item> = Ring::new();
    let room = (MOST_BYTES / size_of::<Chunk<Item, CELLS>>() + 1) * CELLS;
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
    let ring: Ring<usize> = Ring::new();
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
    let ring: Arc<Ring<_>> = Arc::default();
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

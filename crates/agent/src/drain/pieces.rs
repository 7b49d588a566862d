//! What the threads noted, merged into one order of time a piece at a time: however much has piled up in the rings, the
//! drain holds little of it at once. An allocator keeps what it was once asked for.

use crate::raw::Raw;
use crate::slots::Slot;
use pollscope_recording::Nanos;
use std::sync::Arc;

/// Events of all threads together that are taken at once, and of one thread at least.
const PIECE: usize = 16 * 1024;
const LEAST: usize = 256;
/// Rings are emptied one after the other, so what was noted last waits for the next turn: a ring emptied before may hold
/// what came first. Longer than a thread takes from reading the clock to its ring, unless it is taken off the processor.
const SETTLED: Nanos = 2_000_000;

/// What was noted too late for the last piece.
#[derive(Default)]
pub(super) struct Pieces {
    held: Vec<Option<(i32, Raw)>>,
    order: Vec<(Nanos, u32)>,
}

/// A ring that is being emptied.
struct Source<'a> {
    slot: &'a Slot,
    /// It is the ends of tasks that found the thread's ring full.
    ends: bool,
    /// The latest that was taken from it.
    reached: Nanos,
    /// There was no more, or only what belongs to the next turn.
    over: bool,
}

/// One turn: what was noted before `now`.
pub(super) struct Turn<'a> {
    sources: Vec<Source<'a>>,
    now: Nanos,
    last: bool,
    over: bool,
}

impl<'a> Turn<'a> {
    /// The `last` one leaves nothing behind.
    pub(super) fn new(slots: &'a [Arc<Slot>], now: Nanos, last: bool) -> Turn<'a> {
        let rings = slots.iter().flat_map(|slot| [(slot, false), (slot, true)]);
        let sources = rings.map(|(slot, ends)| Source { slot, ends, reached: 0, over: false }).collect();
        Turn { sources, now, last, over: false }
    }
}

impl Pieces {
    /// Tells the next piece, in order of time; false when the turn is over.
    pub(super) fn next(&mut self, turn: &mut Turn<'_>, mut tell: impl FnMut(i32, Raw)) -> bool {
        if turn.over {
            return false;
        }
        let behind = turn.sources.iter().filter(|source| !source.over);
        let (count, least) = behind.fold((0, Nanos::MAX), |(count, least), one| (count + 1, least.min(one.reached)));
        let share = (PIECE / count.max(1)).max(LEAST);
        // Only who is behind is read on: what others have waits for it.
        for source in turn.sources.iter_mut().filter(|source| !source.over && source.reached <= least) {
            self.read(source, share, turn.now);
        }
        let reached = turn.sources.iter().filter(|source| !source.over).map(|source| source.reached).min();
        turn.over = reached.is_none();
        let settled = reached.unwrap_or(Nanos::MAX).min(turn.now).saturating_sub(SETTLED);
        // A few sorted runs: this finds and merges them.
        self.order.sort();
        let told = match turn.over && turn.last {
            true => self.order.len(),
            false => self.order.partition_point(|(at, _)| *at < settled),
        };
        for (_, index) in self.order.drain(..told) {
            if let Some((tid, raw)) = self.held[index as usize].take() {
                tell(tid, raw);
            }
        }
        self.held.retain(Option::is_some);
        self.order.clear();
        let held = self.held.iter().flatten().zip(0..);
        self.order.extend(held.map(|((_, raw), index)| (raw.at, index)));
        true
    }

    fn read(&mut self, source: &mut Source<'_>, share: usize, now: Nanos) {
        let (mut left, from) = (share, self.order.len());
        source.over = true;
        let slot = source.slot;
        let mut each = |raw: Raw| {
            // A thread may note faster than it is read: what comes after this turn began is the next one's.
            let goes_on = raw.at <= now + SETTLED;
            source.reached = source.reached.max(raw.at);
            self.order.push((raw.at, self.held.len() as u32));
            self.held.push(Some((slot.tid, raw)));
            left -= 1;
            source.over &= !goes_on || left > 0;
            goes_on && left > 0
        };
        if source.ends {
            slot.take_ends(&mut each)
        } else {
            slot.take(&mut each)
        }
        sort_nearly(&mut self.order[from..]);
    }
}

/// Sorts what one thread noted. A poll is noted at its end with the time of its beginning, so all but few are a step or
/// two from their place.
fn sort_nearly(order: &mut [(Nanos, u32)]) {
    let mut steps = 4 * order.len();
    for sorted in 1..order.len() {
        let mut at = sorted;
        while at > 0 && order[at - 1] > order[at] {
            order.swap(at - 1, at);
            at -= 1;
            steps = steps.saturating_sub(1);
        }
        if steps == 0 {
            return order.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sort_nearly;

    #[test]
    fn what_is_nearly_in_order_and_what_is_not_are_sorted() {
        let nearly: Vec<(u64, u32)> = (0..1000).map(|index| ((index ^ 3) / 2, index as u32)).collect();
        let backwards: Vec<(u64, u32)> = (0..1000).map(|index| (1000 - index, index as u32)).collect();
        for mut order in [nearly, backwards] {
            let mut expected = order.clone();
            expected.sort_unstable();
            sort_nearly(&mut order);
            assert_eq!(order, expected);
        }
    }
}

//! Polls of tasks that had no place in the table of their thread: summed up here until the window ends, so that two busy
//! tasks that share a place there take one event each and not one for every poll.

use crate::table::Entry;

/// As much memory as the tables of four threads, whatever the number of tasks.
const PLACES: usize = 1024;

#[derive(Default)]
pub(super) struct Elsewhere {
    /// By task: a thread, and what a task did on it. Empty until something had no place.
    places: Vec<(u64, Entry)>,
}

impl Elsewhere {
    /// Counts what a task did on a thread; what is pushed out by that, or finds no place here either, is to be told now.
    pub(super) fn add(&mut self, tid: u64, sum: &Entry) -> Option<(u64, Entry)> {
        if self.places.is_empty() {
            self.places = vec![(0, Entry::default()); PLACES];
        }
        let place = &mut self.places[sum.task as usize % PLACES];
        if place.0 == tid && place.1.task == sum.task {
            place.1.join(sum);
            return None;
        }
        // Who is polled often stays: most others were polled once, and have ended.
        if place.1.polls > sum.polls.max(1) {
            return Some((tid, *sum));
        }
        let before = std::mem::replace(place, (tid, *sum));
        (before.1.polls > 0).then_some(before)
    }

    /// Hands out and forgets everything.
    pub(super) fn take(&mut self, mut each: impl FnMut(u64, &Entry)) {
        for (tid, sum) in self.places.iter_mut().filter(|(_, sum)| sum.polls > 0) {
            each(*tid, sum);
            (*tid, sum.polls, sum.task) = (0, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn one(task: u64) -> Entry {
        let mut sum = Entry { task, ..Entry::default() };
        sum.add(task, 500);
        sum
    }

    #[test]
    fn nothing_is_counted_twice_or_lost() {
        let mut elsewhere = Elsewhere::default();
        let mut told: HashMap<_, Vec<u64>> = HashMap::new();
        let mut tell = |tid: u64, sum: &Entry| told.entry((tid, sum.task)).or_default().push(sum.polls);
        // Two that are polled all the time among many that are polled once.
        for task in 3..20_000 {
            for task in [1, 2, task] {
                if let Some((tid, sum)) = elsewhere.add(task % 3, &one(task)) {
                    tell(tid, &sum);
                }
            }
        }
        elsewhere.take(&mut tell);
        elsewhere.take(&mut tell);
        assert_eq!((&told[&(1, 1)], &told[&(2, 2)]), (&vec![19_997], &vec![19_997]));
        assert!((3..20_000).all(|task| told[&(task % 3, task)] == [1]));
    }
}

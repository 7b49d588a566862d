//! Waits under way, found by their number and by their task: a program may have a million of them, and tasks end all day.

use std::collections::{BTreeMap, BTreeSet};

use pollscope_recording::{TaskId, WaitId};

use super::WaitFacts;

/// The waits under way.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    all: BTreeMap<WaitId, WaitFacts>,
    by_task: BTreeSet<(TaskId, WaitId)>,
}

impl Waits {
    /// One of them.
    pub fn get(&self, wait: WaitId) -> Option<&WaitFacts> {
        self.all.get(&wait)
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = (WaitId, &WaitFacts)> {
        self.all.iter().map(|(&wait, facts)| (wait, facts))
    }

    /// All, without their numbers.
    pub fn values(&self) -> impl Iterator<Item = &WaitFacts> {
        self.all.values()
    }

    /// Those of one task.
    pub fn of(&self, task: TaskId) -> impl Iterator<Item = (WaitId, &WaitFacts)> {
        let theirs = self.by_task.range((task, 0)..=(task, WaitId::MAX));
        theirs.filter_map(|&(_, wait)| Some((wait, self.all.get(&wait)?)))
    }

    /// The wait of this number, whose task is this one; new if it was not known.
    pub(super) fn begin(&mut self, wait: WaitId, task: TaskId) -> &mut WaitFacts {
        let facts = self.all.entry(wait).or_default();
        // A damaged recording may give one number to the waits of two tasks.
        self.by_task.remove(&(facts.task, wait));
        self.by_task.insert((task, wait));
        facts.task = task;
        facts
    }

    /// Changes what is known of a wait, but not whose it is.
    pub(super) fn change(&mut self, wait: WaitId, change: impl FnOnce(&mut WaitFacts)) {
        if let Some(facts) = self.all.get_mut(&wait) {
            change(facts);
        }
    }

    pub(super) fn remove(&mut self, wait: WaitId) -> Option<WaitFacts> {
        let facts = self.all.remove(&wait)?;
        self.by_task.remove(&(facts.task, wait));
        Some(facts)
    }

    /// A task ended, and its waits with it.
    pub(super) fn end_task(&mut self, task: TaskId) {
        while let Some(&(_, wait)) = self.by_task.range((task, 0)..=(task, WaitId::MAX)).next() {
            self.by_task.remove(&(task, wait));
            self.all.remove(&wait);
        }
    }
}

impl FromIterator<(WaitId, WaitFacts)> for Waits {
    fn from_iter<I: IntoIterator<Item = (WaitId, WaitFacts)>>(waits: I) -> Waits {
        let all: BTreeMap<WaitId, WaitFacts> = waits.into_iter().collect();
        let by_task = all.iter().map(|(&wait, facts)| (facts.task, wait)).collect();
        Waits { all, by_task }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_a_wait_agree() {
        let mut waits = Waits::default();
        for (wait, task) in [(1, 7), (2, 8), (3, 7), (2, 7), (4, 8)] {
            waits.begin(wait, task);
        }
        let of = |waits: &Waits, task| waits.of(task).map(|(wait, _)| wait).collect::<Vec<_>>();
        assert_eq!((of(&waits, 7), of(&waits, 8)), (vec![1, 2, 3], vec![4]));
        assert_eq!(waits.remove(3).map(|facts| facts.task), Some(7));
        waits.end_task(7);
        assert_eq!((of(&waits, 7), waits.iter().map(|(wait, _)| wait).collect::<Vec<_>>()), (vec![], vec![4]));
        assert!(waits.get(1).is_none() && waits.get(4).is_some());
    }
}

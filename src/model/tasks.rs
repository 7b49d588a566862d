//! Tasks by id. They are looked up at nearly every event and walked through hardly ever, so a table it is, and not a
//! tree.

use pollscope_recording::TaskId;

use super::TaskFacts;
use super::near::Near;

/// Tasks by id.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// In the order they were first heard of.
    all: Vec<(TaskId, TaskFacts)>,
    /// Where in there each one is.
    places: Near<(), u32>,
}

impl Tasks {
    /// One of them.
    pub fn get(&self, task: &TaskId) -> Option<&TaskFacts> {
        self.get_key_value(task).map(|(_, facts)| facts)
    }

    /// One of them, with its id.
    pub fn get_key_value(&self, task: &TaskId) -> Option<(&TaskId, &TaskFacts)> {
        let place = self.places.get((), *task)?;
        self.all.get(place as usize).map(|(task, facts)| (task, facts))
    }

    /// All, by id; they are sorted for this.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskId, &TaskFacts)> + Clone {
        let mut all: Vec<_> = self.all.iter().map(|(task, facts)| (task, facts)).collect();
        // Mostly they are in order already, which this sort makes use of.
        all.sort_by_key(|(task, _)| **task);
        all.into_iter()
    }

    /// All, by id, without it.
    pub fn values(&self) -> impl Iterator<Item = &TaskFacts> {
        self.iter().map(|(_, facts)| facts)
    }

    pub(super) fn get_mut(&mut self, task: TaskId) -> Option<&mut TaskFacts> {
        let place = self.places.get((), task)?;
        self.all.get_mut(place as usize).map(|(_, facts)| facts)
    }

    /// The task of this id; one of which nothing is known, if it was not there.
    #[inline]
    pub(super) fn entry(&mut self, task: TaskId) -> &mut TaskFacts {
        let new = self.all.len();
        let place = self.places.entry((), task, new as u32, usize::MAX).map_or(new, |place| *place as usize);
        if place >= new {
            self.all.push((task, TaskFacts::default()));
        }
        &mut self.all[place].1
    }

    /// Drops so many of those that have ended, at most, the lowest ids first, and says how many.
    pub(super) fn drop_ended(&mut self, most: usize) -> usize {
        let ended = self.all.iter().filter(|(_, facts)| facts.ended.is_some());
        let mut ended: Vec<TaskId> = ended.map(|(task, _)| *task).collect();
        if most == 0 || ended.is_empty() {
            return 0;
        }
        let last = most.min(ended.len()) - 1;
        let (_, &mut last, _) = ended.select_nth_unstable(last);
        let before = self.all.len();
        self.all.retain(|(task, facts)| facts.ended.is_none() || *task > last);
        self.places.clear();
        for (place, (task, _)) in (0..).zip(&self.all) {
            self.places.entry((), *task, place, usize::MAX);
        }
        before - self.all.len()
    }
}

impl FromIterator<(TaskId, TaskFacts)> for Tasks {
    fn from_iter<I: IntoIterator<Item = (TaskId, TaskFacts)>>(tasks: I) -> Tasks {
        let mut all = Tasks::default();
        tasks.into_iter().for_each(|(task, facts)| *all.entry(task) = facts);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(tasks: &Tasks) -> Vec<TaskId> {
        tasks.iter().map(|(&task, _)| task).collect()
    }

    #[test]
    fn tasks_come_in_the_order_of_their_ids() {
        let mut tasks = Tasks::default();
        for task in [5, 1 << 63, 3, 5, 4] {
            tasks.entry(task).progress += 1;
        }
        assert_eq!(ids(&tasks), [3, 4, 5, 1 << 63]);
        assert_eq!((tasks.get(&5).unwrap().progress, tasks.get(&6).is_none()), (2, true));
        assert_eq!(tasks.values().map(|facts| facts.progress).collect::<Vec<_>>(), [1, 1, 2, 1]);
    }

    #[test]
    fn the_oldest_that_ended_go_and_the_rest_is_found() {
        let mut tasks = Tasks::default();
        for task in [9, 2, 7, 4, 6, 8] {
            tasks.entry(task).ended = (task != 6).then_some(task);
            tasks.entry(task).begun = task;
        }
        assert_eq!(tasks.drop_ended(3), 3);
        assert_eq!(ids(&tasks), [6, 8, 9]);
        assert!([6, 8, 9].iter().all(|task| tasks.get(task).is_some_and(|facts| facts.begun == *task)));
        assert!(tasks.get(&2).is_none() && tasks.get_mut(7).is_none());
        assert_eq!((tasks.drop_ended(0), tasks.drop_ended(100), ids(&tasks)), (0, 2, vec![6]));
        assert_eq!(tasks.drop_ended(1), 0);
    }
}

//! Waits for locks, and how long locks are held.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pollscope_recording::{Acquired, Nanos, Released, Resource, ResourceId, TaskId, Wait, WaitId};

use crate::places::Places;

/// What waits are counted by: other resources, such as timers, end by themselves.
pub(crate) const RESOURCES: [&str; 4] = ["Mutex", "RwLock", "Semaphore", "Channel"];
/// Holders that are remembered: permits that are forgotten on purpose never come back.
const MOST_HOLDERS: usize = 4096;

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    resources: HashMap<ResourceId, (usize, usize)>,
    waits: BTreeMap<WaitId, Waiting>,
    waits_of: BTreeSet<(TaskId, WaitId)>,
    /// By resource and place: how many ended, and their time.
    waited: BTreeMap<(usize, usize), (u64, Nanos)>,
    held: BTreeMap<(usize, usize), (u64, Nanos)>,
    /// Who holds what: since when, and how many permits.
    holders: BTreeMap<(ResourceId, TaskId), (Nanos, u64)>,
    made: Places,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    resource: usize,
    place: usize,
    task: TaskId,
    since: Nanos,
}

/// By resource, labels of the place that made it, how many, their time.
pub(crate) type ByPlace<'a> = (&'static str, (&'a str, &'a str), u64, Nanos);

impl Locks {
    pub(crate) fn made(&mut self, resource: &Resource) {
        if let Some(kind) = RESOURCES.iter().position(|kind| **kind == *resource.kind) {
            let place = self.made.number(&resource.made);
            self.resources.insert(resource.resource, (kind, place));
        }
    }

    pub(crate) fn dropped(&mut self, resource: ResourceId) {
        self.resources.remove(&resource);
        while let Some((&holder, _)) = self.holders.range((resource, 0)..=(resource, TaskId::MAX)).next() {
            self.holders.remove(&holder);
        }
    }

    pub(crate) fn wait(&mut self, wait: &Wait) {
        let Some(&(resource, place)) = self.resources.get(&wait.resource) else { return };
        let waiting = Waiting { resource, place, task: wait.task, since: wait.at };
        self.waits.entry(wait.wait).or_insert(waiting);
        self.waits_of.insert((wait.task, wait.wait));
    }

    pub(crate) fn wait_end(&mut self, wait: WaitId, at: Nanos) {
        let Some(waiting) = self.waits.remove(&wait) else { return };
        self.waits_of.remove(&(waiting.task, wait));
        add(&mut self.waited, (waiting.resource, waiting.place), at.saturating_sub(waiting.since));
    }

    /// Its waits ended with it; when is not known if nothing said so.
    pub(crate) fn task_end(&mut self, task: TaskId) {
        while let Some(&(_, wait)) = self.waits_of.range((task, 0)..=(task, WaitId::MAX)).next() {
            self.waits_of.remove(&(task, wait));
            self.waits.remove(&wait);
        }
    }

    pub(crate) fn acquired(&mut self, taken: &Acquired) {
        let key = (taken.resource, taken.task);
        if let Some((since, permits)) = self.holders.get_mut(&key) {
            // What is said again has the time of its taking.
            if taken.at > *since {
                *permits = permits.saturating_add(taken.permits);
            }
        } else if self.holders.len() < MOST_HOLDERS {
            self.holders.insert(key, (taken.at, taken.permits));
        }
    }

    pub(crate) fn released(&mut self, given: &Released) {
        let key = (given.resource, given.task);
        let Some((since, permits)) = self.holders.get_mut(&key) else { return };
        *permits = permits.saturating_sub(given.permits);
        if *permits > 0 {
            return;
        }
        let took = given.at.saturating_sub(*since);
        self.holders.remove(&key);
        if let Some(&place) = self.resources.get(&given.resource) {
            add(&mut self.held, place, took);
        }
    }

    /// Everything ended with the process.
    pub(crate) fn over(&mut self) {
        self.waits.clear();
        self.waits_of.clear();
        self.resources.clear();
        self.holders.clear();
    }

    /// Waits under way for each of [`RESOURCES`], and the age of the oldest.
    pub(crate) fn waiting(&self, now: Nanos) -> [(u64, Nanos); RESOURCES.len()] {
        let mut waiting = [(0, 0); RESOURCES.len()];
        for wait in self.waits.values() {
            if let Some((count, oldest)) = waiting.get_mut(wait.resource) {
                *count += 1;
                *oldest = now.saturating_sub(wait.since).max(*oldest);
            }
        }
        waiting
    }

    /// Waits that ended.
    pub(crate) fn waited(&self) -> impl Iterator<Item = ByPlace<'_>> {
        self.told(&self.waited)
    }

    /// Times for which a task held a lock or permits, those that ended.
    pub(crate) fn held(&self) -> impl Iterator<Item = ByPlace<'_>> {
        self.told(&self.held)
    }

    fn told<'a>(&'a self, sums: &'a BTreeMap<(usize, usize), (u64, Nanos)>) -> impl Iterator<Item = ByPlace<'a>> {
        sums.iter().filter_map(|(&(resource, place), &(count, nanos))| {
            Some((*RESOURCES.get(resource)?, self.made.labels(place), count, nanos))
        })
    }
}

fn add(sums: &mut BTreeMap<(usize, usize), (u64, Nanos)>, key: (usize, usize), more: Nanos) {
    let (count, nanos) = sums.entry(key).or_default();
    *count += 1;
    *nanos = nanos.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollscope_recording::Place;

    fn lock(resource: ResourceId, kind: &str) -> Resource {
        let made = Place { file: "src/db.rs".into(), line: 4, column: 1 };
        let kind = kind.into();
        Resource { at: 1, resource, parent: 0, kind, made, permits: 0, returned: false, stranger: 0 }
    }

    fn locks() -> Locks {
        let mut locks = Locks::default();
        locks.made(&lock(1, "Mutex"));
        locks.made(&lock(2, "Sleep"));
        locks.made(&lock(3, "Semaphore"));
        locks
    }

    #[test]
    fn waits_are_counted_by_where_the_lock_was_made() {
        let mut locks = locks();
        for (at, wait, resource) in [(10, 1, 1), (20, 2, 1), (20, 3, 2)] {
            locks.wait(&Wait { at, wait, resource, task: wait, operation: "lock".into(), until: 0 });
        }
        locks.wait_end(1, 40);
        assert_eq!(locks.waiting(40), [(1, 20), (0, 0), (0, 0), (0, 0)]);
        assert_eq!(Vec::from_iter(locks.waited()), [("Mutex", ("src/db.rs", "4"), 1, 30)]);
        locks.task_end(2);
        assert_eq!(locks.waiting(50)[0], (0, 0));
    }

    #[test]
    fn a_lock_is_held_from_its_taking_to_its_giving_back() {
        let mut locks = locks();
        let take = |at, resource, task, permits| Acquired { at, resource, task, permits, owned: false };
        let give = |at, resource, task, permits| Released { at, resource, task, permits };
        locks.acquired(&take(10, 1, 5, 1));
        // A new segment says it again.
        locks.acquired(&take(10, 1, 5, 1));
        locks.released(&give(50, 1, 5, 1));
        // Permits are held as long as any of them is.
        locks.acquired(&take(10, 3, 5, 2));
        locks.acquired(&take(20, 3, 5, 1));
        locks.released(&give(30, 3, 5, 2));
        locks.released(&give(60, 3, 5, 1));
        // Nobody had it.
        locks.released(&give(70, 3, 6, 1));
        let expected = [("Mutex", ("src/db.rs", "4"), 1, 40), ("Semaphore", ("src/db.rs", "4"), 1, 50)];
        assert_eq!(Vec::from_iter(locks.held()), expected);
        locks.acquired(&take(80, 3, 5, 2));
        locks.dropped(3);
        assert!(locks.holders.is_empty());
    }

    #[test]
    fn permits_that_are_never_given_back_do_not_pile_up() {
        let mut locks = locks();
        for task in 0..2 * MOST_HOLDERS as u64 {
            locks.acquired(&Acquired { at: 1, resource: 3, task, permits: 1, owned: false });
        }
        assert_eq!(locks.holders.len(), MOST_HOLDERS);
    }
}

//! Who holds and who waits, kept for what is alive. Locks nobody ever waits for cost the recording nothing: their
//! making, their holders and their releases are written only once somebody waits.

use crate::stack::{RawStack, Unwinder};
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos, ResourceId, TaskId, WaitId};
use std::collections::{HashMap, VecDeque};

/// A wait of this age is worth the unwinding of its stack.
const LONG: Nanos = 300_000_000;
/// A lock that was granted and not picked up for this long is told: its task has had every chance to be polled.
const LEFT: Nanos = 100_000_000;

/// Stacks kept of who holds one resource: permits that are forgotten on purpose never come back.
const MOST_STACKS: usize = 64;
/// Tasks that have ended and whose parents are still known: what they spawned may act for them.
const MOST_ENDED: usize = 4096;
/// How far up the family of a task is looked for who took what it gives back.
const GENERATIONS: usize = 4;

struct Holder {
    taken: words::Acquired,
    stack: Option<Box<RawStack>>,
}

struct Lock {
    made: words::Resource,
    contended: bool,
    /// It was told that there is this lock, though nobody may have waited for it.
    introduced: bool,
    holders: Vec<Holder>,
    /// Of a channel: who received last.
    receiver: Option<TaskId>,
}

struct Waiting {
    wait: words::Wait,
    stack: Option<Box<RawStack>>,
    told: bool,
    long: bool,
    granted: Option<Nanos>,
}

#[derive(Default)]
pub(crate) struct Locks {
    locks: HashMap<ResourceId, Lock>,
    waits: HashMap<WaitId, Waiting>,
    waits_of: HashMap<TaskId, Vec<WaitId>>,
    /// Waits that are not long yet, and grants that are not left yet, oldest first.
    ripening: VecDeque<(Nanos, WaitId)>,
    granted: VecDeque<(Nanos, WaitId)>,
    parents: HashMap<TaskId, TaskId>,
    ended: VecDeque<TaskId>,
    /// Tasks with long waits, and how many: everything else they wait for is told too.
    followed: HashMap<TaskId, usize>,
}

impl Locks {
    pub(crate) fn made(&mut self, made: words::Resource) {
        let lock = Lock { made, contended: false, introduced: false, holders: Vec::new(), receiver: None };
        self.locks.insert(lock.made.resource, lock);
    }

    pub(crate) fn capacity(&mut self, resource: ResourceId, permits: u64) {
        if let Some(lock) = self.locks.get_mut(&resource) {
            lock.made.permits = permits;
        }
    }

    pub(crate) fn dropped(&mut self, at: Nanos, resource: ResourceId) -> Option<Event> {
        let lock = self.locks.remove(&resource)?;
        (lock.contended || lock.introduced).then(|| words::ResourceEnd { at, resource }.into())
    }

    /// What a lock is, unless that was said before.
    pub(crate) fn introduce(&mut self, resource: ResourceId) -> Option<Event> {
        let lock = self.locks.get_mut(&resource).filter(|lock| !lock.contended && !lock.introduced)?;
        lock.introduced = true;
        Some(lock.made.clone().into())
    }

    pub(crate) fn spawned(&mut self, task: TaskId, parent: TaskId) {
        if parent != 0 {
            self.parents.insert(task, parent);
        }
    }

    pub(crate) fn ended(&mut self, task: TaskId) {
        self.ended.push_back(task);
        if self.ended.len() > MOST_ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.parents.remove(&oldest);
        }
    }

    pub(crate) fn acquired(
        &mut self,
        taken: words::Acquired,
        stack: Option<Box<RawStack>>,
        always: bool,
    ) -> Option<Event> {
        let lock = self.locks.get_mut(&taken.resource)?;
        let event = (lock.contended || always).then(|| taken.clone().into());
        let stack = stack.filter(|_| lock.holders.len() < MOST_STACKS);
        match lock.holders.last_mut() {
            Some(last) if last.taken.task == taken.task => {
                last.taken.permits += taken.permits;
                last.stack = stack.or(last.stack.take());
            }
            _ => lock.holders.push(Holder { taken, stack }),
        }
        event
    }

    /// Who holds what `task` gives back: itself, or the nearest of those it descends from. A pool returns connections
    /// from tasks of their own, which whoever drops a connection spawns.
    fn taker(&self, resource: ResourceId, task: TaskId) -> Option<TaskId> {
        let holders = &self.locks.get(&resource)?.holders;
        let family = std::iter::successors(Some(task), |task| self.parents.get(task).copied());
        family.take(GENERATIONS).find(|one| holders.iter().any(|holder| holder.taken.task == *one))
    }

    pub(crate) fn released(&mut self, at: Nanos, resource: ResourceId, task: TaskId, permits: u64) -> Option<Event> {
        let contended = self.locks.get(&resource)?.contended;
        // A future that is dropped with what it was granted gives back what nobody ever took.
        if contended && self.drops_a_grant(resource, task) {
            return None;
        }
        let taker = self.taker(resource, task);
        let lock = self.locks.get_mut(&resource)?;
        if &*lock.made.kind == "Channel" {
            let changed = lock.receiver.replace(task) != Some(task);
            return (lock.contended && changed).then(|| words::Released { at, resource, task, permits }.into());
        }
        match taker {
            Some(_) => lock.made.returned = true,
            None => lock.made.stranger = task,
        }
        let task = taker.unwrap_or(task);
        give_back(&mut lock.holders, task, permits);
        lock.contended.then(|| words::Released { at, resource, task, permits }.into())
    }

    fn drops_a_grant(&self, resource: ResourceId, task: TaskId) -> bool {
        self.waits_of.get(&task).into_iter().flatten().any(|wait| {
            self.waits.get(wait).is_some_and(|waiting| waiting.wait.resource == resource && waiting.granted.is_some())
        })
    }

    /// Somebody gave permits to one who waits.
    pub(crate) fn handed_over(&mut self, at: Nanos, wait: WaitId, task: TaskId, permits: u64) -> Option<Event> {
        let resource = self.waits.get(&wait)?.wait.resource;
        // Who holds a lock is told by events of the lock's own.
        let counts = self.locks.get(&resource).is_some_and(|lock| matches!(&*lock.made.kind, "Semaphore" | "Channel"));
        if counts { self.released(at, resource, task, permits) } else { None }
    }

    pub(crate) fn granted(&mut self, at: Nanos, wait: WaitId) {
        if let Some(waiting) = self.waits.get_mut(&wait) {
            waiting.granted = Some(at);
            self.granted.push_back((at, wait));
        }
    }

    pub(crate) fn wait(&mut self, wait: words::Wait, stack: Option<Box<RawStack>>) -> Vec<Event> {
        let (id, task, at) = (wait.wait, wait.task, wait.at);
        if self.waits.contains_key(&id) {
            return Vec::new();
        }
        let mut events = Vec::new();
        let lock = self.locks.get_mut(&wait.resource);
        let told = lock.is_some() || self.followed.contains_key(&task);
        if let Some(lock) = lock {
            self.ripening.push_back((at, id));
            if !std::mem::replace(&mut lock.contended, true) {
                events.push(lock.made.clone().into());
                events.extend(lock.holders.iter().map(|holder| holder.taken.clone().into()));
                let resource = wait.resource;
                events.extend(lock.receiver.map(|task| words::Released { at, resource, task, permits: 1 }.into()));
            }
        }
        if told {
            events.push(wait.clone().into());
        }
        self.waits.insert(id, Waiting { wait, stack, told, long: false, granted: None });
        self.waits_of.entry(task).or_default().push(id);
        events
    }

    pub(crate) fn wait_end(&mut self, at: Nanos, wait: WaitId, ready: bool) -> Option<Event> {
        let waiting = self.waits.remove(&wait)?;
        let task = waiting.wait.task;
        if let Some(waits) = self.waits_of.get_mut(&task) {
            waits.retain(|other| *other != wait);
            if waits.is_empty() {
                self.waits_of.remove(&task);
            }
        }
        if waiting.long
            && let Some(long) = self.followed.get_mut(&task)
        {
            *long -= 1;
            if *long == 0 {
                self.followed.remove(&task);
            }
        }
        waiting.told.then(|| words::WaitEnd { at, wait, ready }.into())
    }

    /// Unwinds the stacks of waits that have become long, tells what else their tasks wait for, and what was granted
    /// and left.
    pub(crate) fn ripe(&mut self, now: Nanos, unwinder: &mut Unwinder) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(&(since, wait)) = self.ripening.front().filter(|(since, _)| now.saturating_sub(*since) >= LONG) {
            self.ripening.pop_front();
            let Some(waiting) = self.waits.get_mut(&wait).filter(|waiting| waiting.wait.at == since) else { continue };
            let task = waiting.wait.task;
            waiting.long = true;
            if let Some(stack) = waiting.stack.take() {
                let stack = unwinder.unwind(&stack);
                events.push(words::WaitStack { at: now, wait, stack }.into());
            }
            if let Some(lock) = self.locks.get_mut(&waiting.wait.resource) {
                for holder in &mut lock.holders {
                    let Some(stack) = holder.stack.take() else { continue };
                    let (resource, task) = (holder.taken.resource, holder.taken.task);
                    let stack = unwinder.unwind(&stack);
                    events.push(words::HoldStack { at: now, resource, task, stack }.into());
                }
            }
            *self.followed.entry(task).or_default() += 1;
            for other in self.waits_of.get(&task).into_iter().flatten() {
                if let Some(waiting) = self.waits.get_mut(other)
                    && !std::mem::replace(&mut waiting.told, true)
                {
                    events.push(waiting.wait.clone().into());
                }
            }
        }
        while let Some(&(at, wait)) = self.granted.front().filter(|(at, _)| now.saturating_sub(*at) >= LEFT) {
            self.granted.pop_front();
            if self.waits.get(&wait).is_some_and(|waiting| waiting.granted == Some(at)) {
                events.push(words::Granted { at, wait }.into());
            }
        }
        events
    }
}

/// Takes permits from those `task` holds; if it holds none (a guard can be sent to another task) from who has held
/// them longest.
fn give_back(holders: &mut Vec<Holder>, task: TaskId, mut permits: u64) {
    while permits > 0 {
        let own = holders.iter().position(|held| held.taken.task == task);
        let Some(index) = own.or((!holders.is_empty()).then_some(0)) else { return };
        let held = &mut holders[index].taken.permits;
        let taken = permits.min(*held);
        permits -= taken.max(1);
        *held -= taken;
        if *held == 0 {
            holders.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A semaphore of which task 1 took a permit and task `by` gave one back: who was a stranger to it, and who holds.
    fn given_back(by: TaskId) -> (TaskId, Vec<TaskId>) {
        let mut locks = Locks::default();
        let (kind, made) = ("Semaphore".into(), words::Place::default());
        locks.made(words::Resource {
            at: 0,
            resource: 9,
            parent: 0,
            kind,
            made,
            permits: 2,
            returned: false,
            stranger: 0,
        });
        locks.acquired(words::Acquired { at: 1, resource: 9, task: 4, permits: 1 }, None, false);
        locks.acquired(words::Acquired { at: 2, resource: 9, task: 1, permits: 1 }, None, false);
        locks.spawned(2, 1);
        locks.spawned(3, 2);
        locks.ended(2);
        locks.released(3, 9, by, 1);
        let wait = words::Wait { at: 4, wait: 1, resource: 9, task: 5, operation: "".into(), until: 0 };
        let (mut stranger, mut holders) = (0, Vec::new());
        for event in locks.wait(wait, None) {
            match event {
                Event::Resource(made) => stranger = made.stranger,
                Event::Acquired(taken) => holders.push(taken.task),
                _ => {}
            }
        }
        (stranger, holders)
    }

    #[test]
    fn what_a_descendant_gives_back_counts_for_who_took_it() {
        assert_eq!(given_back(1), (0, vec![4]));
        assert_eq!(given_back(2), (0, vec![4]));
        assert_eq!(given_back(3), (0, vec![4]));
        // Somebody else's: the one who has held longest lets go, and permits are known to move.
        assert_eq!(given_back(7), (7, vec![1]));
    }
}

//! Who holds and who waits, kept for what is alive. Locks nobody ever waits for cost the recording nothing: their
//! making, their holders and their releases are written only once somebody waits.

use super::books::Books;
use crate::raw::Noted;
use crate::stack::Unwinder;
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos, ResourceId, TaskId, WaitId};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// A wait of this age is worth the unwinding of its stack.
const LONG: Nanos = 300_000_000;
/// A lock that was granted and not picked up for this long is told: its task has had every chance to be polled.
const LEFT: Nanos = 100_000_000;

/// Tasks that have ended and whose parents are still known: what they spawned may act for them.
const MOST_ENDED: usize = 4096;
/// How far up the family of a task is looked for who took what it gives back.
const GENERATIONS: usize = 4;

struct Lock {
    made: words::Resource,
    contended: bool,
    books: Books,
    /// It was told that there is this lock, though nobody may have waited for it.
    introduced: bool,
    /// Of a channel: who received last.
    receiver: Option<TaskId>,
}

struct Waiting {
    wait: words::Wait,
    stack: Option<Noted>,
    told: bool,
    long: bool,
    granted: Option<Nanos>,
    /// Permits handed to it that are not in the books of its task yet.
    given: u64,
    /// Told to be left aside by its task.
    idle: bool,
}

#[derive(Default)]
pub(crate) struct Locks {
    locks: FxHashMap<ResourceId, Lock>,
    waits: FxHashMap<WaitId, Waiting>,
    waits_of: FxHashMap<TaskId, Vec<WaitId>>,
    /// Waits that are not long yet, and grants that are not left yet, oldest first.
    ripening: VecDeque<(Nanos, WaitId)>,
    granted: VecDeque<(Nanos, WaitId)>,
    /// Who spawned a task, and when.
    parents: FxHashMap<TaskId, (TaskId, Nanos)>,
    ended: VecDeque<TaskId>,
    /// Tasks with long waits, and how many: everything else they wait for is told too.
    followed: FxHashMap<TaskId, usize>,
    /// When the tasks that wait were polled last, as far as it was told.
    polls: FxHashMap<TaskId, Nanos>,
}

impl Locks {
    pub(crate) fn made(&mut self, made: words::Resource) {
        let lock = Lock { made, contended: false, introduced: false, books: Books::default(), receiver: None };
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

    pub(crate) fn spawned(&mut self, at: Nanos, task: TaskId, parent: TaskId) {
        if parent != 0 {
            self.parents.insert(task, (parent, at));
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

    pub(crate) fn acquired(&mut self, taken: words::Acquired, stack: Option<Noted>, always: bool) -> Vec<Event> {
        let (at, resource) = (taken.at, taken.resource);
        self.collected(resource, taken.task);
        let Some(lock) = self.locks.get_mut(&resource) else { return Vec::new() };
        let event = (lock.contended || always).then(|| taken.clone().into());
        lock.books.take(taken, stack);
        event.into_iter().chain(self.balanced(at, resource)).collect()
    }

    /// What was handed to a wait of this task's for it is the task's own now.
    fn collected(&mut self, resource: ResourceId, task: TaskId) {
        for wait in self.waits_of.get(&task).into_iter().flatten() {
            if let Some(waiting) = self.waits.get_mut(wait).filter(|waiting| waiting.wait.resource == resource)
                && waiting.given > 0
                && let Some(lock) = self.locks.get_mut(&resource)
            {
                lock.books.arrives(std::mem::take(&mut waiting.given));
                return;
            }
        }
    }

    /// Sets the books of a semaphore right where they hold more than there is.
    fn balanced(&mut self, at: Nanos, resource: ResourceId) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(lock) = self.locks.get_mut(&resource).filter(|lock| &*lock.made.kind == "Semaphore") else {
            return events;
        };
        let before = lock.books.state(at, resource);
        while let Some((task, permits)) = lock.books.balance(lock.made.permits) {
            events.push(words::Released { at, resource, task, permits }.into());
        }
        lock.tell_state(before, &mut events);
        events.retain(|_| lock.contended);
        events
    }

    /// Who holds what `task` gives back: itself, or the nearest of those it descends from. A pool returns connections
    /// from tasks of their own, which whoever drops a connection spawns.
    fn taker(&self, resource: ResourceId, task: TaskId) -> Option<TaskId> {
        let holders = &self.locks.get(&resource)?.books.holders;
        // A task that was there before something was taken was not spawned to give it back.
        let begun = self.parents.get(&task).map_or(0, |(_, begun)| *begun);
        let family = std::iter::successors(Some(task), |task| self.parents.get(task).map(|(parent, _)| *parent));
        let took = |one: TaskId| {
            let mut own = holders.iter().filter(|holder| holder.taken.task == one);
            own.any(|holder| one == task || holder.taken.at <= begun)
        };
        family.take(GENERATIONS).find(|one| took(*one))
    }

    pub(crate) fn released(&mut self, at: Nanos, resource: ResourceId, task: TaskId, permits: u64) -> Vec<Event> {
        let Some(kind) = self.locks.get(&resource).map(|lock| lock.made.kind.clone()) else { return Vec::new() };
        let counts = matches!(&*kind, "Semaphore" | "Channel");
        let taker = self.taker(resource, task);
        // A future that is dropped with what it was granted gives back what nobody ever took.
        if counts && self.drops_a_grant(resource, task, taker.is_none()) {
            return Vec::new();
        }
        let Some(lock) = self.locks.get_mut(&resource) else { return Vec::new() };
        if &*kind == "Channel" {
            let changed = lock.receiver.replace(task) != Some(task);
            let event = words::Released { at, resource, task, permits }.into();
            return Vec::from_iter(Some(event).filter(|_| lock.contended && changed));
        }
        let (before, stranger) = (lock.books.state(at, resource), lock.made.stranger);
        let mut events = Vec::new();
        // Outside of tasks, a thread gives back.
        let nobody = if task == 0 { TaskId::MAX } else { task };
        match taker {
            Some(taker) => {
                lock.made.returned = true;
                let own = lock.books.give_back(task, taker, permits);
                events.push(words::Released { at, resource, task: taker, permits: own }.into());
                if counts && own < permits {
                    lock.made.stranger = nobody;
                    lock.books.stray(permits - own);
                }
            }
            None if counts && lock.made.permits == 0 && lock.books.is_untouched() => {
                // A gate that begins closed is opened.
                lock.made.permits = permits;
                events.push(lock.told(at));
            }
            None if counts => {
                lock.made.stranger = nobody;
                lock.books.stray(permits);
            }
            None => {
                // A lock that is made says that it is free.
                if let Some(taker) = lock.books.stray_guard() {
                    lock.made.stranger = nobody;
                    lock.books.give_back(task, taker, permits);
                    events.push(words::Released { at, resource, task: taker, permits }.into());
                }
            }
        }
        if !counts && lock.made.stranger != 0 {
            lock.books.settle_lock();
        }
        if (lock.made.stranger == 0) != (stranger == 0) {
            events.push(lock.told(at));
        }
        lock.tell_state(before, &mut events);
        events.retain(|_| lock.contended);
        events
    }

    fn drops_a_grant(&self, resource: ResourceId, task: TaskId, holds_none: bool) -> bool {
        self.waits_of.get(&task).into_iter().flatten().any(|wait| {
            self.waits
                .get(wait)
                .is_some_and(|waiting| waiting.wait.resource == resource && (waiting.granted.is_some() || holds_none))
        })
    }

    /// Somebody gave permits to one who waits.
    pub(crate) fn handed_over(&mut self, at: Nanos, wait: WaitId, task: TaskId, permits: u64) -> Vec<Event> {
        let Some(resource) = self.waits.get(&wait).map(|waiting| waiting.wait.resource) else { return Vec::new() };
        // Who holds a lock is told by events of the lock's own.
        let counts = self.locks.get(&resource).is_some_and(|lock| matches!(&*lock.made.kind, "Semaphore" | "Channel"));
        if !counts {
            return Vec::new();
        }
        let mut events = self.released(at, resource, task, permits);
        if let (Some(waiting), Some(lock)) = (self.waits.get_mut(&wait), self.locks.get_mut(&resource)) {
            waiting.given += permits;
            lock.books.sends(permits);
        }
        events.extend(self.balanced(at, resource));
        events
    }

    pub(crate) fn granted(&mut self, at: Nanos, wait: WaitId) {
        if let Some(waiting) = self.waits.get_mut(&wait) {
            waiting.granted = Some(at);
            self.granted.push_back((at, wait));
        }
    }

    pub(crate) fn wait(&mut self, wait: words::Wait, stack: Option<Noted>) -> Vec<Event> {
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
                let books = lock.books.state(at, wait.resource);
                events.extend((books.balanced || books.stays).then(|| books.into()));
                events.extend(lock.books.holders.iter().map(|holder| holder.taken.clone().into()));
                let resource = wait.resource;
                events.extend(lock.receiver.map(|task| words::Released { at, resource, task, permits: 1 }.into()));
            }
        }
        if told {
            events.push(wait.clone().into());
        }
        self.waits.insert(id, Waiting { wait, stack, told, long: false, granted: None, given: 0, idle: false });
        self.waits_of.entry(task).or_default().push(id);
        events
    }

    pub(crate) fn wait_end(&mut self, at: Nanos, wait: WaitId, ready: bool) -> Option<Event> {
        let waiting = self.waits.remove(&wait)?;
        let task = waiting.wait.task;
        if let Some(lock) = self.locks.get_mut(&waiting.wait.resource).filter(|_| waiting.given > 0) {
            lock.books.arrives(waiting.given);
        }
        if let Some(waits) = self.waits_of.get_mut(&task) {
            waits.retain(|other| *other != wait);
            if waits.is_empty() {
                self.waits_of.remove(&task);
                self.polls.remove(&task);
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

    /// A poll of a task began.
    pub(crate) fn polled(&mut self, task: TaskId, at: Nanos) {
        if self.waits_of.contains_key(&task) {
            let last = self.polls.entry(task).or_default();
            *last = (*last).max(at);
        }
    }

    /// Tells which long waits their tasks have left aside, and which no more: a stream that is not polled while its
    /// items are worked on may hold futures that wait.
    pub(crate) fn idle(&mut self, now: Nanos) -> Vec<Event> {
        let mut events = Vec::new();
        for task in self.followed.keys() {
            let Some(last) = self.polls.get(task) else { continue };
            for &wait in self.waits_of.get(task).into_iter().flatten() {
                let Some(waiting) = self.waits.get_mut(&wait).filter(|waiting| waiting.told) else { continue };
                let idle = last_polled(wait).is_some_and(|polled| polled < *last);
                if std::mem::replace(&mut waiting.idle, idle) != idle {
                    events.push(words::WaitIdle { at: now, wait, idle }.into());
                }
            }
        }
        events
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
                for holder in &mut lock.books.holders {
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

#[cfg(feature = "tracing")]
use crate::trace::last_polled;

/// Without the tracing events there are no waits either.
#[cfg(not(feature = "tracing"))]
fn last_polled(_: WaitId) -> Option<Nanos> {
    None
}

impl Lock {
    /// The resource as it is known by now.
    fn told(&self, at: Nanos) -> Event {
        words::Resource { at, ..self.made.clone() }.into()
    }

    /// Tells how far the books can be believed, if that has changed.
    fn tell_state(&self, before: words::Books, events: &mut Vec<Event>) {
        let now = self.books.state(before.at, before.resource);
        if now != before {
            events.push(now.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn semaphore(permits: u64) -> Locks {
        let mut locks = Locks::default();
        let (kind, made) = ("Semaphore".into(), words::Place::default());
        let (at, resource, parent, returned, stranger) = (0, 9, 0, false, 0);
        locks.made(words::Resource { at, resource, parent, kind, made, permits, returned, stranger });
        locks
    }

    fn take(locks: &mut Locks, at: Nanos, task: TaskId) {
        locks.acquired(words::Acquired { at, resource: 9, task, permits: 1, owned: false }, None, false);
    }

    /// Who was a stranger to it, whether the books are balanced, and who holds by them, once somebody waits.
    fn told(mut locks: Locks) -> (TaskId, bool, Vec<TaskId>) {
        let wait = words::Wait { at: 90, wait: 1, resource: 9, task: 5, operation: "".into(), until: 0 };
        let (mut stranger, mut balanced, mut holders) = (0, false, Vec::new());
        for event in locks.wait(wait, None) {
            match event {
                Event::Resource(made) => stranger = made.stranger,
                Event::Books(books) => balanced = books.balanced,
                Event::Acquired(taken) => holders.push(taken.task),
                _ => {}
            }
        }
        (stranger, balanced, holders)
    }

    /// A semaphore of which tasks 4 and 1 took a permit each and task `by` gave one back.
    fn given_back(by: TaskId) -> Locks {
        let mut locks = semaphore(2);
        take(&mut locks, 1, 4);
        take(&mut locks, 2, 1);
        locks.spawned(0, 7, 1);
        locks.spawned(3, 2, 1);
        locks.spawned(4, 3, 2);
        locks.ended(2);
        locks.released(3, 9, by, 1);
        locks
    }

    #[test]
    fn what_a_descendant_gives_back_counts_for_who_took_it() {
        for by in [1, 2, 3] {
            assert_eq!(told(given_back(by)), (0, false, vec![4]));
        }
    }

    /// Task 7 is a child of a taker too, but was there before.
    #[test]
    fn what_a_stranger_gives_back_can_be_its_own_until_the_books_run_over() {
        // Taken by `try_acquire`, say: both of the others still hold theirs.
        assert_eq!(told(given_back(7)), (7, true, vec![4, 1]));
        // But somebody takes the one that came back: a permit had moved.
        let mut moved = given_back(7);
        take(&mut moved, 4, 6);
        assert_eq!(told(moved), (7, false, vec![1, 6]));
    }

    #[test]
    fn what_is_on_its_way_to_a_waiter_is_taken() {
        let mut locks = given_back(1);
        take(&mut locks, 4, 1);
        let wait = words::Wait { at: 5, wait: 2, resource: 9, task: 8, operation: "".into(), until: 0 };
        locks.wait(wait, None);
        let events = locks.handed_over(6, 2, 7, 1);
        assert!(events.iter().any(|event| matches!(event, Event::Released(words::Released { task: 4, .. }))));
        // Once it is in the books of its task it is not counted twice.
        assert!(!locks.balanced(7, 9).iter().any(|event| matches!(event, Event::Released(_))));
        let taken = words::Acquired { at: 7, resource: 9, task: 8, permits: 1, owned: false };
        assert_eq!(locks.acquired(taken.clone(), None, false), [taken.into()]);
        locks.wait_end(7, 2, true);
    }

    #[test]
    fn a_gate_that_is_opened_later_has_no_stranger() {
        let mut locks = semaphore(0);
        locks.released(1, 9, 7, 2);
        take(&mut locks, 2, 4);
        take(&mut locks, 3, 1);
        assert_eq!(told(locks), (0, false, vec![4, 1]));
    }

    #[test]
    fn a_wait_given_up_half_way_gives_back_nothing_of_others() {
        let mut locks = semaphore(2);
        take(&mut locks, 1, 4);
        let operation = "Semaphore::acquire_many".into();
        locks.wait(words::Wait { at: 5, wait: 2, resource: 9, task: 8, operation, until: 0 }, None);
        assert_eq!(locks.released(6, 9, 8, 1), []);
    }
}

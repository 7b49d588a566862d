//! Who holds and who waits, kept for what is alive. Locks nobody ever waits for cost the recording nothing: their
//! making, their holder and their releases are written only once somebody waits.

use crate::stack::{RawStack, Unwinder};
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos, ResourceId, TaskId, WaitId};
use std::collections::HashMap;

/// A wait of this age is worth the unwinding of its stack.
const LONG: Nanos = 300_000_000;

struct Lock {
    made: words::Resource,
    contended: bool,
    holders: Vec<words::Acquired>,
}

struct Waiting {
    since: Nanos,
    stack: Option<Box<RawStack>>,
}

#[derive(Default)]
pub(crate) struct Locks {
    locks: HashMap<ResourceId, Lock>,
    waits: HashMap<WaitId, Waiting>,
}

impl Locks {
    pub(crate) fn made(&mut self, made: words::Resource) {
        self.locks.insert(made.resource, Lock { made, contended: false, holders: Vec::new() });
    }

    pub(crate) fn dropped(&mut self, at: Nanos, resource: ResourceId) -> Option<Event> {
        let lock = self.locks.remove(&resource)?;
        lock.contended.then(|| words::ResourceEnd { at, resource }.into())
    }

    pub(crate) fn acquired(
        &mut self,
        at: Nanos,
        resource: ResourceId,
        task: TaskId,
        permits: u64,
        always: bool,
    ) -> Option<Event> {
        let lock = self.locks.get_mut(&resource)?;
        let event = words::Acquired { at, resource, task, permits };
        lock.holders.push(event.clone());
        (lock.contended || always).then(|| event.into())
    }

    pub(crate) fn released(&mut self, at: Nanos, resource: ResourceId, task: TaskId, permits: u64) -> Option<Event> {
        let lock = self.locks.get_mut(&resource)?;
        // A guard that moved to another task is released there: then the one who has held it longest lets go.
        let held = lock.holders.iter().position(|held| held.task == task).or((!lock.holders.is_empty()).then_some(0))?;
        let held = lock.holders.remove(held);
        lock.contended.then(|| words::Released { at, resource, task: held.task, permits }.into())
    }

    pub(crate) fn wait(&mut self, wait: words::Wait, stack: Option<Box<RawStack>>) -> Vec<Event> {
        if self.waits.contains_key(&wait.wait) {
            return Vec::new();
        }
        self.waits.insert(wait.wait, Waiting { since: wait.at, stack });
        let mut events = Vec::new();
        if let Some(lock) = self.locks.get_mut(&wait.resource)
            && !std::mem::replace(&mut lock.contended, true)
        {
            events.push(lock.made.clone().into());
            events.extend(lock.holders.iter().cloned().map(Event::from));
        }
        events.push(wait.into());
        events
    }

    pub(crate) fn wait_end(&mut self, at: Nanos, wait: WaitId, ready: bool) -> Option<Event> {
        self.waits.remove(&wait)?;
        Some(words::WaitEnd { at, wait, ready }.into())
    }

    /// Unwinds the stacks of waits that have become long.
    pub(crate) fn long_waits(&mut self, now: Nanos, unwinder: &mut Unwinder) -> Vec<Event> {
        let long = self.waits.iter_mut().filter(|(_, waiting)| now.saturating_sub(waiting.since) >= LONG);
        long.filter_map(|(wait, waiting)| {
            let stack = unwinder.unwind(&*waiting.stack.take()?);
            Some(words::WaitStack { at: now, wait: *wait, stack }.into())
        })
        .collect()
    }
}

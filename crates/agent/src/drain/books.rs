//! Who holds what of one lock or semaphore, as far as tokio's events tell.
//!
//! `try_acquire` of a semaphore is in no event, but what it took comes back in one: from a stranger. A permit that was
//! sent to another task comes back from a stranger too. The two are told apart by adding up: permits that only moved are
//! still in the books of who took them, so once all are taken again the books hold more than there are.

use crate::raw::Noted;
use pollscope_recording as words;
use pollscope_recording::{Nanos, ResourceId, TaskId};

/// Stacks kept of who holds one resource: permits that are forgotten on purpose never come back.
const MOST_STACKS: usize = 64;

pub(super) struct Holder {
    pub(super) taken: words::Acquired,
    pub(super) stack: Option<Noted>,
}

#[derive(Default)]
pub(super) struct Books {
    pub(super) holders: Vec<Holder>,
    /// Permits given to operations that were not polled since.
    on_the_way: u64,
    /// Permits that strangers gave back, less those found to have moved.
    strays: u64,
    /// See [`words::Books`]. Without a stranger there is nothing to doubt, and this is not asked for.
    balanced: bool,
    /// What can be sent came back from who took it; from somebody else.
    kept: bool,
    sent: bool,
}

impl Books {
    pub(super) fn state(&self, at: Nanos, resource: ResourceId) -> words::Books {
        words::Books { at, resource, balanced: self.balanced, stays: self.kept && !self.sent }
    }

    pub(super) fn take(&mut self, taken: words::Acquired, stack: Option<Noted>) {
        let stack = stack.filter(|_| self.holders.len() < MOST_STACKS);
        match self.holders.last_mut() {
            Some(last) if last.taken.task == taken.task => {
                last.taken.permits += taken.permits;
                last.taken.owned |= taken.owned;
                last.stack = stack.or(last.stack.take());
            }
            _ => self.holders.push(Holder { taken, stack }),
        }
    }

    pub(super) fn sends(&mut self, permits: u64) {
        self.on_the_way += permits;
    }

    pub(super) fn arrives(&mut self, permits: u64) {
        self.on_the_way = self.on_the_way.saturating_sub(permits);
    }

    fn held(&self) -> u64 {
        self.holders.iter().map(|holder| holder.taken.permits).sum()
    }

    /// `task` gives back what `taker` took; how many permits that were, for it can be fewer than it says.
    pub(super) fn give_back(&mut self, task: TaskId, taker: TaskId, permits: u64) -> u64 {
        let mut left = permits;
        while left > 0 {
            let Some(index) = self.holders.iter().position(|held| held.taken.task == taker) else { break };
            let taken = &mut self.holders[index].taken;
            if taken.owned {
                (self.kept, self.sent) = (self.kept || task == taker, self.sent || task != taker);
            }
            let some = left.min(taken.permits);
            taken.permits -= some;
            if taken.permits == 0 {
                self.holders.remove(index);
            }
            // A taking of nothing must not be met for ever.
            left -= some.max(1).min(left);
        }
        permits - left
    }

    /// Permits of a semaphore came back from who took none.
    pub(super) fn stray(&mut self, permits: u64) {
        if self.strays == 0 && !self.sent {
            self.balanced = true;
        }
        self.strays += permits;
    }

    /// A guard of a lock came back from who took none: from whom it is, where that is not certain.
    pub(super) fn stray_guard(&mut self) -> Option<TaskId> {
        let longest = self.holders.first().map(|holder| holder.taken.task)?;
        self.sent = true;
        self.balanced = self.holders.len() == 1;
        Some(longest)
    }

    /// Every guard of a lock is in an event, so a lock that nobody holds has no false holder either.
    pub(super) fn settle_lock(&mut self) {
        self.balanced |= self.holders.is_empty();
    }

    /// More permits are taken than there are: who gives how many back, since those had moved. The one who has held
    /// longest is guessed; that permits move is certain.
    pub(super) fn balance(&mut self, capacity: u64) -> Option<(TaskId, u64)> {
        let excess = (self.held() + self.on_the_way).saturating_sub(capacity).min(self.strays);
        let longest = self.holders.first().filter(|_| excess > 0 && capacity > 0)?.taken.clone();
        let permits = excess.min(longest.permits);
        self.strays -= permits;
        (self.balanced, self.sent) = (false, true);
        self.give_back(0, longest.task, permits);
        Some((longest.task, permits))
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.holders.is_empty() && self.on_the_way == 0 && self.strays == 0
    }
}

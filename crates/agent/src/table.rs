//! The summary of polls on one thread since the drain last took it: a small direct-mapped table by task.

use pollscope_recording::{Nanos, POLL_BUCKETS, TaskId, poll_bucket};

const SLOTS: usize = 256;

#[derive(Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) task: TaskId,
    pub(crate) polls: u64,
    pub(crate) busy: Nanos,
    pub(crate) max: Nanos,
    /// Start of the last one.
    pub(crate) last: Nanos,
    pub(crate) histogram: [u32; POLL_BUCKETS],
}

impl Entry {
    /// Counts one poll.
    #[inline]
    pub(crate) fn add(&mut self, since: Nanos, nanos: Nanos) {
        self.polls += 1;
        self.busy += nanos;
        self.last = since;
        self.max = self.max.max(nanos);
        self.histogram[poll_bucket(nanos)] += 1;
    }

    /// Counts what another one of the same task did.
    pub(crate) fn join(&mut self, other: &Entry) {
        self.polls += other.polls;
        self.busy += other.busy;
        self.last = self.last.max(other.last);
        self.max = self.max.max(other.max);
        self.histogram.iter_mut().zip(other.histogram).for_each(|(count, more)| *count += more);
    }
}

pub(crate) struct Table {
    entries: Box<[Entry]>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { entries: vec![Entry::default(); SLOTS].into() }
    }

    /// Counts one poll. What another task has in its place goes to `pushed_out`. Never allocates.
    #[inline]
    pub(crate) fn add(&mut self, task: TaskId, since: Nanos, nanos: Nanos, pushed_out: impl FnOnce(&Entry)) {
        let entry = &mut self.entries[task as usize & (SLOTS - 1)];
        if entry.task != task {
            if entry.polls > 0 {
                pushed_out(entry);
            }
            *entry = Entry { task, ..Entry::default() };
        }
        entry.add(since, nanos);
    }

    /// Hands out and forgets what was counted.
    pub(crate) fn take(&mut self, mut each: impl FnMut(&Entry)) {
        for entry in self.entries.iter_mut().filter(|entry| entry.polls > 0) {
            each(entry);
            entry.polls = 0;
            entry.task = 0;
        }
    }
}

//! The summary of polls on one thread since the drain last took it: a small direct-mapped table by task.

use pollscope_recording::{Nanos, POLL_BUCKETS, TaskId, poll_bucket};

const SLOTS: usize = 256;
/// Entries pushed out of their place wait here; more than this in one window are only counted.
const SPILL: usize = 1024;

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

pub(crate) struct Table {
    entries: Box<[Entry]>,
    spill: Vec<Entry>,
    overflow: u64,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { entries: vec![Entry::default(); SLOTS].into(), spill: Vec::with_capacity(SPILL), overflow: 0 }
    }

    /// Counts one poll. Never allocates.
    #[inline]
    pub(crate) fn add(&mut self, task: TaskId, since: Nanos, nanos: Nanos) {
        let entry = &mut self.entries[task as usize & (SLOTS - 1)];
        if entry.task != task {
            if entry.polls > 0 {
                if self.spill.len() < SPILL {
                    self.spill.push(*entry);
                } else {
                    self.overflow += entry.polls;
                }
            }
            *entry = Entry { task, ..Entry::default() };
        }
        entry.polls += 1;
        entry.busy += nanos;
        entry.last = since;
        entry.max = entry.max.max(nanos);
        entry.histogram[poll_bucket(nanos)] += 1;
    }

    /// Hands out and forgets what was counted; the result is the number of polls that found no place.
    pub(crate) fn take(&mut self, mut each: impl FnMut(&Entry)) -> u64 {
        self.spill.drain(..).for_each(|entry| each(&entry));
        for entry in self.entries.iter_mut().filter(|entry| entry.polls > 0) {
            each(entry);
            entry.polls = 0;
            entry.task = 0;
        }
        std::mem::take(&mut self.overflow)
    }
}

//! What the agent reads from outside: memory, throttling, the blocking pools; and the program's spans at moments.

use std::collections::VecDeque;

use pollscope_recording::{BlockingPool, Event, InSpans, Nanos, PoolFull, PoolThread, Span, TaskId, Throttled};

use super::{KEPT, Model};

/// Most stretches of throttling told apart; beyond that neighbors become one.
const KEPT_STRETCHES: usize = 4096;
/// Most stretches in which a pool was full; later ones are left out.
const KEPT_FULL: usize = 256;
/// Most looks at the threads of a full pool that are kept of one stretch.
const KEPT_LOOKS: usize = 64;
/// Most moments of one task whose spans are kept; the latest stay.
const KEPT_MOMENTS: usize = 16;
/// What a quota held back is told when its period is over, which is a tenth of a second by default.
const PERIOD: Nanos = 100_000_000;

/// Memory of the process in RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryFacts {
    /// When first told.
    pub first_bytes: u64,
    /// When last told.
    pub last_bytes: u64,
    /// The most.
    pub peak_bytes: u64,
}

/// Time the kernel kept the program off the CPU because of its cgroup's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its start.
    pub from: Nanos,
    /// Its end.
    pub to: Nanos,
    /// Periods of the quota in which it happened.
    pub times: u64,
    /// For how long, added up over the CPUs.
    pub throttled_ns: Nanos,
}

/// Threads of a blocking pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolFacts {
    /// Threads there were when last told.
    pub threads: u64,
    /// Those of them that had nothing to do.
    pub idle: u64,
    /// Closures that waited for a thread.
    pub queued: u64,
    /// Since when all threads are busy and closures wait; `None` if that is not so.
    pub full_since: Option<Nanos>,
    /// The most threads at a time.
    pub most_threads: u64,
    /// The most closures that waited at a time.
    pub most_queued: u64,
}

/// A stretch in which all threads of a blocking pool were at work while closures waited for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FullPool {
    /// The runtime.
    pub runtime: u64,
    /// Its start.
    pub since: Nanos,
    /// Its end; `None` while it lasts.
    pub end: Option<Nanos>,
    /// Threads of the pool.
    pub threads: u64,
    /// The most closures that waited, as far as it was told.
    pub queued: u64,
    /// What some of its threads did.
    pub looks: Vec<PoolLook>,
}

/// One look at a thread of a full pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolLook {
    /// When.
    pub at: Nanos,
    /// The thread.
    pub tid: u64,
    /// Thread state letter; 0 if unknown.
    pub state: u64,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
}

impl Model {
    pub(super) fn feed_gauges(&mut self, event: &Event) {
        match event {
            Event::Memory(memory) => {
                let bytes = memory.resident_bytes;
                let facts =
                    self.memory.get_or_insert(MemoryFacts { first_bytes: bytes, last_bytes: bytes, peak_bytes: bytes });
                facts.last_bytes = bytes;
                facts.peak_bytes = facts.peak_bytes.max(bytes);
            }
            Event::Throttled(throttled) => self.throttled(throttled),
            Event::BlockingPool(pool) => self.pool(pool),
            Event::PoolFull(full) => self.full(full),
            Event::PoolThread(thread) => self.pool_thread(thread),
            Event::InSpans(spans) => self.in_spans(spans),
            _ => self.feed_idle(event),
        }
    }

    fn throttled(&mut self, event: &Throttled) {
        let (from, to, times, throttled_ns) = (event.from, event.at, event.times, event.throttled_ns);
        if self.throttled.len() >= KEPT_STRETCHES {
            let join = |pair: &[Stretch]| {
                let (first, last) = (pair.first()?, pair.last()?);
                let sum = |of: fn(&Stretch) -> u64| pair.iter().map(of).fold(0, u64::saturating_add);
                let (times, throttled_ns) = (sum(|one| one.times), sum(|one| one.throttled_ns));
                Some(Stretch { from: first.from, to: last.to, times, throttled_ns })
            };
            self.throttled = self.throttled.chunks(2).filter_map(join).collect();
        }
        self.throttled.push(Stretch { from, to, times, throttled_ns });
    }

    fn pool(&mut self, event: &BlockingPool) {
        let facts = self.pools.entry(event.runtime).or_default();
        (facts.threads, facts.idle, facts.queued) = (event.threads, event.idle, event.queued);
        let full = event.queued > 0 && event.idle == 0;
        facts.full_since = if full { facts.full_since.or(Some(event.at)) } else { None };
        facts.most_threads = facts.most_threads.max(event.threads);
        facts.most_queued = facts.most_queued.max(event.queued);
    }

    fn full(&mut self, event: &PoolFull) {
        let room = self.full_pools.len() < KEPT_FULL;
        let known =
            self.full_pools.iter_mut().rev().find(|one| (one.runtime, one.since) == (event.runtime, event.since));
        match known {
            Some(full) if event.over => full.end = Some(event.at),
            Some(full) => {
                full.threads = full.threads.max(event.threads);
                full.queued = full.queued.max(event.queued);
            }
            None if room => self.full_pools.push(FullPool {
                runtime: event.runtime,
                since: event.since,
                end: event.over.then_some(event.at),
                threads: event.threads,
                queued: event.queued,
                looks: Vec::new(),
            }),
            None => self.not_kept += 1,
        }
    }

    fn pool_thread(&mut self, event: &PoolThread) {
        let known =
            self.full_pools.iter_mut().rev().find(|one| (one.runtime, one.since) == (event.runtime, event.since));
        let Some(full) = known else { return };
        // Said again at the start of each segment, with its own time.
        if full.looks.iter().all(|look| (look.at, look.tid) != (event.at, event.tid)) {
            if full.looks.len() >= KEPT_LOOKS {
                full.looks.remove(0);
            }
            full.looks.push(PoolLook { at: event.at, tid: event.tid, state: event.state, stack: event.stack.clone() });
        }
    }

    fn in_spans(&mut self, event: &InSpans) {
        if self.spans.len() >= KEPT && !self.spans.contains_key(&event.task) {
            let tasks = &self.tasks;
            self.spans.retain(|task, _| tasks.get(task).is_some_and(|facts| facts.ended.is_none()));
            if self.spans.len() >= KEPT {
                return;
            }
        }
        let moments = self.spans.entry(event.task).or_default();
        // Said again at the start of each segment, with its own time.
        if moments.iter().any(|(at, _)| *at == event.at) {
            return;
        }
        if moments.len() >= KEPT_MOMENTS {
            moments.pop_front();
        }
        moments.push_back((event.at, event.spans.clone()));
    }

    /// The program's spans that a task was in, as last told between two times; none if nothing was told.
    pub fn spans_of(&self, task: TaskId, from: Nanos, to: Nanos) -> &[Span] {
        let moments = self.spans.get(&task).into_iter().flatten();
        let between = moments.filter(|(at, _)| (from..=to).contains(at));
        between.max_by_key(|(at, _)| *at).map_or(&[], |(_, spans)| spans)
    }

    /// For how long the program was throttled between two times at most: a stretch counts whole, since nothing tells
    /// when in it that was.
    pub fn throttled_between(&self, from: Nanos, to: Nanos) -> Nanos {
        let touched = self.throttled.iter().filter(|one| one.from < to.saturating_add(PERIOD) && one.to > from);
        touched.fold(0, |sum: Nanos, one| sum.saturating_add(one.throttled_ns)).min(to.saturating_sub(from))
    }
}

/// Moments of a task, oldest first.
pub(super) type Moments = VecDeque<(Nanos, Vec<Span>)>;

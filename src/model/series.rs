//! What happened when: figures in equal buckets of time, for charts. Its memory is bounded however long a program
//! runs: when there are too many buckets, each two neighbors become one.

use std::collections::BTreeMap;

use pollscope_recording::{Event, Nanos, TaskId};

use super::Level;
use super::near::Near;

/// Width of a bucket at first; about the window in which the agent counts polls.
pub const FIRST_WIDTH: Nanos = 100_000_000;
/// Most buckets.
const MOST_BUCKETS: usize = 600;
/// Most threads with a lane of their own.
const MOST_THREADS: usize = 64;
/// Most blocking pools with a lane of their own.
const MOST_POOLS: usize = 8;
/// Most long polls kept one by one.
const MOST_STALLS: usize = 5_000;
/// Most sums kept of polls whose window has not come yet.
const MOST_SINGLES: usize = 100_000;

/// Figures over time.
#[derive(Debug, Clone)]
pub struct Series {
    /// Time of the first event; 0 if there was none.
    pub start: Nanos,
    /// Time of the latest event.
    pub end: Nanos,
    /// Width of each bucket.
    pub width: Nanos,
    /// Wall clock at the start, nanoseconds since 1970; 0 if unknown.
    pub wall_ns: u64,
    /// Path of the executable; empty if unknown.
    pub exe: String,
    /// Polls in each bucket.
    pub polls: Vec<u64>,
    /// Worst lateness of a heartbeat in each bucket, in nanoseconds.
    pub late: Vec<Nanos>,
    /// Heartbeats seen at all: without any, silence about lateness means nothing.
    pub beats: u64,
    /// The threads that polled, by kernel id.
    pub lanes: BTreeMap<u64, Lane>,
    /// Memory in RAM, in bytes.
    pub memory: Level,
    /// Blocking pools, by runtime.
    pub pools: BTreeMap<u64, PoolLane>,
    /// Time the program was throttled in each bucket, in nanoseconds, added up over the CPUs.
    pub throttled: Vec<Nanos>,
    /// Polls that were open for long.
    pub stalls: Vec<Open>,
    /// Long polls beyond those kept.
    pub stalls_not_kept: u64,
    open: BTreeMap<(TaskId, u64, Nanos), Nanos>,
    /// By thread and task.
    singles: Near<u64, Nanos>,
    /// The bucket that was looked for last: its beginning, its end, its number.
    latest: (Nanos, Nanos, usize),
}

/// What one thread did.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// Its name; empty if unknown.
    pub name: String,
    /// `worker`, `blocking`, `main` or `other`; empty if unknown.
    pub role: String,
    /// Time in polls in each bucket, in nanoseconds.
    pub busy: Vec<Nanos>,
}

/// What one blocking pool did.
#[derive(Debug, Clone, Default)]
pub struct PoolLane {
    /// Threads at work.
    pub busy: Level,
    /// Closures that waited for a thread.
    pub queued: Level,
    /// The most threads there were.
    pub threads: u64,
}

/// A poll that was open for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The task.
    pub task: TaskId,
    /// The thread.
    pub tid: u64,
    /// When it began.
    pub from: Nanos,
    /// When it ended, or was last known to be open.
    pub to: Nanos,
}

impl Default for Series {
    fn default() -> Series {
        Series {
            start: 0,
            end: 0,
            width: FIRST_WIDTH,
            wall_ns: 0,
            exe: String::new(),
            polls: Vec::new(),
            late: Vec::new(),
            beats: 0,
            lanes: BTreeMap::new(),
            memory: Level::default(),
            pools: BTreeMap::new(),
            throttled: Vec::new(),
            stalls: Vec::new(),
            stalls_not_kept: 0,
            open: BTreeMap::new(),
            singles: Near::default(),
            latest: (0, 0, 0),
        }
    }
}

impl Series {
    /// Takes in one event.
    pub fn feed(&mut self, event: &Event) {
        let at = event.at();
        if self.end == 0 {
            self.start = at;
        }
        // A single poll bears the time of its start.
        let lasted = if let Event::Poll(poll) = event { poll.duration_ns } else { 0 };
        self.end = self.end.max(at.saturating_add(lasted));
        match event {
            Event::Process(process) if self.exe.is_empty() => {
                self.exe = process.exe.to_string();
                self.wall_ns = process.wall_ns;
            }
            Event::Thread(thread) => {
                if let Some(lane) = self.lane(thread.tid) {
                    lane.name = thread.name.to_string();
                    lane.role = thread.role.to_string();
                }
            }
            Event::Polls(polls) => {
                let from = polls.from.min(at);
                self.spread(from, at, polls.polls, |series, index, part| grow(&mut series.polls, index, part));
                // Long polls were placed one by one where they lay; what is left lies somewhere in the window.
                let singles = self.singles.remove(polls.tid, polls.task).unwrap_or(0);
                self.busy(polls.tid, from, at, polls.busy_ns.saturating_sub(singles));
            }
            Event::Poll(poll) => {
                self.busy(poll.tid, at, at.saturating_add(poll.duration_ns), poll.duration_ns);
                if let Some(sum) = self.singles.entry(poll.tid, poll.task, 0, MOST_SINGLES) {
                    *sum = sum.saturating_add(poll.duration_ns);
                }
            }
            Event::Stall(stall) if self.open.len() < MOST_STALLS => {
                self.open.insert((stall.task, stall.tid, stall.since), at);
            }
            Event::StallEnd(end) => {
                self.open.remove(&(end.task, end.tid, end.since));
                self.keep(Open { task: end.task, tid: end.tid, from: end.since, to: at });
            }
            Event::Beats(beats) => {
                self.beats += beats.count;
                self.lateness(at, beats.worst_late_ns);
            }
            Event::LateBeat(beat) => {
                self.beats += 1;
                self.lateness(beat.due.saturating_add(beat.late_ns), beat.late_ns);
            }
            Event::Memory(memory) => {
                let bucket = self.bucket(at);
                self.memory.tell(bucket, memory.resident_bytes);
            }
            Event::BlockingPool(pool) => {
                let bucket = self.bucket(at);
                if self.pools.len() < MOST_POOLS || self.pools.contains_key(&pool.runtime) {
                    let lane = self.pools.entry(pool.runtime).or_default();
                    lane.busy.tell(bucket, pool.threads.saturating_sub(pool.idle));
                    lane.queued.tell(bucket, pool.queued);
                    lane.threads = lane.threads.max(pool.threads);
                }
            }
            Event::Throttled(one) => {
                self.spread(one.from, at, one.throttled_ns, |series, index, part| {
                    grow(&mut series.throttled, index, part);
                });
            }
            _ => {}
        }
    }

    /// To be called after the last event: a poll that is still open was open, and kept its thread, until then.
    pub fn finish(&mut self) {
        for ((task, tid, from), _) in std::mem::take(&mut self.open) {
            self.keep(Open { task, tid, from, to: self.end });
            let to = self.end;
            self.busy(tid, from, to, to.saturating_sub(from));
        }
        self.stalls.sort_by_key(|stall| stall.from);
        self.singles.clear();
    }

    /// Buckets from the first to the last event.
    pub fn len(&self) -> usize {
        if self.end == 0 { 0 } else { self.index(self.end) + 1 }
    }

    /// Whether nothing was fed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn keep(&mut self, stall: Open) {
        if self.stalls.len() < MOST_STALLS { self.stalls.push(stall) } else { self.stalls_not_kept += 1 }
    }

    fn index(&self, at: Nanos) -> usize {
        usize::try_from(at.saturating_sub(self.start) / self.width.max(1)).unwrap_or(usize::MAX)
    }

    /// The bucket of `at`, after making buckets wide enough for it to exist.
    #[inline]
    fn bucket(&mut self, at: Nanos) -> usize {
        // A damaged recording may name any time: nothing lies behind what the clock has shown.
        let at = at.min(self.end);
        let (from, to, index) = self.latest;
        if (from..to).contains(&at) { index } else { self.find_bucket(at) }
    }

    #[cold]
    fn find_bucket(&mut self, at: Nanos) -> usize {
        while self.index(at) >= MOST_BUCKETS {
            self.width = self.width.saturating_mul(2);
            merge(&mut self.polls, |a, b| a.saturating_add(b));
            merge(&mut self.late, Ord::max);
            for lane in self.lanes.values_mut() {
                merge(&mut lane.busy, |a, b| a.saturating_add(b));
            }
            merge(&mut self.throttled, |a, b| a.saturating_add(b));
            self.memory.merge();
            for pool in self.pools.values_mut() {
                pool.busy.merge();
                pool.queued.merge();
            }
        }
        let index = self.index(at);
        let from = self.start.saturating_add(self.width.saturating_mul(index as u64));
        self.latest = (from, from.saturating_add(self.width), index);
        index
    }

    #[inline]
    fn lane(&mut self, tid: u64) -> Option<&mut Lane> {
        if self.lanes.len() >= MOST_THREADS && !self.lanes.contains_key(&tid) {
            return None;
        }
        Some(self.lanes.entry(tid).or_default())
    }

    #[inline]
    fn busy(&mut self, tid: u64, from: Nanos, to: Nanos, busy: Nanos) {
        self.spread(from, to, busy, |series, index, part| {
            if let Some(lane) = series.lane(tid) {
                grow(&mut lane.busy, index, part);
            }
        });
    }

    fn lateness(&mut self, at: Nanos, late: Nanos) {
        let index = self.bucket(at);
        if self.late.len() <= index {
            self.late.resize(index + 1, 0);
        }
        if let Some(worst) = self.late.get_mut(index) {
            *worst = (*worst).max(late);
        }
    }

    /// Gives each bucket between two times its share of `amount`; the shares add up to it.
    #[inline]
    fn spread(&mut self, from: Nanos, to: Nanos, amount: u64, mut each: impl FnMut(&mut Series, usize, u64)) {
        if amount == 0 {
            return;
        }
        let (from, to) = (from.max(self.start), to.min(self.end));
        let last = self.bucket(to);
        let first = self.bucket(from).min(last);
        if first == last {
            return each(self, first, amount);
        }
        let whole = u128::from(to.saturating_sub(from).max(1));
        let mut given = 0;
        for index in first..=last {
            let end = self.start.saturating_add(self.width.saturating_mul(index as u64 + 1));
            let passed = u128::from(end.min(to).saturating_sub(from));
            let due = if index == last { amount } else { (u128::from(amount) * passed / whole) as u64 };
            each(self, index, due.saturating_sub(given));
            given = due;
        }
    }
}

fn grow(buckets: &mut Vec<u64>, index: usize, amount: u64) {
    if buckets.len() <= index {
        buckets.resize(index + 1, 0);
    }
    if let Some(bucket) = buckets.get_mut(index) {
        *bucket = bucket.saturating_add(amount);
    }
}

fn merge(buckets: &mut Vec<u64>, join: impl Fn(u64, u64) -> u64) {
    *buckets = buckets.chunks(2).map(|pair| pair.iter().copied().reduce(&join).unwrap_or(0)).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollscope_recording::{LateBeat, POLL_BUCKETS, Poll, Polls, Stall};

    const MS: u64 = 1_000_000;

    fn polls(at: u64, from: u64, polls: u64, busy_ns: u64) -> Event {
        Polls { at, task: 1, tid: 5, from, polls, busy_ns, max_ns: 0, histogram: [0; POLL_BUCKETS] }.into()
    }

    fn beat(at: u64, late_ns: u64) -> Event {
        LateBeat { at, runtime: 1, due: at - late_ns, late_ns }.into()
    }

    fn of(events: &[Event]) -> Series {
        let mut series = Series::default();
        events.iter().for_each(|event| series.feed(event));
        series.finish();
        series
    }

    #[test]
    fn a_window_over_two_buckets_is_shared() {
        let series = of(&[beat(1000 * MS, 0), polls(1150 * MS, 1050 * MS, 10, 40 * MS)]);
        assert_eq!(series.polls, [5, 5]);
        assert_eq!(series.lanes[&5].busy, [20 * MS, 20 * MS]);
    }

    #[test]
    fn a_long_poll_lies_where_it_was_and_counts_once() {
        let long = Poll { at: 1200 * MS, task: 1, tid: 5, duration_ns: 100 * MS };
        let series =
            of(&[beat(1000 * MS, 0), beat(1300 * MS, 0), long.into(), polls(1300 * MS, 1200 * MS, 2, 101 * MS)]);
        assert_eq!(series.lanes[&5].busy.iter().sum::<u64>(), 101 * MS);
        assert_eq!(series.lanes[&5].busy[..2], [0, 0]);
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost() {
        let events =
            (0..10_000).flat_map(|n| [polls((n + 1) * 100 * MS, n * 100 * MS, 3, MS), beat((n + 1) * 100 * MS, n)]);
        let series = of(&events.collect::<Vec<_>>());
        assert!(series.len() <= MOST_BUCKETS, "{}", series.len());
        assert_eq!(series.polls.iter().sum::<u64>(), 30_000);
        assert_eq!(series.late.iter().max(), Some(&9999));
    }

    #[test]
    fn what_is_told_rarely_stands_and_is_bounded_too() {
        use pollscope_recording::{BlockingPool, Memory, Throttled};
        let events = (1..5_000u64).flat_map(|n| {
            let (at, from) = (n * 500 * MS, (n - 1) * 500 * MS);
            let pool = BlockingPool { at, runtime: n, threads: n, idle: 1, queued: 2 };
            let throttled = Throttled { at, from, times: 1, throttled_ns: 7 };
            [Memory { at, resident_bytes: n }.into(), pool.into(), throttled.into()]
        });
        let series = of(&events.collect::<Vec<_>>());
        assert!(series.memory.values(series.len()).len() <= MOST_BUCKETS && series.memory.peak() == 4999);
        assert!(series.memory.values(series.len()).is_sorted());
        assert_eq!(series.throttled.iter().sum::<u64>(), 7 * 4999);
        assert_eq!((series.pools.len(), series.pools[&3].busy.peak()), (MOST_POOLS, 2));
        assert_eq!(series.pools[&3].queued.values(series.len()).last(), Some(&2));
    }

    #[test]
    fn an_open_poll_keeps_its_thread_to_the_end() {
        let stall = Stall {
            at: 1100 * MS,
            task: 1,
            tid: 5,
            since: 1000 * MS,
            observed: 1050 * MS,
            cpu_ns: 0,
            run_delay_ns: 0,
            state: 0,
            syscall: 0,
            stack: Vec::new(),
        };
        let series = of(&[beat(1000 * MS, 0), stall.into(), beat(3000 * MS, 0)]);
        assert_eq!(series.stalls, [Open { task: 1, tid: 5, from: 1000 * MS, to: 3000 * MS }]);
        assert_eq!(series.lanes[&5].busy.iter().sum::<u64>(), 2000 * MS);
    }

    #[test]
    fn a_time_out_of_all_reason_does_no_harm() {
        let series = of(&[beat(MS, 0), polls(u64::MAX, 0, 5, u64::MAX), beat(u64::MAX, u64::MAX)]);
        assert!(series.len() <= MOST_BUCKETS && series.polls.iter().sum::<u64>() == 5);
    }
}

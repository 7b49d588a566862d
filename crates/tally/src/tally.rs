//! Which figure each event changes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use pollscope_metrics::MOST_PLACES;
use pollscope_recording::{Event, Nanos, POLL_BUCKETS, Place, TaskId};

use crate::late::{Beats, Lateness, Worst};
use crate::locks::Locks;
use crate::places::Places;
use crate::pools::Pools;
use crate::stalls::Stalls;

/// The figures of one process.
#[derive(Debug, Default)]
pub struct Tally {
    pub(crate) last_at: Nanos,
    pub(crate) polls: [u64; POLL_BUCKETS],
    pub(crate) busy_ns: Nanos,
    pub(crate) polls_since_start: u64,
    pub(crate) stalls: Stalls,
    pub(crate) beats: Beats,
    pub(crate) delays: Lateness,
    pub(crate) delay_worst: Worst,
    pub(crate) tasks_started: u64,
    tasks: HashMap<TaskId, usize>,
    live: BTreeMap<usize, u64>,
    pub(crate) panics: u64,
    pub(crate) locks: Locks,
    pub(crate) pools: Pools,
    pub(crate) resident_bytes: u64,
    pub(crate) throttled: u64,
    pub(crate) throttled_ns: Nanos,
    pub(crate) agent_cpu_ns: Nanos,
    pub(crate) dropped: u64,
    pub(crate) events: u64,
    spawned: Places,
}

impl Tally {
    /// Takes in one event. What is said again at the start of a segment counts once.
    pub fn feed(&mut self, event: &Event) {
        let at = event.at();
        self.last_at = self.last_at.max(at);
        self.events += 1;
        match event {
            Event::Polls(polls) => {
                let buckets = self.polls.iter_mut().zip(polls.histogram);
                buckets.for_each(|(bucket, more)| *bucket = bucket.saturating_add(u64::from(more)));
                self.busy_ns = self.busy_ns.saturating_add(polls.busy_ns);
                self.delays.all(self.polls.iter().sum());
            }
            Event::Poll(poll) => self.stalls.polled(poll),
            Event::Stall(stall) => {
                let place = self.place_of(stall.task);
                self.stalls.look(stall, place);
            }
            Event::StallEnd(end) => {
                let place = self.place_of(end.task);
                self.stalls.end(end, place);
            }
            Event::Beats(beats) => self.beats.came(beats.runtime, beats.count),
            Event::LateBeat(beat) => self.beats.late(beat),
            Event::Delay(delay) => {
                self.delays.note(delay.delay_ns);
                self.delay_worst.note(at, delay.delay_ns);
            }
            Event::Task(task) => {
                let Entry::Vacant(fresh) = self.tasks.entry(task.task) else { return };
                let place = self.spawned.number(&task.spawned);
                self.tasks_started += 1;
                fresh.insert(place);
                *self.live.entry(place).or_default() += 1;
            }
            Event::TaskEnd(end) => self.task_end(end.task, at),
            Event::Panic(_) => self.panics += 1,
            Event::Memory(memory) => self.resident_bytes = memory.resident_bytes,
            Event::Throttled(stretch) => {
                self.throttled = self.throttled.saturating_add(stretch.times);
                self.throttled_ns = self.throttled_ns.saturating_add(stretch.throttled_ns);
            }
            Event::BlockingPool(pool) => self.pools.census(pool),
            Event::PoolFull(full) => self.pools.full(full),
            Event::Resource(resource) => self.locks.made(resource),
            Event::ResourceEnd(end) => self.locks.dropped(end.resource),
            Event::Wait(wait) => self.locks.wait(wait),
            Event::WaitEnd(end) => self.locks.wait_end(end.wait, at),
            Event::Acquired(taken) => self.locks.acquired(taken),
            Event::Released(given) => self.locks.released(given),
            Event::Cost(cost) => {
                (self.agent_cpu_ns, self.dropped, self.polls_since_start) =
                    (cost.agent_cpu_ns, cost.dropped, cost.polls);
                self.stalls.forget(at);
            }
            _ => {}
        }
    }

    /// The time of the latest event.
    pub fn last_at(&self) -> Nanos {
        self.last_at
    }

    /// What was under way ended with the process.
    pub fn over(&mut self) {
        self.stalls.over();
        self.tasks.clear();
        self.live.values_mut().for_each(|live| *live = 0);
        self.locks.over();
        self.pools.over();
        self.resident_bytes = 0;
        (self.beats.worst, self.delay_worst) = Default::default();
    }

    /// Live tasks by the labels of the place that spawned them.
    pub(crate) fn live(&self) -> impl Iterator<Item = ((&str, &str), u64)> {
        self.live.iter().map(|(&place, &live)| (self.spawned.labels(place), live))
    }

    /// The labels of a place of spawning.
    pub(crate) fn spawned(&self, place: usize) -> (&str, &str) {
        self.spawned.labels(place)
    }

    /// Where a task was spawned.
    fn place_of(&mut self, task: TaskId) -> usize {
        match self.tasks.get(&task) {
            Some(place) => *place,
            None => self.spawned.number(&Place::default()),
        }
    }

    fn task_end(&mut self, task: TaskId, at: Nanos) {
        if let Some(place) = self.tasks.remove(&task)
            && let Some(live) = self.live.get_mut(&place)
        {
            *live = live.saturating_sub(1);
        }
        self.stalls.task_end(task, at);
        self.locks.task_end(task);
    }
}

const _: () = assert!(MOST_PLACES < usize::MAX, "one more number is for all other places");

#[cfg(test)]
mod tests {
    use super::*;
    use pollscope_metrics::WORST_SECONDS;
    use pollscope_recording::{Delay, LateBeat, Polls, Stall, StallEnd, Task, TaskEnd};

    const SECOND: Nanos = 1_000_000_000;

    fn task(task: TaskId, line: u32) -> Event {
        let spawned = Place { file: "src/main.rs".into(), line, column: 1 };
        Task { at: 1, task, runtime: 1, kind: "task".into(), name: "".into(), spawned, parent: 0 }.into()
    }

    fn stall(at: Nanos, since: Nanos) -> Event {
        let (observed, stack) = (since, Vec::new());
        Stall { at, task: 1, tid: 9, since, observed, cpu_ns: 0, run_delay_ns: 0, state: 0, syscall: 0, stack }.into()
    }

    fn of(events: impl IntoIterator<Item = Event>) -> Tally {
        let mut tally = Tally::default();
        events.into_iter().for_each(|event| tally.feed(&event));
        tally
    }

    #[test]
    fn what_a_segment_repeats_counts_once() {
        let tally =
            of([task(1, 7), task(2, 7), task(1, 7), stall(5, 3), stall(8, 3), TaskEnd { at: 9, task: 2 }.into()]);
        assert_eq!((tally.tasks_started, tally.stalls.count), (2, 1));
        assert_eq!(Vec::from_iter(tally.live()), [(("src/main.rs", "7"), 1)]);
        assert_eq!(tally.stalls.open(tally.last_at()), (1, 6));
    }

    #[test]
    fn a_stall_belongs_to_the_line_of_its_task_even_after_that_ended() {
        let end = StallEnd { at: 60, task: 1, tid: 9, since: 3, cpu_ns: 50, run_delay_ns: 0, observed: 3 };
        let tally = of([task(1, 7), stall(5, 3), TaskEnd { at: 59, task: 1 }.into(), end.into()]);
        assert_eq!((tally.stalls.count, tally.stalls.nanos), (1, 57));
        let (place, doing, count, nanos) = tally.stalls.ended().next().unwrap();
        assert_eq!((tally.spawned(place), doing, count, nanos), (("src/main.rs", "7"), "cpu", 1, 57));
    }

    #[test]
    fn a_beat_that_is_pending_is_one_beat_and_the_worst_is_forgotten() {
        let late = |at, due| LateBeat { at, runtime: 1, due, late_ns: at - due }.into();
        let tally = of([late(5 * SECOND, 4 * SECOND), late(6 * SECOND, 4 * SECOND), late(7 * SECOND, 7 * SECOND - 1)]);
        assert_eq!(tally.beats.late, 2);
        assert_eq!(tally.beats.worst.of_late(7 * SECOND), 2 * SECOND);
        assert_eq!(tally.beats.worst.of_late((7 + WORST_SECONDS) * SECOND), 1);
        assert_eq!(tally.beats.worst.of_late((8 + WORST_SECONDS) * SECOND), 0);
    }

    #[test]
    fn polls_that_start_late_are_among_the_polls() {
        let mut histogram = [0; POLL_BUCKETS];
        histogram[3] = 10;
        let delay = Delay { at: 5, task: 1, tid: 9, delay_ns: 7_000_000 };
        let polls = Polls { at: 9, task: 1, tid: 9, from: 1, polls: 10, busy_ns: 50, max_ns: 9, histogram };
        let tally = of([delay.into(), polls.into()]);
        let histogram = tally.delays.histogram(0.005);
        assert_eq!(histogram.iter().map(|(_, count)| count).sum::<u64>(), 10);
        assert_eq!(histogram.get(1), Some(&(0.01, 1)));
    }
}

//! Plain figures of one process, counted event by event.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use pollscope_metrics::{MOST_PLACES, WORST_SECONDS};
use pollscope_recording::{Event, Nanos, POLL_BUCKETS, ResourceId, StallEnd, TaskId, WaitId};

use super::places::Places;

/// What waits are counted by: other resources, such as timers, end by themselves.
pub(super) const RESOURCES: [&str; 4] = ["Mutex", "RwLock", "Semaphore", "Channel"];
const SECOND: Nanos = 1_000_000_000;

/// The figures.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) last_at: Nanos,
    pub(super) polls: [u64; POLL_BUCKETS],
    pub(super) busy_ns: Nanos,
    pub(super) polls_since_start: u64,
    pub(super) stalls: u64,
    pub(super) stall_ns: Nanos,
    open: BTreeSet<(TaskId, u64, Nanos)>,
    pub(super) beats: u64,
    pub(super) late_beats: u64,
    last_late: Option<(u64, Nanos)>,
    pub(super) beat_late: Worst,
    pub(super) delays: u64,
    pub(super) delay_ns: Nanos,
    pub(super) delay_worst: Worst,
    pub(super) tasks_started: u64,
    tasks: HashMap<TaskId, usize>,
    live: BTreeMap<usize, u64>,
    pub(super) panics: u64,
    resources: HashMap<ResourceId, (usize, usize)>,
    waits: BTreeMap<WaitId, Waiting>,
    waits_of: BTreeSet<(TaskId, WaitId)>,
    /// By resource and place: how many ended, and their time.
    waited: BTreeMap<(usize, usize), (u64, Nanos)>,
    pub(super) agent_cpu_ns: Nanos,
    pub(super) dropped: u64,
    pub(super) events: u64,
    spawned: Places,
    made: Places,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    resource: usize,
    place: usize,
    task: TaskId,
    since: Nanos,
}

impl Tally {
    /// Takes in one event. What is said again at the start of a segment counts once.
    pub(super) fn feed(&mut self, event: &Event) {
        let at = event.at();
        self.last_at = self.last_at.max(at);
        self.events += 1;
        match event {
            Event::Polls(polls) => {
                let buckets = self.polls.iter_mut().zip(polls.histogram);
                buckets.for_each(|(bucket, more)| *bucket = bucket.saturating_add(u64::from(more)));
                self.busy_ns = self.busy_ns.saturating_add(polls.busy_ns);
            }
            // In case the end of a stall was lost: its task was polled since.
            Event::Poll(poll) => self.open.retain(|open| open.0 != poll.task || open.2 > at),
            Event::Stall(stall) => {
                self.stalls += u64::from(self.open.insert((stall.task, stall.tid, stall.since)));
            }
            Event::StallEnd(end) => self.stall_end(end),
            Event::Beats(beats) => self.beats = self.beats.saturating_add(beats.count),
            Event::LateBeat(beat) => {
                // Said again while it is pending.
                if self.last_late.replace((beat.runtime, beat.due)) != Some((beat.runtime, beat.due)) {
                    self.late_beats += 1;
                }
                self.beat_late.note(at, beat.late_ns);
            }
            Event::Delay(delay) => {
                self.delays += 1;
                self.delay_ns = self.delay_ns.saturating_add(delay.delay_ns);
                self.delay_worst.note(at, delay.delay_ns);
            }
            Event::Task(task) => {
                if !self.tasks.contains_key(&task.task) {
                    let place = self.spawned.number(&task.spawned);
                    self.tasks_started += 1;
                    self.tasks.insert(task.task, place);
                    *self.live.entry(place).or_default() += 1;
                }
            }
            Event::TaskEnd(end) => self.task_end(end.task),
            Event::Panic(_) => self.panics += 1,
            Event::Resource(resource) => {
                let kind = RESOURCES.iter().position(|kind| **kind == *resource.kind);
                if let Some(kind) = kind {
                    let place = self.made.number(&resource.made);
                    self.resources.insert(resource.resource, (kind, place));
                }
            }
            Event::ResourceEnd(end) => drop(self.resources.remove(&end.resource)),
            Event::Wait(wait) => {
                let Some(&(resource, place)) = self.resources.get(&wait.resource) else { return };
                let waiting = Waiting { resource, place, task: wait.task, since: at };
                self.waits.entry(wait.wait).or_insert(waiting);
                self.waits_of.insert((wait.task, wait.wait));
            }
            Event::WaitEnd(end) => self.wait_end(end.wait, at),
            Event::Cost(cost) => {
                (self.agent_cpu_ns, self.dropped, self.polls_since_start) =
                    (cost.agent_cpu_ns, cost.dropped, cost.polls);
            }
            _ => {}
        }
    }

    /// Polls open for too long now, and the age of the oldest.
    pub(super) fn open(&self) -> (usize, Nanos) {
        let oldest = self.open.iter().map(|open| open.2).min();
        (self.open.len(), oldest.map_or(0, |since| self.last_at.saturating_sub(since)))
    }

    /// Live tasks by the labels of the place that spawned them.
    pub(super) fn live(&self) -> impl Iterator<Item = ((&str, &str), u64)> {
        self.live.iter().map(|(&place, &live)| (self.spawned.labels(place), live))
    }

    /// Waits under way for each of [`RESOURCES`], and the age of the oldest.
    pub(super) fn waiting(&self) -> [(u64, Nanos); RESOURCES.len()] {
        let mut waiting = [(0, 0); RESOURCES.len()];
        for wait in self.waits.values() {
            if let Some((count, oldest)) = waiting.get_mut(wait.resource) {
                *count += 1;
                *oldest = self.last_at.saturating_sub(wait.since).max(*oldest);
            }
        }
        waiting
    }

    /// Waits that ended: resource, labels of the place that made it, how many, their time.
    pub(super) fn waited(&self) -> impl Iterator<Item = (&'static str, (&str, &str), u64, Nanos)> {
        self.waited.iter().filter_map(|(&(resource, place), &(count, nanos))| {
            Some((*RESOURCES.get(resource)?, self.made.labels(place), count, nanos))
        })
    }

    /// What was under way ended with the process.
    pub(super) fn over(&mut self) {
        self.open.clear();
        self.tasks.clear();
        self.live.values_mut().for_each(|live| *live = 0);
        self.waits.clear();
        self.waits_of.clear();
        self.resources.clear();
        (self.beat_late, self.delay_worst) = Default::default();
    }

    fn stall_end(&mut self, end: &StallEnd) {
        self.stalls += u64::from(!self.open.remove(&(end.task, end.tid, end.since)));
        self.stall_ns = self.stall_ns.saturating_add(end.at.saturating_sub(end.since));
    }

    fn task_end(&mut self, task: TaskId) {
        if let Some(place) = self.tasks.remove(&task)
            && let Some(live) = self.live.get_mut(&place)
        {
            *live = live.saturating_sub(1);
        }
        self.open.retain(|open| open.0 != task);
        // Its waits ended with it; when is not known if nothing said so.
        while let Some(&(_, wait)) = self.waits_of.range((task, 0)..=(task, WaitId::MAX)).next() {
            self.waits_of.remove(&(task, wait));
            self.waits.remove(&wait);
        }
    }

    fn wait_end(&mut self, wait: WaitId, at: Nanos) {
        let Some(waiting) = self.waits.remove(&wait) else { return };
        self.waits_of.remove(&(waiting.task, wait));
        let (count, nanos) = self.waited.entry((waiting.resource, waiting.place)).or_default();
        *count += 1;
        *nanos = nanos.saturating_add(at.saturating_sub(waiting.since));
    }
}

/// The worst of the last [`WORST_SECONDS`], to the second.
#[derive(Debug, Default)]
pub(super) struct Worst(VecDeque<(u64, Nanos)>);

impl Worst {
    fn note(&mut self, at: Nanos, value: Nanos) {
        let second = at / SECOND;
        match self.0.back_mut() {
            Some((last, worst)) if *last >= second => *worst = value.max(*worst),
            _ => self.0.push_back((second, value)),
        }
        while self.0.front().is_some_and(|(first, _)| first + WORST_SECONDS < second) {
            self.0.pop_front();
        }
    }

    /// The worst as of `now`.
    pub(super) fn of_late(&self, now: Nanos) -> Nanos {
        let recent = self.0.iter().filter(|(second, _)| second + WORST_SECONDS >= now / SECOND);
        recent.map(|(_, worst)| *worst).max().unwrap_or(0)
    }
}

const _: () = assert!(MOST_PLACES < usize::MAX, "one more number is for all other places");

#[cfg(test)]
mod tests {
    use super::*;
    use pollscope_recording::{LateBeat, Place, Resource, Stall, Task, TaskEnd, Wait, WaitEnd};

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
        assert_eq!((tally.tasks_started, tally.stalls), (2, 1));
        assert_eq!(Vec::from_iter(tally.live()), [(("src/main.rs", "7"), 1)]);
        assert_eq!(tally.open(), (1, 6));
    }

    #[test]
    fn a_stall_is_open_until_it_ends() {
        let end = StallEnd { at: 60, task: 1, tid: 9, since: 3, cpu_ns: 0, run_delay_ns: 0, observed: 3 };
        let tally = of([stall(5, 3), end.into()]);
        assert_eq!((tally.open(), tally.stalls, tally.stall_ns), ((0, 0), 1, 57));
        let only_its_end = StallEnd { at: 60, task: 1, tid: 9, since: 3, cpu_ns: 0, run_delay_ns: 0, observed: 3 };
        assert_eq!(of([only_its_end.into()]).stalls, 1);
    }

    #[test]
    fn waits_are_counted_by_where_the_lock_was_made() {
        let made = Place { file: "src/db.rs".into(), line: 4, column: 1 };
        let lock = |resource, kind: &str| {
            let (kind, made) = (kind.into(), made.clone());
            Resource { at: 1, resource, parent: 0, kind, made, permits: 0, returned: false, stranger: 0 }.into()
        };
        let wait =
            |at, wait, resource| Wait { at, wait, resource, task: wait, operation: "lock".into(), until: 0 }.into();
        let tally = of([
            lock(1, "Mutex"),
            lock(2, "Sleep"),
            wait(10, 1, 1),
            wait(20, 2, 1),
            wait(20, 3, 2),
            WaitEnd { at: 40, wait: 1, ready: true }.into(),
        ]);
        assert_eq!(tally.waiting(), [(1, 20), (0, 0), (0, 0), (0, 0)]);
        assert_eq!(Vec::from_iter(tally.waited()), [("Mutex", ("src/db.rs", "4"), 1, 30)]);
    }

    #[test]
    fn a_beat_that_is_pending_is_one_beat_and_the_worst_is_forgotten() {
        let late = |at, due| LateBeat { at, runtime: 1, due, late_ns: at - due }.into();
        let tally = of([late(5 * SECOND, 4 * SECOND), late(6 * SECOND, 4 * SECOND), late(7 * SECOND, 7 * SECOND - 1)]);
        assert_eq!(tally.late_beats, 2);
        assert_eq!(tally.beat_late.of_late(7 * SECOND), 2 * SECOND);
        assert_eq!(tally.beat_late.of_late((7 + WORST_SECONDS) * SECOND), 1);
        assert_eq!(tally.beat_late.of_late((8 + WORST_SECONDS) * SECOND), 0);
    }
}

//! Deadlocks that came free again: a timeout ended them, or somebody dropped the task. They held for real, and will
//! again.
//!
//! While a recording is read, the graph is looked at whenever a wait of somebody who holds something has lasted long
//! enough to be part of a cycle. A cycle that was there is kept if its end is seen to have come from outside: one of its
//! waits was given up. If one of them got what it waited for, it was no deadlock after all, whatever it looked like;
//! nor if one of its tasks moved in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pollscope_recording::{Event, Nanos, ResourceId, TaskId, WaitId};

use super::graph::{Hold, WaitGraph, whole};
use crate::detect::Thresholds;
use crate::model::{Model, ResourceFacts};

/// Looks come no faster than this, in the time of the recording; and again after so long while somebody who holds
/// something waits.
const LOOK_EVERY: Nanos = 250_000_000;
const LOOK_AGAIN: Nanos = 1_000_000_000;
/// A step this soon before the end belongs to it: of a window of polls only the start is certain, and it may be told
/// before the end is.
const END: Nanos = 250_000_000;
/// Most deadlocks kept, and most of the tasks behind one.
const KEPT: usize = 64;
const BEHIND: usize = 64;

/// How a deadlock came free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    /// A timer of one of its tasks fired.
    Timeout,
    /// A wait was given up for another reason: its task or future was dropped.
    Dropped,
    /// It did not: it was there to the end of what is known.
    Not,
}

/// How often and how long a deadlock of the past was there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasted {
    pub(super) times: u64,
    pub(super) total: Nanos,
    pub(super) worst: Nanos,
    pub(super) first: Nanos,
    pub(super) last: Nanos,
    pub(super) freed: Freed,
}

/// A deadlock as it was when it was looked at.
#[derive(Debug, Clone)]
pub(super) struct Episode {
    pub(super) tasks: BTreeSet<TaskId>,
    /// As much of the model as its finding needs.
    pub(super) model: Model,
    pub(super) holders: BTreeMap<ResourceId, BTreeMap<TaskId, Hold>>,
    pub(super) stuck: BTreeSet<TaskId>,
    /// What its tasks wait for, timers aside, and what was granted to them and left.
    waits: BTreeSet<WaitId>,
    since: Nanos,
    fired: bool,
    pub(super) lasted: Lasted,
}

/// The deadlocks seen so far that are not certain to be there any more.
#[derive(Debug, Clone, Default)]
pub(in crate::detect) struct Past {
    /// When a wait will have lasted long enough for a look.
    ripe: VecDeque<Nanos>,
    next: Nanos,
    open: Vec<Episode>,
    over: Vec<Episode>,
}

impl Past {
    /// Takes in what comes next; `model` does not know it yet.
    pub(in crate::detect) fn before(&mut self, model: &Model, event: &Event, thresholds: &Thresholds) {
        match event {
            Event::Wait(wait) if wait.until == 0 => {
                self.ripe.push_back(wait.at.saturating_add(thresholds.deadlock_ns));
            }
            Event::Granted(granted) => self.ripe.push_back(granted.at.saturating_add(thresholds.deadlock_ns)),
            Event::WaitEnd(end) if !self.open.is_empty() => {
                let timer = model.waits.get(end.wait).filter(|wait| end.ready && wait.until > 0);
                if let Some(timer) = timer {
                    let theirs = self.open.iter_mut().filter(|open| open.tasks.contains(&timer.task));
                    theirs.for_each(|open| open.fired = true);
                } else if end.ready {
                    self.open.retain(|open| !open.waits.contains(&end.wait));
                } else {
                    self.free(model, end.at, thresholds, |open| open.waits.contains(&end.wait));
                }
            }
            Event::TaskEnd(end) if !self.open.is_empty() => {
                self.free(model, end.at, thresholds, |open| open.tasks.contains(&end.task));
            }
            _ => {}
        }
    }

    /// When the next look is due, if that is before `until`.
    pub(in crate::detect) fn due(&self, until: Nanos) -> Option<Nanos> {
        self.ripe.front().map(|&ripe| ripe.max(self.next)).filter(|&due| due < until)
    }

    /// Looks at the model as it is at its latest moment.
    pub(in crate::detect) fn look(&mut self, model: &Model, thresholds: &Thresholds) {
        let now = model.last_at;
        while self.ripe.front().is_some_and(|&ripe| ripe <= now) {
            self.ripe.pop_front();
        }
        self.next = now.saturating_add(LOOK_EVERY);
        if !somebody_holds_and_waits(model) {
            return;
        }
        self.ripe.push_back(now.saturating_add(LOOK_AGAIN));
        let graph = WaitGraph::new(model, thresholds);
        for tasks in graph.cycles() {
            let waits = waits_of(model, &tasks);
            if self.open.len() < KEPT && !self.open.iter().any(|open| open.waits == waits) {
                self.open.push(frozen(&graph, tasks, waits));
            }
        }
    }

    /// Moves the open ones that end now to those that are over.
    fn free(&mut self, model: &Model, at: Nanos, thresholds: &Thresholds, ends: impl Fn(&Episode) -> bool) {
        let (ended, open): (Vec<Episode>, Vec<Episode>) = std::mem::take(&mut self.open).into_iter().partition(ends);
        self.open = open;
        for mut episode in ended {
            if moved(model, &episode, at, thresholds) {
                continue;
            }
            let freed = if episode.fired { Freed::Timeout } else { Freed::Dropped };
            let length = at.saturating_sub(episode.since);
            let (first, last) = (episode.since, at);
            episode.lasted = Lasted { times: 1, total: length, worst: length, first, last, freed };
            episode.model.last_at = at;
            let stacks = stacks(&episode);
            if let Some(known) = self.over.iter_mut().find(|known| self::stacks(known) == stacks) {
                // The same lines once more: the longest is shown.
                let before = known.lasted;
                if length > before.worst {
                    *known = episode;
                }
                known.lasted = Lasted {
                    times: before.times + 1,
                    total: before.total + length,
                    worst: before.worst.max(length),
                    first: before.first.min(first),
                    last,
                    ..known.lasted
                };
            } else if self.over.len() < KEPT {
                self.over.push(episode);
            }
        }
    }

    /// The deadlocks that are over, and those of which it is not certain any more that they will stay, like one whose
    /// timeout is about to end it. `now` are the tasks of those that are there.
    pub(super) fn episodes(&self, model: &Model, thresholds: &Thresholds, now: &[BTreeSet<TaskId>]) -> Vec<Episode> {
        let still = self.open.iter().filter(|open| {
            waits_of(model, &open.tasks) == open.waits
                && !moved(model, open, model.last_at, thresholds)
                && !now.iter().any(|tasks| !tasks.is_disjoint(&open.tasks))
        });
        let still = still.cloned().map(|mut episode| {
            let length = model.last_at.saturating_sub(episode.since);
            let (first, last) = (episode.since, model.last_at);
            episode.lasted = Lasted { times: 1, total: length, worst: length, first, last, freed: Freed::Not };
            episode.model.last_at = last;
            episode
        });
        self.over.iter().cloned().chain(still).collect()
    }
}

/// Whether one of the tasks made a step between the beginning and the end.
fn moved(model: &Model, episode: &Episode, at: Nanos, thresholds: &Thresholds) -> bool {
    let step = |task| model.tasks.get(task).map_or(0, |facts| facts.progress);
    let between = |at_step: Nanos| {
        at_step > episode.since.saturating_add(thresholds.slack_ns) && at_step < at.saturating_sub(END)
    };
    episode.tasks.iter().map(step).any(between)
}

/// What tells one deadlock of the same lines from another.
fn stacks(episode: &Episode) -> BTreeSet<(&str, &[u64])> {
    let waits = episode.model.waits.values().filter(|wait| episode.tasks.contains(&wait.task) && wait.until == 0);
    waits.map(|wait| (wait.operation.as_str(), wait.stack.as_slice())).collect()
}

/// What has to be so before there can be a cycle.
fn somebody_holds_and_waits(model: &Model) -> bool {
    let waiting: BTreeSet<TaskId> =
        model.waits.values().filter(|wait| wait.granted.is_none()).map(|wait| wait.task).collect();
    let holds = model.holders.values().flat_map(BTreeMap::keys).copied();
    let receives = model.resources.values().filter_map(|facts| facts.receiver);
    let left = model.waits.values().filter(|wait| wait.granted.is_some()).map(|wait| wait.task);
    holds.chain(receives).chain(left).any(|task| waiting.contains(&task))
}

fn waits_of(model: &Model, tasks: &BTreeSet<TaskId>) -> BTreeSet<WaitId> {
    let waits = tasks.iter().flat_map(|&task| model.waits.of(task)).filter(|(_, wait)| wait.until == 0);
    waits.map(|(id, _)| id).collect()
}

/// What a finding about these tasks needs to know, and no more.
fn frozen(graph: &WaitGraph<'_>, tasks: BTreeSet<TaskId>, waits: BTreeSet<WaitId>) -> Episode {
    let whole_model = graph.model;
    let mut stuck = tasks.clone();
    stuck.extend(graph.behind(&tasks).into_iter().take(BEHIND));
    let mut model = Model::default();
    model.process = whole_model.process.clone();
    (model.dropped, model.first_at, model.last_at) = (whole_model.dropped, whole_model.first_at, whole_model.last_at);
    let theirs = stuck.iter().flat_map(|&task| whole_model.waits.of(task));
    model.waits = theirs.map(|(id, wait)| (id, wait.clone())).collect();
    let resources: BTreeSet<ResourceId> =
        model.waits.values().flat_map(|wait| [wait.resource, whole(whole_model, wait.resource)]).collect();
    let facts = |resource: &ResourceId| whole_model.resources.get(resource).map(|facts| (*resource, facts.clone()));
    model.resources = resources.iter().filter_map(facts).collect::<BTreeMap<ResourceId, ResourceFacts>>();
    let held = resources.iter().filter_map(|resource| whole_model.holders.get_key_value(resource));
    model.holders = held.map(pair).collect();
    model.tasks = stuck.iter().filter_map(|task| whole_model.tasks.get_key_value(task)).map(pair).collect();
    let holders = resources.iter().map(|&resource| (resource, graph.holders_of(resource).collect())).collect();
    let cycle = model.waits.values().filter(|wait| tasks.contains(&wait.task) && wait.until == 0);
    let since = cycle.filter(|wait| wait.granted.is_none()).map(|wait| wait.since).max().unwrap_or(model.last_at);
    let (first, last) = (since, since);
    let lasted = Lasted { times: 0, total: 0, worst: 0, first, last, freed: Freed::Not };
    Episode { tasks, model, holders, stuck, waits, since, fired: false, lasted }
}

fn pair<K: Copy, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (*key, value.clone())
}

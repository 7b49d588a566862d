//! Who waits for whom, and who can never move again.
//!
//! The stuck set is a greatest fixed point: start with every task that waits, and drop whoever may still be freed by
//! somebody outside. What remains can never move; its strongly connected parts are the cycles.

use std::collections::{BTreeMap, BTreeSet};

use pollscope_recording::{Nanos, ResourceId, TaskId, WaitId};

use crate::detect::Thresholds;
use crate::model::{Model, WaitFacts};

/// The kinds of resource of which every holder must be stuck before a waiter is: one permit given back frees it.
const COUNTED: [&str; 2] = ["Semaphore", "Channel"];

/// How a task keeps others from a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It took it and did not give it back.
    Taken,
    /// It was granted to a future of the task's, by this wait, and the task does not poll that future.
    Left(WaitId),
    /// It is who receives from the channel.
    Receives,
}

/// The waits of the tasks that might be stuck, and who holds what.
pub(super) struct WaitGraph<'a> {
    pub(super) model: &'a Model,
    pub(super) waits: BTreeMap<TaskId, Vec<&'a WaitFacts>>,
    holders: BTreeMap<ResourceId, BTreeMap<TaskId, Hold>>,
    settled: BTreeSet<ResourceId>,
    pub(super) stuck: BTreeSet<TaskId>,
}

impl<'a> WaitGraph<'a> {
    pub(super) fn new(model: &'a Model, thresholds: &Thresholds) -> WaitGraph<'a> {
        let waits = waits(model);
        let holders = holders(model, &waits, thresholds);
        let mut graph = WaitGraph { model, waits, holders, settled: BTreeSet::new(), stuck: BTreeSet::new() };
        graph.stuck = graph.candidates(thresholds);
        loop {
            graph.settled = graph.settled();
            // One wait that may end is enough: a `select!` with a timer still moves, once the timer fires.
            let far = model.last_at.saturating_add(thresholds.escape_ns);
            let stays = |task: &TaskId| {
                let waits = graph.waits.get(task).map(Vec::as_slice).unwrap_or_default();
                let (timers, others): (Vec<&WaitFacts>, Vec<&WaitFacts>) =
                    waits.iter().copied().partition(|wait| wait.until > 0);
                !others.is_empty()
                    && timers.iter().all(|timer| timer.until >= far)
                    && others.iter().all(|wait| graph.lasts(wait))
            };
            let kept: BTreeSet<TaskId> = graph.stuck.iter().copied().filter(stays).collect();
            if kept.len() == graph.stuck.len() {
                return graph;
            }
            graph.stuck = kept;
        }
    }

    /// The graph of tasks that were found to be stuck, with the part of the model that they need.
    pub(super) fn restored(
        model: &'a Model,
        holders: BTreeMap<ResourceId, BTreeMap<TaskId, Hold>>,
        stuck: BTreeSet<TaskId>,
    ) -> WaitGraph<'a> {
        WaitGraph { model, waits: waits(model), holders, settled: BTreeSet::new(), stuck }
    }

    /// Tasks that have waited long enough, and made no step since: the two looks that tell a deadlock from a wait.
    fn candidates(&self, thresholds: &Thresholds) -> BTreeSet<TaskId> {
        let open = self.model.stalls.values().filter(|stall| stall.end.is_none());
        let polled: BTreeSet<TaskId> = open.map(|stall| stall.task).collect();
        // What was granted woke the task once more, in vain.
        let mut granted: BTreeMap<TaskId, Nanos> = BTreeMap::new();
        for (wait, at) in self.model.waits.values().filter_map(|wait| Some((wait, wait.granted?))) {
            let last = granted.entry(wait.task).or_default();
            *last = (*last).max(at);
        }
        let still = |task: &TaskId, waits: &[&WaitFacts]| {
            let facts = self.model.tasks.get(task);
            let since = waits.iter().map(|wait| wait.since).chain(granted.get(task).copied()).max().unwrap_or(0);
            let moved = facts.is_some_and(|facts| facts.progress > since.saturating_add(thresholds.slack_ns));
            let dead = facts.is_some_and(|facts| facts.ended.is_some());
            let long = self.model.last_at.saturating_sub(since) >= thresholds.deadlock_ns;
            !moved && !dead && !polled.contains(task) && long
        };
        self.waits.iter().filter(|(task, waits)| still(task, waits)).map(|(&task, _)| task).collect()
    }

    /// Whether a wait can only end through tasks that are stuck themselves.
    fn lasts(&self, wait: &WaitFacts) -> bool {
        let resource = whole(self.model, wait.resource);
        let Some(holders) = self.holders.get(&resource).filter(|holders| !holders.is_empty()) else { return false };
        let mut holders = holders.keys();
        let kind = self.kind(resource);
        if COUNTED.contains(&kind) {
            holders.all(|task| self.stuck.contains(task))
                && (kind == "Channel" || (self.settled.contains(&resource) && self.keeps_its_own(resource, wait)))
        } else if kind == "Mutex" || kind == "RwLock" {
            holders.any(|task| self.stuck.contains(task)) && self.queue_explains(resource, wait)
        } else {
            false
        }
    }

    /// A reader that waits although only readers hold the lock waits behind a writer; without one in sight its holder
    /// is not the one we think.
    fn queue_explains(&self, resource: ResourceId, wait: &WaitFacts) -> bool {
        let reads = |wait: &WaitFacts| wait.operation.starts_with("RwLock::read");
        let own = self.holders.get(&resource).is_some_and(|holders| holders.contains_key(&wait.task));
        !reads(wait) || !own || self.waiting_for(resource).any(|other| !reads(other) && other.since <= wait.since)
    }

    /// The semaphores whose permits are still with those who took them, and none with somebody unseen.
    fn settled(&self) -> BTreeSet<ResourceId> {
        let semaphores = self.model.holders.keys().copied().filter(|&resource| self.kind(resource) == "Semaphore");
        semaphores.filter(|&resource| self.permits_stay(resource)).collect()
    }

    fn permits_stay(&self, resource: ResourceId) -> bool {
        let Some(facts) = self.model.resources.get(&resource) else { return false };
        let Some(held) = self.model.holders.get(&resource) else { return false };
        if facts.stranger != 0 || held.iter().any(|(&task, held)| self.passed_on(task, held.since)) {
            return false;
        }
        // No event tells who got a permit from `try_acquire`: then the books show fewer permits than there are. What is
        // left over where several are taken at once is too few for the next.
        let total: u64 = held.values().map(|held| held.permits).sum();
        let taking = held.values().map(|held| held.permits / held.takings.max(1)).max().unwrap_or(1);
        facts.permits.saturating_sub(total) < taking.max(1)
    }

    /// Whether a wait like this one tells that permits stay with the task that took them: an owned permit can be sent
    /// to a task that exists already, and then the taker waits for the next one.
    fn keeps_its_own(&self, resource: ResourceId, wait: &WaitFacts) -> bool {
        let held = self.model.holders.get(&resource).into_iter().flatten();
        let held: Vec<_> = held.filter(|(task, _)| self.stuck.contains(task)).collect();
        !wait.operation.ends_with("_owned") || (held.len() > 1 && held.iter().all(|(_, held)| held.takings == 1))
    }

    /// Whether what a task took may be with a task it has spawned since, or one of theirs, that can still move.
    pub(super) fn passed_on(&self, task: TaskId, since: Nanos) -> bool {
        let tasks = &self.model.tasks;
        let descends = |child: TaskId| {
            let parent = |task: &TaskId| tasks.get(task).map(|facts| facts.parent).filter(|&parent| parent != 0);
            std::iter::successors(parent(&child), parent).take(8).any(|one| one == task)
        };
        tasks.iter().any(|(&child, facts)| {
            facts.ended.is_none() && facts.begun >= since && !self.stuck.contains(&child) && descends(child)
        })
    }

    pub(super) fn kind(&self, resource: ResourceId) -> &str {
        self.model.resources.get(&resource).map_or("", |facts| facts.kind.as_str())
    }

    pub(super) fn waiting_for(&self, resource: ResourceId) -> impl Iterator<Item = &'a WaitFacts> + '_ {
        let waits = self.waits.values().flatten().copied();
        waits.filter(move |wait| whole(self.model, wait.resource) == resource)
    }

    pub(super) fn holders_of(&self, resource: ResourceId) -> impl Iterator<Item = (TaskId, Hold)> + '_ {
        let holders = self.holders.get(&whole(self.model, resource));
        holders.into_iter().flatten().map(|(&task, &hold)| (task, hold))
    }

    /// When the first timer ends the wait of one of these tasks, if there is one.
    pub(super) fn escape(&self, tasks: &BTreeSet<TaskId>) -> Option<Nanos> {
        let waits = tasks.iter().filter_map(|task| self.waits.get(task)).flatten();
        waits.map(|wait| wait.until).filter(|&until| until > 0).min()
    }

    /// Stuck tasks that hold what `task` waits for.
    fn next(&self, task: TaskId) -> BTreeSet<TaskId> {
        let waits = self.waits.get(&task).into_iter().flatten();
        let holders = waits.flat_map(|wait| self.holders_of(wait.resource));
        holders.map(|(task, _)| task).filter(|task| self.stuck.contains(task)).collect()
    }

    /// Everybody `task` waits for, directly or through others.
    pub(super) fn reachable(&self, task: TaskId) -> BTreeSet<TaskId> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<TaskId> = self.next(task).into_iter().collect();
        while let Some(one) = open.pop() {
            if seen.insert(one) {
                open.extend(self.next(one));
            }
        }
        seen
    }

    /// The sets of tasks that wait for each other.
    pub(super) fn cycles(&self) -> Vec<BTreeSet<TaskId>> {
        // Only who holds something can be in a cycle; of the many that merely queue, none is followed.
        let owners: BTreeSet<TaskId> = self.stuck.iter().flat_map(|&task| self.next(task)).collect();
        let reach: BTreeMap<TaskId, BTreeSet<TaskId>> =
            owners.iter().map(|&task| (task, self.reachable(task))).collect();
        let reaches = |from: TaskId, to: TaskId| reach.get(&from).is_some_and(|seen| seen.contains(&to));
        let mut cycles: Vec<BTreeSet<TaskId>> = Vec::new();
        for &task in owners.iter().filter(|&&task| reaches(task, task)) {
            if !cycles.iter().any(|cycle| cycle.contains(&task)) {
                cycles.push(owners.iter().copied().filter(|&one| reaches(task, one) && reaches(one, task)).collect());
            }
        }
        cycles
    }
}

/// The waits of each task that were not granted yet.
fn waits(model: &Model) -> BTreeMap<TaskId, Vec<&WaitFacts>> {
    let mut waits: BTreeMap<TaskId, Vec<&WaitFacts>> = BTreeMap::new();
    for wait in model.waits.values().filter(|wait| wait.granted.is_none()) {
        waits.entry(wait.task).or_default().push(wait);
    }
    waits
}

/// Who keeps others from each resource.
fn holders(
    model: &Model,
    waits: &BTreeMap<TaskId, Vec<&WaitFacts>>,
    thresholds: &Thresholds,
) -> BTreeMap<ResourceId, BTreeMap<TaskId, Hold>> {
    let mut holders: BTreeMap<ResourceId, BTreeMap<TaskId, Hold>> = BTreeMap::new();
    let gone = |task: &TaskId| model.tasks.get(task).is_some_and(|facts| facts.ended.is_some());
    for (&resource, tasks) in &model.holders {
        // Who has ended gives nothing back: it neither frees a waiter nor is it stuck.
        let living = tasks.keys().filter(|task| !gone(task));
        holders.entry(whole(model, resource)).or_default().extend(living.map(|&task| (task, Hold::Taken)));
    }
    for (&resource, facts) in &model.resources {
        if let Some(receiver) = facts.receiver.filter(|receiver| !gone(receiver)) {
            holders.entry(resource).or_default().insert(receiver, Hold::Receives);
        }
    }
    for (&wait, facts) in &model.waits {
        let Some(granted) = facts.granted else { continue };
        // A lock that was just handed over is picked up in the task's next poll; this task was polled, and left it.
        let polled = model.tasks.get(&facts.task).is_some_and(|task| task.progress > granted);
        let waits_since = waits.get(&facts.task).into_iter().flatten().any(|wait| wait.since > granted);
        // Being granted a lock wakes the task: where nothing hinders polls it had one long since.
        let hindered = model.stalls.values().any(|stall| stall.end.is_none());
        let long = model.last_at.saturating_sub(granted) >= thresholds.deadlock_ns && !hindered;
        if polled || waits_since || long {
            holders.entry(whole(model, facts.resource)).or_default().insert(facts.task, Hold::Left(wait));
        }
    }
    holders
}

/// The lock a task knows, whatever internal semaphore it is made of.
pub(super) fn whole(model: &Model, resource: ResourceId) -> ResourceId {
    let mut at = resource;
    // Parts of parts of parts do not exist; a damaged recording must not make a loop.
    for _ in 0..4 {
        match model.resources.get(&at) {
            Some(facts) if facts.parent != 0 => at = facts.parent,
            _ => break,
        }
    }
    at
}

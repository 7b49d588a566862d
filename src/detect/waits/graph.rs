//! Who waits for whom, and who can never move again.
//!
//! The stuck set is a greatest fixed point: start with every task that waits, and drop whoever may still be freed by
//! somebody outside. What remains can never move; its strongly connected parts are the cycles.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use pollscope_recording::{Nanos, ResourceId, TaskId, WaitId};

use super::Cycle;
use super::links::Links;
use crate::detect::Thresholds;
use crate::model::{Held, Model, TaskFacts, WaitFacts};

/// The kinds of resource of which every holder must be stuck before a waiter is: one permit given back frees it.
const COUNTED: [&str; 2] = ["Semaphore", "Channel"];

/// How far down the family of a task is looked for who may have what it took.
const GENERATIONS: usize = 8;

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
    /// The same by what they wait for.
    waiting: BTreeMap<ResourceId, Vec<&'a WaitFacts>>,
    holders: BTreeMap<ResourceId, BTreeMap<TaskId, Hold>>,
    /// Whom each task has spawned; found out when it matters, since there may be a million tasks.
    children: OnceCell<HashMap<TaskId, Vec<TaskId>>>,
    /// As of the beginning of the round that settles who is stuck.
    round: Round,
    pub(super) stuck: BTreeSet<TaskId>,
    links: OnceCell<Links>,
}

/// What follows from who is stuck for all waits alike.
#[derive(Default)]
struct Round {
    /// The semaphores whose permits are still with those who took them, and none with somebody unseen.
    settled: BTreeSet<ResourceId>,
    /// By when the last poll of a task that can still move was over; `None` if there is no such task.
    moved: OnceCell<Option<Nanos>>,
    /// Whether the permits of a semaphore, or the places of a channel, are all with tasks that are stuck: for waits
    /// whose permits can be sent and for others, and how many were stuck then.
    kept: RefCell<HashMap<(ResourceId, bool), (bool, usize)>>,
}

impl<'a> WaitGraph<'a> {
    pub(super) fn new(model: &'a Model, thresholds: &Thresholds) -> WaitGraph<'a> {
        let waits = waits(model);
        let holders = holders(model, &waits, thresholds);
        let mut graph = WaitGraph::of(model, waits, holders, BTreeSet::new());
        graph.stuck = graph.candidates(thresholds);
        let mut before = usize::MAX;
        while graph.stuck.len() < before {
            before = graph.stuck.len();
            graph.round = Round { settled: graph.settled(), ..Round::default() };
            graph.free(thresholds);
        }
        graph
    }

    /// The graph of tasks that were found to be stuck, with the part of the model that they need.
    pub(super) fn restored(
        model: &'a Model,
        holders: BTreeMap<ResourceId, BTreeMap<TaskId, Hold>>,
        stuck: BTreeSet<TaskId>,
    ) -> WaitGraph<'a> {
        WaitGraph::of(model, waits(model), holders, stuck)
    }

    fn of(
        model: &'a Model,
        waits: BTreeMap<TaskId, Vec<&'a WaitFacts>>,
        holders: BTreeMap<ResourceId, BTreeMap<TaskId, Hold>>,
        stuck: BTreeSet<TaskId>,
    ) -> WaitGraph<'a> {
        let mut waiting: BTreeMap<ResourceId, Vec<&'a WaitFacts>> = BTreeMap::new();
        for wait in waits.values().flatten() {
            waiting.entry(whole(model, wait.resource)).or_default().push(wait);
        }
        let (children, links, round) = (OnceCell::new(), OnceCell::new(), Round::default());
        WaitGraph { model, waits, waiting, holders, children, round, stuck, links }
    }

    /// Drops who may be freed, and then who waited for those, until nobody is left who may.
    fn free(&mut self, thresholds: &Thresholds) {
        let far = self.model.last_at.saturating_add(thresholds.escape_ns);
        let mut held: HashMap<TaskId, Vec<ResourceId>> = HashMap::new();
        for (&resource, holders) in self.holders.iter().filter(|(resource, _)| self.waiting.contains_key(resource)) {
            holders.keys().for_each(|&task| held.entry(task).or_default().push(resource));
        }
        // Each in its turn: who was asked about is asked again only if somebody was freed meanwhile.
        let mut open: VecDeque<TaskId> = self.stuck.iter().copied().collect();
        let mut queued: HashSet<TaskId> = self.stuck.iter().copied().collect();
        while let Some(task) = open.pop_front() {
            queued.remove(&task);
            if !self.stuck.contains(&task) || self.stays_stuck(task, far) {
                continue;
            }
            self.stuck.remove(&task);
            // What those have taken from whom it descends may be with it.
            let family = self.ancestors(task).chain([task]);
            for resource in family.filter_map(|one| held.get(&one)).flatten() {
                let waiting = self.waiting_for(*resource).map(|wait| wait.task);
                let stuck = waiting.filter(|task| self.stuck.contains(task) && queued.insert(*task));
                open.extend(stuck.collect::<Vec<_>>());
            }
        }
    }

    /// Whether none of a task's waits may end. One is enough: a `select!` with a timer still moves, once the timer fires.
    fn stays_stuck(&self, task: TaskId, far: Nanos) -> bool {
        let waits = self.waits.get(&task).map(Vec::as_slice).unwrap_or_default();
        let mut others = waits.iter().filter(|wait| wait.until == 0).peekable();
        others.peek().is_some()
            && waits.iter().all(|wait| wait.until == 0 || wait.until >= far)
            && others.all(|wait| self.lasts(wait))
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
            // Who has left all his waits aside awaits something else, which may be in no event.
            let awaits = waits.iter().any(|wait| !wait.idle && !self.kind(whole(self.model, wait.resource)).is_empty());
            awaits && !moved && !dead && !polled.contains(task) && long
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
            let key = (resource, wait.operation.ends_with("_owned"));
            // Asked for each of many waits. Who was freed stays free, so a no stands for the whole round.
            let known = self.round.kept.borrow().get(&key).copied();
            if let Some((kept, _)) = known.filter(|(kept, stuck)| !kept || *stuck == self.stuck.len()) {
                return kept;
            }
            let kept = holders.all(|task| self.stuck.contains(task))
                && (kind == "Channel" || (self.round.settled.contains(&resource) && self.permits_kept(resource, wait)));
            self.round.kept.borrow_mut().insert(key, (kept, self.stuck.len()));
            kept
        } else if kind == "Mutex" || kind == "RwLock" {
            self.is_certain(resource)
                && holders.any(|task| self.stuck.contains(task) && self.guard_kept(resource, *task, wait))
                && self.queue_explains(resource, wait)
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

    fn settled(&self) -> BTreeSet<ResourceId> {
        let semaphores = self.waiting.keys().copied().filter(|&resource| self.kind(resource) == "Semaphore");
        semaphores.filter(|&resource| self.permits_stay(resource)).collect()
    }

    fn permits_stay(&self, resource: ResourceId) -> bool {
        let Some(facts) = self.model.resources.get(&resource) else { return false };
        let Some(held) = self.model.holders.get(&resource) else { return false };
        // What is taken again and again and never given back by who took it, somebody else fills up: a limit of requests.
        let limit = !facts.returned && held.values().any(|held| held.permits > 1);
        if limit || !self.is_certain(resource) || held.iter().any(|(&task, held)| self.passed_on(task, held.since)) {
            return false;
        }
        // No event tells who got a permit from `try_acquire`: then the books show fewer permits than there are. What is
        // left over where several are taken at once is too few for the next.
        let total: u64 = held.values().map(|held| held.permits).sum();
        let taking = held.values().map(|held| held.permits / held.takings.max(1)).max().unwrap_or(1);
        // Where there was such a taker before, nothing may be left over.
        let taking = if facts.stranger == 0 { taking.max(1) } else { 1 };
        facts.permits.saturating_sub(total) < taking
    }

    /// Whether the holders of a resource are who the books say: nobody else gave anything back, or what he gave can
    /// have been his own.
    pub(super) fn is_certain(&self, resource: ResourceId) -> bool {
        self.model.resources.get(&resource).is_some_and(|facts| facts.stranger == 0 || facts.balanced)
    }

    /// Whether the permits of a semaphore are still with those who took them, as far as they can be sent at all.
    fn permits_kept(&self, resource: ResourceId, wait: &WaitFacts) -> bool {
        let held = self.model.holders.get(&resource).into_iter().flatten();
        // Old recordings do not tell how they were taken; most likely as one more is asked for.
        let can_be_sent = |held: &Held| held.owned || wait.operation.ends_with("_owned");
        held.filter(|(task, held)| self.stuck.contains(task) && can_be_sent(held))
            .all(|(_, held)| self.stays(resource, held.since))
    }

    /// Whether the guard that `task` took is still its own, so that `wait` waits for that task.
    fn guard_kept(&self, resource: ResourceId, task: TaskId, wait: &WaitFacts) -> bool {
        let held = self.model.holders.get(&resource).and_then(|holders| holders.get(&task));
        let Some(held) = held.filter(|held| held.owned) else { return true };
        // Most likely it went to a task spawned for it, if to any. Who has sent it to another asks for the next one at
        // once; that two do so to each other is not likely.
        let mut heirs = self.descendants(task, held.since).peekable();
        let sent_so = heirs.peek().is_some();
        heirs.all(|heir| self.stuck.contains(&heir))
            && (sent_so || task != wait.task || self.stays(resource, held.since))
    }

    /// Whether what was taken at `since`, and can be sent, was not: it never was before, or nobody has moved who could
    /// have received it.
    pub(super) fn stays(&self, resource: ResourceId, since: Nanos) -> bool {
        let facts = self.model.resources.get(&resource);
        let stranger = facts.is_some_and(|facts| facts.stranger != 0);
        !stranger && (facts.is_some_and(|facts| facts.stays) || self.all_idle_since(since))
    }

    /// Whether no task that could still move was polled since.
    fn all_idle_since(&self, since: Nanos) -> bool {
        let moves = |(task, facts): &(&TaskId, &TaskFacts)| facts.ended.is_none() && !self.stuck.contains(task);
        let last = || self.model.tasks.iter().filter(moves).map(|(_, facts)| facts.polled_by).max();
        self.round.moved.get_or_init(last).is_none_or(|last| last < since)
    }

    /// Whether what a task took may be with a task it has spawned since, or one of theirs, that can still move.
    pub(super) fn passed_on(&self, task: TaskId, since: Nanos) -> bool {
        self.descendants(task, since).any(|child| !self.stuck.contains(&child))
    }

    /// The living tasks that `task` has spawned since, and theirs.
    fn descendants(&self, task: TaskId, since: Nanos) -> impl Iterator<Item = TaskId> + '_ {
        let children = self.children.get_or_init(|| {
            let mut children: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
            for (&task, facts) in self.model.tasks.iter().filter(|(_, facts)| facts.parent != 0) {
                children.entry(facts.parent).or_default().push(task);
            }
            children
        });
        let of = move |(task, generation): (TaskId, usize)| {
            let deeper = generation < GENERATIONS;
            children.get(&task).into_iter().flatten().filter(move |_| deeper).map(move |&child| (child, generation + 1))
        };
        let mut open: Vec<(TaskId, usize)> = of((task, 0)).collect();
        let all = std::iter::from_fn(move || {
            let one = open.pop()?;
            open.extend(of(one));
            Some(one.0)
        });
        let young = move |facts: &TaskFacts| facts.ended.is_none() && facts.begun >= since;
        all.filter(move |child| self.model.tasks.get(child).is_some_and(young))
    }

    /// From whom a task descends, the nearest first.
    fn ancestors(&self, task: TaskId) -> impl Iterator<Item = TaskId> + '_ {
        let parent = |task: &TaskId| self.model.tasks.get(task).map(|facts| facts.parent).filter(|&parent| parent != 0);
        std::iter::successors(parent(&task), parent).take(GENERATIONS)
    }

    pub(super) fn kind(&self, resource: ResourceId) -> &str {
        self.model.resources.get(&resource).map_or("", |facts| facts.kind.as_str())
    }

    pub(super) fn waiting_for(&self, resource: ResourceId) -> impl Iterator<Item = &'a WaitFacts> + '_ {
        self.waiting.get(&resource).into_iter().flatten().copied()
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

    /// The tasks spawned by the holder of what can be sent, since it took that.
    pub(super) fn heirs(&self, resource: ResourceId, task: TaskId) -> Vec<TaskId> {
        let holders = self.model.holders.get(&whole(self.model, resource));
        let Some(held) = holders.and_then(|holders| holders.get(&task)).filter(|held| held.owned) else {
            return Vec::new();
        };
        self.descendants(task, held.since).collect()
    }

    /// Everybody who is stuck behind these tasks, directly or through others.
    pub(super) fn behind(&self, tasks: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        self.links().behind(self, tasks)
    }

    /// Whether nothing in a cycle can have been sent to another task, and no stranger gave anything back.
    pub(super) fn is_sure(&self, cycle: &Cycle<'_>) -> bool {
        let stranger = |resource| self.model.resources.get(resource).is_some_and(|facts| facts.stranger != 0);
        !cycle.resources.iter().any(stranger)
            && cycle.holds.iter().all(|&(task, resource, _)| self.heirs(resource, task).is_empty())
    }

    /// The sets of tasks that wait for each other.
    pub(super) fn cycles(&self) -> Vec<BTreeSet<TaskId>> {
        self.links().cycles(self)
    }

    fn links(&self) -> &Links {
        self.links.get_or_init(|| Links::new(self))
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
    let hindered = model.stalls.values().any(|stall| stall.end.is_none());
    for (wait, facts) in model.waits.iter() {
        let Some(granted) = facts.granted else { continue };
        // A lock that was just handed over is picked up in the task's next poll; this task was polled, and left it.
        let polled = model.tasks.get(&facts.task).is_some_and(|task| task.progress > granted);
        let waits_since = waits.get(&facts.task).into_iter().flatten().any(|wait| wait.since > granted);
        // Being granted a lock wakes the task: where nothing hinders polls it had one long since.
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

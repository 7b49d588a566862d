//! In which order tasks take locks, and where two orders contradict each other: what could have become a deadlock.
//!
//! A contradiction is a cycle of steps "holds this, takes that", each by another task, which nothing keeps apart: no
//! lock that two of them hold, no start or end of a task between them. Whether the steps of one task belong to one line
//! of code is not known here; the stacks tell.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use pollscope_recording::{LockOrder, Nanos, Place, ResourceId, TaskId};

use super::Model;

/// Whoever awaits a task is woken before its end is told, and the kernel may run others between the two.
const TOLD_LATE: Nanos = 100_000_000;

/// Most pairs of living locks remembered, and most steps of one pair.
const KEPT_PAIRS: usize = 4096;
const KEPT_STEPS: usize = 8;
/// Most contradictions remembered, and most stacks of each.
const KEPT_INVERSIONS: usize = 256;
const KEPT_WAYS: usize = 4;
/// The longest cycle that is looked for, and how many steps are tried for it.
const LONGEST: usize = 4;
const TRIES: usize = 2000;
/// How far up the family of a task another is looked for.
const GENERATIONS: usize = 64;

/// A task held one lock and took another.
#[derive(Debug, Clone)]
pub struct Step {
    /// The task.
    pub task: TaskId,
    /// What it held.
    pub held: LockUse,
    /// Since when.
    pub since: Nanos,
    /// What it took.
    pub taken: LockUse,
    /// When.
    pub took: Nanos,
    /// What else it held.
    pub beside: Vec<LockUse>,
    /// Where it had taken the first, innermost address first; empty if unknown.
    pub held_stack: Arc<[u64]>,
    /// Where it took the second.
    pub taken_stack: Arc<[u64]>,
}

/// A lock, and how it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockUse {
    /// The lock.
    pub resource: ResourceId,
    /// For reading.
    pub shared: bool,
}

impl LockUse {
    fn new(resource: ResourceId, shared: bool) -> LockUse {
        LockUse { resource, shared }
    }

    /// Whether two who use it so keep each other out.
    fn excludes(self, other: LockUse) -> bool {
        self.resource == other.resource && !(self.shared && other.shared)
    }
}

/// The steps seen from one lock to another.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    /// The latest, of different tasks.
    steps: Vec<Step>,
    /// How many were told.
    times: u64,
    first: Nanos,
    last: Nanos,
}

/// Steps that contradict each other: each takes what the next one holds.
#[derive(Debug, Clone)]
pub struct Inversion {
    /// The steps.
    pub steps: Vec<Step>,
    /// How often each pair of locks was told in this order.
    pub times: Vec<u64>,
    /// Whether the orders came by turns, so that no phase of the program explains them.
    pub by_turns: bool,
    /// Kind and place of making of the locks.
    pub locks: BTreeMap<ResourceId, (String, Place)>,
    /// When it was first complete.
    pub at: Nanos,
}

/// Every order of taking locks, and what contradicts itself.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// From what is held to what is taken.
    pairs: BTreeMap<(ResourceId, ResourceId), Pair>,
    /// By the locks of each, ascending; with different stacks.
    inversions: BTreeMap<Vec<ResourceId>, Vec<Inversion>>,
    /// Locks that are gone, since room was last made.
    gone: HashSet<ResourceId>,
    /// Orders told.
    pub told: u64,
}

impl Orders {
    /// The contradictions: for each set of locks the ways in which it was seen.
    pub fn inversions(&self) -> impl Iterator<Item = &[Inversion]> {
        self.inversions.values().map(Vec::as_slice)
    }

    /// A lock is gone. A step is told when its first lock is given back, and its second may be gone by then: pairs are
    /// dropped only to make room. What contradicted itself stays known.
    pub(super) fn forget(&mut self, resource: ResourceId) {
        self.gone.insert(resource);
        if self.gone.len() >= 2 * KEPT_PAIRS {
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        self.pairs.retain(|(held, taken), _| !gone.contains(held) && !gone.contains(taken));
    }

    /// Takes in a step; false if there was no room.
    fn add(&mut self, at: Nanos, step: &mut Step) -> bool {
        let key = (step.held.resource, step.taken.resource);
        if self.pairs.len() >= KEPT_PAIRS && !self.gone.is_empty() {
            self.make_room();
        }
        if !self.pairs.contains_key(&key) && self.pairs.len() >= KEPT_PAIRS {
            return false;
        }
        let pair = self.pairs.entry(key).or_insert_with(|| Pair { first: at, ..Pair::default() });
        (pair.times, pair.last) = (pair.times + 1, at);
        let uses = |step: &Step| (step.held, step.taken, step.beside.clone());
        if step.taken_stack.is_empty()
            && let Some(known) = pair.steps.iter().rev().find(|known| uses(known) == uses(step))
        {
            step.held_stack = known.held_stack.clone();
            step.taken_stack = known.taken_stack.clone();
        }
        pair.steps.retain(|known| known.task != step.task || uses(known) != uses(step));
        if pair.steps.len() >= KEPT_STEPS {
            pair.steps.remove(0);
        }
        pair.steps.push(step.clone());
        true
    }

    /// The cycles that `step` closes.
    fn cycles(&self, step: &Step, apart: impl Fn(&Step, &Step) -> bool) -> Vec<Vec<Step>> {
        let (mut found, mut tries) = (Vec::new(), 0);
        let mut open: Vec<Vec<&Step>> = vec![vec![step]];
        while let Some(path) = open.pop() {
            let Some(end) = path.last().map(|last| last.taken) else { continue };
            let next = self.pairs.range((end.resource, 0)..=(end.resource, ResourceId::MAX));
            for next in next.flat_map(|(_, pair)| &pair.steps) {
                tries += 1;
                if tries > TRIES || found.len() >= KEPT_WAYS {
                    return found;
                }
                let meets = end.excludes(next.held) && path.iter().all(|known| can_meet(known, next));
                if !meets || path.iter().any(|known| apart(known, next)) {
                    continue;
                }
                let mut longer = path.clone();
                longer.push(next);
                if next.taken.excludes(step.held) {
                    found.push(longer.into_iter().cloned().collect());
                } else if longer.len() < LONGEST && longer.iter().all(|known| known.held != next.taken) {
                    open.push(longer);
                }
            }
        }
        found
    }

    fn keep(&mut self, steps: Vec<Step>, at: Nanos, known: impl Fn(ResourceId) -> (String, Place)) {
        let mut key: Vec<ResourceId> = steps.iter().map(|step| step.held.resource).collect();
        key.sort_unstable();
        let pairs: Vec<&Pair> =
            steps.iter().filter_map(|step| self.pairs.get(&(step.held.resource, step.taken.resource))).collect();
        let times: Vec<u64> = pairs.iter().map(|pair| pair.times).collect();
        let overlap = |a: &Pair, b: &Pair| a.first < b.last && b.first < a.last;
        let by_turns = pairs.iter().enumerate().all(|(index, a)| pairs.iter().skip(index + 1).all(|b| overlap(a, b)));
        if !self.inversions.contains_key(&key) && self.inversions.len() >= KEPT_INVERSIONS {
            return;
        }
        let ways = self.inversions.entry(key).or_default();
        let places = |steps: &[Step]| {
            let mut places: Vec<_> =
                steps.iter().map(|step| (step.held_stack.clone(), step.taken_stack.clone())).collect();
            places.sort();
            places
        };
        if let Some(way) = ways.iter_mut().find(|way| places(&way.steps) == places(&steps)) {
            // The steps may have come in another turn.
            if way.steps.iter().map(|step| step.held).eq(steps.iter().map(|step| step.held)) {
                way.times = times;
            }
            way.by_turns |= by_turns;
        } else if ways.len() < KEPT_WAYS {
            let locks = steps.iter().map(|step| (step.held.resource, known(step.held.resource))).collect();
            ways.push(Inversion { steps, times, by_turns, locks, at });
        }
    }
}

/// Whether two steps are of different tasks that hold nothing which keeps the other out.
fn can_meet(one: &Step, other: &Step) -> bool {
    let holds = |step: &Step| step.beside.iter().copied().chain([step.held]).collect::<Vec<_>>();
    let theirs = holds(other);
    one.task != other.task && !holds(one).iter().any(|mine| theirs.iter().any(|their| mine.excludes(*their)))
}

impl Model {
    pub(super) fn ordered(&mut self, order: &LockOrder) {
        let each = |list: &[u64], shared| list.iter().map(move |&one| LockUse::new(one, shared)).collect::<Vec<_>>();
        let mut beside = each(&order.beside, false);
        beside.extend(each(&order.beside_shared, true));
        let mut step = Step {
            task: order.task,
            held: LockUse::new(order.held, order.held_shared),
            since: order.since,
            taken: LockUse::new(order.taken, order.taken_shared),
            took: order.took,
            beside,
            held_stack: order.held_stack.as_slice().into(),
            taken_stack: order.taken_stack.as_slice().into(),
        };
        self.orders.told += 1;
        if !self.orders.add(order.at, &mut step) {
            self.not_kept += 1;
            return;
        }
        for cycle in self.orders.cycles(&step, |one, other| self.apart(one, other)) {
            let resources = &self.resources;
            let known = |resource| {
                resources.get(&resource).map(|facts| (facts.kind.clone(), facts.made.clone())).unwrap_or_default()
            };
            self.orders.keep(cycle, order.at, known);
        }
    }

    /// Whether one of two steps was over before the task of the other began, or the other way round, so that they never
    /// meet: by chance or because the one is waited for, which no event tells.
    fn apart(&self, one: &Step, other: &Step) -> bool {
        self.precedes(one, other) || self.precedes(other, one)
    }

    fn precedes(&self, first: &Step, second: &Step) -> bool {
        let (Some(before), Some(after)) = (self.tasks.get(&first.task), self.tasks.get(&second.task)) else {
            return false;
        };
        let begun_of_child = |ancestor: TaskId, task: TaskId| {
            let parent = |task: &TaskId| self.tasks.get(task).map(|facts| facts.parent).filter(|&parent| parent != 0);
            let line = std::iter::successors(Some(task), parent).take(GENERATIONS);
            let child = line.take_while(|&one| one != ancestor).last()?;
            let facts = self.tasks.get(&child)?;
            (facts.parent == ancestor).then_some(facts.begun)
        };
        let ended = |until: Nanos| before.ended.is_some_and(|ended| ended <= until);
        // Who has both locks when it spawns the other waits for neither any more.
        ended(after.begun)
            || begun_of_child(first.task, second.task).is_some_and(|begun| first.took <= begun)
            || (begun_of_child(second.task, first.task).is_some()
                && first.took <= second.since
                && ended(second.since.saturating_add(TOLD_LATE)))
    }
}

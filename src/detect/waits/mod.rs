//! Tasks that wait for each other, and so for ever: one graph, and what each shape of cycle in it is called.

mod channel_cycle;
mod finding;
mod futurelock;
mod graph;
mod links;
mod lock_cycle;
mod parts;
mod past;
mod permit_leak;
mod pool_starvation;
mod rwlock_deadlock;
mod self_deadlock;

use std::collections::{BTreeMap, BTreeSet};

use pollscope_recording::{ResourceId, TaskId};

use super::{Answer, Confidence, Finding, Outcome, Thresholds};
use crate::model::{Model, WaitFacts};
use crate::symbols::Symbols;
pub(super) use finding::lock_label;
use graph::{Hold, WaitGraph, whole};
pub(super) use past::Past;

/// Tasks that wait for each other, with what they wait for.
struct Cycle<'a> {
    tasks: BTreeSet<TaskId>,
    waits: Vec<&'a WaitFacts>,
    resources: BTreeSet<ResourceId>,
    /// What keeps them from each other.
    holds: Vec<(TaskId, ResourceId, Hold)>,
}

impl<'a> Cycle<'a> {
    fn new(graph: &WaitGraph<'a>, tasks: BTreeSet<TaskId>) -> Cycle<'a> {
        let waits = tasks.iter().filter_map(|task| graph.waits.get(task)).flatten().copied();
        let waits: Vec<&WaitFacts> = waits.filter(|wait| wait.until == 0).collect();
        let resources: BTreeSet<ResourceId> = waits.iter().map(|wait| whole(graph.model, wait.resource)).collect();
        let mut holds = Vec::new();
        for &resource in &resources {
            let inside = graph.holders_of(resource).filter(|(task, _)| tasks.contains(task));
            holds.extend(inside.map(|(task, hold)| (task, resource, hold)));
        }
        Cycle { tasks, waits, resources, holds }
    }

    /// The only resource everybody waits for, if there is just one.
    fn only_resource(&self) -> Option<ResourceId> {
        self.resources.first().copied().filter(|_| self.resources.len() == 1)
    }
}

/// How one shape of cycle is recognized and put into words.
struct Shape {
    kind: &'static str,
    is: fn(&WaitGraph<'_>, &Cycle<'_>) -> bool,
    /// `{}` where they wait, and what for.
    title: fn(&Told<'_>) -> String,
    repair: fn(&Told<'_>) -> String,
    /// The most that can be said: no event tells who holds, so some shapes are surer than others.
    confidence: Confidence,
}

/// What the words of a shape are made of.
struct Told<'a> {
    tasks: usize,
    /// The task that closed the cycle.
    task: String,
    /// `file:line` of the waits, each once.
    spots: &'a [String],
    /// What is waited for, with where it was made; each once where there are many.
    resources: &'a [String],
    /// How many there are of those.
    locks: usize,
    /// Where a future waits that was granted what it asked for and is not polled.
    left: Option<&'a str>,
}

/// Most places and locks that are named in one sentence.
const MOST_NAMED: usize = 6;

impl Told<'_> {
    fn spots(&self) -> String {
        match self.spots {
            [] => "places that were not seen".to_owned(),
            spots => named(spots, spots.len(), " and "),
        }
    }

    /// The locks, with this between them.
    fn resources(&self, between: &str) -> String {
        named(self.resources, self.locks, between)
    }
}

/// The first of `count` names, and how many more there are.
fn named(names: &[String], count: usize, between: &str) -> String {
    let first = names.get(..MOST_NAMED).unwrap_or(names);
    let more = count.saturating_sub(first.len());
    match more {
        0 => first.join(between),
        more => format!("{}{between}{more} more", first.join(between)),
    }
}

/// From the most particular to the most general: the first that fits names the cycle.
const SHAPES: [&Shape; 6] = [
    &futurelock::SHAPE,
    &channel_cycle::SHAPE,
    &pool_starvation::SHAPE,
    &rwlock_deadlock::SHAPE,
    &self_deadlock::SHAPE,
    &lock_cycle::SHAPE,
];

/// Why nothing can be said about locks, where that is so.
pub(super) fn unseen(model: &Model) -> Option<&'static str> {
    (!model.has_source("tracing")).then_some(
        "locks are seen only with the tracing source: build tokio with its `tracing` feature and turn the source on",
    )
}

/// Whether tasks wait for long in a program whose holders are known in part only: then silence is no clearance.
pub(super) fn undecided(model: &Model, thresholds: &Thresholds) -> bool {
    const LOCKS: [&str; 4] = ["Mutex", "RwLock", "Semaphore", "Channel"];
    let long = |wait: &&WaitFacts| model.last_at.saturating_sub(wait.since) >= thresholds.deadlock_ns;
    let lock = |wait: &&WaitFacts| {
        model.resources.get(&wait.resource).is_some_and(|facts| LOCKS.contains(&facts.kind.as_str()))
    };
    model.has_source("console") && model.waits.values().filter(long).any(|wait| lock(&wait))
}

pub(super) fn detect(model: &Model, past: &Past, symbols: &mut Symbols, thresholds: &Thresholds) -> Vec<Outcome> {
    let kinds = SHAPES.iter().map(|shape| shape.kind).chain([permit_leak::KIND]);
    if let Some(why) = unseen(model).filter(|_| !model.has_source("console")) {
        return kinds.map(|kind| Outcome::new(kind, Answer::CannotTell, why)).collect();
    }
    let graph = WaitGraph::new(model, thresholds);
    let mut found: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    let cycles = graph.cycles();
    let episodes = past.episodes(model, thresholds, &cycles);
    for tasks in cycles {
        let cycle = Cycle::new(&graph, tasks);
        if let Some(shape) = SHAPES.iter().find(|shape| (shape.is)(&graph, &cycle)) {
            let finding = finding::of_cycle(symbols, thresholds, &graph, &cycle, shape, None);
            found.entry(shape.kind).or_default().extend(finding);
        }
    }
    for episode in &episodes {
        let graph = WaitGraph::restored(&episode.model, episode.holders.clone(), episode.stuck.clone());
        let cycle = Cycle::new(&graph, episode.tasks.clone());
        let Some(shape) = SHAPES.iter().find(|shape| (shape.is)(&graph, &cycle)) else { continue };
        let lasted = Some(&episode.lasted);
        let finding = finding::of_cycle(symbols, thresholds, &graph, &cycle, shape, lasted);
        finding.into_iter().for_each(|finding| finding::join(found.entry(shape.kind).or_default(), finding));
    }
    found.insert(permit_leak::KIND, permit_leak::findings(symbols, thresholds, &graph));
    let undecided = found.values().all(Vec::is_empty) && undecided(model, thresholds);
    kinds
        .map(|kind| {
            let findings = found.remove(kind).unwrap_or_default();
            let waiting = graph.waits.len();
            let mut outcome = if !findings.is_empty() {
                Outcome::new(kind, Answer::Found, format!("{} group(s) of tasks that can never move", findings.len()))
            } else if model.dropped > 0 && waiting > 0 {
                let why = "tasks wait for locks, but events were lost, so their holders are not certain";
                Outcome::new(kind, Answer::CannotTell, why)
            } else if undecided {
                let why =
                    "tasks wait for locks or channels for long, and the console does not tell for sure who holds them";
                Outcome::new(kind, Answer::CannotTell, why)
            } else {
                Outcome::new(
                    kind,
                    Answer::Clear,
                    format!("{waiting} tasks wait for locks or channels, none of them so"),
                )
            };
            outcome.findings = findings;
            outcome
        })
        .collect()
}

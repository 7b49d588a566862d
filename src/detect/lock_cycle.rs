//! `lock-cycle`: tasks that wait for each other's locks, and so for ever.
//!
//! The deadlock set is a greatest fixed point: start with every task that waits for a lock, and drop whoever may still
//! be freed by somebody outside. What remains can never move; its strongly connected parts are the cycles.

use std::collections::{BTreeMap, BTreeSet};

use pollscope_recording::{ResourceId, TaskId};

use super::place;
use super::{
    Answer, Confidence, Culprit, Edge, EdgeType, Evidence, Finding, Graph, Location, Node, NodeType, Occurrences,
    Outcome, Severity, Stretch, Thresholds, Victim, ms,
};
use crate::model::{Model, WaitFacts};
use crate::symbols::Symbols;

const KIND: &str = "lock-cycle";
/// A cycle of one task.
const SELF_KIND: &str = "self-deadlock";

/// The waits of the tasks that might be stuck, and who holds what.
struct Waiting<'a> {
    model: &'a Model,
    waits: BTreeMap<TaskId, Vec<&'a WaitFacts>>,
    holders: BTreeMap<ResourceId, BTreeSet<TaskId>>,
    stuck: BTreeSet<TaskId>,
}

pub(super) fn detect(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Outcome {
    if !model.has_source("tracing") {
        let why = "locks are seen only with the tracing source: build tokio with its `tracing` feature and turn the source on";
        return Outcome::new(KIND, Answer::CannotTell, why);
    }
    let waiting = Waiting::new(model, thresholds);
    let cycles = waiting.cycles();
    let mut outcome = if !cycles.is_empty() {
        Outcome::new(KIND, Answer::Found, format!("{} cycle(s) of tasks waiting for each other", cycles.len()))
    } else if model.dropped > 0 && !waiting.waits.is_empty() {
        Outcome::new(
            KIND,
            Answer::CannotTell,
            "tasks wait for locks, but events were lost, so their holders are not certain",
        )
    } else {
        Outcome::new(
            KIND,
            Answer::Clear,
            format!("{} tasks wait for locks, none of them in a cycle", waiting.waits.len()),
        )
    };
    outcome.findings = cycles.iter().filter_map(|cycle| finding(model, symbols, thresholds, &waiting, cycle)).collect();
    outcome
}

impl<'a> Waiting<'a> {
    fn new(model: &'a Model, thresholds: &Thresholds) -> Waiting<'a> {
        let mut waits: BTreeMap<TaskId, Vec<&WaitFacts>> = BTreeMap::new();
        for wait in model.waits.values() {
            waits.entry(wait.task).or_default().push(wait);
        }
        let mut holders: BTreeMap<ResourceId, BTreeSet<TaskId>> = BTreeMap::new();
        for (&resource, tasks) in &model.holders {
            holders.entry(whole(model, resource)).or_default().extend(tasks.keys());
        }
        let polled: BTreeSet<TaskId> =
            model.stalls.values().filter(|stall| stall.end.is_none()).map(|stall| stall.task).collect();
        // Long enough, and no step since: the two looks that tell a deadlock from a wait.
        let still = |task: &TaskId, waits: &Vec<&WaitFacts>| {
            let facts = model.tasks.get(task);
            let since = waits.iter().map(|wait| wait.since).max().unwrap_or(0);
            let moved = facts.is_some_and(|facts| facts.progress > since.saturating_add(thresholds.slack_ns));
            let dead = facts.is_some_and(|facts| facts.ended.is_some());
            !moved && !dead && !polled.contains(task) && model.last_at.saturating_sub(since) >= thresholds.deadlock_ns
        };
        let mut stuck: BTreeSet<TaskId> =
            waits.iter().filter(|(task, waits)| still(task, waits)).map(|(&task, _)| task).collect();
        loop {
            let lock = |wait: &WaitFacts| {
                let resource = whole(model, wait.resource);
                let Some(holders) = holders.get(&resource).filter(|holders| !holders.is_empty()) else { return false };
                match model.resources.get(&resource).map_or("", |facts| facts.kind.as_str()) {
                    "Mutex" | "RwLock" => holders.iter().any(|task| stuck.contains(task)),
                    _ => holders.iter().all(|task| stuck.contains(task)),
                }
            };
            // One wait that may end is enough: a `select!` with a timer still moves.
            let kept: BTreeSet<TaskId> = stuck
                .iter()
                .copied()
                .filter(|task| waits.get(task).is_some_and(|waits| waits.iter().all(|wait| lock(wait))))
                .collect();
            if kept.len() == stuck.len() {
                break;
            }
            stuck = kept;
        }
        Waiting { model, waits, holders, stuck }
    }

    fn holders_of(&self, resource: ResourceId) -> impl Iterator<Item = TaskId> + '_ {
        self.holders.get(&whole(self.model, resource)).into_iter().flatten().copied()
    }

    /// Stuck tasks that hold what `task` waits for.
    fn next(&self, task: TaskId) -> BTreeSet<TaskId> {
        let waits = self.waits.get(&task).into_iter().flatten();
        waits.flat_map(|wait| self.holders_of(wait.resource)).filter(|task| self.stuck.contains(task)).collect()
    }

    fn reachable(&self, task: TaskId) -> BTreeSet<TaskId> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<TaskId> = self.next(task).into_iter().collect();
        while let Some(one) = open.pop() {
            if seen.insert(one) {
                open.extend(self.next(one));
            }
        }
        seen
    }

    fn cycles(&self) -> Vec<BTreeSet<TaskId>> {
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

/// The lock a task knows, whatever internal semaphore it is made of.
fn whole(model: &Model, resource: ResourceId) -> ResourceId {
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

fn resource_label(model: &Model, resource: ResourceId) -> String {
    let facts = model.resources.get(&resource).cloned().unwrap_or_default();
    let kind = if facts.kind.is_empty() { "lock".to_owned() } else { facts.kind };
    match place::location(&facts.made) {
        Some(at) => format!("the {kind} made at {}:{}", at.file, at.line),
        None => format!("{kind} {resource}"),
    }
}

fn finding(
    model: &Model,
    symbols: &mut Symbols,
    thresholds: &Thresholds,
    waiting: &Waiting<'_>,
    cycle: &BTreeSet<TaskId>,
) -> Option<Finding> {
    let waits: Vec<&WaitFacts> = cycle.iter().filter_map(|task| waiting.waits.get(task)).flatten().copied().collect();
    let blames: Vec<place::Blame> = waits.iter().map(|wait| place::blame(&symbols.stack(&wait.stack))).collect();
    // The one that came last closed the cycle; a line that is known beats one that is not.
    let (last, blame) = waits.iter().zip(&blames).max_by_key(|(wait, blame)| (blame.at.is_some(), wait.since))?;
    let since = waits.iter().map(|wait| wait.since).max()?;
    let lasted = model.last_at.saturating_sub(since);
    let lone = cycle.len() == 1;
    let kind = if lone { SELF_KIND } else { KIND };
    let proven = !lone && blames.iter().all(|blame| blame.at.is_some()) && model.dropped == 0;
    let locks: BTreeSet<ResourceId> = waits.iter().map(|wait| whole(model, wait.resource)).collect();
    let names: Vec<String> = locks.iter().map(|&lock| resource_label(model, lock)).collect();
    let spots: Vec<String> =
        blames.iter().filter_map(|blame| blame.at.as_ref()).map(|at| place::line(Some(at))).collect();
    let spots: BTreeSet<String> = spots.into_iter().collect();
    let spots = Vec::from_iter(spots).join(" and ");
    let title = if lone {
        format!(
            "{} waits for a lock it already holds, at {}",
            place::task_label(model, last.task),
            place::line(blame.at.as_ref())
        )
    } else {
        format!("{} tasks hold a lock each and wait for each other's: none of them will ever move again", cycle.len())
    };
    let repair = if lone {
        format!("Release {} before it is taken again at {spots}, or pass the guard along.", names.join(" and "))
    } else {
        format!(
            "Take the locks in one order everywhere: {}. The waits that break an order are at {}; there, release the \
             lock that is held before taking the other, or put both under one lock.",
            names.join(", then "),
            if spots.is_empty() { "lines that could not be seen" } else { &spots },
        )
    };
    let stretch = Stretch { from_ns: since, to_ns: model.last_at, track: format!("task {}", last.task) };
    Some(Finding {
        kind: kind.to_owned(),
        severity: Severity::Critical,
        confidence: if proven { Confidence::Proven } else { Confidence::Likely },
        title,
        culprit: Culprit {
            task: Some(place::task(model, last.task)),
            at: blame.at.clone(),
            // What stands below the await on the stack is how tokio waits; what the program called is the operation.
            call: Some(format!("tokio::sync::{}", last.operation)).filter(|_| !last.operation.is_empty()),
            stack: blame.stack.clone(),
            spans: Vec::new(),
        },
        occurrences: Occurrences {
            count: 1,
            total_ms: ms(lasted),
            worst_ms: ms(lasted),
            first_ns: since,
            last_ns: model.last_at,
        },
        amplifiers: Vec::new(),
        evidence: vec![
            Evidence {
                what: "no task of the cycle moved for".into(),
                value: ms(lasted),
                unit: "ms".into(),
                at: Some(stretch),
            },
            Evidence { what: "tasks in the cycle".into(), value: cycle.len() as f64, unit: "tasks".into(), at: None },
        ],
        victims: victims(waiting, cycle, thresholds),
        graph: Some(graph(waiting, cycle, &waits, &blames)),
        repair,
        read_more: super::read_more(kind),
    })
}

/// The tasks of the cycle, and those stuck behind it.
fn victims(waiting: &Waiting<'_>, cycle: &BTreeSet<TaskId>, thresholds: &Thresholds) -> Vec<Victim> {
    let behind = |task: TaskId| cycle.contains(&task) || !waiting.reachable(task).is_disjoint(cycle);
    let mut victims = Vec::new();
    let others = waiting.stuck.iter().copied().filter(|task| !cycle.contains(task));
    for task in cycle.iter().copied().chain(others) {
        if victims.len() >= thresholds.victims {
            break;
        }
        if !behind(task) {
            continue;
        }
        let since = waiting.waits.get(&task).into_iter().flatten().map(|wait| wait.since).min();
        let waited = waiting.model.last_at.saturating_sub(since.unwrap_or(waiting.model.last_at));
        let task = Some(place::task(waiting.model, task));
        victims.push(Victim { task, harm: "waits for ever".into(), value: ms(waited), unit: "ms".into() });
    }
    victims
}

fn graph(waiting: &Waiting<'_>, cycle: &BTreeSet<TaskId>, waits: &[&WaitFacts], blames: &[place::Blame]) -> Graph {
    let model = waiting.model;
    let mut graph = Graph::default();
    for &task in cycle {
        let at: Option<Location> = model.tasks.get(&task).and_then(|facts| place::location(&facts.spawned));
        graph.nodes.push(Node {
            id: format!("t{task}"),
            kind: NodeType::Task,
            label: place::task_label(model, task),
            at,
        });
    }
    let locks: BTreeSet<ResourceId> = waits.iter().map(|wait| whole(model, wait.resource)).collect();
    for &lock in &locks {
        let at = model.resources.get(&lock).and_then(|facts| place::location(&facts.made));
        let label = resource_label(model, lock);
        graph.nodes.push(Node { id: format!("r{lock}"), kind: NodeType::Resource, label, at });
        for holder in waiting.holders_of(lock).filter(|task| cycle.contains(task)) {
            let (from, to) = (format!("t{holder}"), format!("r{lock}"));
            // No event says who owns a lock: it is who took it last and did not give it back.
            graph.edges.push(Edge { from, to, kind: EdgeType::Holds, at: None, confidence: Confidence::Likely });
        }
    }
    for (wait, blame) in waits.iter().zip(blames) {
        let (from, to) = (format!("t{}", wait.task), format!("r{}", whole(model, wait.resource)));
        let (kind, at) = (EdgeType::WaitsFor, blame.at.clone());
        graph.edges.push(Edge { from, to, kind, at, confidence: Confidence::Proven });
    }
    graph
}

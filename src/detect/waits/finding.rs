//! A cycle as a finding: where each waits, the graph, and who is stuck behind it.

use std::collections::{BTreeMap, BTreeSet};

use pollscope_recording::{Place, ResourceId, TaskId};

use super::graph::{Hold, WaitGraph, whole};
use super::past::{Freed, Lasted};
use super::{Cycle, MOST_NAMED, Shape, Told};
use crate::detect::idle;
use crate::detect::place::{self, Blame};
use crate::detect::{
    Confidence, Culprit, Edge, EdgeType, Evidence, Finding, Graph, Location, Node, NodeType, Occurrences, Severity,
    Stretch, TaskRef, Thresholds, Victim, ms, read_more,
};
use crate::model::{Model, WaitFacts};
use crate::symbols::Symbols;

const FOR_EVER: &str = "waits for ever";

pub(super) fn resource_label(model: &Model, resource: ResourceId) -> String {
    let facts = model.resources.get(&resource).cloned().unwrap_or_default();
    match facts.kind.as_str() {
        "Channel" if facts.made.line == 0 && facts.permits > 0 => {
            format!("channel {resource} (of {} places)", facts.permits)
        }
        kind => lock_label(resource, kind, &facts.made),
    }
}

/// A lock in running text.
pub(in crate::detect) fn lock_label(resource: ResourceId, kind: &str, made: &Place) -> String {
    let kind = if kind.is_empty() { "lock" } else { kind };
    match place::location(made) {
        Some(at) => match library(&at.file) {
            Some(library) => format!("the {kind} made by {library}"),
            None => format!("the {kind} made at {}:{}", at.file, at.line),
        },
        None => format!("{} {resource}", kind.to_lowercase()),
    }
}

/// The name and version of the library a file belongs to, as cargo lays them out.
fn library(file: &str) -> Option<&str> {
    let (_, path) = file.split_once("/registry/src/")?;
    path.split('/').nth(1)
}

pub(super) fn of_cycle(
    symbols: &mut Symbols,
    thresholds: &Thresholds,
    graph: &WaitGraph<'_>,
    cycle: &Cycle<'_>,
    shape: &Shape,
    over: Option<&Lasted>,
) -> Option<Finding> {
    let model = graph.model;
    // Thousands may wait at one place.
    let stacks: BTreeSet<&[u64]> = cycle.waits.iter().map(|wait| stack(model, wait)).collect();
    let known: BTreeMap<&[u64], Blame> =
        stacks.into_iter().map(|stack| (stack, place::blame(&symbols.stack(stack)))).collect();
    let blames: Vec<&Blame> = cycle.waits.iter().filter_map(|wait| known.get(stack(model, wait))).collect();
    // The one that came last closed the cycle; a line that is known beats one that is not.
    let (last, blame) = cycle.waits.iter().zip(&blames).max_by_key(|(wait, blame)| (blame.at.is_some(), wait.since))?;
    let since = cycle.waits.iter().map(|wait| wait.since).max()?;
    let lasted = model.last_at.saturating_sub(since);
    let left: Vec<Blame> = left_waits(model, cycle).map(|wait| place::blame(&symbols.stack(&wait.stack))).collect();
    let left_at: Option<String> = left.first().and_then(|blame| blame.at.as_ref()).map(|at| place::line(Some(at)));
    let spots: BTreeSet<String> =
        blames.iter().filter_map(|blame| blame.at.as_ref()).map(|at| place::line(Some(at))).collect();
    let spots = Vec::from_iter(spots);
    let mut resources: Vec<String> = cycle.resources.iter().map(|&resource| resource_label(model, resource)).collect();
    if resources.len() > MOST_NAMED {
        let mut seen = BTreeSet::new();
        resources.retain(|label| seen.insert(label.clone()));
    }
    let told = Told {
        tasks: cycle.tasks.len(),
        task: place::task_label(model, last.task),
        spots: &spots,
        resources: &resources,
        locks: cycle.resources.len(),
        left: left_at.as_deref(),
    };
    let seen_whole = blames.iter().all(|blame| blame.at.is_some()) && model.dropped == 0;
    let figure = |what: &str, value: f64, unit: &str, at: Option<Stretch>| Evidence {
        what: what.to_owned(),
        value,
        unit: unit.to_owned(),
        at,
    };
    let stretch = Stretch { from_ns: since, to_ns: model.last_at, track: format!("task {}", last.task) };
    let mut evidence = vec![
        figure("no task of the cycle moved for", ms(lasted), "ms", Some(stretch)),
        figure("tasks in the cycle", cycle.tasks.len() as f64, "tasks", None),
    ];
    for wait in left_waits(model, cycle) {
        let unpolled = ms(model.last_at.saturating_sub(wait.granted.unwrap_or(wait.since)));
        evidence.push(figure("granted, but its future not polled for", unpolled, "ms", None));
    }
    let escape = graph.escape(&cycle.tasks);
    let mut title = (shape.title)(&told);
    if let Some(over) = over {
        title.push_str(&match over.freed {
            Freed::Timeout => format!(", until a timeout ended it after {:.1} s", over.worst as f64 / 1e9),
            Freed::Dropped => {
                format!(", until one of them gave up or was dropped after {:.1} s", over.worst as f64 / 1e9)
            }
            Freed::Not => ", until a timeout ends it".to_owned(),
        });
    } else if let Some(escape) = escape {
        let left = ms(escape.saturating_sub(model.last_at));
        evidence.push(figure("until the first of their timeouts, which alone can end it", left, "ms", None));
        title.push_str(", until a timeout ends it");
    }
    Some(Finding {
        kind: shape.kind.to_owned(),
        severity: Severity::Critical,
        confidence: if seen_whole && escape.is_none() && over.is_none() && graph.is_sure(cycle) {
            shape.confidence
        } else {
            Confidence::Likely
        },
        title,
        culprit: Culprit {
            task: Some(place::task(model, last.task)),
            at: blame.at.clone(),
            // What stands below the await on the stack is how tokio waits; what the program called is the operation.
            call: Some(format!("tokio::sync::{}", last.operation)).filter(|_| !last.operation.is_empty()),
            stack: blame.stack.clone(),
            spans: place::spans(model, last.task, last.since, last.since),
        },
        occurrences: over.map_or_else(
            || Occurrences {
                count: 1,
                total_ms: ms(lasted),
                worst_ms: ms(lasted),
                first_ns: since,
                last_ns: model.last_at,
            },
            |over| Occurrences {
                count: over.times,
                total_ms: ms(over.total),
                worst_ms: ms(over.worst),
                first_ns: over.first,
                last_ns: over.last,
            },
        ),
        amplifiers: Vec::new(),
        evidence,
        victims: victims(graph, &cycle.tasks, thresholds, over.is_some_and(|over| over.freed != Freed::Not)),
        graph: Some(drawn(graph, cycle, &blames, &left)),
        repair: (shape.repair)(&told),
        read_more: read_more(shape.kind),
    })
}

/// The stack on which a wait began; failing that, the one on which its task came to stand still.
fn stack<'a>(model: &'a Model, wait: &'a WaitFacts) -> &'a [u64] {
    if wait.stack.is_empty() { idle::stack_of(model, wait.task) } else { &wait.stack }
}

/// The waits of the cycle that were granted and left.
fn left_waits<'a>(model: &'a Model, cycle: &Cycle<'_>) -> impl Iterator<Item = &'a WaitFacts> {
    let left = cycle.holds.iter().filter_map(|(_, _, hold)| match hold {
        Hold::Left(wait) => Some(*wait),
        Hold::Taken | Hold::Receives => None,
    });
    let left: Vec<_> = left.collect();
    left.into_iter().filter_map(|wait| model.waits.get(wait))
}

/// Adds one that is over: to a finding of the same line, if there is one.
pub(super) fn join(findings: &mut Vec<Finding>, finding: Finding) {
    let same = |known: &&mut Finding| known.culprit.at.is_some() && known.culprit.at == finding.culprit.at;
    let Some(known) = findings.iter_mut().find(same) else {
        findings.push(finding);
        return;
    };
    let (all, more) = (&mut known.occurrences, &finding.occurrences);
    all.count += more.count;
    all.total_ms += more.total_ms;
    all.worst_ms = all.worst_ms.max(more.worst_ms);
    all.first_ns = all.first_ns.min(more.first_ns);
    all.last_ns = all.last_ns.max(more.last_ns);
}

/// The tasks of the cycle, and those stuck behind it.
fn victims(graph: &WaitGraph<'_>, cycle: &BTreeSet<TaskId>, thresholds: &Thresholds, over: bool) -> Vec<Victim> {
    let victims = cycle.iter().copied().chain(graph.behind(cycle)).take(thresholds.victims);
    let harm = if over { "was stuck" } else { FOR_EVER };
    victims.map(|task| Victim { harm: harm.into(), ..victim(graph, task) }).collect()
}

pub(super) fn victim(graph: &WaitGraph<'_>, task: TaskId) -> Victim {
    let model = graph.model;
    let since = graph.waits.get(&task).into_iter().flatten().map(|wait| wait.since).min();
    let waited = model.last_at.saturating_sub(since.unwrap_or(model.last_at));
    let spans = since.map(|since| place::spans(model, task, since, since)).unwrap_or_default();
    let task = Some(TaskRef { spans, ..place::task(model, task) });
    Victim { task, harm: FOR_EVER.into(), value: ms(waited), unit: "ms".into() }
}

fn drawn(graph: &WaitGraph<'_>, cycle: &Cycle<'_>, blames: &[&Blame], left: &[Blame]) -> Graph {
    let model = graph.model;
    let mut drawn = Graph::default();
    for &task in &cycle.tasks {
        let at: Option<Location> = model.tasks.get(&task).and_then(|facts| place::location(&facts.spawned));
        let (id, label) = (format!("t{task}"), place::task_label(model, task));
        drawn.nodes.push(Node { id, kind: NodeType::Task, label, at });
    }
    for &resource in &cycle.resources {
        let at = model.resources.get(&resource).and_then(|facts| place::location(&facts.made));
        let (id, label) = (format!("r{resource}"), resource_label(model, resource));
        drawn.nodes.push(Node { id, kind: NodeType::Resource, label, at });
    }
    let mut left = left.iter();
    for (task, resource, hold) in &cycle.holds {
        let at = if matches!(hold, Hold::Left(_)) { left.next().and_then(|blame| blame.at.clone()) } else { None };
        let (from, to) = (format!("t{task}"), format!("r{resource}"));
        // No event says who owns a lock: it is who took it last and did not give it back.
        drawn.edges.push(Edge { from, to, kind: EdgeType::Holds, at, confidence: Confidence::Likely });
    }
    for (wait, blame) in cycle.waits.iter().zip(blames) {
        let (from, to) = (format!("t{}", wait.task), format!("r{}", whole(model, wait.resource)));
        let (kind, at) = (EdgeType::WaitsFor, blame.at.clone());
        drawn.edges.push(Edge { from, to, kind, at, confidence: Confidence::Proven });
    }
    drawn
}

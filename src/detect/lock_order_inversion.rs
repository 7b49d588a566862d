//! `lock-order-inversion`: a deadlock that did not happen: tasks take the same locks in orders that contradict each
//! other, and nothing keeps them from doing so at the same time.
//!
//! The model finds the contradictions, by lock and not by kind of lock. Here the stacks tell whether the locks of one
//! task belong together: of two futures that one task polls by turns (`join!`, `FuturesUnordered`), each may hold one,
//! and then the task waits for nothing while it holds the first. What is a deadlock already is told as that. A single
//! task that takes both orders by turns is met by nobody, and is not told.

use std::collections::{BTreeMap, BTreeSet};

use super::place::{self, Blame};
use super::{
    Answer, Confidence, Culprit, Edge, EdgeType, Evidence, Finding, Graph, Location, Node, NodeType, Occurrences,
    Outcome, Severity, Stretch, Thresholds, read_more, waits,
};
use crate::model::{Inversion, Model, Step};
use crate::symbols::{Frame, Symbols};

const KIND: &str = "lock-order-inversion";

/// One step with the places of its two takings.
struct Told<'a> {
    step: &'a Step,
    held: Blame,
    taken: Blame,
}

pub(super) fn detect(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds, stuck: &[Finding]) -> Outcome {
    if let Some(why) = waits::unseen(model) {
        return Outcome::new(KIND, Answer::CannotTell, why);
    }
    let mut unsure = 0;
    let mut lines: BTreeMap<BTreeSet<String>, (u64, &Inversion, Vec<Told<'_>>)> = BTreeMap::new();
    for ways in model.orders.inversions() {
        let told = ways.iter().find_map(|way| Some((way, told(symbols, way)?)));
        let Some((way, told)) = told else {
            unsure += 1;
            continue;
        };
        let known = lines.entry(told.iter().map(order).collect()).or_insert((0, way, told));
        known.0 += 1;
    }
    lines.retain(|_, (_, way, told)| !stuck.iter().any(|finding| is_told(finding, way, told)));
    let mut outcome = if !lines.is_empty() {
        Outcome::new(
            KIND,
            Answer::Found,
            format!("locks are taken in contradicting orders at {} place(s)", lines.len()),
        )
    } else if unsure > 0 {
        let why = "locks were held in contradicting orders by tasks that poll several futures by turns; which future \
                   held what cannot be seen";
        Outcome::new(KIND, Answer::CannotTell, why)
    } else {
        let why = format!("{} lock(s) taken under others, in orders that go together", model.orders.told);
        Outcome::new(KIND, Answer::Clear, why)
    };
    outcome.findings =
        lines.into_values().map(|(count, way, told)| finding(model, thresholds, count, way, told)).collect();
    outcome
}

/// The steps with their places, if each belongs to one future.
fn told<'a>(symbols: &mut Symbols, way: &'a Inversion) -> Option<Vec<Told<'a>>> {
    way.steps
        .iter()
        .map(|step| {
            let (held, taken) = (symbols.stack(&step.held_stack), symbols.stack(&step.taken_stack));
            let one = together(&held, &taken);
            one.then(|| Told { step, held: place::blame(&held), taken: place::blame(&taken) })
        })
        .collect()
}

/// Whether the future that took the first lock is one that was being polled when the second was taken. Frames are
/// innermost first; the paths part in the innermost future that both takings share.
fn together(held: &[Frame], taken: &[Frame]) -> bool {
    // Each polls many futures of one type: a frame of that type may be of one future or of another.
    const MANY: [&str; 9] = [
        "futures_unordered",
        "FuturesUnordered",
        "JoinAll",
        "join_all",
        "SelectAll",
        "buffer_unordered",
        "buffered",
        "for_each_concurrent",
        "futures_concurrency",
    ];
    // `join!` and `select!` poll several futures in one of these.
    const FEW: [&str; 6] = ["PollFn<", "poll_fn", "future::join", "future::try_join", "future::select", "MaybeDone"];
    if held.is_empty() || taken.is_empty() {
        return false;
    }
    let has = |frame: &Frame, marks: &[&str]| marks.iter().any(|mark| frame.function.contains(mark));
    let mut shared = 0;
    let mut parted = false;
    for (one, other) in held.iter().rev().zip(taken.iter().rev()).take_while(|(a, b)| a.function == b.function) {
        if has(one, &MANY) {
            return false;
        }
        shared += 1;
        if (&one.file, one.line) != (&other.file, other.line) {
            parted = true;
            break;
        }
    }
    let common = held.len() - shared..held.len();
    let Some(common) = held.get(common) else { return false };
    let few = common.iter().position(|frame| has(frame, &FEW));
    // Below such a one a function of the program's own must be shared, and left at two lines: that is one future of it,
    // unless it polls two of the same function.
    match few {
        None => true,
        Some(few) => {
            let below = common.get(..few).unwrap_or_default();
            parted && below.iter().any(|frame| !frame.library && frame.line.is_some() && !has(frame, &FEW))
        }
    }
}

/// One step as a line of text: what identifies it across instances.
fn order(told: &Told<'_>) -> String {
    format!("{} then {}", place::line(told.held.at.as_ref()), place::line(told.taken.at.as_ref()))
}

/// Whether a finding about tasks that are stuck says the same.
fn is_told(finding: &Finding, way: &Inversion, told: &[Told<'_>]) -> bool {
    let Some(graph) = &finding.graph else { return false };
    let nodes: Vec<String> = way.locks.keys().map(|lock| format!("r{lock}")).collect();
    let locks = nodes.iter().all(|id| graph.nodes.iter().any(|node| node.id == *id));
    let spots = graph.edges.iter().filter_map(|edge| edge.at.as_ref()).map(spot);
    let lines: BTreeSet<_> = told.iter().filter_map(|one| one.taken.at.as_ref()).map(spot).collect();
    locks || spots.into_iter().any(|spot| lines.contains(&spot))
}

fn spot(at: &Location) -> String {
    place::line(Some(at))
}

fn finding(model: &Model, thresholds: &Thresholds, count: u64, way: &Inversion, told: Vec<Told<'_>>) -> Finding {
    // The order that is seen less often is the one to change.
    let rare = (0..told.len()).min_by_key(|&index| way.times.get(index).copied().unwrap_or(0)).unwrap_or(0);
    let orders: Vec<String> = told.iter().map(order).collect();
    let labels: Vec<String> =
        way.locks.iter().map(|(&lock, (kind, made))| waits::lock_label(lock, kind, made)).collect();
    let mut evidence: Vec<Evidence> = Vec::new();
    for (index, one) in told.iter().enumerate() {
        let track = format!("task {}", one.step.task);
        evidence.push(Evidence {
            what: format!("or more: {}", order(one)),
            value: way.times.get(index).copied().unwrap_or(1) as f64,
            unit: "times".into(),
            at: Some(Stretch { from_ns: one.step.since, to_ns: one.step.took, track }),
        });
    }
    let first = way.steps.iter().map(|step| step.since).min().unwrap_or(way.at);
    let blame = told.get(rare);
    let at = blame.and_then(|one| one.taken.at.clone());
    let known = told.iter().all(|one| one.held.at.is_some() && one.taken.at.is_some());
    let sets = match count {
        1 => String::new(),
        count => format!(" ({count} sets of locks)"),
    };
    Finding {
        kind: KIND.to_owned(),
        severity: Severity::Warning,
        // Something no event tells may keep them apart; if the orders came by turns, it is no phase of the program.
        confidence: if way.by_turns && known && model.dropped == 0 { Confidence::Likely } else { Confidence::Possible },
        title: format!(
            "{} locks are taken in contradicting orders{sets}, {}: tasks that do so at the same time wait for each \
             other for ever (it did not happen in this run)",
            told.len(),
            orders.join(", but "),
        ),
        culprit: Culprit {
            task: blame.map(|one| place::task(model, one.step.task)),
            at,
            call: None,
            stack: blame.map(|one| one.taken.stack.clone()).unwrap_or_default(),
            spans: Vec::new(),
        },
        occurrences: Occurrences { count, total_ms: 0.0, worst_ms: 0.0, first_ns: first, last_ns: way.at },
        amplifiers: Vec::new(),
        evidence,
        victims: Vec::new(),
        graph: Some(drawn(model, thresholds, way, &told)),
        repair: format!(
            "Take the locks in one order everywhere: {}. Or release the one that is held before the other is taken at \
             {}, or put what both guard under one lock.",
            labels.join(", then "),
            place::line(blame.and_then(|one| one.taken.at.as_ref())),
        ),
        read_more: read_more(KIND),
    }
}

/// The deadlock as it would be.
fn drawn(model: &Model, thresholds: &Thresholds, way: &Inversion, told: &[Told<'_>]) -> Graph {
    let mut graph = Graph::default();
    for one in told.iter().take(thresholds.victims) {
        let task = one.step.task;
        let at = model.tasks.get(&task).and_then(|facts| place::location(&facts.spawned));
        let (id, label) = (format!("t{task}"), place::task_label(model, task));
        graph.nodes.push(Node { id, kind: NodeType::Task, label, at });
    }
    for (&lock, (kind, made)) in &way.locks {
        let (id, label) = (format!("r{lock}"), waits::lock_label(lock, kind, made));
        graph.nodes.push(Node { id, kind: NodeType::Resource, label, at: place::location(made) });
    }
    for one in told {
        let edge = |to: u64, kind, at: &Blame| Edge {
            from: format!("t{}", one.step.task),
            to: format!("r{to}"),
            kind,
            at: at.at.clone(),
            confidence: Confidence::Possible,
        };
        graph.edges.push(edge(one.step.held.resource, EdgeType::Holds, &one.held));
        graph.edges.push(edge(one.step.taken.resource, EdgeType::WaitsFor, &one.taken));
    }
    graph
}

//! `permit-leak`: every permit of a semaphore is with tasks that have ended without giving theirs back.

use std::collections::BTreeMap;

use pollscope_recording::{ResourceId, TaskId};

use super::finding::{resource_label, victim};
use super::graph::WaitGraph;
use crate::detect::place::{self, Blame};
use crate::detect::{
    Confidence, Culprit, Evidence, Finding, Occurrences, Severity, Stretch, Thresholds, ms, read_more,
};
use crate::model::{Held, Model, WaitFacts};
use crate::symbols::Symbols;

pub(super) const KIND: &str = "permit-leak";

pub(super) fn findings(symbols: &mut Symbols, thresholds: &Thresholds, graph: &WaitGraph<'_>) -> Vec<Finding> {
    let semaphores = graph.model.holders.iter().filter(|(resource, _)| graph.kind(**resource) == "Semaphore");
    semaphores
        .filter_map(|(&resource, held)| {
            let waits: Vec<&WaitFacts> = graph.waiting_for(resource).collect();
            let gone = |task| graph.model.tasks.get(task).is_none_or(|facts| facts.ended.is_some());
            // What a task took may be with one it spawned, which gives it back in its time.
            let sent = |held: &Held| held.owned && !graph.stays(resource, held.since);
            let lost = |task, held: &Held| gone(task) && !graph.passed_on(*task, held.since) && !sent(held);
            let lost: Vec<(TaskId, &Held)> =
                held.iter().filter(|(task, held)| lost(task, held)).map(|(&task, held)| (task, held)).collect();
            let leaked: u64 = lost.iter().map(|(_, held)| held.permits).sum();
            // Where permits move, who has ended may have passed his on.
            let facts = graph.model.resources.get(&resource)?;
            let moves = !graph.is_certain(resource);
            // What is only ever refilled from outside is a limit of requests a second, and this its first pause.
            let returned = facts.returned;
            let last = waits.iter().map(|wait| wait.since).max()?;
            let long = graph.model.last_at.saturating_sub(last) >= thresholds.deadlock_ns;
            let all = facts.permits > 0 && leaked >= facts.permits;
            (all && long && returned && !moves)
                .then(|| finding(symbols, thresholds, graph, resource, &waits, leaked, &lost))
                .flatten()
        })
        .collect()
}

/// Where most of the lost permits were taken, as far as it was seen, and who took the last of them.
fn taken(
    model: &Model,
    symbols: &mut Symbols,
    resource: ResourceId,
    lost: &[(TaskId, &Held)],
) -> Option<(TaskId, Blame)> {
    let mut lines: BTreeMap<String, (usize, TaskId, Blame)> = BTreeMap::new();
    for &(task, _) in lost {
        let Some(stack) = model.hold_stacks.get(&(resource, task)) else { continue };
        let blame = place::blame(&symbols.stack(stack));
        let Some(at) = blame.at.clone() else { continue };
        let (times, last, found) = lines.entry(place::line(Some(&at))).or_default();
        (*times, *last, *found) = (*times + 1, task, blame);
    }
    lines.into_values().max_by_key(|(times, ..)| *times).map(|(_, task, blame)| (task, blame))
}

/// Where all waiters wait, if that is one line.
fn only_line(symbols: &mut Symbols, thresholds: &Thresholds, waits: &[&WaitFacts]) -> Option<Blame> {
    let seen = waits.iter().filter(|wait| !wait.stack.is_empty()).take(thresholds.victims);
    let blames: Vec<Blame> = seen.map(|wait| place::blame(&symbols.stack(&wait.stack))).collect();
    let first = blames.first()?.clone();
    let same = first.at.is_some() && blames.iter().all(|blame| blame.at == first.at);
    same.then_some(first)
}

fn finding(
    symbols: &mut Symbols,
    thresholds: &Thresholds,
    graph: &WaitGraph<'_>,
    resource: ResourceId,
    waits: &[&WaitFacts],
    leaked: u64,
    lost: &[(TaskId, &Held)],
) -> Option<Finding> {
    let model = graph.model;
    let first = waits.iter().min_by_key(|wait| wait.since)?;
    let lasted = model.last_at.saturating_sub(first.since);
    let blame = place::blame(&symbols.stack(&first.stack));
    let taken = taken(model, symbols, resource, lost);
    let last = lost.iter().max_by_key(|(_, held)| held.since).map(|&(task, _)| task);
    let leaker = taken.as_ref().map(|(task, _)| *task).or(last);
    // Failing that, where everybody asks for a permit, if that is one line.
    let taken = taken.map(|(_, blame)| blame).or_else(|| only_line(symbols, thresholds, waits));
    let made = model.resources.get(&resource).and_then(|facts| place::location(&facts.made));
    let label = resource_label(model, resource);
    let spot = place::line(blame.at.as_ref());
    let spawned = leaker.and_then(|task| place::task(model, task).spawned_at);
    let stretch = Stretch { from_ns: first.since, to_ns: model.last_at, track: format!("task {}", first.task) };
    Some(Finding {
        kind: KIND.to_owned(),
        severity: Severity::Critical,
        confidence: Confidence::Likely,
        title: format!(
            "all {leaked} permits of {label} went with {} task(s) that have ended without giving them back",
            lost.len()
        ),
        culprit: Culprit {
            task: leaker.map(|task| place::task(model, task)),
            at: taken.as_ref().and_then(|taken| taken.at.clone()).or(made).or_else(|| blame.at.clone()),
            call: None,
            stack: taken.as_ref().map(|taken| taken.stack.clone()).unwrap_or_else(|| blame.stack.clone()),
            spans: Vec::new(),
        },
        occurrences: Occurrences {
            count: leaked,
            total_ms: ms(lasted),
            worst_ms: ms(lasted),
            first_ns: first.since,
            last_ns: model.last_at,
        },
        amplifiers: Vec::new(),
        evidence: vec![
            Evidence {
                what: "permits that never came back".into(),
                value: leaked as f64,
                unit: "permits".into(),
                at: None,
            },
            Evidence { what: "nobody got one for".into(), value: ms(lasted), unit: "ms".into(), at: Some(stretch) },
        ],
        victims: waits.iter().take(thresholds.victims).map(|wait| victim(graph, wait.task)).collect(),
        graph: None,
        repair: format!(
            "Keep the permit in a variable that lives as long as the work (`let _permit = ...`) rather than calling \
             `forget()` and `add_permits()`, which an early return, `?` or a panic skips. Look at what the tasks spawned \
             at {} do with theirs; others now wait at {spot}.",
            place::line(spawned.as_ref()),
        ),
        read_more: read_more(KIND),
    })
}

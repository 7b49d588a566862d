//! `shutdown-hang`: the program was about to end, and waits for what does not.
//!
//! Two forms. The root future is over, and the runtime waits for a closure of the blocking pool, which nothing can cancel.
//! Or the root future has come to wait for its tasks only, and those that are left wait for each other or for messages
//! nobody is there to send.

use super::lost_notify::awaits;
use super::standstill::Standstill;
use super::{Idler, Leaf, Spot};
use crate::detect::place;
use crate::detect::{
    Answer, Confidence, Culprit, Evidence, Finding, Location, Occurrences, Outcome, Severity, Stretch, Thresholds,
    Victim, ms, read_more,
};
use crate::model::Model;
use pollscope_recording::{Nanos, TaskId};
use std::collections::BTreeMap;

pub(super) const KIND: &str = "shutdown-hang";

pub(super) fn detect(
    model: &Model,
    idlers: &[Idler<'_>],
    standstill: Option<&Standstill>,
    thresholds: &Thresholds,
) -> Outcome {
    let found = blocking_pool(model, thresholds).or_else(|| receivers(model, idlers, standstill?, thresholds));
    let mut outcome = match &found {
        Some(_) => Outcome::new(KIND, Answer::Found, "the program is about to end and waits for what does not"),
        None => Outcome::new(KIND, Answer::Clear, "nothing waits in vain for the end of the program"),
    };
    outcome.findings = found.into_iter().collect();
    outcome
}

/// What both forms are told with.
struct Words {
    title: String,
    repair: String,
    at: Option<Location>,
    since: Nanos,
    confidence: Confidence,
}

fn finding(model: &Model, task: TaskId, spot: Option<&Spot>, words: Words, more: Vec<Evidence>) -> Finding {
    let lasted = ms(model.last_at.saturating_sub(words.since));
    let stretch = Stretch { from_ns: words.since, to_ns: model.last_at, track: format!("task {task}") };
    let mut evidence =
        vec![Evidence { what: "the end is awaited for".into(), value: lasted, unit: "ms".into(), at: Some(stretch) }];
    evidence.extend(more);
    Finding {
        kind: KIND.to_owned(),
        severity: Severity::Critical,
        confidence: words.confidence,
        title: words.title,
        culprit: Culprit {
            task: Some(place::task(model, task)),
            at: words.at,
            call: spot.and_then(|spot| spot.blame.call.clone()),
            stack: spot.map(|spot| spot.blame.stack.clone()).unwrap_or_default(),
            spans: Vec::new(),
        },
        occurrences: Occurrences {
            count: 1,
            total_ms: lasted,
            worst_ms: lasted,
            first_ns: words.since,
            last_ns: model.last_at,
        },
        amplifiers: Vec::new(),
        evidence,
        victims: Vec::new(),
        graph: None,
        repair: words.repair,
        read_more: read_more(KIND),
    }
}

/// The runtime is being dropped and waits for a closure.
fn blocking_pool(model: &Model, thresholds: &Thresholds) -> Option<Finding> {
    let roots = || model.tasks.values().filter(|facts| facts.kind == "root");
    // Each runtime has one root future; where any lives, its program goes on.
    let since = roots().map(|facts| facts.ended).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    if model.last_at.saturating_sub(since) < thresholds.shutdown_ns {
        return None;
    }
    let alive = model.tasks.iter().filter(|(_, facts)| facts.kind == "blocking" && facts.ended.is_none());
    let (&task, facts) = alive.clone().min_by_key(|(_, facts)| facts.begun)?;
    let at = place::location(&facts.spawned);
    let spot = place::line(at.as_ref());
    let count = alive.count();
    let words = Words {
        title: format!(
            "`main` is over, but the runtime waits for a closure spawned at {spot} that does not return: the process \
             does not end"
        ),
        repair: format!(
            "A closure of `spawn_blocking` cannot be cancelled. Give the one spawned at {spot} a flag or a closed \
             channel to stop at, run endless work on a thread of its own (`std::thread::spawn`), or end the runtime \
             with `shutdown_timeout`."
        ),
        at,
        since,
        confidence: Confidence::Proven,
    };
    let open = Evidence {
        what: "closures of the blocking pool that are still running".into(),
        value: count as f64,
        unit: "closures".into(),
        at: None,
    };
    Some(finding(model, task, None, words, vec![open]))
}

/// The root future waits for tasks that nothing can wake.
fn receivers(model: &Model, idlers: &[Idler<'_>], still: &Standstill, thresholds: &Thresholds) -> Option<Finding> {
    let root = idlers.iter().find(|idler| idler.is_root())?;
    let waits = root.only(Leaf::Join)?.blame.at.clone();
    let begun = model.tasks.get(&root.task)?.begun;
    // A program that has only ever waited for its tasks is at work, or at rest; this one has done its own share, and
    // some of its tasks have ended.
    let late = root.since.saturating_sub(begun) >= thresholds.shutdown_ns;
    let ended = model.tasks.values().filter(|facts| facts.ended.is_some() && facts.kind == "task").count();
    if !late || ended == 0 {
        return None;
    }
    let mut places: BTreeMap<&Location, Vec<(&Idler<'_>, &Spot)>> = BTreeMap::new();
    for idler in idlers.iter().filter(|idler| !idler.is_root() && awaits(model, root, idler.task)) {
        let last = idler.only(Leaf::Message).or_else(|| idler.only(Leaf::Value));
        if let Some((spot, at)) = last.and_then(|spot| Some((spot, spot.blame.at.as_ref()?))) {
            places.entry(at).or_default().push((idler, spot));
        }
    }
    let tasks = places.into_values().max_by_key(Vec::len)?;
    let (idler, spot) = tasks.first()?;
    let (line, joined) = (place::line(spot.blame.at.as_ref()), place::line(waits.as_ref()));
    let words = Words {
        title: format!(
            "the root future waits at {joined} for the end of {}, which waits at {line} for a message that nobody is \
             left to send: its channel is still open",
            place::task_label(model, idler.task)
        ),
        repair: format!(
            "The receiver at {line} ends only when every sender is dropped: look for the clone that is kept too long, \
             perhaps by the receiving task itself or by who waits at {joined}, drop it before waiting, or tell the task \
             to stop in another way (a `CancellationToken`, `abort()`)."
        ),
        at: spot.blame.at.clone(),
        since: still.since,
        confidence: Confidence::Likely,
    };
    let figure =
        |what: &str, value: f64, unit: &str| Evidence { what: what.into(), value, unit: unit.into(), at: None };
    let more = vec![
        figure("tasks that wait at the same line", tasks.len() as f64, "tasks"),
        figure("tasks that have ended", ended as f64, "tasks"),
        figure("threads outside of tokio, none of which has woken a task", still.threads as f64, "threads"),
    ];
    let mut finding = finding(model, idler.task, Some(spot), words, more);
    finding.victims = [(root.task, root.since)]
        .map(|(task, since)| Victim {
            task: Some(place::task(model, task)),
            harm: format!("waits at {joined} for the end of a task"),
            value: ms(model.last_at.saturating_sub(since)),
            unit: "ms".into(),
        })
        .into();
    Some(finding)
}

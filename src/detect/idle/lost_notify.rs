//! `lost-notify`: a task awaits a notification that was given before it was there to hear it.
//!
//! tokio tells nothing of `Notify`, so a task whose turn has not come looks the same. It is told only of a program that
//! stands still as a whole, in which others of the same line got through and somebody waits for the ones left behind.

use std::collections::BTreeMap;

use super::leaf::Leaf;
use super::standstill::Standstill;
use super::{Idler, Spot, occurrences};
use crate::detect::place;
use crate::detect::{
    Answer, Confidence, Culprit, Evidence, Finding, Location, Outcome, Severity, Stretch, Thresholds, Victim, ms,
    read_more,
};
use crate::model::Model;

pub(super) const KIND: &str = "lost-notify";

pub(super) fn detect(
    model: &Model,
    idlers: &[Idler<'_>],
    standstill: Option<&Standstill>,
    thresholds: &Thresholds,
) -> Outcome {
    let mut places: BTreeMap<Location, Vec<(&Idler<'_>, &Spot)>> = BTreeMap::new();
    for idler in idlers {
        let spot = idler.only(Leaf::Notification).filter(|_| !idler.is_root());
        if let Some((spot, at)) = spot.and_then(|spot| Some((spot, spot.blame.at.clone()?))) {
            places.entry(at).or_default().push((idler, spot));
        }
    }
    let waiting: usize = places.values().map(Vec::len).sum();
    let Some(still) = standstill.filter(|_| waiting > 0) else {
        let why = match waiting {
            0 => "no idle task awaits a notification alone".to_owned(),
            count => format!("{count} tasks await a notification, and somebody may still give it"),
        };
        return Outcome::new(KIND, Answer::Clear, why);
    };
    let findings: Vec<Finding> =
        places.into_iter().filter_map(|(at, tasks)| finding(model, idlers, still, thresholds, at, &tasks)).collect();
    let mut outcome = if findings.is_empty() {
        let why = format!(
            "{waiting} tasks await a notification and nothing moves; whether one was given too early cannot be seen"
        );
        Outcome::new(KIND, Answer::CannotTell, why)
    } else {
        Outcome::new(KIND, Answer::Found, format!("{waiting} tasks await a notification that nobody is left to give"))
    };
    outcome.findings = findings;
    outcome
}

fn finding(
    model: &Model,
    idlers: &[Idler<'_>],
    still: &Standstill,
    thresholds: &Thresholds,
    at: Location,
    tasks: &[(&Idler<'_>, &Spot)],
) -> Option<Finding> {
    let (first, spot) = tasks.iter().min_by_key(|(idler, _)| idler.since)?;
    let facts = model.tasks.get(&first.task)?;
    // Others that did the same work were heard.
    let through = model.tasks.values().filter(|other| other.spawned == facts.spawned && other.ended.is_some()).count();
    let waiter = idlers.iter().find(|idler| idler.only(Leaf::Join).is_some() && awaits(model, idler, first.task))?;
    if through == 0 || facts.spawned.line == 0 {
        return None;
    }
    let stretch = Stretch { from_ns: first.since, to_ns: model.last_at, track: format!("task {}", first.task) };
    let figure = |what: &str, value: f64, unit: &str| Evidence {
        what: what.into(),
        value,
        unit: unit.into(),
        at: Some(stretch.clone()),
    };
    let joined = waiter.spots.last().and_then(|spot| spot.blame.at.clone());
    Some(Finding {
        kind: KIND.to_owned(),
        severity: Severity::Critical,
        confidence: Confidence::Likely,
        title: format!(
            "{} awaits a notification at {} that nobody is left to give, while {through} from the same line got through",
            place::task_label(model, first.task),
            place::line(Some(&at)),
        ),
        culprit: Culprit {
            task: Some(place::task(model, first.task)),
            at: Some(at),
            call: Some("tokio::sync::Notify::notified".to_owned()),
            stack: spot.blame.stack.clone(),
            spans: Vec::new(),
        },
        occurrences: occurrences(model, first, tasks),
        amplifiers: Vec::new(),
        evidence: vec![
            figure("nothing in the program has moved for", ms(model.last_at.saturating_sub(still.since)), "ms"),
            figure("tasks await the notification here", tasks.len() as f64, "tasks"),
            figure("tasks spawned at the same line have ended", through as f64, "tasks"),
            figure("threads outside of tokio, none of which has woken a task", still.threads as f64, "threads"),
        ],
        victims: std::iter::once(waiter)
            .map(|idler| (idler, format!("waits at {} for the end of a task", place::line(joined.as_ref()))))
            .chain(tasks.iter().map(|(idler, _)| (*idler, "waits for ever".to_owned())))
            .take(thresholds.victims)
            .map(|(idler, harm)| Victim {
                task: Some(place::task(model, idler.task)),
                harm,
                value: idler.age_ms(model),
                unit: "ms".into(),
            })
            .collect(),
        graph: None,
        repair: "`notify_waiters` reaches only those who wait already. Make the `Notified` future (and `enable()` it) \
                 before the condition is checked, and await it after; or tell the state itself through a `watch` \
                 channel, which keeps its last value."
            .to_owned(),
        read_more: read_more(KIND),
    })
}

/// Whether `task` was spawned by this one, directly or through others.
pub(super) fn awaits(model: &Model, waiter: &Idler<'_>, task: pollscope_recording::TaskId) -> bool {
    let parent = |task: &u64| model.tasks.get(task).map(|facts| facts.parent).filter(|parent| *parent != 0);
    std::iter::successors(parent(&task), parent).take(16).any(|one| one == waiter.task)
}

//! `lost-wakeup`: a future said "not yet" without leaving its waker with anybody, so nobody will ever poll it again.
//!
//! A task whose last poll handed out no waker, and of which none is left, was forgotten. `std::future::pending()` does the
//! same on purpose; what tells them apart is where the task handed out its last waker. If that was a `poll` written by
//! hand, its future was polled once more when that waker was used, and did not register again.

use std::collections::BTreeMap;

use super::leaf::Leaf;
use super::{Idler, Spot, occurrences};
use crate::detect::place;
use crate::detect::{
    Answer, Confidence, Culprit, Evidence, Finding, Location, Outcome, Severity, Stretch, Thresholds, Victim, ms,
    read_more,
};
use crate::model::Model;

pub(super) const KIND: &str = "lost-wakeup";

pub(super) fn detect(model: &Model, idlers: &[Idler<'_>], thresholds: &Thresholds) -> Outcome {
    // The waker of a root future belongs to the runtime, and a woken task is waiting for its turn.
    let forgotten: Vec<&Idler<'_>> =
        idlers.iter().filter(|idler| idler.facts.forgotten() && !idler.older && !idler.is_root()).collect();
    let mut places: BTreeMap<Location, Vec<(&Idler<'_>, &Spot)>> = BTreeMap::new();
    for idler in &forgotten {
        let Some(spot) = idler.spots.last().filter(|spot| spot.leaf == Leaf::Own && spot.hand_written) else {
            continue;
        };
        if let Some(at) = &spot.blame.at {
            places.entry(at.clone()).or_default().push((idler, spot));
        }
    }
    let told: usize = places.values().map(Vec::len).sum();
    let mut outcome = if told > 0 {
        Outcome::new(KIND, Answer::Found, format!("{told} task(s) whose last waker was used up and not replaced"))
    } else if !forgotten.is_empty() {
        let why = format!(
            "nothing is left to wake {} task(s); `std::future::pending()` looks the same as a future that forgets its waker",
            forgotten.len()
        );
        Outcome::new(KIND, Answer::CannotTell, why)
    } else {
        Outcome::new(KIND, Answer::Clear, format!("{} idle tasks, each with a waker somewhere", idlers.len()))
    };
    outcome.findings = places.into_iter().filter_map(|(at, tasks)| finding(model, thresholds, at, &tasks)).collect();
    outcome
}

fn finding(model: &Model, thresholds: &Thresholds, at: Location, tasks: &[(&Idler<'_>, &Spot)]) -> Option<Finding> {
    let (first, spot) = tasks.iter().min_by_key(|(idler, _)| idler.since)?;
    let function = at.function.clone().unwrap_or_else(|| "`poll`".to_owned());
    let line = place::line(Some(&at));
    let track = format!("task {}", first.task);
    let stretch = |from_ns: u64, to_ns: u64| Some(Stretch { from_ns, to_ns, track: track.clone() });
    let figure = |what: &str, value: f64, unit: &str, at| Evidence { what: what.into(), value, unit: unit.into(), at };
    Some(Finding {
        kind: KIND.to_owned(),
        severity: Severity::Critical,
        confidence: Confidence::Likely,
        title: format!(
            "{} was woken, polled `{function}` once more, which returned Pending without keeping its waker: nothing can \
             wake it any more",
            place::task_label(model, first.task)
        ),
        culprit: Culprit {
            task: Some(place::task(model, first.task)),
            at: Some(at),
            call: spot.blame.call.clone(),
            stack: spot.blame.stack.clone(),
            spans: Vec::new(),
        },
        occurrences: occurrences(model, first, tasks),
        amplifiers: Vec::new(),
        evidence: vec![
            figure("no poll since, for", first.age_ms(model), "ms", stretch(first.since, model.last_at)),
            figure("wakers of the task that are left", 0.0, "wakers", None),
            figure(
                "from the last waker kept, at this line, to the poll that kept none",
                ms(first.since.saturating_sub(first.facts.registered)),
                "ms",
                stretch(first.facts.registered, first.since),
            ),
        ],
        victims: tasks
            .iter()
            .take(thresholds.victims)
            .map(|(idler, _)| Victim {
                task: Some(place::task(model, idler.task)),
                harm: "is never polled again".into(),
                value: idler.age_ms(model),
                unit: "ms".into(),
            })
            .collect(),
        graph: None,
        repair: format!(
            "Whenever `{function}` returns Pending it must have stored the waker of that very poll: at {line} store \
             `cx.waker().clone()` every time, replacing the last one, before the condition is checked. A channel, \
             `Notify` or `AtomicWaker` does that for you."
        ),
        read_more: read_more(KIND),
    })
}

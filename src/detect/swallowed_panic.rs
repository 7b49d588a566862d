//! `swallowed-panic`: a task panicked, and nobody was there to see it.
//!
//! The runtime keeps a panic in the task's `JoinHandle`. Whoever awaits the handle is woken as the task ends; if nobody
//! is, the handle was dropped, or lies about unawaited, and the program goes on without the task's work. A panic that
//! the program catches itself does not end its task and is none. Where other tasks of the same line are awaited, the
//! handle may only have to wait for its turn: that is told as information.

use std::collections::BTreeMap;

use super::place::{self, Blame};
use super::{
    Answer, Confidence, Culprit, Evidence, Finding, Location, Occurrences, Outcome, Severity, Stretch, Thresholds,
    Victim, ms,
};
use crate::model::{Model, PanicFacts};
use crate::symbols::Symbols;

const KIND: &str = "swallowed-panic";

pub(super) fn detect(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Outcome {
    let ended: Vec<&PanicFacts> = model.panics.iter().filter(|panic| panic.ended.is_some()).collect();
    let lost: Vec<&PanicFacts> = ended.iter().copied().filter(|panic| panic.ended == Some(false)).collect();
    // Who awaits a task is seen by its waker; that of a root future only where the agent wraps it.
    let tracing = model.has_source("tracing") && model.tasks.values().any(|task| task.kind == "root");
    let mut groups: BTreeMap<Option<Location>, Vec<(&PanicFacts, Blame)>> = BTreeMap::new();
    for panic in &lost {
        let blame = place::blame(&symbols.stack(&panic.stack));
        // The compiler's word on where it was raised beats the stack's, unless that place is a library's.
        let raised = place::location(&panic.place).filter(|at| blame.at.as_ref().is_none_or(|own| own.file == at.file));
        let at = match (raised, &blame.at) {
            (Some(at), Some(own)) => Some(Location { krate: own.krate.clone(), function: own.function.clone(), ..at }),
            (raised, own) => raised.or_else(|| own.clone()),
        };
        groups.entry(at).or_default().push((panic, blame));
    }
    let mut outcome = if !lost.is_empty() {
        let why = match tracing {
            true => format!("{} task(s) panicked while nobody awaited them", lost.len()),
            false => format!(
                "{} task(s) panicked; whether anybody awaits them is seen only with tracing and `#[pollscope_agent::main]`",
                lost.len()
            ),
        };
        Outcome::new(KIND, if tracing { Answer::Found } else { Answer::CannotTell }, why)
    } else if let Some(why) = super::unseen(model) {
        Outcome::new(KIND, Answer::CannotTell, why)
    } else if model.has_source("console") {
        Outcome::new(KIND, Answer::CannotTell, "a console is told of no panic")
    } else if model.panics.is_empty() {
        Outcome::new(KIND, Answer::Clear, "no task panicked")
    } else {
        let (met, caught) = (ended.len(), model.panics.len() - ended.len());
        let why = format!("{met} panic(s) of tasks, each met by somebody who awaited the task, and {caught} caught");
        Outcome::new(KIND, Answer::Clear, why)
    };
    outcome.findings =
        groups.into_iter().filter_map(|(at, panics)| finding(model, thresholds, tracing, at, &panics)).collect();
    outcome
}

fn finding(
    model: &Model,
    thresholds: &Thresholds,
    tracing: bool,
    at: Option<Location>,
    panics: &[(&PanicFacts, Blame)],
) -> Option<Finding> {
    let (first, blame) = panics.first()?;
    let last = panics.last().map_or(first.at, |(panic, _)| panic.at);
    let after = model.last_at.saturating_sub(first.at);
    let went_on = after >= thresholds.unnoticed_ns;
    // Handles of this place are kept and awaited, perhaps one after the other: this one's turn may come.
    let later = model.tasks.get(&first.task).is_some_and(|task| model.awaited.contains(&task.spawned));
    let spot = place::line(at.as_ref());
    let who = place::task_label(model, first.task);
    let spawned = model.tasks.get(&first.task).and_then(|task| place::location(&task.spawned));
    // Others from the same line may do its work: a task for each connection, or one begun again.
    let replaced = model
        .tasks
        .values()
        .filter(|task| task.begun > first.at && spawned.is_some() && place::location(&task.spawned) == spawned)
        .count();
    let title = match (tracing, went_on) {
        (true, true) => format!(
            "{who} panicked at {spot} and nobody was waiting for it: the program went on for {:.1} s",
            after as f64 / 1e9
        ),
        (true, false) => format!("{who} panicked at {spot} and nobody was waiting for it"),
        (false, _) => format!("{who} panicked at {spot}"),
    };
    let home = spawned.map_or_else(|| "where it is spawned".to_owned(), |at| format!("at {}:{}", at.file, at.line));
    let figure = |what: &str, value: f64, unit: &str| Evidence {
        what: what.to_owned(),
        value,
        unit: unit.to_owned(),
        at: Some(Stretch { from_ns: first.at, to_ns: model.last_at, track: format!("task {}", first.task) }),
    };
    let mut evidence = vec![
        figure("panics here for which nobody was waiting", panics.len() as f64, "panics"),
        figure("the program went on for", ms(after), "ms"),
        figure("tasks spawned at the same line since", replaced as f64, "tasks"),
    ];
    if !first.message.is_empty() {
        let same = panics.iter().filter(|(panic, _)| panic.message == first.message).count();
        evidence.insert(0, figure(&format!("panics that say \"{}\"", first.message), same as f64, "panics"));
    }
    if later {
        evidence.push(figure("others spawned at the same line were awaited, so this one may be later", 1.0, "place"));
    }
    let victims = panics.iter().take(thresholds.victims).map(|(panic, _)| Victim {
        task: Some(place::task(model, panic.task)),
        harm: "ended in the middle of its work, missing for".into(),
        value: ms(model.last_at.saturating_sub(panic.at)),
        unit: "ms".into(),
    });
    Some(Finding {
        kind: KIND.to_owned(),
        // Its work is lost. A program that ended soon after may well have ended for this very reason.
        severity: if tracing && went_on && !later { Severity::Warning } else { Severity::Info },
        // Somebody may still look at the handle later, which nothing tells.
        confidence: if tracing && !later { Confidence::Likely } else { Confidence::Possible },
        title,
        culprit: Culprit {
            task: Some(place::task(model, first.task)),
            at,
            call: blame.call.clone(),
            stack: blame.stack.clone(),
            spans: place::spans(model, first.task, first.at, first.at),
        },
        occurrences: Occurrences {
            count: panics.len() as u64,
            total_ms: 0.0,
            worst_ms: 0.0,
            first_ns: first.at,
            last_ns: last,
        },
        amplifiers: Vec::new(),
        evidence,
        victims: victims.collect(),
        graph: None,
        repair: format!(
            "Mend what panics at {spot}, or return an error there. Keep the `JoinHandle` of the task spawned {home} (or \
             spawn it into a `JoinSet`), await it, and on a `JoinError` end the program or start the task again."
        ),
        read_more: super::read_more(KIND),
    })
}

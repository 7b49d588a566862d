//! Tasks that stand still: where they await, and what it means if nothing moves any more.
//!
//! Most tasks of a healthy server are idle, so the list of them is information. A verdict needs more: a task that nothing
//! can wake, or a program in which every task waits for another one.

mod leaf;
mod lost_notify;
mod lost_wakeup;
mod shutdown_hang;
mod standstill;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;

use pollscope_recording::{Nanos, ROOT_TASK_BIT, TaskId};

use super::place::{self, Blame};
use super::{Answer, IdleGroup, Location, Occurrences, Outcome, Thresholds, ms};
use crate::model::{IdleFacts, Model};
use crate::symbols::Symbols;
use leaf::Leaf;

/// Tasks named of one group.
const EXAMPLES: usize = 3;

/// One place where an idle task awaits.
struct Spot {
    /// Shared by all that await there.
    blame: Rc<Blame>,
    leaf: Leaf,
    hand_written: bool,
}

/// A task that has been idle for long.
struct Idler<'a> {
    task: TaskId,
    facts: &'a IdleFacts,
    since: Nanos,
    /// It was polled since its place was seen.
    older: bool,
    spots: Vec<Spot>,
}

impl Idler<'_> {
    /// The places that await one of these, if they all do.
    fn only(&self, leaf: Leaf) -> Option<&Spot> {
        let all = !self.older && !self.facts.forgotten() && self.spots.iter().all(|spot| spot.leaf == leaf);
        self.spots.last().filter(|_| all)
    }

    /// Whether neither time nor the world outside can end its wait.
    fn is_inner(&self) -> bool {
        !self.older && !self.spots.is_empty() && self.spots.iter().all(|spot| spot.leaf.is_inner())
    }

    fn is_root(&self) -> bool {
        self.task & ROOT_TASK_BIT != 0
    }

    /// How long it has been idle.
    fn age_ms(&self, model: &Model) -> f64 {
        ms(model.last_at.saturating_sub(self.since))
    }
}

/// The idling of several tasks at one place, of which `first` began.
fn occurrences(model: &Model, first: &Idler<'_>, tasks: &[(&Idler<'_>, &Spot)]) -> Occurrences {
    Occurrences {
        count: tasks.len() as u64,
        total_ms: tasks.iter().map(|(idler, _)| idler.age_ms(model)).sum(),
        worst_ms: first.age_ms(model),
        first_ns: first.since,
        last_ns: model.last_at,
    }
}

/// The tasks that are alive and idle.
fn idlers<'a>(model: &'a Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Vec<Idler<'a>> {
    let polled = model.stalls.values().filter(|stall| stall.end.is_none()).map(|stall| stall.task);
    let polled: Vec<TaskId> = polled.collect();
    let mut seen: BTreeMap<&[u64], (Leaf, bool, Rc<Blame>)> = BTreeMap::new();
    let mut idlers = Vec::new();
    for (&task, facts) in &model.idle {
        let Some((since, older)) = model.idle_since(task) else { continue };
        let ended = model.tasks.get(&task).is_some_and(|facts| facts.ended.is_some());
        if ended || polled.contains(&task) || model.last_at.saturating_sub(since) < thresholds.idle_ns {
            continue;
        }
        let spots = facts.stacks.iter().map(|stack| {
            // A thousand connections await at one place.
            let (leaf, hand_written, blame) = seen.entry(stack).or_insert_with(|| {
                let frames = symbols.stack(stack);
                (leaf::leaf(&frames), leaf::is_hand_written(&frames), Rc::new(place::blame(&frames)))
            });
            Spot { blame: blame.clone(), leaf: *leaf, hand_written: *hand_written }
        });
        idlers.push(Idler { task, facts, since, older, spots: spots.collect() });
    }
    idlers
}

/// What the idle tasks tell: the list of them, and what is wrong with them.
pub(super) struct Told {
    pub(super) groups: Vec<IdleGroup>,
    pub(super) outcomes: Vec<Outcome>,
    /// Nothing moves any more.
    pub(super) standstill: Option<standstill::Standstill>,
}

/// `explained` says that others are known to wait for ever, and for what.
pub(super) fn detect(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds, explained: bool) -> Told {
    let kinds = [lost_wakeup::KIND, lost_notify::KIND, shutdown_hang::KIND];
    let cannot = if model.has_source("tracing") {
        super::unseen(model)
    } else {
        Some(
            "where tasks await is seen only with the tracing source: build tokio with its `tracing` feature and turn \
             the source on",
        )
    };
    if let Some(why) = cannot {
        let outcomes = kinds.map(|kind| Outcome::new(kind, Answer::CannotTell, why)).into();
        return Told { groups: Vec::new(), outcomes, standstill: None };
    }
    let idlers = idlers(model, symbols, thresholds);
    let wakeup = lost_wakeup::detect(model, &idlers, thresholds);
    let explained = explained || !wakeup.findings.is_empty();
    let standstill = standstill::judge(model, &idlers, thresholds).filter(|_| !explained);
    let notify = lost_notify::detect(model, &idlers, standstill.as_ref(), thresholds);
    // Who waits for the end of those that were not notified waits because of them.
    let unexplained = standstill.as_ref().filter(|_| notify.findings.is_empty());
    let hang = shutdown_hang::detect(model, &idlers, unexplained, thresholds);
    Told { groups: groups(model, &idlers), outcomes: vec![wakeup, notify, hang], standstill }
}

/// The idle tasks by the line where they await, most tasks first.
fn groups(model: &Model, idlers: &[Idler<'_>]) -> Vec<IdleGroup> {
    type Key = (Option<Location>, Option<String>, Vec<Leaf>, bool, bool);
    let mut groups: BTreeMap<Key, Vec<&Idler<'_>>> = BTreeMap::new();
    for idler in idlers {
        let last = idler.spots.iter().rev().find(|spot| spot.blame.at.is_some()).or(idler.spots.last());
        let mut leaves: Vec<Leaf> = idler.spots.iter().map(|spot| spot.leaf).collect();
        leaves.sort_unstable();
        leaves.dedup();
        let (at, call) = last
            .map(|spot| (spot.blame.at.clone(), spot.blame.call.clone().filter(|call| call.contains("::"))))
            .unwrap_or_default();
        groups.entry((at, call, leaves, idler.older, idler.facts.forgotten())).or_default().push(idler);
    }
    let mut groups: Vec<IdleGroup> = groups
        .into_iter()
        .map(|((at, call, leaves, older, forgotten), mut idlers)| {
            idlers.sort_by_key(|idler| idler.since);
            let age =
                |idler: Option<&&Idler<'_>>| idler.map_or(0.0, |idler| ms(model.last_at.saturating_sub(idler.since)));
            let words: Vec<&str> = leaves.iter().map(|leaf| leaf.words()).collect();
            IdleGroup {
                at,
                call,
                waits_for: if words.is_empty() { Leaf::Unseen.words().to_owned() } else { words.join(" or ") },
                tasks: idlers.len() as u64,
                longest_ms: age(idlers.first()),
                shortest_ms: age(idlers.last()),
                older,
                no_waker: forgotten,
                examples: idlers.iter().take(EXAMPLES).map(|idler| place::task(model, idler.task)).collect(),
            }
        })
        .collect();
    groups.sort_by(|a, b| b.tasks.cmp(&a.tasks).then(b.longest_ms.total_cmp(&a.longest_ms)));
    groups
}

/// The stack on which a task last handed out its waker, if it is idle and was not polled since.
pub(super) fn stack_of(model: &Model, task: TaskId) -> &[u64] {
    match (model.idle.get(&task), model.idle_since(task)) {
        (Some(facts), Some((_, false))) => facts.stacks.last().map_or(&[], Vec::as_slice),
        _ => &[],
    }
}

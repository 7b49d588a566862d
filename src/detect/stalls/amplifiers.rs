//! What made a long poll worse than it had to be: never a finding of its own, since the poll is the cause.

use std::collections::BTreeSet;

use super::{Judged, kinds};
use crate::model::Model;

/// The amplifiers of a group of polls that hurt somebody.
pub(super) fn of(model: &Model, all: &[Judged<'_>], group: &[&Judged<'_>]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for poll in group {
        let Some((id, runtime)) = model.runtime_of(poll.stall.tid, poll.stall.task) else { continue };
        if !keeps_a_worker(model, poll) {
            continue;
        }
        if runtime.flavor == "current_thread" || runtime.workers == 1 {
            found.insert("single-thread-starved");
        } else if runtime.flavor == "multi_thread" && driver_held(model, all, poll, id, runtime.workers) {
            found.insert("driver-held");
        }
    }
    found.into_iter().map(str::to_owned).collect()
}

/// Whether others had to wait for the thread of this poll: not if it was handed off. The root future of a multi-threaded runtime has one of its own
/// and keeps nobody from working.
pub(super) fn keeps_a_worker(model: &Model, poll: &Judged<'_>) -> bool {
    if poll.is(kinds::IN_PLACE) {
        return false;
    }
    let root = model.tasks.get(&poll.stall.task).is_some_and(|task| task.kind == "root");
    let runtime = model.runtime_of(poll.stall.tid, poll.stall.task);
    !root || runtime.is_none_or(|(_, runtime)| runtime.flavor != "multi_thread")
}

/// Timers stood still although another worker was free to serve them: this one had taken the driver along.
fn driver_held(model: &Model, all: &[Judged<'_>], poll: &Judged<'_>, runtime: u64, workers: u64) -> bool {
    let (from, to) = (poll.stall.since, poll.end);
    let half = ((to - from) / 2).max(1);
    let late = model
        .late_beats
        .iter()
        .filter(|beat| beat.runtime == runtime)
        .any(|beat| beat.at.min(to).saturating_sub(beat.due.max(from)) >= half);
    let busy: BTreeSet<u64> = all
        .iter()
        .filter(|other| other.end.min(to).saturating_sub(other.stall.since.max(from)) >= half)
        .filter(|other| keeps_a_worker(model, other))
        .filter(|other| model.runtime_of(other.stall.tid, other.stall.task).is_some_and(|(id, _)| id == runtime))
        .map(|other| other.stall.tid)
        .collect();
    late && (busy.len() as u64) < workers
}

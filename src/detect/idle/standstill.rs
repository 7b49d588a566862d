//! Whether a program stands still: every task of it waits for another one, and neither a timer nor anything outside of
//! the program can end a single wait.

use std::collections::BTreeSet;

use pollscope_recording::{Nanos, TaskId};

use super::Idler;
use super::leaf::Leaf;
use crate::detect::Thresholds;
use crate::model::Model;

/// Nothing moves any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::detect) struct Standstill {
    /// Since when.
    pub(in crate::detect) since: Nanos,
    /// Tasks that are alive.
    pub(in crate::detect) tasks: usize,
    /// Threads outside of every runtime, none of which has ever woken a task.
    pub(in crate::detect) threads: u64,
    /// Tasks that wait for a lock that tokio tells nothing of.
    pub(in crate::detect) untraced: usize,
}

impl Standstill {
    /// In one sentence.
    pub(in crate::detect) fn words(&self, now: Nanos) -> String {
        let outside = match self.threads {
            0 => "nothing that could be seen can wake one of them",
            _ => "only a thread outside of tokio could wake one of them, and none has so far",
        };
        let untraced = match self.untraced {
            0 => String::new(),
            tasks => format!(
                "; {tasks} of them wait for locks that tokio does not trace (those made by `const_new`), so nobody sees \
                 who holds these"
            ),
        };
        format!(
            "nothing has moved for {:.1} s: each of {} tasks that are alive waits for another; {outside}{untraced}",
            now.saturating_sub(self.since) as f64 / 1e9,
            self.tasks,
        )
    }
}

/// Looks at all tasks that are alive: one that is not known to stand still is enough for the answer no.
pub(super) fn judge(model: &Model, idlers: &[Idler<'_>], thresholds: &Thresholds) -> Option<Standstill> {
    // What is not seen may move; where events were lost, so may everything.
    if !model.not_observable.is_empty() || model.dropped > 0 || !model.has_source("hooks") {
        return None;
    }
    let alive: Vec<TaskId> =
        model.tasks.iter().filter(|(_, facts)| facts.ended.is_none()).map(|(&task, _)| task).collect();
    let standing = idlers.iter().filter(|idler| idler.is_inner() || idler.facts.forgotten()).map(|idler| idler.task);
    let standing: BTreeSet<TaskId> = standing.collect();
    let root = idlers.iter().find(|idler| idler.is_root())?;
    // A root future that no waker is kept of was told to wait for ever: somebody wants the program to stay.
    if root.facts.forgotten() || !root.is_inner() {
        return None;
    }
    let since = idlers.iter().map(|idler| idler.since).max()?;
    let long = model.last_at.saturating_sub(since) >= thresholds.standstill_ns;
    let foreign = model.foreign.unwrap_or_default();
    // A program that is fed by a thread of its own is a server at rest.
    if foreign.wakes > 0 {
        return None;
    }
    let traced = |task: TaskId| model.waits.of(task).next().is_some();
    let untraced = |idler: &&Idler<'_>| idler.only(Leaf::Turn).is_some() && !traced(idler.task);
    (long && alive.iter().all(|task| standing.contains(task))).then(|| Standstill {
        since,
        untraced: idlers.iter().filter(untraced).count(),
        tasks: alive.len(),
        threads: foreign.threads,
    })
}

//! `thread-wait-in-task`: a poll that makes its thread wait for another thread.
//!
//! The worst of them waits for a task that was spawned from within the same poll: that task lies in the worker's slot for
//! the next one to poll, from which no other worker takes it.

use super::super::{Evidence, Finding, Stretch, place};
use super::{Judged, Model, ms};
use crate::model::TaskFacts;

/// Names the task that likely lies in the worker's slot.
pub(super) fn more(model: &Model, all: &[Judged<'_>], group: &[&Judged<'_>], mut finding: Finding) -> Finding {
    let open = group.iter().filter(|poll| poll.stall.end.is_none());
    let Some((poll, slotted)) = open.filter_map(|poll| Some((poll, slotted(model, all, poll)?))).next() else {
        return finding;
    };
    let label = place::task_label(model, slotted);
    finding.title += &format!("; {label} was spawned here and cannot start");
    finding.evidence.push(Evidence {
        what: "for so long that task lies in the slot of the worker, where no other one takes it".to_owned(),
        value: ms(poll.length()),
        unit: "ms".to_owned(),
        at: Some(Stretch { from_ns: poll.stall.since, to_ns: poll.end, track: format!("thread {}", poll.stall.tid) }),
    });
    finding
}

/// The task that was spawned last from within this poll, if it has not been polled since.
fn slotted(model: &Model, all: &[Judged<'_>], poll: &Judged<'_>) -> Option<u64> {
    let spawned = model.tasks.iter().filter(|(_, task)| {
        let within = task.parent == poll.stall.task && (poll.stall.since..=poll.end).contains(&task.begun);
        within && task.kind == "task"
    });
    let (&id, task): (_, &TaskFacts) = spawned.max_by_key(|(_, task)| task.begun)?;
    let polled = task.progress > 0 || all.iter().any(|other| other.stall.task == id);
    (task.ended.is_none() && !polled).then_some(id)
}

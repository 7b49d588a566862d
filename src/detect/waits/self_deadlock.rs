//! `self-deadlock`: a task waits for a lock it holds already.

use super::Shape;
use crate::detect::Confidence;

pub(super) const SHAPE: Shape = Shape {
    kind: "self-deadlock",
    is: |_, cycle| cycle.tasks.len() == 1,
    title: |told| format!("{} waits for a lock it already holds, at {}", told.task, told.spots()),
    repair: |told| {
        format!(
            "tokio's locks are not reentrant. Release {} before it is taken again at {}, or pass the guard to the \
             helper instead of the lock. A guard in the head of a `match` or `if let` lives to the end of its body.",
            told.resources(" and "),
            told.spots(),
        )
    },
    // The guard may have been sent to another task, which no event tells.
    confidence: Confidence::Likely,
};

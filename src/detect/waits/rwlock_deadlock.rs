//! `rwlock-deadlock`: a reader asks for the same `RwLock` again behind a writer that waits for the reader.

use super::Shape;
use crate::detect::Confidence;

pub(super) const SHAPE: Shape = Shape {
    kind: "rwlock-deadlock",
    is: |graph, cycle| {
        let Some(lock) = cycle.only_resource() else { return false };
        let reads = |wait: &&crate::model::WaitFacts| wait.operation.starts_with("RwLock::read");
        let several = cycle.tasks.len() > 1;
        graph.kind(lock) == "RwLock" && (several || cycle.waits.iter().any(reads))
    },
    title: |told| {
        format!(
            "{} asks at {} to read what it is reading already, and a writer queued in between: both wait for ever",
            told.task,
            told.spots()
        )
    },
    repair: |told| {
        format!(
            "tokio's `RwLock` is fair: once a writer waits, later readers wait behind it. At {}, use the guard that is \
             held already (pass `&guard` to the helper), or clone what is needed and drop the guard before asking again.",
            told.spots(),
        )
    },
    confidence: Confidence::Proven,
};

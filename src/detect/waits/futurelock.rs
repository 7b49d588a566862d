//! `futurelock`: a lock was granted to a future that its own task no longer polls, and the task waits for that lock.

use super::Shape;
use super::graph::Hold;
use crate::detect::Confidence;

pub(super) const SHAPE: Shape = Shape {
    kind: "futurelock",
    is: |_, cycle| cycle.holds.iter().any(|(_, _, hold)| matches!(hold, Hold::Left(_))),
    title: |told| {
        let left = told.left.unwrap_or("a line that could not be seen");
        format!(
            "{} waits at {} for a lock that was granted to a future of its own, started at {left} and not polled since",
            told.task,
            told.spots()
        )
    },
    repair: |told| {
        format!(
            "Do not await in a `select!` arm (or between polls of a stream) while a borrowed future waits for {}: drop \
             that future before the await at {}, or give it a task of its own with `tokio::spawn`, so that it goes on \
             whoever polls.",
            told.resources(" and "),
            told.spots(),
        )
    },
    confidence: Confidence::Proven,
};

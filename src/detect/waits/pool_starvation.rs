//! `pool-starvation`: everybody who holds of a pool asks for one more, and the pool is empty.

use super::Shape;
use crate::detect::Confidence;

pub(super) const SHAPE: Shape = Shape {
    kind: "pool-starvation",
    is: |graph, cycle| cycle.only_resource().is_some_and(|resource| graph.kind(resource) == "Semaphore"),
    title: |told| {
        format!(
            "all {} holders of a pool wait at {} for one more of it, and nobody else is left to give one back",
            told.tasks,
            told.spots()
        )
    },
    repair: |told| {
        format!(
            "Let one task take one only: at {}, pass on the connection (or permit) that is held instead of asking {} \
             for a second, or take all that is needed at once with `acquire_many`. A larger pool only moves the limit.",
            told.spots(),
            told.resources(" and "),
        )
    },
    confidence: Confidence::Proven,
};

//! `lock-cycle`: tasks that hold a lock each and wait for each other's.

use super::Shape;
use crate::detect::Confidence;

pub(super) const SHAPE: Shape = Shape {
    kind: "lock-cycle",
    is: |_, _| true,
    title: |told| {
        let tasks = told.tasks;
        format!("{tasks} tasks hold a lock each and wait for each other's: none of them will ever move again")
    },
    repair: |told| {
        format!(
            "Take the locks in one order everywhere: {}. The waits that break an order are at {}; there, release the \
             lock that is held before taking the other, or put both under one lock.",
            told.resources(", then "),
            told.spots(),
        )
    },
    confidence: Confidence::Proven,
};

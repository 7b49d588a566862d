//! `channel-cycle`: tasks send to each other over full channels, and none of them receives.

use super::Shape;
use crate::detect::Confidence;

pub(super) const SHAPE: Shape = Shape {
    kind: "channel-cycle",
    is: |graph, cycle| cycle.resources.iter().any(|&resource| graph.kind(resource) == "Channel"),
    title: |told| match told.tasks {
        1 => format!("{} sends at {} into a full channel that it empties itself", told.task, told.spots()),
        tasks => format!(
            "{tasks} tasks send to each other over full channels, at {}: each waits for another to receive",
            told.spots()
        ),
    },
    repair: |told| {
        format!(
            "Receive while sending: `select!` over the send at {} and the receiver, or `try_send` with a policy for a \
             full channel, or answer through a oneshot instead of a second bounded channel.",
            told.spots(),
        )
    },
    // The receiver is who received last; nothing tells whether it would ever receive again.
    confidence: Confidence::Likely,
};

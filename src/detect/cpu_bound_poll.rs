//! `cpu-bound-poll`: a poll that computes for so long that others wait for its worker.

use super::open_polls::{self, Cause, Judged, Words};
use super::{Outcome, Thresholds, blocking_call};
use crate::model::Model;

const KIND: &str = "cpu-bound-poll";

pub(super) fn detect(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Outcome {
    let words = Words {
        kind: KIND,
        cause: Cause::Cpu,
        title: |spot, call, worst| match call {
            Some(call) => format!("`{call}` at {spot} computes for up to {worst:.0} ms within one poll"),
            None => format!("{spot} computes for up to {worst:.0} ms within one poll"),
        },
        repair: |spot, call| {
            let what = call.map_or_else(|| "the computation".to_owned(), |call| format!("`{call}`"));
            format!(
                "Move {what} at {spot} into `tokio::task::spawn_blocking` (with a semaphore of about as many permits as \
                 cores) or onto a rayon pool. If it is a loop of small steps, call `tokio::task::yield_now().await` \
                 every few hundred microseconds instead."
            )
        },
    };
    let findings = open_polls::findings(model, polls, &words, thresholds);
    blocking_call::outcome(model, KIND, findings, "no poll computed for long")
}

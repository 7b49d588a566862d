//! `blocking-call`: a poll that waits in the kernel and takes its worker along.

use super::open_polls::{self, Cause, Judged, Words};
use super::{Answer, Outcome, Thresholds};
use crate::model::Model;

const KIND: &str = "blocking-call";

pub(super) fn detect(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Outcome {
    let words = Words {
        kind: KIND,
        cause: Cause::Blocked,
        title: |spot, call, worst| match call {
            Some(call) => format!("`{call}` at {spot} blocks its worker thread for up to {worst:.0} ms"),
            None => format!("{spot} blocks its worker thread for up to {worst:.0} ms"),
        },
        repair: |spot, call| {
            let what = call.map_or_else(|| "the blocking call".to_owned(), |call| format!("`{call}`"));
            format!(
                "Replace {what} at {spot} by its async counterpart in tokio, or move it into `tokio::task::spawn_blocking` \
                 and await the handle. A worker thread that sleeps in the kernel can poll no other task."
            )
        },
    };
    outcome(
        model,
        KIND,
        open_polls::findings(model, polls, &words, thresholds),
        "no poll was blocked in the kernel for long",
    )
}

/// The answer that goes with a list of findings about open polls.
pub(super) fn outcome(model: &Model, kind: &str, findings: Vec<super::Finding>, clear: &str) -> Outcome {
    let mut outcome = if !findings.is_empty() {
        Outcome::new(kind, Answer::Found, format!("long polls at {} place(s)", findings.len()))
    } else if let Some(why) = super::unseen(model) {
        Outcome::new(kind, Answer::CannotTell, why)
    } else if !model.has_source("watchdog") {
        Outcome::new(
            kind,
            Answer::CannotTell,
            "the watchdog did not run, so nothing is known about polls while they are open",
        )
    } else {
        Outcome::new(kind, Answer::Clear, format!("{clear} in {} polls", model.polls_seen()))
    };
    outcome.findings = findings;
    outcome
}

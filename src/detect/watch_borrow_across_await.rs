//! `watch-borrow-across-await`: a thread that waits for a `watch` channel of which a suspended future holds a borrow.
//!
//! The value of a `tokio::sync::watch` channel lies in a lock of threads: `borrow()` returns a guard of it for reading,
//! and `send` takes it for writing, so that a borrow kept over an `.await` stops the *thread* of whoever sends, and
//! behind the sender those that borrow. Which waits are for a lock that nobody running can hold is judged as for any
//! lock of threads; that the lock is a channel's is told by tokio's functions between the lock and the program.

use super::open_polls::{self, Cause, Judged, Words};
use super::{Finding, Outcome, Thresholds, blocking_call, sync_guard_across_await};
use crate::model::Model;
use crate::symbols::Frame;

const KIND: &str = "watch-borrow-across-await";

/// Whether the library functions that a stack has called are those of a `watch` channel.
pub(super) fn is_watch(called: &[Frame]) -> bool {
    called.iter().any(|frame| frame.function.contains("tokio::sync::watch::"))
}

pub(super) fn detect(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Outcome {
    let words = Words {
        kind: KIND,
        cause: Cause::Borrow,
        title: |spot, call, worst| {
            let call = call.map_or_else(|| "a `watch` channel".to_owned(), |call| format!("`{call}`"));
            format!(
                "{call} at {spot} waits for {worst:.0} ms, because a future that is suspended keeps a borrow of the value"
            )
        },
        repair: |spot, _| {
            format!(
                "Find the `borrow()` or `borrow_and_update()` of the channel used at {spot} whose result lives across an \
                 `.await` (also one in the head of a `match`, `if let` or `for`), and copy the value out before: \
                 `let value = receiver.borrow().clone();`."
            )
        },
    };
    let groups = open_polls::groups(model, polls, words.cause);
    let findings: Vec<Finding> = groups
        .iter()
        .filter_map(|group| sync_guard_across_await::finding(model, polls, group, &words, thresholds))
        .collect();
    blocking_call::outcome(
        model,
        KIND,
        findings,
        "no thread waited for a `watch` channel that no running code could hold",
    )
}

//! `backtrace-stall`: a poll that was long because a panic was being printed.
//!
//! Naming the frames of a backtrace reads the program's debug information, a tenth of a second the first time. The
//! panic is the fault, and what is told about it stands in `swallowed-panic`; this only says where the time went.

use super::open_polls::{self, Cause, Judged, Words};
use super::{Outcome, Severity, Thresholds, blocking_call};
use crate::model::Model;

const KIND: &str = "backtrace-stall";

pub(super) fn detect(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Outcome {
    let words = Words {
        kind: KIND,
        cause: Cause::Panic,
        title: |spot, _, worst| {
            format!("the panic at {spot} kept its worker thread for {worst:.0} ms in the panic hook")
        },
        repair: |spot, _| {
            format!(
                "Mend the panic at {spot}. What takes long is the backtrace: with `RUST_BACKTRACE=0` the hook prints the \
                 message only."
            )
        },
    };
    let mut findings = open_polls::findings(model, polls, &words, thresholds);
    findings.iter_mut().for_each(|finding| finding.severity = Severity::Info);
    blocking_call::outcome(model, KIND, findings, "no panic hook took long")
}

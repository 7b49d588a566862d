//! `long-poll`: a poll that lasted, of which nothing tells what it did.
//!
//! A console tells when a poll began and ended, and no more: whether it slept in the kernel or computed, and where, is
//! not known, nor whether it had handed its worker off. So this is never critical, and never more than possible.

use super::super::{Confidence, Finding, Severity};
use super::{Judged, Model, kinds};

pub(super) fn more(_: &Model, _: &[Judged<'_>], _: &[&Judged<'_>], mut finding: Finding) -> Finding {
    finding.severity = finding.severity.min(Severity::Warning);
    finding.confidence = Confidence::Possible;
    finding
}

/// Whether a task's long poll is among the findings: whom it hurt is not seen either, so nothing is called healthy beside
/// it. The root future has a thread of its own, or did before anybody was there to be hurt.
pub(in crate::detect) fn undecided(model: &Model, findings: &[Finding]) -> bool {
    let root = |finding: &Finding| {
        let task = finding.culprit.task.as_ref().and_then(|task| model.tasks.get(&task.id));
        task.is_some_and(|task| task.kind == "root")
    };
    findings.iter().any(|finding| finding.kind == kinds::UNSEEN && !root(finding))
}

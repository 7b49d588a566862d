//! `long-poll`: a poll that lasted, of which nothing tells what it did.
//!
//! A console tells when a poll began and ended, and no more: whether it slept in the kernel or computed, and where, is
//! not known, nor whether it had handed its worker off. So this is never critical, and never more than likely.

use super::open_polls::{self, Cause, Judged, Words};
use super::{Answer, Confidence, Finding, Outcome, Severity, Thresholds};
use crate::model::Model;

const KIND: &str = "long-poll";

pub(super) fn detect(model: &Model, polls: &[Judged<'_>], thresholds: &Thresholds) -> Outcome {
    let words = Words {
        kind: KIND,
        cause: Cause::Unseen,
        title: |spot, _, worst| {
            format!("{spot} kept its worker thread for up to {worst:.0} ms in one poll; what it did is not seen")
        },
        repair: |spot, _| {
            format!(
                "Look between the awaits of {spot} for a call that blocks or a long computation, and move it into \
                 `tokio::task::spawn_blocking`. pollscope's agent (`pollscope record`) names the line."
            )
        },
    };
    let mut findings = open_polls::findings(model, polls, &words, thresholds);
    for finding in &mut findings {
        finding.severity = finding.severity.min(Severity::Warning);
        finding.confidence = Confidence::Possible;
    }
    let answer = if findings.is_empty() { Answer::Clear } else { Answer::Found };
    let why = match super::unseen(model) {
        Some(why) => return Outcome::new(KIND, Answer::CannotTell, why),
        None if findings.is_empty() => "no long poll was left unexplained".to_owned(),
        None => format!("long polls at {} place(s), and no stack tells what they did", findings.len()),
    };
    let mut outcome = Outcome::new(KIND, answer, why);
    outcome.findings = findings;
    outcome
}

/// Whether a task's long poll is among the findings: whom it hurt is not seen either, so nothing is called healthy beside
/// it. The root future has a thread of its own, or did before anybody was there to be hurt.
pub(super) fn undecided(model: &Model, findings: &[Finding]) -> bool {
    let root = |finding: &Finding| {
        let task = finding.culprit.task.as_ref().and_then(|task| model.tasks.get(&task.id));
        task.is_some_and(|task| task.kind == "root")
    };
    findings.iter().any(|finding| finding.kind == KIND && !root(finding))
}

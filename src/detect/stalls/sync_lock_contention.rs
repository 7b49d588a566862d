//! `sync-lock-contention`: threads that wait for a lock which others hold.
//!
//! One root cause is one finding: where another poll slept or computed all the while, that poll likely holds the lock, and
//! the wait is part of its harm. What is left are locks held by threads outside of polls, or by many in turn.

use std::collections::BTreeSet;

use super::super::{Evidence, Finding};
use super::kinds::{CONTENTION, PANIC};
use super::{Cause, Judged, Model};

/// Takes away the waits that another long poll explains, and those for a holder that the kernel did not run.
pub(super) fn mark(polls: &mut [Judged<'_>]) {
    let late: Vec<usize> = (0..polls.len())
        .filter(|&index| polls[index].is(CONTENTION) && polls.iter().any(|other| kept_waiting(other, &polls[index])))
        .collect();
    late.into_iter().for_each(|index| polls[index].cause = Cause::Innocent);
    let behind: Vec<usize> = (0..polls.len())
        .filter(|&index| polls[index].is(CONTENTION) && polls.iter().any(|other| explains(other, &polls[index])))
        .collect();
    behind.into_iter().for_each(|index| polls[index].cause = Cause::Behind);
}

/// Whether `other` was ready but not run for most of the time, maybe with the lock in its hands.
fn kept_waiting(other: &Judged<'_>, waiting: &Judged<'_>) -> bool {
    let half = (waiting.length() / 2).max(1);
    other.stall.tid != waiting.stall.tid && overlap(other, waiting) >= half && other.delay_ns >= half
}

fn overlap(one: &Judged<'_>, other: &Judged<'_>) -> u64 {
    one.end.min(other.end).saturating_sub(one.stall.since.max(other.stall.since))
}

/// Whether `other` may have held the lock that `waiting` waited for, for most of the time.
fn explains(other: &Judged<'_>, waiting: &Judged<'_>) -> bool {
    let fault = matches!(other.cause, Cause::Kind(kind) if kind != PANIC) && other.lock().is_none();
    fault && other.stall.tid != waiting.stall.tid && overlap(other, waiting) >= (waiting.length() / 2).max(1)
}

/// How many threads waited for a lock that this group of polls likely held.
pub(super) fn behind(all: &[Judged<'_>], group: &[&Judged<'_>]) -> Option<Evidence> {
    let waited = |poll: &&Judged<'_>| poll.cause == Cause::Behind && group.iter().any(|holder| explains(holder, poll));
    let count = all.iter().filter(waited).count();
    (count > 0).then(|| figure("polls that waited for a lock meanwhile, likely held here", count))
}

/// How many wait, and where.
pub(super) fn more(_: &Model, _: &[Judged<'_>], group: &[&Judged<'_>], mut finding: Finding) -> Finding {
    let lines: BTreeSet<(&str, u32)> = group
        .iter()
        .filter_map(|poll| poll.blame.at.as_ref())
        .map(|at| (at.file.as_str(), at.line))
        .filter(|(_, line)| *line > 0)
        .collect();
    let threads: BTreeSet<u64> = group.iter().map(|poll| poll.stall.tid).collect();
    finding.evidence.push(figure("threads that waited for it", threads.len()));
    if lines.len() > 1 {
        finding.evidence.push(figure("lines that waited for it", lines.len()));
    }
    finding
}

fn figure(what: &str, count: usize) -> Evidence {
    let unit = what.split(' ').next().unwrap_or_default().to_owned();
    Evidence { what: what.to_owned(), value: count as f64, unit, at: None }
}

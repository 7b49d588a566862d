//! `block-in-place`: a poll that gave its worker away and then blocked. Other tasks go on; the other futures of its own
//! task do not.
//!
//! That is seen by its wakes: a task that is woken while its own poll is open has something to do beside what it does,
//! and gets to it once that poll is over.

use std::collections::BTreeMap;

use super::super::{Confidence, Evidence, Finding, Location, Severity, Stretch, Thresholds, Victim, place};
use super::{Judged, Model, Stall, ms};
use crate::symbols;

/// How soon after the end of a poll the next one starts whose task was woken meanwhile.
const NEXT: u64 = 20_000_000;

/// For how long the task of this poll had been woken when it was over.
pub(super) fn kept_waiting(model: &Model, stall: &Stall, end: u64) -> u64 {
    let own = model.delays.iter().filter(|delay| delay.task == stall.task && (end..=end + NEXT).contains(&delay.at));
    let woken = own.map(|delay| delay.at.saturating_sub(delay.delay_ns)).filter(|woken| *woken >= stall.since);
    woken.map(|woken| end.saturating_sub(woken)).max().unwrap_or(0)
}

/// The program's own line that called `block_in_place`, and that name; `None` if it is not on the stack.
pub(super) fn called(frames: &[symbols::Frame]) -> Option<(Location, String)> {
    let outer = frames.get(frames.iter().rposition(place::hands_off)? + 1..)?;
    let caller = outer.get(place::own(outer)?)?;
    Some((place::spot(caller), "tokio::task::block_in_place".to_owned()))
}

/// Who waited is the task itself.
pub(super) fn more(model: &Model, _: &[Judged<'_>], group: &[&Judged<'_>], mut finding: Finding) -> Finding {
    let thresholds = Thresholds::default();
    let mut waited: BTreeMap<u64, u64> = BTreeMap::new();
    for poll in group {
        let worst = waited.entry(poll.stall.task).or_default();
        *worst = kept_waiting(model, poll.stall, poll.end).max(*worst);
    }
    let mut waited: Vec<(u64, u64)> = waited.into_iter().collect();
    waited.sort_by_key(|&(task, waited)| (std::cmp::Reverse(waited), task));
    let harm = waited.first().map_or(0, |(_, waited)| *waited);
    // Once may be a handler that takes its turns; again and again it is a habit.
    let habit = group.len() > 1 && harm >= thresholds.critical_ns;
    finding.severity = if habit { Severity::Warning } else { Severity::Info };
    finding.confidence = Confidence::Likely;
    let worst = group.iter().max_by_key(|poll| poll.length());
    let at = worst.map(|poll| Stretch {
        from_ns: poll.stall.since,
        to_ns: poll.end,
        track: format!("thread {}", poll.stall.tid),
    });
    let what = "the task had been woken for its other futures for so long".to_owned();
    finding.evidence.push(Evidence { what, value: ms(harm), unit: "ms".to_owned(), at });
    finding.victims = waited
        .iter()
        .take(thresholds.victims)
        .map(|&(task, waited)| Victim {
            task: Some(place::task(model, task)),
            harm: "its other futures waited".to_owned(),
            value: ms(waited),
            unit: "ms".to_owned(),
        })
        .collect();
    finding
}

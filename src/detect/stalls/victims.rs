//! Whom a long poll kept waiting. Being late at the same time is no proof: on a busy machine everybody is late, so
//! only what the poll itself held up counts.

use std::collections::BTreeMap;

use super::super::{Victim, place};
use super::{Judged, Thresholds, amplifiers, ms};
use crate::model::{DelayFacts, LateBeatFacts, Model};

/// Who was late because a poll of the group was open, worst first, and the worst harm.
pub(super) fn of(model: &Model, group: &[&Judged<'_>], thresholds: &Thresholds) -> (Vec<Victim>, u64) {
    let group: Vec<&Judged<'_>> =
        group.iter().copied().filter(|poll| amplifiers::keeps_a_worker(model, poll)).collect();
    let mut tasks: BTreeMap<u64, u64> = BTreeMap::new();
    for delay in &model.delays {
        let harm = group.iter().map(|poll| delayed(poll, delay)).max().unwrap_or(0);
        let worst = tasks.entry(delay.task).or_default();
        *worst = (*worst).max(harm);
    }
    let mut runtimes: BTreeMap<u64, u64> = BTreeMap::new();
    for beat in &model.late_beats {
        let harm = group.iter().map(|poll| silenced(model, poll, beat)).max().unwrap_or(0);
        let worst = runtimes.entry(beat.runtime).or_default();
        *worst = (*worst).max(harm);
    }
    let mut victims: Vec<(u64, Victim)> = Vec::new();
    for (&id, &harm) in runtimes.iter().filter(|(_, harm)| **harm > 0) {
        let harm_text = format!("timers of runtime {id} late");
        victims.push((harm, Victim { task: None, harm: harm_text, value: ms(harm), unit: "ms".into() }));
    }
    for (&id, &harm) in tasks.iter().filter(|(_, harm)| **harm > 0) {
        let task = Some(place::task(model, id));
        victims.push((harm, Victim { task, harm: "started late".into(), value: ms(harm), unit: "ms".into() }));
    }
    victims.sort_by_key(|(harm, _)| std::cmp::Reverse(*harm));
    let worst = victims.first().map_or(0, |(harm, _)| *harm);
    (victims.into_iter().take(thresholds.victims).map(|(_, victim)| victim).collect(), worst)
}

/// How long a task that started late waited for this very thread: on another one it would have been free to start.
fn delayed(poll: &Judged<'_>, delay: &DelayFacts) -> u64 {
    if delay.tid != poll.stall.tid {
        return 0;
    }
    own_share(poll, overlap(poll, delay.at.saturating_sub(delay.delay_ns), delay.at))
}

/// The time between two heartbeats: what fires this shortly before the end of a poll was set free by what ended it.
const BEAT: u64 = 10_000_000;

/// How long a timer waited for the poll to end. One that fired while the poll was still open was late for another
/// reason.
fn silenced(model: &Model, poll: &Judged<'_>, beat: &LateBeatFacts) -> u64 {
    let Some((id, _)) = model.runtime_of(poll.stall.tid, poll.stall.task) else { return 0 };
    let fired = beat.at.max(beat.due + beat.late_ns);
    let last = model.late_beats.iter().rfind(|other| other.runtime == beat.runtime);
    let pending = poll.stall.end.is_none() && last.is_some_and(|last| std::ptr::eq(last, beat));
    if id != beat.runtime || (fired + BEAT < poll.end && !pending) {
        return 0;
    }
    own_share(poll, overlap(poll, beat.due, fired))
}

fn overlap(poll: &Judged<'_>, from: u64, to: u64) -> u64 {
    poll.end.min(to).saturating_sub(poll.stall.since.max(from))
}

/// The part of `harm` that was the poll's doing, and not the machine's that let its thread wait for a core.
fn own_share(poll: &Judged<'_>, harm: u64) -> u64 {
    let own = poll.cpu_ns + poll.blocked_ns;
    let whole = own + poll.delay_ns;
    if whole == 0 { harm } else { (harm as f64 * own as f64 / whole as f64) as u64 }
}

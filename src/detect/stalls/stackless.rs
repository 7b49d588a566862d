//! Long polls of which no stack could be taken, beside others that were seen.
//!
//! On a crowded machine the watchdog may come too late for a stack. What tasks of the same line of spawning were seen in
//! at other times, in the same state, is what such a poll was in too, as far as anybody can tell: one root cause is one
//! finding. Nothing is said of a lock, since only the stack and its futex tell which one.

use std::collections::BTreeMap;

use super::super::Location;
use super::kinds::{BLOCKS, COMPUTES, IN_PLACE, PANIC};
use super::{Cause, Judged, Model, place};

/// Gives polls without a stack what most of those were in that were seen.
pub(super) fn mark(model: &Model, polls: &mut [Judged<'_>]) {
    let unseen: Vec<usize> = (0..polls.len()).filter(|&index| is_unseen(&polls[index])).collect();
    for index in unseen {
        let Some(known) = known(model, polls, &polls[index]) else { continue };
        let (cause, blame, class) = (known.cause, known.blame.clone(), known.class.clone());
        (polls[index].cause, polls[index].blame, polls[index].class) = (cause, blame, class);
    }
}

fn is_unseen(poll: &Judged<'_>) -> bool {
    poll.blame.stack.is_empty() && (poll.is(BLOCKS) || poll.is(COMPUTES))
}

fn known<'p, 'm>(model: &Model, polls: &'p [Judged<'m>], unseen: &Judged<'_>) -> Option<&'p Judged<'m>> {
    let home = |poll: &Judged<'_>| place::location(&model.tasks.get(&poll.stall.task)?.spawned);
    let computes = |poll: &Judged<'_>| poll.cpu_ns >= poll.blocked_ns;
    let fault = |poll: &Judged<'_>| matches!(poll.cause, Cause::Kind(kind) if ![IN_PLACE, PANIC].contains(&kind));
    let spawned = home(unseen)?;
    let mut places: BTreeMap<&Location, Vec<&Judged<'_>>> = BTreeMap::new();
    for poll in polls.iter().filter(|poll| fault(poll) && poll.lock().is_none() && computes(poll) == computes(unseen)) {
        if let Some(at) = poll.blame.at.as_ref().filter(|_| home(poll).as_ref() == Some(&spawned)) {
            places.entry(at).or_default().push(poll);
        }
    }
    places.into_values().max_by_key(Vec::len)?.into_iter().next()
}

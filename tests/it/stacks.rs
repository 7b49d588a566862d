//! Every stall of at least twice the threshold has a stack: counted against what the program did.

use crate::tool::recorder;
use crate::waits::{RUNTIMES, alone};
use pollscope_recording::{Event, Recording, find_recordings};
use std::collections::BTreeMap;
use std::fs;
use tempfile::tempdir;

/// How late a thread may come on a machine that is not crowded, in microseconds.
const CROWDED: u64 = 3000;
/// Twice the threshold from which a poll is looked at, in microseconds.
const TWICE: u64 = 40_000;

#[test]
fn every_stall_of_twice_the_threshold_has_a_stack() {
    let _alone = alone();
    let mut counted = 0;
    for name in ["sleeps", "computes", "waits", "reads"] {
        for runtime in RUNTIMES {
            let place = tempdir().unwrap();
            let recorded = recorder(place.path(), "stalls", &[name, runtime], None).output().unwrap();
            assert!(recorded.status.code().is_some_and(|code| code < 2), "{recorded:?}");
            let folder = place.path().join(format!("{name}-{runtime}"));
            let log = fs::read_to_string(folder.join("program.log")).unwrap();
            let did = log.lines().filter_map(|line| line.strip_prefix("stall ")?.split_once(' '));
            let did: Vec<(u64, u64)> =
                did.filter_map(|(took, late)| Some((took.parse().ok()?, late.parse().ok()?))).collect();
            assert_eq!(did.len(), 16, "{log}");
            let long = did.iter().filter(|(took, _)| *took >= TWICE).count();
            // Where a thread that wanted to look came late, or the watchdog was kept, the machine was crowded.
            let crowded = did.iter().filter(|(took, late)| *took >= TWICE && *late > CROWDED).count();
            let long = long - crowded;
            counted += long;

            // Of each long poll: its length, and how many stacks were taken in it.
            let mut stalls: BTreeMap<(u64, u64), (u64, u64, usize)> = BTreeMap::new();
            let found = find_recordings(&folder.join("recording"));
            let damages = Recording::open(&found[0]).unwrap().for_each(|event| match event {
                Event::Stall(stall) => {
                    let known = stalls.entry((stall.task, stall.since)).or_default();
                    known.1 += u64::from(!stall.stack.is_empty());
                    known.2 += 1;
                }
                Event::StallEnd(end) => {
                    stalls.entry((end.task, end.since)).or_default().0 = (end.at - end.since) / 1000
                }
                _ => {}
            });
            assert!(damages.is_empty(), "{damages:?}");
            // The poll is a little longer than what was done in it.
            let seen = stalls.values().filter(|(length, ..)| *length >= TWICE);
            let with_stack = seen.clone().filter(|(_, stacks, _)| *stacks > 0).count();
            assert!(seen.count() >= long, "{name} on {runtime}: {did:?} against {stalls:?}");
            assert!(with_stack >= long, "{name} on {runtime}: {with_stack} of {long} have a stack: {stalls:?}");
        }
    }
    assert!(counted > 0, "the machine was so crowded that nothing could be counted");
}

//! Guards, permits and pools on other ways than in and out of one task; and programs that look stuck and are not.

use crate::waits::{MIDDLE, RUNTIMES, Recorded, STUCK_FOR, alone, assert_named, assert_silent};

/// What never moves again, and what that is called.
const STUCK: [(&str, &str, &str); 5] = [
    ("guards", "heir", "lock-cycle"),
    ("guards", "tried_before", "pool-starvation"),
    ("guards", "owned_relock", "self-deadlock"),
    ("guards", "tried_lock", "lock-cycle"),
    ("pools", "second_connection", "pool-starvation"),
];

const GUARDS: [&str; 15] = [
    "passed_guard",
    "sent_guard",
    "sent_read_guard",
    "sent_permits",
    "sent_by_two",
    "ended_senders",
    "mapped_guard",
    "downgraded",
    "tried_again",
    "tried_guards",
    "refilled",
    "token_bucket",
    "opened_gate",
    "given_up",
    "closed",
];

const LOOK_ALIKES: [&str; 14] = [
    "buffered_permits",
    "buffered_locks",
    "slow_arm",
    "notified_arm",
    "oneshot_escape",
    "barrier_escape",
    "interval_escape",
    "retries",
    "shutdown",
    "aborts",
    "barrier",
    "once_cell",
    "broadcasts",
    "join_set",
];

#[test]
fn guards_and_permits_on_other_ways_are_followed_as_far_as_they_can_be() {
    let _alone = alone();
    for runtime in RUNTIMES {
        let started: Vec<_> = STUCK
            .iter()
            .map(|(example, name, kind)| (*kind, Recorded::start(example, name, runtime, STUCK_FOR)))
            .collect();
        for (kind, recorded) in started {
            assert_named(recorded, kind);
        }
    }
}

#[test]
fn guards_and_permits_that_went_away_accuse_nobody() {
    let _alone = alone();
    for runtime in RUNTIMES {
        let started: Vec<_> = GUARDS.iter().map(|name| Recorded::start("guards", name, runtime, MIDDLE)).collect();
        started.into_iter().for_each(assert_silent);
    }
}

#[test]
fn what_looks_stuck_and_is_not_is_met_with_silence() {
    let _alone = alone();
    for runtime in RUNTIMES {
        let mut started: Vec<_> =
            LOOK_ALIKES.iter().map(|name| Recorded::start("look_alikes", name, runtime, MIDDLE)).collect();
        started.push(Recorded::start("pools", "one_connection", runtime, MIDDLE));
        // Stopped for three seconds of the four.
        started.push(Recorded::start("look_alikes", "paused", runtime, 4));
        started.into_iter().for_each(assert_silent);
    }
}

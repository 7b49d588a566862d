//! Blocking pools that are full: for good, for others, and only for themselves.

use crate::waits::{MIDDLE, RUNTIMES, Recorded, STUCK_FOR, alone, assert_named, assert_silent};

#[test]
fn who_keeps_the_threads_of_the_pool_is_named() {
    let _alone = alone();
    for runtime in RUNTIMES {
        let started = ["nested", "endless"].map(|name| Recorded::start("closures", name, runtime, STUCK_FOR));
        started.into_iter().for_each(|recorded| assert_named(recorded, "blocking-pool-exhausted"));
    }
}

#[test]
fn a_batch_that_waits_for_itself_is_met_with_silence() {
    let _alone = alone();
    for runtime in RUNTIMES {
        assert_silent(Recorded::start("closures", "batch", runtime, MIDDLE));
    }
}

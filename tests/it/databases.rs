//! A real pool of a driver that is not async: who asks it for a connection in a task is named, and who does so on the
//! blocking pool is not.

use crate::waits::{RUNTIMES, Recorded, alone, assert_named, assert_silent};

/// Longer than the programs go on.
const SECONDS: u64 = 30;

#[test]
fn a_thread_that_waits_for_a_connection_is_named() {
    let _alone = alone();
    for runtime in RUNTIMES {
        assert_named(Recorded::start("databases", "asked_in_a_task", runtime, SECONDS), "sync-db-driver");
    }
}

#[test]
fn a_closure_that_waits_for_a_connection_is_not() {
    let _alone = alone();
    for runtime in RUNTIMES {
        assert_silent(Recorded::start("databases", "asked_in_a_closure", runtime, SECONDS));
    }
}

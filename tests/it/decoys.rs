//! Thirteen healthy programs, each of which looks ill from one side: nothing is told of any, on any runtime.
//!
//! They go on for 3 seconds each; `DECOY_SECONDS=60` makes it a minute.

use crate::waits::{RUNTIMES, Recorded, alone, assert_silent};

const DECOYS: [&str; 13] = [
    "idle_service",
    "busy_service",
    "start_up_burst",
    "blocking_pool_used_right",
    "big_allocation",
    "cooperative_work",
    "bursts_of_timers",
    "slow_client",
    "graceful_shutdown",
    "runtime_built_and_dropped",
    "in_place_alone",
    "under_load",
    "batches_under_load",
];
/// So many at a time: some of them work.
const TOGETHER: usize = 3;
/// Seconds for starting and ending.
const BESIDE: u64 = 10;

#[test]
fn healthy_programs_are_met_with_silence() {
    let _alone = alone();
    let seconds = std::env::var("DECOY_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(3);
    for runtime in RUNTIMES {
        // Only a runtime of several threads can hand a worker off.
        let able = |name: &&&str| runtime != "current_thread" || **name != "in_place_alone";
        let decoys: Vec<&str> = DECOYS.iter().filter(able).copied().collect();
        for together in decoys.chunks(TOGETHER) {
            let started: Vec<_> =
                together.iter().map(|name| Recorded::start("decoys", name, runtime, seconds + BESIDE)).collect();
            started.into_iter().for_each(assert_silent);
        }
    }
}

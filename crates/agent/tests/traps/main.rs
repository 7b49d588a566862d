//! What would make the agent blind, wrong or harmful: each is a small real program, recorded in a process of its own,
//! and what it recorded is read back.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "all of this is test code, and its programs talk to the tests"
)]

mod attribute;
#[cfg(feature = "tracing")]
mod beside;
mod calls;
mod dormant;
mod ends;
mod faults;
mod harness;
mod hooks;
#[cfg(feature = "metrics")]
mod metered;
mod record;
mod runtimes;
mod slow;
mod started;
mod stress;
#[cfg(feature = "tracing")]
mod traced;

use harness::Entry;

fn main() -> std::process::ExitCode {
    let groups: &[(&[Entry], &[Entry])] = &[
        (attribute::PROGRAMS, attribute::TESTS),
        #[cfg(feature = "tracing")]
        (beside::PROGRAMS, beside::TESTS),
        (calls::PROGRAMS, calls::TESTS),
        (dormant::PROGRAMS, dormant::TESTS),
        (ends::PROGRAMS, ends::TESTS),
        (faults::PROGRAMS, faults::TESTS),
        (hooks::PROGRAMS, hooks::TESTS),
        #[cfg(feature = "metrics")]
        (metered::PROGRAMS, metered::TESTS),
        (runtimes::PROGRAMS, runtimes::TESTS),
        (slow::PROGRAMS, slow::TESTS),
        (started::PROGRAMS, started::TESTS),
        (stress::PROGRAMS, stress::TESTS),
        #[cfg(feature = "tracing")]
        (traced::PROGRAMS, traced::TESTS),
    ];
    if let Ok(wanted) = std::env::var(record::PROGRAM) {
        let programs = groups.iter().flat_map(|(programs, _)| programs.iter());
        let (_, program) = programs.into_iter().find(|(name, _)| *name == wanted).unwrap();
        program();
        return std::process::ExitCode::SUCCESS;
    }
    let tests: Vec<Entry> = groups.iter().flat_map(|(_, tests)| tests.iter().copied()).collect();
    harness::run(tests)
}

//! The attribute takes what `#[tokio::main]` takes. What it refuses is shown in the documentation of the crate.

use crate::harness::{Entry, entries};
use crate::record::*;
use std::num::ParseIntError;
use tokio::runtime::RuntimeFlavor;

pub const PROGRAMS: &[Entry] = entries!("attribute": program);
pub const TESTS: &[Entry] = entries!("attribute": takes_the_arguments_of_tokio);

mod renamed {
    pub use tokio as asynchronous;
}

#[pollscope_agent::main]
async fn plain() -> usize {
    assert_eq!(tokio::runtime::Handle::current().runtime_flavor(), RuntimeFlavor::MultiThread);
    tokio::runtime::Handle::current().metrics().num_workers()
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 3)]
async fn workers() -> usize {
    tokio::runtime::Handle::current().metrics().num_workers()
}

#[pollscope_agent::main(flavor = "current_thread")]
async fn current() -> RuntimeFlavor {
    tokio::runtime::Handle::current().runtime_flavor()
}

#[pollscope_agent::main(flavor = "current_thread", start_paused = true)]
async fn paused() {
    let before = std::time::Instant::now();
    tokio::time::sleep(std::time::Duration::from_secs(100_000)).await;
    assert!(before.elapsed() < std::time::Duration::from_secs(1_000));
}

#[pollscope_agent::main(flavor = "current_thread", crate = "crate::attribute::renamed::asynchronous")]
async fn crate_path() {
    tokio::task::yield_now().await;
}

#[pollscope_agent::main]
async fn result() -> Result<u32, ParseIntError> {
    let number: u32 = "12".parse()?;
    "x".parse::<u32>().map(|more| number + more)
}

/// Documentation, visibility, an early return and names the expansion uses itself.
#[pollscope_agent::main]
pub async fn awkward() -> &'static str {
    let (agent, runtime, builder) = ("agent", "runtime", "builder");
    if agent.len() > 3 {
        return runtime;
    }
    builder
}

fn program() {
    assert!(plain() >= 1);
    assert_eq!(workers(), 3);
    assert_eq!(current(), RuntimeFlavor::CurrentThread);
    paused();
    crate_path();
    assert!(result().is_err());
    assert_eq!(awkward(), "runtime");
    say("done", 1);
}

fn takes_the_arguments_of_tokio() {
    // Dormant and recorded alike.
    let ended = start("attribute::program", tempfile::tempdir().unwrap(), &[]).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    let ended = record("attribute::program").end().well();
    assert_eq!(ended.said("done"), 1);
}

//! The whole tool, run as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli;
mod collect;
mod dashboards;
mod exercise;
mod freed;
mod orders;
mod programs;
mod report;
mod scenarios;
mod tidy;
mod tool;
mod waits;
#[cfg(all(feature = "lab", feature = "collect"))]
#[cfg(feature = "lab")]
#[cfg(feature = "lab")]
#[cfg(feature = "lab")]

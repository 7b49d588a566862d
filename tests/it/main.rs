//! The whole tool, run as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod borrows;
mod cli;
#[cfg(all(feature = "lab", feature = "collect"))]
mod collect;
mod dashboards;
#[cfg(feature = "lab")]
mod exercise;
mod freed;
mod orders;
mod programs;
#[cfg(feature = "lab")]
mod report;
#[cfg(feature = "lab")]
mod scenarios;
mod tidy;
mod tool;
mod waits;

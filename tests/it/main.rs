//! The whole tool, run as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(feature = "collect")]
mod attach;
mod borrows;
mod cli;
mod closures;
#[cfg(all(feature = "lab", feature = "collect"))]
mod collect;
mod dashboards;
#[cfg(feature = "lab")]
mod databases;
mod decoys;
#[cfg(feature = "lab")]
mod exercise;
#[cfg(feature = "lab")]
mod exercise_watch;
#[cfg(all(feature = "lab", feature = "collect"))]
mod flame;
mod freed;
mod idle;
#[cfg(feature = "lab")]
mod learner;
#[cfg(feature = "lab")]
mod lineless;
mod look_alikes;
mod many;
mod orders;
#[cfg(feature = "otlp")]
mod otlp;
mod programs;
#[cfg(feature = "lab")]
mod report;
mod rules;
#[cfg(feature = "lab")]
mod scenarios;
mod stacks;
mod tidy;
mod tool;
#[cfg(feature = "lab")]
mod tour;
mod waits;
mod watch;

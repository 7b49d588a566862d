//! What all benchmarks share.
#![allow(dead_code, reason = "each benchmark needs its own part of it")]

pub(crate) mod arguments;
pub(crate) mod clock;
pub(crate) mod figures;
pub(crate) mod process;

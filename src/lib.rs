//! The diagnosis of pollscope: recordings in, findings out. The command line is in `main.rs`.

pub mod boards;
#[cfg(feature = "collect")]
pub mod collect;
pub mod detect;
pub mod live;
pub mod model;
pub mod report;
pub mod symbols;

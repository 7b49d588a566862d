//! Plain figures of one process, counted event by event, for the metrics' table.
//!
//! The same code counts inside a program, as its agent's drain takes the events from their rings, and beside it, as
//! `pollscope watch` reads them from the recording: so both say the same of the same program.
//!
//! What is kept is bounded by what is alive in the program, and by [`MOST_PLACES`](pollscope_metrics::MOST_PLACES).

mod expose;
mod late;
mod locks;
mod places;
mod pools;
mod stalls;
mod syscalls;
mod tally;

pub use expose::identity;
pub use places::short;
pub use tally::Tally;

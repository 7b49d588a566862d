//! The waist of pollscope: the words an observed program is described in, and the bytes that hold them.
//!
//! The agent writes these events, the diagnosis reads them, and neither knows the other. Nothing here knows tokio, and
//! nothing here draws a conclusion.
//!
//! A recording is a folder of segments, `000000.pollscope`, `000001.pollscope`, ...; all but the newest are sealed:
//! compressed, and named `.pollscope.gz`. Every segment can be read alone.

#[macro_use]
mod event;
mod codec;
mod disk;
mod follow;
mod frames;
mod open;
mod open_tasks;
mod reader;
mod segment;
mod writer;

pub use disk::Disk;
pub use event::*;
pub use follow::Follower;
pub use open::OpenFacts;
#[doc(hidden)]
pub use reader::read_segment;
pub use reader::{Damage, DamageKind, OpenError, Recording, find_recordings};
pub use writer::{Writer, WriterOptions};

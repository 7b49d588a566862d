//! Another runtime than the attribute says: for harnesses that run one program on several.
//!
//! Nothing but a call inside the process asks for it: no variable, no argument.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use tokio::runtime::Builder;

/// A runtime that [`macro@crate::main`] can build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// One thread does everything.
    CurrentThread,
    /// So many worker threads.
    MultiThread(NonZeroUsize),
}

static CHOSEN: OnceLock<Flavor> = OnceLock::new();

/// Has [`macro@crate::main`] build a runtime of this flavor, whatever its arguments say; a runtime with paused time
/// stays as it is. The first call counts, and only for mains that start after it.
///
/// For test harnesses that run the same program on several runtimes, in a process of its own each.
pub fn override_flavor(flavor: Flavor) {
    let _ = CHOSEN.set(flavor);
}

/// Puts a builder of the chosen flavor in the place of `builder`, if one was chosen; tells its name and workers.
pub(crate) fn apply(builder: &mut Builder) -> Option<(&'static str, usize)> {
    let flavor = *CHOSEN.get()?;
    let (name, workers) = match flavor {
        Flavor::CurrentThread => ("current_thread", 0),
        Flavor::MultiThread(workers) => ("multi_thread", workers.get()),
    };
    *builder = match flavor {
        Flavor::CurrentThread => Builder::new_current_thread(),
        Flavor::MultiThread(_) => Builder::new_multi_thread(),
    };
    builder.enable_all();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    Some((name, workers))
}

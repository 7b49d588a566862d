//! Ctrl-C, as a flag: what runs beside us is ended in order.

use super::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// What is true once the user has had enough. It is one flag for the whole process: who begins something after Ctrl-C
/// must know of it too.
pub(crate) fn listen() -> Result<Arc<AtomicBool>, Failure> {
    if let Some(interrupted) = INTERRUPTED.get() {
        return Ok(Arc::clone(interrupted));
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| Failure::cannot("listen for Ctrl-C", error))?;
    }
    Ok(Arc::clone(INTERRUPTED.get_or_init(|| interrupted)))
}

//! Ctrl-C, as a flag: what runs beside us is ended in order.

use super::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is true once the user has had enough.
pub(crate) fn listen() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| Failure::cannot("listen for Ctrl-C", error))?;
    }
    Ok(interrupted)
}

//! A plain OS thread that does something at intervals: it goes on when the runtime does not.

use crate::complain;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// How long the end of the program waits for a collector.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread at work.
pub(crate) struct Ticker {
    stop: Sender<()>,
    ended: Receiver<()>,
}

/// What a ticker's work is told: go on, or finish.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Next,
    Last,
}

/// Starts a thread that calls `work` every `period`, and a last time at the end. Work that fails is not called again,
/// and the user is told once. Names begin with `pollscope-`, by which the CPU profile leaves our threads out.
pub(crate) fn start(
    name: &'static str,
    period: Duration,
    mut work: impl FnMut(Turn) -> Result<(), String> + Send + 'static,
) -> Option<Ticker> {
    let (stop, stopped) = mpsc::channel();
    let (ending, ended) = mpsc::channel();
    let body = move || {
        loop {
            let turn = match stopped.recv_timeout(period) {
                Err(RecvTimeoutError::Timeout) => Turn::Next,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => Turn::Last,
            };
            let outcome = work(turn);
            if let Err(why) = &outcome {
                complain(&format!("{name}: {why}"));
            }
            if outcome.is_err() || turn == Turn::Last {
                break;
            }
        }
        // Nobody waits if the program ended without us.
        let _ = ending.send(());
    };
    match std::thread::Builder::new().name(format!("pollscope-{name}")).spawn(body) {
        Ok(_) => Some(Ticker { stop, ended }),
        Err(error) => {
            complain(&format!("{name}: no thread can be started: {error}"));
            None
        }
    }
}

impl Ticker {
    /// Has the work done a last time.
    pub(crate) fn finish(self) {
        if self.stop.send(()).is_ok() {
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

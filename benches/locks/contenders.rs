//! Who is compared: the same work with nobody looking, and under each observer.

use crate::workloads::Workload;
use console_subscriber::ConsoleLayer;
use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// One way to run the work.
pub(crate) struct Contender {
    /// Its name in tables and options.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// Prepares the process: its environment. The folder is the process's own and empty.
    pub(crate) prepare: fn(&mut Command, &Path),
    /// The child's work: nanoseconds an operation.
    pub(crate) run: fn(&'static Workload, Duration) -> f64,
}

/// The first is what the others are compared with.
pub(crate) const CONTENDERS: [Contender; 4] = [
    Contender { name: "bare", what: "tokio, nobody listening", prepare: |_, _| {}, run: bare },
    Contender { name: "dormant", what: "the agent linked and asleep", prepare: |_, _| {}, run: under_agent },
    Contender {
        name: "agent",
        what: "the agent recording: hooks, tracing, watchdog; level summary",
        prepare: |command, folder| {
            command.env("POLLSCOPE", folder).env("POLLSCOPE_TRACE", "1");
        },
        run: under_agent,
    },
    Contender {
        name: "console",
        what: "console-subscriber, no client",
        prepare: |_, _| {},
        run: |work, time| {
            // A port of its own: another console may run on this machine.
            ConsoleLayer::builder().server_addr(([127, 0, 0, 1], 0)).init();
            bare(work, time)
        },
    },
];

fn bare(work: &'static Workload, time: Duration) -> f64 {
    under_tokio((work.run)(time))
}

#[tokio::main(worker_threads = 2)]
async fn under_tokio(work: impl Future<Output = f64>) -> f64 {
    work.await
}

/// What the one `main` of this process is to do: the agent's takes no arguments, as a real one.
static WORK: OnceLock<(&Workload, Duration)> = OnceLock::new();

fn under_agent(work: &'static Workload, time: Duration) -> f64 {
    WORK.get_or_init(|| (work, time));
    main_with_agent()
}

#[pollscope_agent::main(worker_threads = 2)]
async fn main_with_agent() -> f64 {
    let Some((work, time)) = WORK.get() else { return f64::NAN };
    (work.run)(*time).await
}

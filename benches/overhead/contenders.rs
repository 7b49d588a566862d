//! Who is compared: the same work with nobody looking, and under each observer.

use crate::measure::process;
use crate::spawner::{SPAWNER, Spawner};
use crate::workloads::{Measured, Workload};
use console_subscriber::ConsoleLayer;
use dial9_tokio_telemetry::telemetry::{Dial9HandleTokioExt, DiskBuffer, TokioAttachOptions, recorder};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio_metrics::{RuntimeMonitor, TaskMonitor};

/// One way to run the work.
pub(crate) struct Contender {
    /// Its name in tables and options.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// What one knows afterwards.
    pub(crate) gives: &'static str,
    /// The environment of its process.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// It records into the folder it is given.
    pub(crate) records: bool,
    /// The child's work. The folder is the process's own and empty.
    pub(crate) run: fn(&'static Workload, Duration, &Path) -> Measured,
}

impl Contender {
    /// Prepares its process.
    pub(crate) fn prepare(&self, command: &mut Command, folder: &Path) {
        process::OBSERVERS.iter().for_each(|variable| {
            command.env_remove(variable);
        });
        for (name, value) in self.environment {
            match *value {
                FOLDER => command.env(name, folder),
                value => command.env(name, value),
            };
        }
    }
}

/// Stands for the folder of the process.
const FOLDER: &str = "<folder>";
/// Segments that a budget removes would be missing in the bytes a poll takes.
const ALL: (&str, &str) = ("POLLSCOPE_MAX_BYTES", "100000000000");
const RECORD: (&str, &str) = ("POLLSCOPE", FOLDER);

/// The first is what the others are compared with.
pub(crate) const CONTENDERS: [Contender; 10] = [
    Contender {
        name: "bare",
        what: "tokio, nobody listening",
        gives: "nothing",
        environment: &[],
        records: false,
        run: |work, time, _| bare(work, time),
    },
    Contender {
        name: "dormant",
        what: "the agent linked and asleep",
        gives: "nothing until POLLSCOPE is set",
        environment: &[],
        records: false,
        run: |work, time, _| under_agent(work, time),
    },
    Contender {
        name: "summary",
        what: "the agent recording: hooks and watchdog, level summary",
        gives: "polls of each task in sums and histograms; each long one alone, with its stack while it lasts; late timers",
        environment: &[RECORD, ALL],
        records: true,
        run: |work, time, _| under_agent(work, time),
    },
    Contender {
        name: "full",
        what: "the agent recording: hooks and watchdog, level full",
        gives: "the same, and every poll alone",
        environment: &[RECORD, ALL, ("POLLSCOPE_LEVEL", "full")],
        records: true,
        run: |work, time, _| under_agent(work, time),
    },
    Contender {
        name: "deep",
        what: "the agent recording: hooks, watchdog and tracing, level summary",
        gives: "the same as summary; wakes, locks and who holds them, where each task awaits",
        environment: &[RECORD, ALL, ("POLLSCOPE_TRACE", "1")],
        records: true,
        run: |work, time, _| under_agent(work, time),
    },
    Contender {
        name: "task-monitor",
        what: "tokio-metrics, every future in a TaskMonitor",
        gives: "one sum of poll times, delays and slow polls for all tasks of a monitor; nothing of single tasks",
        environment: &[],
        records: false,
        run: |work, time, _| {
            let _ = SPAWNER.set(Spawner::Monitored(TaskMonitor::new()));
            bare(work, time)
        },
    },
    Contender {
        name: "runtime-monitor",
        what: "tokio-metrics, a RuntimeMonitor asked each 100 ms, with tokio's histogram of poll times",
        gives: "counters of each worker and one histogram of poll times; nothing of tasks",
        environment: &[],
        records: false,
        run: |work, time, _| under_runtime_monitor(work, time),
    },
    Contender {
        name: "console",
        what: "console-subscriber, no client",
        gives: "polls, wakes and waits of each task and resource, once a client asks; kept in memory",
        environment: &[],
        records: false,
        run: |work, time, _| {
            // A port of its own: another console may run on this machine.
            ConsoleLayer::builder().server_addr(([127, 0, 0, 1], 0)).init();
            bare(work, time)
        },
    },
    Contender {
        name: "dial9",
        what: "dial9 with spawns and ends of tasks, no wakes",
        gives: "every poll, spawn and park in a file",
        environment: &[],
        records: true,
        run: under_dial9,
    },
    Contender {
        name: "dial9-wakes",
        what: "the same, every task spawned through dial9",
        gives: "wakes too, and who woke",
        environment: &[],
        records: true,
        run: |work, time, folder| {
            let _ = SPAWNER.set(Spawner::Dial9);
            under_dial9(work, time, folder)
        },
    },
];

/// The work, and what its runtime has to say afterwards.
async fn asked(work: &'static Workload, time: Duration) -> Measured {
    let mut measured = (work.run)(time).await;
    #[cfg(tokio_unstable)]
    {
        let metrics = Handle::current().metrics();
        measured.polls = (0..metrics.num_workers()).map(|worker| metrics.worker_poll_count(worker)).sum();
    }
    measured.own_cpu = process::own_threads_cpu();
    measured
}

fn bare(work: &'static Workload, time: Duration) -> Measured {
    under_tokio(work, time)
}

#[tokio::main(worker_threads = 1)]
async fn under_tokio(work: &'static Workload, time: Duration) -> Measured {
    asked(work, time).await
}

/// What the one `main` of this process is to do: the agent's takes no arguments, as a real one.
static WORK: OnceLock<(&Workload, Duration)> = OnceLock::new();

fn under_agent(work: &'static Workload, time: Duration) -> Measured {
    WORK.get_or_init(|| (work, time));
    main_with_agent()
}

#[pollscope_agent::main(worker_threads = 1)]
async fn main_with_agent() -> Measured {
    let Some((work, time)) = WORK.get() else { return Measured::default() };
    asked(work, *time).await
}

fn under_runtime_monitor(work: &'static Workload, time: Duration) -> Measured {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    #[cfg(tokio_unstable)]
    builder.enable_metrics_poll_time_histogram();
    let runtime = builder.build().expect("a runtime starts");
    let monitor = RuntimeMonitor::new(runtime.handle());
    std::thread::spawn(move || {
        for interval in monitor.intervals() {
            std::hint::black_box(interval);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    runtime.block_on(asked(work, time))
}

fn under_dial9(work: &'static Workload, time: Duration, folder: &Path) -> Measured {
    let file = DiskBuffer::single_file(folder.join("trace.bin")).expect("the folder takes a file");
    let recorder = recorder(file).build();
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    let options = TokioAttachOptions::builder().task_tracking_enabled(true).build();
    let runtime = recorder.handle().attach_tokio_runtime(builder, options).expect("a runtime starts");
    let measured = runtime.block_on(asked(work, time));
    // Its order: what the workers noted last is written when they end.
    drop(runtime);
    recorder.graceful_shutdown(Duration::from_secs(20));
    measured
}

//! What is done under each contender, and what is measured of it.

use crate::memory;
use crate::served;
use crate::timed;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What came out of one run.
#[derive(Default)]
pub(crate) struct Measured {
    /// Each figure and its value, in the unit of the figure.
    pub(crate) figures: Vec<(&'static str, f64)>,
    /// Operations in all, for what is told for each of them; 0 where nothing is.
    pub(crate) operations: u64,
    /// Polls of the runtime; 0 where tokio does not tell.
    pub(crate) polls: u64,
    /// CPU time of the program's own threads up to the end of its work, in nanoseconds.
    pub(crate) own_cpu: u64,
}

impl Measured {
    pub(crate) fn of(figure: &'static str, value: f64, operations: u64) -> Measured {
        Measured { figures: vec![(figure, value)], operations, ..Measured::default() }
    }

    /// One line for each figure: its name and its value.
    pub(crate) fn lines(&self) -> String {
        let mut text = String::new();
        for (figure, value) in &self.figures {
            let _ = writeln!(text, "{figure} {value:.4}");
        }
        let _ = writeln!(text, "polls {}", self.polls);
        text
    }
}

/// Work under way.
pub(crate) type Work = Pin<Box<dyn Future<Output = Measured>>>;

/// One kind of work.
pub(crate) struct Workload {
    /// Its name in tables and options.
    pub(crate) name: &'static str,
    /// What one operation is, for people.
    pub(crate) operation: &'static str,
    /// How much longer than the others it takes to tell anything.
    pub(crate) longer: u32,
    /// More rounds than this tell nothing new.
    pub(crate) most_rounds: usize,
    /// Does it for so long, after a warm-up.
    pub(crate) run: fn(Duration) -> Work,
}

const EVERY: usize = usize::MAX;

pub(crate) const WORKLOADS: [Workload; 9] = [
    Workload {
        name: "poll",
        operation: "a task wakes itself and is polled again",
        longer: 1,
        most_rounds: EVERY,
        run: |time| Box::pin(timed::poll(time)),
    },
    Workload {
        name: "spawn",
        operation: "spawn a task that ends at once, and await it",
        longer: 1,
        most_rounds: EVERY,
        run: |time| Box::pin(timed::spawns(time)),
    },
    Workload {
        name: "mpsc-ping-pong",
        operation: "round trip over two bounded channels of 1",
        longer: 1,
        most_rounds: EVERY,
        run: |time| Box::pin(timed::ping_pong(time)),
    },
    Workload {
        name: "mutex",
        operation: "lock and unlock, uncontended",
        longer: 1,
        most_rounds: EVERY,
        run: |time| Box::pin(timed::mutex(time)),
    },
    Workload {
        name: "mutex-contended",
        operation: "lock, yield, unlock; 2 tasks, so every lock waits",
        longer: 1,
        most_rounds: EVERY,
        run: |time| Box::pin(timed::mutex_contended(time)),
    },
    Workload {
        name: "echo",
        operation: "64 bytes to a TCP server on loopback and back; 16 connections",
        longer: 4,
        most_rounds: EVERY,
        run: |time| Box::pin(served::echo(time)),
    },
    Workload {
        name: "http",
        operation: "a GET to an axum service on loopback; 16 connections",
        longer: 4,
        most_rounds: EVERY,
        run: |time| Box::pin(served::http(time)),
    },
    Workload {
        name: "live-tasks",
        operation: "tasks that wait, all alive at once",
        longer: 1,
        most_rounds: 2,
        run: |time| Box::pin(memory::live(time)),
    },
    Workload {
        name: "finished-tasks",
        operation: "a million tasks that have come and gone, 500 at a time",
        longer: 1,
        most_rounds: 2,
        run: |time| Box::pin(memory::finished(time)),
    },
];

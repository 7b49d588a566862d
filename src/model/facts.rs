//! What the model remembers about each thing.

use std::borrow::Cow;

use pollscope_recording::{Nanos, Place, ResourceId, TaskId};

/// A poll open for too long: task, thread, start.
pub type StallKey = (TaskId, u64, Nanos);

/// The observed process.
#[derive(Debug, Clone, Default)]
pub struct ProcessFacts {
    /// File name of the executable.
    pub program: String,
    /// Process id.
    pub pid: u64,
    /// Hex GNU build id.
    pub build_id: String,
    /// Wall clock at the start, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Version of tokio.
    pub tokio: String,
    /// `hooks`, `tracing`, `watchdog`.
    pub sources: Vec<String>,
    /// `summary` or `full`.
    pub level: String,
}

/// A runtime.
#[derive(Debug, Clone, Default)]
pub struct RuntimeFacts {
    /// `multi_thread`, `current_thread` or `unknown`.
    pub flavor: String,
    /// Worker threads.
    pub workers: u64,
    /// Whether there is a heartbeat.
    pub timers: bool,
}

/// A thread.
#[derive(Debug, Clone, Default)]
pub struct ThreadFacts {
    /// Runtime it works for; 0 if none.
    pub runtime: u64,
    /// Its name.
    pub name: String,
    /// `worker`, `blocking`, `main` or `other`.
    pub role: String,
}

/// A task.
#[derive(Debug, Clone, Default)]
pub struct TaskFacts {
    /// Runtime it was spawned on; 0 if unknown.
    pub runtime: u64,
    /// `task`, `local`, `blocking` or `root`; empty if its spawn was not seen.
    pub kind: Cow<'static, str>,
    /// Its name; empty if none.
    pub name: String,
    /// Where it was spawned.
    pub spawned: Place,
    /// When it was spawned, or first heard of.
    pub begun: Nanos,
    /// Task that spawned it; 0 if none.
    pub parent: TaskId,
    /// When it ended.
    pub ended: Option<Nanos>,
    /// When it was last known to move: a poll that began, or a wait that ended.
    pub progress: Nanos,
    /// By when its last poll was over: of a window of polls, its end.
    pub polled_by: Nanos,
}

/// One look of the watchdog at an open poll.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Nanos,
    /// Thread state letter; 0 if unknown.
    pub state: u64,
    /// System call it slept in; [`CODE_FAULT`](pollscope_recording::CODE_FAULT) if it waited for its own code to be read
    /// from disk, `u64::MAX` if in none.
    pub syscall: u64,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
}

/// A poll that was open for too long.
#[derive(Debug, Clone, Default)]
pub struct Stall {
    /// The task.
    pub task: TaskId,
    /// The thread.
    pub tid: u64,
    /// When the poll started.
    pub since: Nanos,
    /// When the watchdog first saw it.
    pub observed: Nanos,
    /// Up to when the two times below count.
    pub measured: Nanos,
    /// CPU time of the thread since `observed`.
    pub cpu_ns: Nanos,
    /// Run delay since `observed`.
    pub run_delay_ns: Nanos,
    /// When the poll ended; `None` while it is open.
    pub end: Option<Nanos>,
    /// The looks.
    pub samples: Vec<Sample>,
    /// The futex its thread slept at, when last seen; 0 if it was seen at none.
    pub futex: u64,
    /// Time that polls on other threads took meanwhile, those that came to an end.
    pub others_ns: Nanos,
}

/// A poll that started late.
#[derive(Debug, Clone, Copy)]
pub struct DelayFacts {
    /// Start of the poll.
    pub at: Nanos,
    /// The task.
    pub task: TaskId,
    /// The thread that polled it at last.
    pub tid: u64,
    /// From the wake to the poll.
    pub delay_ns: Nanos,
}

/// A heartbeat that fired late.
#[derive(Debug, Clone, Copy)]
pub struct LateBeatFacts {
    /// When it fired, or was asked about.
    pub at: Nanos,
    /// The runtime.
    pub runtime: u64,
    /// When it was due.
    pub due: Nanos,
    /// How late it was.
    pub late_ns: Nanos,
}

/// A lock, semaphore, channel or timer.
#[derive(Debug, Clone, Default)]
pub struct ResourceFacts {
    /// tokio's concrete type.
    pub kind: String,
    /// The resource it is part of; 0 if none.
    pub parent: ResourceId,
    /// Where it was made.
    pub made: Place,
    /// Permits or places it began with; 0 if unknown.
    pub permits: u64,
    /// Whether a task that took permits has given some back.
    pub returned: bool,
    /// A task that gave permits back without having taken any; 0 if there was none.
    pub stranger: TaskId,
    /// Whether its holders still add up in spite of the stranger.
    pub balanced: bool,
    /// Whether what can be sent to another task has always come back from who took it, and has come back.
    pub stays: bool,
    /// Of a channel: who received last.
    pub receiver: Option<TaskId>,
}

/// Permits one task holds of one resource.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// How many.
    pub permits: u64,
    /// In how many takings.
    pub takings: u64,
    /// Since when it has held any.
    pub since: Nanos,
    /// When it last took some.
    pub last: Nanos,
    /// Whether it can have sent some to another task.
    pub owned: bool,
}

/// A wait under way.
#[derive(Debug, Clone, Default)]
pub struct WaitFacts {
    /// What it waits for.
    pub resource: ResourceId,
    /// Who waits.
    pub task: TaskId,
    /// tokio's name of the operation.
    pub operation: String,
    /// When it began.
    pub since: Nanos,
    /// When what it asks for became its own, if its task has not noticed since.
    pub granted: Option<Nanos>,
    /// Whether its task was polled since without polling it: it awaits something else.
    pub idle: bool,
    /// Of a timer: when it fires. 0 if nothing tells when it ends.
    pub until: Nanos,
    /// The stack on which it began; empty until it has lasted about a second.
    pub stack: Vec<u64>,
}

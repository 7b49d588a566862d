//! From events to what they mean: tasks, polls open too long, late starts, locks and who waits for whom.
//!
//! The model sees each event once and keeps bounded state, so it serves a recording of any size and a running
//! program alike.

mod build;
mod facts;
mod gauges;
mod idle;
mod levels;
mod near;
mod orders;
mod series;
mod spins;
mod tasks;
mod waits;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub use facts::*;
pub use gauges::{FullPool, MemoryFacts, PoolFacts, PoolLook, Stretch};
pub use idle::*;
pub use levels::Level;
pub use orders::*;
use pollscope_recording::{Module, Nanos, Place, ResourceId, RunDelay, TaskId};
pub use series::{FIRST_WIDTH, Lane, Open, PoolLane, Series};
pub use spins::*;
pub use tasks::Tasks;
pub use waits::Waits;

/// Most stalls, delays and late beats kept one by one; what comes later is only counted.
pub const KEPT: usize = 10_000;
/// Most ended tasks remembered, so that victims still have a name.
const KEPT_DEAD_TASKS: usize = 100_000;
/// Most stalls at a time for which the polls of other threads are added up.
const KEPT_RECENT: usize = 64;
/// How long after its end a stall is still met by the windows of others, which are told late.
const RECENT: Nanos = 300_000_000;
/// The agent says something once a second, come what may: where nothing was said for so long, the whole process did not
/// run. A debugger had stopped it.
const PAUSE: Nanos = 1_500_000_000;
/// Most stacks kept for one stall: the watchdog's intervals double, so this is hours.
const KEPT_SAMPLES: usize = 24;

/// What is known about the program after the events fed so far.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The program; `None` until its first event.
    pub process: Option<ProcessFacts>,
    /// Everything mapped, for symbols.
    pub modules: Vec<Module>,
    /// Runtimes by number.
    pub runtimes: BTreeMap<u64, RuntimeFacts>,
    /// Threads by kernel id.
    pub threads: BTreeMap<u64, ThreadFacts>,
    /// Tasks by id.
    pub tasks: Tasks,
    /// Polls open for too long, by task, thread and start.
    pub stalls: BTreeMap<StallKey, Stall>,
    /// Polls that started late, in the order they came.
    pub delays: Vec<DelayFacts>,
    /// Heartbeats that fired late.
    pub late_beats: Vec<LateBeatFacts>,
    /// Heartbeats seen, late or not.
    pub beats: u64,
    /// Locks, semaphores, channels and timers by number.
    pub resources: BTreeMap<ResourceId, ResourceFacts>,
    /// Permits held: resource, then task.
    pub holders: BTreeMap<ResourceId, BTreeMap<TaskId, Held>>,
    /// Where some of them took it, innermost address first.
    pub hold_stacks: BTreeMap<(ResourceId, TaskId), Vec<u64>>,
    /// Waits under way.
    pub waits: Waits,
    /// Tasks that were idle for long, when last told.
    pub idle: BTreeMap<TaskId, IdleFacts>,
    /// Threads that work for no runtime; `None` if unknown.
    pub foreign: Option<ForeignFacts>,
    /// Tasks that were polled very often, while they were.
    pub spins: BTreeMap<TaskId, SpinFacts>,
    /// In which order locks were taken.
    pub orders: Orders,
    /// Places of spawning of which a task was awaited.
    pub awaited: HashSet<Place>,
    /// Panics of tasks, in the order they came.
    pub panics: Vec<PanicFacts>,
    /// Memory in RAM; `None` if it was not told.
    pub memory: Option<MemoryFacts>,
    /// Stretches in which the program was throttled.
    pub throttled: Vec<Stretch>,
    /// Blocking pools by runtime, as far as they were told.
    pub pools: BTreeMap<u64, PoolFacts>,
    /// Stretches in which a blocking pool was full, in the order they came.
    pub full_pools: Vec<FullPool>,
    /// Polls seen.
    pub polls: u64,
    /// Time spent in them.
    pub busy_ns: Nanos,
    /// Events read.
    pub events: u64,
    /// Time of the first event.
    pub first_at: Nanos,
    /// Time of the latest event: the end of what is known.
    pub last_at: Nanos,
    /// Stalls, delays and late beats beyond [`KEPT`], counted only.
    pub not_kept: u64,
    /// CPU time of the agent's own threads.
    pub agent_cpu_ns: Nanos,
    /// Events lost in full rings.
    pub dropped: u64,
    /// What cannot be seen in this program.
    pub not_observable: BTreeSet<String>,
    /// Why the recording was closed; `None` while it is open, or if the program was killed.
    pub ended: Option<String>,
    /// Stalls that a window of polls told next may still overlap with.
    recent_stalls: Vec<StallKey>,
    /// What the kernel last kept each thread with busy tasks off the CPU.
    run_delays: BTreeMap<u64, RunDelay>,
    /// End of the last window in which a thread was kept off for half of it, and the tiny polls of its tasks there.
    kept_off: (Nanos, BTreeMap<TaskId, u64>),
    /// From when to when the process was stopped.
    pauses: Vec<(Nanos, Nanos)>,
    /// Spans of the program's that tasks were in.
    spans: BTreeMap<TaskId, gauges::Moments>,
    polls_by_cost: u64,
    dead_tasks: usize,
}

impl Model {
    /// Whether `source` (`hooks`, `tracing`, `watchdog`, `console`) took part.
    pub fn has_source(&self, source: &str) -> bool {
        self.process.as_ref().is_some_and(|process| process.sources.iter().any(|one| one == source))
    }

    /// Whether the polls of its tasks could be seen at all.
    pub fn sees_tasks(&self) -> bool {
        self.has_source("hooks") || self.has_source("tracing") || self.has_source("console")
    }

    /// For how much of a time the whole process was stopped.
    pub fn paused_ns(&self, from: Nanos, to: Nanos) -> Nanos {
        self.pauses.iter().map(|&(since, until)| until.min(to).saturating_sub(since.max(from))).sum()
    }

    /// How long the program was observed.
    pub fn observed_ns(&self) -> Nanos {
        self.last_at.saturating_sub(self.first_at)
    }

    /// Polls the program made, as far as they were seen or at least counted.
    pub fn polls_seen(&self) -> u64 {
        self.polls.max(self.polls_by_cost)
    }

    /// The runtime a thread works for, or failing that the runtime the task was spawned on.
    pub fn runtime_of(&self, tid: u64, task: TaskId) -> Option<(u64, &RuntimeFacts)> {
        let by_thread = self.threads.get(&tid).map(|thread| thread.runtime);
        let by_task = self.tasks.get(&task).map(|task| task.runtime);
        [by_thread, by_task].into_iter().flatten().find_map(|id| Some((id, self.runtimes.get(&id)?)))
    }

    /// A stall's end, or the last moment it was known to be open.
    pub fn end_of(&self, stall: &Stall) -> Nanos {
        // A poll still open at the end of what is known lasted at least until then: the process was alive to say so.
        stall.end.unwrap_or(self.last_at).max(stall.since)
    }
}

//! The words: everything pollscope can say about a running program.
//!
//! An event is a fact with a time. Facts that are still true (a live task, a held lock, an open poll) are said again
//! at the start of every segment, so each segment can be read alone.

use std::sync::Arc;

/// Nanoseconds on the clock `CLOCK_MONOTONIC` of the observed machine.
pub type Nanos = u64;
/// tokio's task id. The root future of a `block_on` has none; the agent gives it an id with [`ROOT_TASK_BIT`] set.
pub type TaskId = u64;
/// A lock, semaphore, channel or timer of tokio, numbered by the agent.
pub type ResourceId = u64;
/// One wait for one resource, numbered by the agent.
pub type WaitId = u64;
/// A shared text; cloning one is cheap.
pub type Text = Arc<str>;

/// Set in the ids the agent gives to root futures, which have no tokio id of their own.
pub const ROOT_TASK_BIT: u64 = 1 << 63;

/// Buckets of a poll-time histogram. Bucket 0 holds polls under 1024 ns; bucket `i` those from `2^(9+i)` up to
/// `2^(10+i)` ns; the last one everything of 268 ms and more.
pub const POLL_BUCKETS: usize = 20;

/// Of the wakes that a task makes itself in one window, so many are copied on a thread that the kernel keeps off the CPU.
pub const SELF_WAKES_COPIED: u64 = 64;
/// Stands for the number of a system call where a thread sleeps in a page fault because its own code is not in memory.
pub const CODE_FAULT: u64 = u64::MAX - 1;

/// The bucket a poll of `nanos` falls into.
#[inline]
pub fn poll_bucket(nanos: Nanos) -> usize {
    let log2 = (63 - (nanos | 1).leading_zeros()) as usize;
    log2.saturating_sub(9).min(POLL_BUCKETS - 1)
}

/// A place in source code; `line` 0 means unknown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// As the compiler wrote it: relative to the build directory for workspace code.
    pub file: Text,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// A tracing span of the program's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Its name.
    pub name: Text,
    /// Its fields, as far as their values were to be recorded.
    pub fields: Vec<(Text, Text)>,
}

macro_rules! events {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident : $ty:ty),* $(,)? })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name {
                /// When, in nanoseconds of `CLOCK_MONOTONIC`.
                pub at: Nanos,
                $($(#[$fmeta])* pub $field: $ty,)*
            }
            impl From<$name> for Event { fn from(event: $name) -> Event { Event::$name(event) } }
        )*
        /// One fact, with its time.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event { $($(#[$meta])* $name($name),)* }
        impl Event {
            /// When it happened, in nanoseconds of `CLOCK_MONOTONIC`.
            pub fn at(&self) -> Nanos { match self { $(Event::$name(event) => event.at,)* } }
        }
        /// Hands the list of events and their fields to another macro: the codec is made from it.
        #[macro_export]
        #[doc(hidden)]
        macro_rules! for_each_event { ($callback:ident) => { $callback! { $($name { $($field : $ty,)* })* } }; }

    };
}

events! {
    /// The program: the first event of every segment.
    Process {
        /// File name of the executable.
        program: Text,
        /// Absolute path of the executable.
        exe: Text,
        /// Process id.
        pid: u64,
        /// Hex GNU build id of the executable; empty if it has none.
        build_id: Text,
        /// Wall clock at `at`: nanoseconds since 1970.
        wall_ns: u64,
        /// Version of tokio the agent was built with; empty if unknown.
        tokio: Text,
        /// Comma-separated: `hooks`, `tracing`, `watchdog`; or `console` where a console's client said it all.
        sources: Text,
        /// `summary` or `full`.
        level: Text,
        /// Number of this segment, from 0.
        segment: u64,
    }
    /// An executable or library mapped into the program; what turns stack addresses into places.
    Module {
        /// First mapped address.
        start: u64,
        /// One past the last mapped address.
        end: u64,
        /// Run-time address minus address in the file's own numbering.
        bias: u64,
        /// Path of the file.
        path: Text,
        /// Hex GNU build id; empty if it has none.
        build_id: Text,
    }
    /// A tokio runtime.
    Runtime {
        /// Numbered by the agent, from 1.
        runtime: u64,
        /// `multi_thread`, `current_thread` or `unknown`.
        flavor: Text,
        /// Worker threads.
        workers: u64,
        /// False where the runtime has no time driver or its clock is paused: no heartbeat then.
        timers: bool,
    }
    /// A thread the agent watches.
    Thread {
        /// Kernel thread id.
        tid: u64,
        /// Runtime it works for; 0 if none.
        runtime: u64,
        /// Its name, as the kernel knows it.
        name: Text,
        /// `worker`, `blocking`, `main` or `other`.
        role: Text,
    }
    /// A watched thread ended.
    ThreadEnd {
        /// Kernel thread id.
        tid: u64,
    }
    /// A task was spawned (or a root future entered `block_on`).
    Task {
        /// Its id.
        task: TaskId,
        /// Runtime it was spawned on; 0 if unknown.
        runtime: u64,
        /// `task`, `local`, `blocking` or `root`.
        kind: Text,
        /// Name given with `task::Builder`; empty if none.
        name: Text,
        /// Where it was spawned (or where the attribute macro stands, for a root).
        spawned: Place,
        /// Task that spawned it; 0 if none.
        parent: TaskId,
    }
    /// A task ended or was dropped.
    TaskEnd {
        /// Its id.
        task: TaskId,
    }
    /// What one task did on one thread in one window of about 100 ms. `at` is the window's end.
    Polls {
        /// The task.
        task: TaskId,
        /// The thread.
        tid: u64,
        /// Start of the window, or of the last poll if that is earlier.
        from: Nanos,
        /// Polls that ended in the window, or were told in it.
        polls: u64,
        /// Their total time.
        busy_ns: u64,
        /// The longest of them.
        max_ns: u64,
        /// Their durations, see [`POLL_BUCKETS`].
        histogram: [u32; POLL_BUCKETS],
    }
    /// A single poll, written when it ended. `at` is its start. In `summary` only those of 1 ms and more.
    Poll {
        /// The task.
        task: TaskId,
        /// The thread.
        tid: u64,
        /// How long it took.
        duration_ns: u64,
    }
    /// A poll that started late: the task was woken (or spawned) and had to wait. Written from 5 ms on. `at` is the
    /// start of the poll.
    Delay {
        /// The task.
        task: TaskId,
        /// The thread that polled it at last.
        tid: u64,
        /// From the wake to the poll.
        delay_ns: u64,
    }
    /// The watchdog looked at a poll that is open for too long. Repeated with doubling intervals while it stays open.
    Stall {
        /// The task.
        task: TaskId,
        /// The thread.
        tid: u64,
        /// When the poll started.
        since: Nanos,
        /// When the watchdog first saw this poll; the three times below count from here to `at`.
        observed: Nanos,
        /// CPU time of the thread since `observed`.
        cpu_ns: u64,
        /// Time the thread was ready but the kernel ran others, since `observed`.
        run_delay_ns: u64,
        /// Thread state letter of `/proc/.../stat` (`R`, `S`, `D`); 0 if unknown.
        state: u64,
        /// Number of the system call it sleeps in; [`CODE_FAULT`] if in none, but in a page fault for its own code;
        /// `u64::MAX` if neither is known.
        syscall: u64,
        /// Addresses of the calls (return addresses less one), innermost first; empty if no stack could be taken.
        stack: Vec<u64>,
    }
    /// The thread of a stall sleeps in a futex: said beside a `Stall`. The address tells one lock from another.
    FutexWait {
        /// The task.
        task: TaskId,
        /// The thread.
        tid: u64,
        /// When the poll started.
        since: Nanos,
        /// Address of the futex word: the lock itself for std's locks, a place of the thread for parking_lot's.
        address: u64,
    }
    /// A poll the watchdog had reported came to its end. `at` is the end. Exact, in every level.
    StallEnd {
        /// The task.
        task: TaskId,
        /// The thread.
        tid: u64,
        /// When the poll started.
        since: Nanos,
        /// CPU time of the thread from the first look to the end.
        cpu_ns: u64,
        /// Run delay from the first look to the end.
        run_delay_ns: u64,
        /// When the watchdog first saw it.
        observed: Nanos,
    }
    /// A task that was polled very often was looked at for one window: who woke it. Needs the tracing source.
    SelfWakes {
        /// The task.
        task: TaskId,
        /// Start of the window; `at` is its end.
        from: Nanos,
        /// Its polls in the window.
        polls: u64,
        /// How often it woke itself or handed its waker out, within its own poll.
        own: u64,
        /// Wakes from within the polls of other tasks.
        others: u64,
        /// Wakes from outside of polls: sockets, timers, yields, threads.
        outside: u64,
        /// True if the stack is that of a wake, false if it is that of handing the waker out.
        woke: bool,
        /// Where one of the `own` happened, innermost first; empty if there was none. The last of them, if there were at most
        /// [`SELF_WAKES_COPIED`] and the kernel kept the thread off the CPU for half of the window before.
        stack: Vec<u64>,
    }
    /// A task panicked. Of the message only what stands in the source is kept: a formatted one may hold secrets.
    Panic {
        /// The task.
        task: TaskId,
        /// The thread.
        tid: u64,
        /// Where the panic was raised.
        place: Place,
        /// The message, if it is a literal; else empty.
        message: Text,
        /// Addresses of the calls (return addresses less one), innermost first.
        stack: Vec<u64>,
    }
    /// A task ended while somebody was waiting for its `JoinHandle`: said of a few tasks of each place of spawning.
    Awaited {
        /// The task.
        task: TaskId,
    }
    /// A panic was caught by the runtime and has ended its task.
    PanicEnd {
        /// The task.
        task: TaskId,
        /// True if somebody was waiting for its `JoinHandle` and was woken. Seen with the tracing source only.
        awaited: bool,
    }
    /// The kernel ran others while a thread with a busy task was ready to run. Said before the `Polls` of the same window,
    /// where that was for a tenth of it; `at` is the window's end.
    RunDelay {
        /// The thread.
        tid: u64,
        /// Start of the window.
        from: Nanos,
        /// CPU time of the thread in it.
        cpu_ns: u64,
        /// Time it was ready in it, while others ran.
        run_delay_ns: u64,
    }
    /// Heartbeats of one runtime in one window: a timer of 10 ms that should have fired on time.
    Beats {
        /// The runtime.
        runtime: u64,
        /// Start of the window.
        from: Nanos,
        /// Heartbeats in it.
        count: u64,
        /// Worst lateness.
        worst_late_ns: u64,
    }
    /// One heartbeat that fired at least 10 ms late (or has not fired yet, when the watchdog asks). `at` is when it
    /// fired.
    LateBeat {
        /// The runtime.
        runtime: u64,
        /// When it was due.
        due: Nanos,
        /// How late it was.
        late_ns: u64,
    }
    /// Memory of the process that is in RAM. Written when it has changed, twice a second at most.
    Memory {
        /// Resident set size.
        resident_bytes: u64,
    }
    /// The kernel kept the program off the CPU because its cgroup had used up its quota. Written only where that was
    /// so; `at` is the end of the stretch.
    Throttled {
        /// Start of the stretch.
        from: Nanos,
        /// Periods of the quota in which it happened.
        times: u64,
        /// For how long, added up over the CPUs.
        throttled_ns: u64,
    }
    /// The threads of a runtime's blocking pool. Written when they have changed, twice a second at most.
    BlockingPool {
        /// The runtime.
        runtime: u64,
        /// Threads there are.
        threads: u64,
        /// Those of them that have nothing to do.
        idle: u64,
        /// Closures that wait for a thread.
        queued: u64,
    }
    /// All threads of a blocking pool are at work while closures wait for one. Written once that has lasted for 100 ms,
    /// again at doubled ages, and when it is over.
    PoolFull {
        /// The runtime.
        runtime: u64,
        /// Since when.
        since: Nanos,
        /// Threads there are; 0 when it is over.
        threads: u64,
        /// Closures that wait for one; 0 when it is over.
        queued: u64,
        /// Whether it is over.
        over: bool,
    }
    /// What a thread of a full blocking pool does: said beside each `PoolFull`, of some of its threads.
    PoolThread {
        /// The runtime.
        runtime: u64,
        /// The thread.
        tid: u64,
        /// Since when the pool is full.
        since: Nanos,
        /// Thread state letter of `/proc/.../stat` (`R`, `S`, `D`); 0 if unknown.
        state: u64,
        /// Addresses of the calls (return addresses less one), innermost first; empty if no stack could be taken.
        stack: Vec<u64>,
    }
    /// A lock, semaphore, channel or timer was made.
    Resource {
        /// Its number.
        resource: ResourceId,
        /// The `Mutex`, `RwLock`, ... an internal semaphore belongs to; 0 if none.
        parent: ResourceId,
        /// `Mutex`, `RwLock`, `Semaphore` or `Channel` (a bounded one).
        kind: Text,
        /// Where it was made; unknown for channels.
        made: Place,
        /// Permits a semaphore or places a channel began with; 0 for locks and if unknown.
        permits: u64,
        /// Whether a task that took permits has given some back, or a task it spawned has for it. False for what is only
        /// ever refilled from outside, like a limit of requests a second.
        returned: bool,
        /// A task that gave permits back without having taken any, the latest; 0 if there was none. Where there is one,
        /// permits move between tasks, and who holds them is less certain.
        stranger: TaskId,
    }
    /// A resource was dropped.
    ResourceEnd {
        /// Its number.
        resource: ResourceId,
    }
    /// A task took a lock or permits. Written only once someone has waited for the resource (in `full`: always);
    /// `at` is the time it was taken.
    Acquired {
        /// What was taken.
        resource: ResourceId,
        /// Who took it.
        task: TaskId,
        /// Permits taken; 1 for a Mutex.
        permits: u64,
        /// Whether it can have been sent to another task since: taken by an `_owned` operation, or by one that is in no
        /// event of tokio's, like `try_lock`.
        owned: bool,
    }
    /// A task gave a lock or permits back. For a channel: it received, so that places became free; written when the
    /// receiver is another than before.
    Released {
        /// What was given back.
        resource: ResourceId,
        /// Who gave it back. Where a task spawned by the taker did (a pool takes connections back so): the taker.
        task: TaskId,
        /// Permits given back.
        permits: u64,
    }
    /// A task started to wait for a resource. Waits for what may end by itself (timers, oneshots) are written only for
    /// tasks that also wait for a lock for long.
    Wait {
        /// Number of the wait.
        wait: WaitId,
        /// What it waits for: the `Mutex`, not its internal semaphore.
        resource: ResourceId,
        /// Who waits.
        task: TaskId,
        /// tokio's name of the operation, e.g. `Mutex::lock`.
        operation: Text,
        /// Of a timer: when it fires. 0 if nothing tells when the wait ends.
        until: Nanos,
    }
    /// The stack on which a task took permits it still holds. Written for some of the holders of a semaphore that
    /// somebody has waited for for long; `at` is when it was written.
    HoldStack {
        /// What was taken.
        resource: ResourceId,
        /// Who took it.
        task: TaskId,
        /// Addresses of the calls (return addresses less one), innermost first.
        stack: Vec<u64>,
    }
    /// The stack on which a wait began, unwound once it had lasted about a second.
    WaitStack {
        /// The wait.
        wait: WaitId,
        /// Addresses of the calls (return addresses less one), innermost first.
        stack: Vec<u64>,
    }
    /// What a wait asks for became its own, but its task has not polled it since. Written once that has lasted for
    /// 100 ms; `at` is when it was granted.
    Granted {
        /// The wait.
        wait: WaitId,
    }
    /// A wait ended.
    WaitEnd {
        /// The wait.
        wait: WaitId,
        /// True if it got what it waited for, false if it was cancelled.
        ready: bool,
    }
    /// A task has been idle for about a second: where it last handed out its waker, and so where it awaits. One event for
    /// each place, with the same `since`, where one poll awaited several things. Needs the tracing source.
    Idle {
        /// The task.
        task: TaskId,
        /// When the last poll known ended.
        since: Nanos,
        /// When the poll ended in which the waker was handed out. Before `since` if the task was polled once more, handed
        /// out no waker, and had none left; 0 if it was never seen to hand one out.
        registered: Nanos,
        /// Wakers of the task that were alive at `at`, at most: tasks may be counted together.
        wakers: u64,
        /// Whether it may have been woken since `since`.
        woken: bool,
        /// Addresses of the calls (return addresses less one), innermost first, from the handing out to the poll of the
        /// task; empty if it was not seen.
        stack: Vec<u64>,
    }
    /// Threads that work for no runtime, and wakes that came from such. Written about once a second, when it changed.
    Foreign {
        /// Threads that are alive, without the main thread and the agent's own.
        threads: u64,
        /// Wakes of tasks by threads that work for no runtime; a total since the start.
        wakes: u64,
    }
    /// A task held one lock while it took another, and has given the first back. Written for the first few tasks that do
    /// so and then about once a second, for each pair of locks; `at` is when the first was given back. A `Mutex`, an
    /// `RwLock` or a `Semaphore` of one permit is a lock here.
    LockOrder {
        /// The task.
        task: TaskId,
        /// What it held.
        held: ResourceId,
        /// Whether for reading.
        held_shared: bool,
        /// Since when.
        since: Nanos,
        /// What it took.
        taken: ResourceId,
        /// Whether for reading.
        taken_shared: bool,
        /// When.
        took: Nanos,
        /// What else it held then.
        beside: Vec<u64>,
        /// What else it held for reading.
        beside_shared: Vec<u64>,
        /// Where it had taken the first: addresses of the calls (return addresses less one), innermost first; empty if
        /// that was not kept.
        held_stack: Vec<u64>,
        /// Where it took the second; empty if an earlier event of this pair tells.
        taken_stack: Vec<u64>,
    }
    /// The program's own tracing spans that a task was in at a moment that matters: when a stall was looked at, a wait
    /// began that became long, it panicked or woke itself. `at` is that moment.
    InSpans {
        /// The task.
        task: TaskId,
        /// The spans, outermost first.
        spans: Vec<Span>,
    }
    /// A task that waits for long was polled without polling this wait of its own: what it awaits now is something else.
    WaitIdle {
        /// The wait.
        wait: WaitId,
        /// False if it has been polled again since.
        idle: bool,
    }
    /// How far the holders of a resource can be believed. Written once somebody has waited for it, when it changes.
    Books {
        /// The resource.
        resource: ResourceId,
        /// Whether the holders still add up although a stranger gave something back: what it gave can have been taken
        /// by `try_acquire`, which is in no event.
        balanced: bool,
        /// Whether what was taken to be sent (`_owned`) has always come back from the very task that took it, and has
        /// come back at all.
        stays: bool,
    }
    /// What observing cost up to now; totals since the start. Written about once a second: also the proof that the
    /// process was alive.
    Cost {
        /// CPU time of the agent's own threads.
        agent_cpu_ns: u64,
        /// Events lost because a ring was full.
        dropped: u64,
        /// Polls seen.
        polls: u64,
    }
    /// Something that cannot be seen in this program, as one sentence.
    NotObservable {
        /// The sentence.
        what: Text,
    }
    /// The recording was closed in order.
    End {
        /// Why: `exit` or `stopped`.
        why: Text,
    }
}

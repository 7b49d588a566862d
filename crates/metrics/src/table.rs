//! Every metric: its name, type, unit, help and labels, after the conventions of Prometheus.

/// Most processes followed at a time.
pub const MOST_PROCESSES: usize = 64;
/// Most places of code that get series of their own in one process and metric; the rest share one.
pub const MOST_PLACES: usize = 30;
/// Most findings of one process that are exposed.
pub const MOST_FINDINGS: usize = 50;
/// Most characters of a label's value.
pub const MOST_CHARACTERS: usize = 200;
/// Seconds over which a "worst of late" gauge looks back.
pub const WORST_SECONDS: u64 = 30;
/// Seconds for which a finding counts as going on after it was last seen.
pub const ACTIVE_SECONDS: u64 = 60;
/// Seconds for which the series of a process stay after its end.
pub const KEPT_SECONDS: u64 = 60;
/// Upper bounds of the poll-time histogram but the last, as powers of two of nanoseconds.
pub const POLL_BUCKET_BITS: std::ops::Range<u32> = 10..29;
/// Upper bounds of the histograms of lateness but the last, in seconds. Each begins with what is called late there.
pub const LATE_BOUNDS: [f64; 11] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Most values of the label `doing`.
pub const MOST_DOINGS: usize = 30;
/// Most runtimes of one process that get series of their own.
pub const MOST_RUNTIMES: usize = 8;

/// What Prometheus calls the type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only grows, except when the watch or the process begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counters by upper bound, with their sum.
    Histogram,
}

impl Type {
    /// The word in `# TYPE`.
    pub fn word(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        }
    }
}

/// Who knows a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `pollscope watch`, which diagnoses recordings beside the programs.
    Watch,
    /// The agent in the program itself, built with its feature `metrics`.
    Program,
    /// Either of them, with the same name and meaning.
    Both,
}

impl Source {
    /// As it stands in the documentation.
    pub fn word(self) -> &'static str {
        match self {
            Source::Watch => "watch",
            Source::Program => "program",
            Source::Both => "both",
        }
    }
}

macro_rules! labels {
    ($($(#[doc = $meaning:literal])* $label:ident = $name:literal, $bound:literal;)*) => {
        /// What tells the series of one metric apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Label { $($(#[doc = $meaning])* $label,)* }
        impl Label {
            /// Every label.
            pub const ALL: &[Label] = &[$(Label::$label,)*];
            /// As it is written in a query.
            pub fn name(self) -> &'static str { match self { $(Label::$label => $name,)* } }
            /// What its values mean.
            pub fn meaning(self) -> &'static str { match self { $(Label::$label => concat!($($meaning),*),)* } }
            /// How many values it can have.
            pub fn bound(self) -> &'static str { match self { $(Label::$label => $bound,)* } }
        }
    };
}

labels! {
    /// The run's folder for a recording of `run` or `record`, else the file name of the program; in the program itself
    /// what `POLLSCOPE_SERVICE` says, else its file name.
    Service = "service", "the services watched";
    /// The folder of the recording, `<program>-<pid>-<start>`: unlike a pid, never used twice.
    Process = "process", "64 at a time; a process goes 60 s after its end";
    /// Id of the fault; `pollscope explain KIND` has its page.
    Kind = "kind", "the kinds there are, below 60";
    /// What the fault does to the service, see the classes below.
    Class = "class", "7";
    /// `info`, `warning` or `critical`.
    Severity = "severity", "3";
    /// `possible`, `likely` or `proven`.
    Confidence = "confidence", "3";
    /// Source file of the line to change; empty if unknown.
    File = "file", "with `line`: 50 findings or 30 places a process, then `other`";
    /// Line in the file; empty if unknown.
    Line = "line", "see `file`";
    /// Function the line is in; empty if unknown.
    Function = "function", "one a line";
    /// `found`, `clear` or `cannot-tell`.
    Answer = "answer", "3, of which one at a time";
    /// `running`, `ended` (in order) or `silent` (killed, suspended, or the disk is gone).
    State = "state", "3, of which one at a time";
    /// `Mutex`, `RwLock`, `Semaphore` or `Channel`.
    Resource = "resource", "4";
    /// What a thread did for most of a long poll: `cpu` (it computed), `ready` (the kernel ran others), the system call
    /// it slept in, such as `futex`, `read` or `sleep`, or `blocked` in one that has no name here.
    Doing = "doing", "below 30";
    /// Number of a runtime, in the order in which they were made.
    Runtime = "runtime", "8; those beyond are left out";
    /// Process id.
    Pid = "pid", "one a process";
    /// File name of the program.
    Program = "program", "one a process";
    /// Version of tokio.
    Tokio = "tokio", "one a process";
    /// What could be observed: `hooks`, `hooks,tracing`, each with `watchdog`.
    Sources = "sources", "one at a time a process";
    /// Version of pollscope.
    Version = "version", "1";
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// Its unit, in words.
    pub unit: &'static str,
    /// What it says, as one sentence.
    pub help: &'static str,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [Label],
    /// Who knows it.
    pub source: Source,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])* $id:ident = $kind:ident $name:literal [$($label:ident),*] $unit:literal $source:ident;)*) => {
        $(
            $(#[doc = $help])*
            pub const $id: &Metric = &Metric {
                name: $name,
                kind: Type::$kind,
                unit: $unit,
                help: concat!($($help),*),
                labels: &[$(Label::$label),*],
                source: Source::$source,
            };
        )*
        /// Every metric, in the order of the documentation.
        pub const TABLE: &[&Metric] = &[$($id,)*];
    };
}

metrics! {
    /// Whether a finding is going on: 1 if it was seen in the last 60 seconds, 0 after that.
    FINDING_ACTIVE = Gauge "pollscope_finding_active"
        [Service, Process, Kind, Class, Severity, Confidence, File, Line, Function] "boolean" Watch;
    /// How often a finding happened; the polls of a busy task, the tasks of a cycle.
    FINDING_OCCURRENCES = Counter "pollscope_finding_occurrences_total"
        [Service, Process, Kind, Class, File, Line, Function] "occurrences" Watch;
    /// For how long a finding happened, all occurrences together.
    FINDING_SECONDS = Counter "pollscope_finding_seconds_total"
        [Service, Process, Kind, Class, File, Line, Function] "seconds" Watch;
    /// The longest occurrence of a finding.
    FINDING_WORST = Gauge "pollscope_finding_worst_seconds"
        [Service, Process, Kind, Class, File, Line, Function] "seconds" Watch;
    /// Findings that are not exposed because the process has more than 50.
    FINDINGS_LEFT_OUT = Gauge "pollscope_findings_left_out" [Service, Process] "findings" Watch;
    /// The answer to each question that is asked about a process; the series with the current answer is 1.
    CHECK_ANSWER = Gauge "pollscope_check_answer" [Service, Process, Kind, Answer] "boolean" Watch;
    /// What cannot be seen in a process, counted; `pollscope diagnose` says what it is.
    NOT_OBSERVABLE = Gauge "pollscope_not_observable" [Service, Process] "sentences" Watch;

    /// How a poll took, from its start to its return; its sum is the time spent in polls.
    POLL_DURATION = Histogram "pollscope_poll_duration_seconds" [Service, Process] "seconds" Both;
    /// Polls since the start of the process.
    POLLS = Counter "pollscope_polls_total" [Service, Process] "polls" Both;
    /// Polls that were open for more than 20 milliseconds.
    STALLS = Counter "pollscope_stalls_total" [Service, Process] "polls" Both;
    /// Time of polls that were open for more than 20 milliseconds, counted when they end.
    STALL_SECONDS = Counter "pollscope_stall_seconds_total" [Service, Process] "seconds" Both;
    /// Polls that are open for more than 20 milliseconds now.
    OPEN_STALLS = Gauge "pollscope_open_stalls" [Service, Process] "polls" Both;
    /// Such polls that ended, by the line that spawned the task and by what its thread did.
    LINE_STALLS = Counter "pollscope_line_stalls_total" [Service, Process, File, Line, Doing] "polls" Both;
    /// Their time.
    LINE_STALL_SECONDS = Counter "pollscope_line_stall_seconds_total"
        [Service, Process, File, Line, Doing] "seconds" Both;
    /// Such polls that are open now, by the line that spawned the task; only of lines that ever had one.
    LINE_OPEN_STALLS = Gauge "pollscope_line_open_stalls" [Service, Process, File, Line] "polls" Both;
    /// Age of the oldest poll that is open for more than 20 milliseconds now; 0 if there is none.
    OLDEST_OPEN_POLL = Gauge "pollscope_oldest_open_poll_seconds" [Service, Process] "seconds" Both;
    /// Heartbeats of the runtimes: a timer of 10 milliseconds in each.
    HEARTBEATS = Counter "pollscope_heartbeats_total" [Service, Process] "beats" Both;
    /// Heartbeats that fired at least 10 milliseconds late.
    LATE_HEARTBEATS = Counter "pollscope_late_heartbeats_total" [Service, Process] "beats" Both;
    /// Worst lateness of a heartbeat in the last 30 seconds.
    HEARTBEAT_LATE = Gauge "pollscope_heartbeat_late_seconds" [Service, Process] "seconds" Both;
    /// How late heartbeats fired; those less than 10 milliseconds late are in the first bucket and count as 0 in the sum.
    HEARTBEAT_DELAY = Histogram "pollscope_heartbeat_delay_seconds" [Service, Process] "seconds" Both;
    /// Polls that started at least 5 milliseconds after their task was woken or spawned.
    SCHEDULE_DELAYS = Counter "pollscope_schedule_delays_total" [Service, Process] "polls" Both;
    /// Time by which such polls started late, all together.
    SCHEDULE_DELAY_SECONDS = Counter "pollscope_schedule_delay_seconds_total" [Service, Process] "seconds" Both;
    /// Worst such delay in the last 30 seconds.
    SCHEDULE_DELAY_WORST = Gauge "pollscope_schedule_delay_worst_seconds" [Service, Process] "seconds" Both;
    /// How long after the wake or the spawn of their task polls started; those below 5 milliseconds, and those whose wake
    /// is not known, are in the first bucket and count as 0 in the sum.
    SCHEDULE_DELAY = Histogram "pollscope_schedule_delay_seconds" [Service, Process] "seconds" Both;
    /// Tasks, blocking closures and root futures that have begun.
    TASKS_STARTED = Counter "pollscope_tasks_started_total" [Service, Process] "tasks" Both;
    /// Tasks, blocking closures and root futures alive, by the line that spawned them.
    LIVE_TASKS = Gauge "pollscope_live_tasks" [Service, Process, File, Line] "tasks" Both;
    /// Panics of tasks.
    PANICS = Counter "pollscope_panics_total" [Service, Process] "panics" Both;

    /// Waits for locks, semaphores and bounded channels under way.
    LOCK_WAITERS = Gauge "pollscope_lock_waiters" [Service, Process, Resource] "waits" Both;
    /// Age of the oldest such wait; 0 if there is none.
    OLDEST_LOCK_WAIT = Gauge "pollscope_oldest_lock_wait_seconds" [Service, Process, Resource] "seconds" Both;
    /// Such waits that ended, by the line that made the lock.
    LOCK_WAITS = Counter "pollscope_lock_waits_total" [Service, Process, Resource, File, Line] "waits" Both;
    /// Time of such waits that ended, by the line that made the lock.
    LOCK_WAIT_SECONDS = Counter "pollscope_lock_wait_seconds_total" [Service, Process, Resource, File, Line] "seconds" Both;
    /// How often a task has held a lock or permits and given them back, by the line that made them; counted from the
    /// first time that somebody had to wait for them.
    LOCK_HOLDS = Counter "pollscope_lock_holds_total" [Service, Process, Resource, File, Line] "holds" Both;
    /// Time for which tasks held such a lock or permits.
    LOCK_HOLD_SECONDS = Counter "pollscope_lock_hold_seconds_total" [Service, Process, Resource, File, Line] "seconds" Both;

    /// Threads of the blocking pools of all runtimes.
    BLOCKING_THREADS = Gauge "pollscope_blocking_threads" [Service, Process] "threads" Both;
    /// Those of them that have nothing to do.
    BLOCKING_IDLE = Gauge "pollscope_blocking_idle_threads" [Service, Process] "threads" Both;
    /// Closures of `spawn_blocking` that wait for a thread.
    BLOCKING_QUEUE = Gauge "pollscope_blocking_queued_closures" [Service, Process] "closures" Both;
    /// For how long closures have waited while every thread of their pool was at work; 0 if none do.
    BLOCKING_FULL = Gauge "pollscope_blocking_pool_full_seconds" [Service, Process] "seconds" Both;

    /// Worker threads of a runtime.
    RUNTIME_WORKERS = Gauge "pollscope_runtime_workers" [Service, Process, Runtime] "threads" Program;
    /// Tasks of a runtime that are alive, as tokio counts them.
    RUNTIME_TASKS = Gauge "pollscope_runtime_alive_tasks" [Service, Process, Runtime] "tasks" Program;
    /// Tasks in a runtime's global queue.
    RUNTIME_GLOBAL_QUEUE = Gauge "pollscope_runtime_global_queue_tasks" [Service, Process, Runtime] "tasks" Program;
    /// Tasks in the queues of a runtime's workers.
    RUNTIME_LOCAL_QUEUE = Gauge "pollscope_runtime_local_queue_tasks" [Service, Process, Runtime] "tasks" Program;
    /// Time between a worker's waking and its parking, all workers of a runtime together.
    RUNTIME_BUSY = Counter "pollscope_runtime_busy_seconds_total" [Service, Process, Runtime] "seconds" Program;
    /// How often workers of a runtime have parked.
    RUNTIME_PARKS = Counter "pollscope_runtime_parks_total" [Service, Process, Runtime] "parks" Program;
    /// Tasks that workers of a runtime have stolen from each other.
    RUNTIME_STEALS = Counter "pollscope_runtime_steals_total" [Service, Process, Runtime] "tasks" Program;
    /// Wakes that put a task into the queue of the worker they came from.
    RUNTIME_LOCAL_SCHEDULES = Counter "pollscope_runtime_local_schedules_total"
        [Service, Process, Runtime] "wakes" Program;
    /// Wakes from outside of a runtime's workers.
    RUNTIME_REMOTE_SCHEDULES = Counter "pollscope_runtime_remote_schedules_total"
        [Service, Process, Runtime] "wakes" Program;
    /// How often a worker's queue was full and half of it went to the global one.
    RUNTIME_OVERFLOWS = Counter "pollscope_runtime_overflows_total" [Service, Process, Runtime] "overflows" Program;
    /// How often a task had to yield because its budget was used up.
    RUNTIME_FORCED_YIELDS = Counter "pollscope_runtime_forced_yields_total"
        [Service, Process, Runtime] "yields" Program;

    /// What a process is; always 1.
    PROCESS_INFO = Gauge "pollscope_process_info" [Service, Process, Pid, Program, Tokio, Sources] "boolean" Both;
    /// How a process is; the series with the current state is 1.
    PROCESS_STATE = Gauge "pollscope_process_state" [Service, Process, State] "boolean" Both;
    /// When a process started, in seconds since 1970.
    PROCESS_START = Gauge "pollscope_process_start_timestamp_seconds" [Service, Process] "seconds" Both;
    /// Memory of a process that is in RAM.
    PROCESS_MEMORY = Gauge "pollscope_process_resident_memory_bytes" [Service, Process] "bytes" Both;
    /// Periods of the CPU quota in which the kernel has kept a process off the CPU.
    THROTTLED = Counter "pollscope_throttled_periods_total" [Service, Process] "periods" Both;
    /// Time for which it was kept off, added up over the CPUs.
    THROTTLED_SECONDS = Counter "pollscope_throttled_seconds_total" [Service, Process] "seconds" Both;
    /// Time since the last word of a process; it speaks about once a second.
    PROCESS_SILENCE = Gauge "pollscope_process_silence_seconds" [Service, Process] "seconds" Watch;
    /// CPU time of the agent's own threads in a process.
    AGENT_CPU = Counter "pollscope_agent_cpu_seconds_total" [Service, Process] "seconds" Both;
    /// Events lost because a ring in the agent was full; other figures are too low then.
    DROPPED_EVENTS = Counter "pollscope_dropped_events_total" [Service, Process] "events" Both;
    /// Events that these figures are made from.
    EVENTS = Counter "pollscope_events_total" [Service, Process] "events" Both;
    /// Size of the recording of a process on disk.
    RECORDING_BYTES = Gauge "pollscope_recording_bytes" [Service, Process] "bytes" Watch;

    /// The watch itself; always 1.
    WATCH_INFO = Gauge "pollscope_watch_info" [Version] "boolean" Watch;
    /// When the watch last finished a look at the recordings, in seconds since 1970.
    WATCH_LOOKED = Gauge "pollscope_watch_last_look_timestamp_seconds" [] "seconds" Watch;
    /// Recordings under way that are not followed because there are more than 64.
    WATCH_LEFT_OUT = Gauge "pollscope_watch_recordings_left_out" [] "recordings" Watch;
    /// Looks at a recording that failed; the watch says on stderr why.
    WATCH_FAILURES = Counter "pollscope_watch_failures_total" [] "looks" Watch;
    /// CPU time of the watch itself.
    WATCH_CPU = Counter "process_cpu_seconds_total" [] "seconds" Watch;
    /// Memory of the watch itself.
    WATCH_MEMORY = Gauge "process_resident_memory_bytes" [] "bytes" Watch;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for metric in TABLE {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("pollscope_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(metric.kind == Type::Counter, name.ends_with("_total"), "{name}");
            let stem = name.trim_end_matches("_total");
            for unit in ["seconds", "bytes"] {
                assert_eq!(metric.unit == unit, stem.ends_with(unit), "{name} is in {}", metric.unit);
            }
            let help = metric.help.trim();
            assert!(help.starts_with(|first: char| first.is_uppercase()) && help.ends_with('.'), "{name}: {help}");
        }
    }

    #[test]
    fn the_bounds_in_words_are_those_in_code() {
        let process = Label::Process.bound();
        assert!(process.contains(&MOST_PROCESSES.to_string()) && process.contains(&KEPT_SECONDS.to_string()));
        let file = Label::File.bound();
        assert!(file.contains(&MOST_FINDINGS.to_string()) && file.contains(&MOST_PLACES.to_string()));
        assert!(FINDINGS_LEFT_OUT.help.contains(&MOST_FINDINGS.to_string()));
        assert!(WATCH_LEFT_OUT.help.contains(&MOST_PROCESSES.to_string()));
        assert!(FINDING_ACTIVE.help.contains(&ACTIVE_SECONDS.to_string()));
        assert!(Label::Doing.bound().contains(&MOST_DOINGS.to_string()));
        assert!(Label::Runtime.bound().contains(&MOST_RUNTIMES.to_string()));
        for worst in [HEARTBEAT_LATE, SCHEDULE_DELAY_WORST] {
            assert!(worst.help.contains(&WORST_SECONDS.to_string()));
        }
    }

    #[test]
    fn every_label_is_used_and_none_twice_in_a_metric() {
        for label in Label::ALL {
            assert!(TABLE.iter().any(|metric| metric.labels.contains(label)), "{}", label.name());
        }
        for metric in TABLE {
            let names: HashSet<_> = metric.labels.iter().map(|label| label.name()).collect();
            assert_eq!(names.len(), metric.labels.len(), "{}", metric.name);
        }
    }
}

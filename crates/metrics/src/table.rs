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
    /// The run's folder for a recording of `run` or `record`, else the file name of the program.
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
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])* $id:ident = $kind:ident $name:literal [$($label:ident),*] $unit:literal;)*) => {
        $(
            $(#[doc = $help])*
            pub const $id: &Metric = &Metric {
                name: $name,
                kind: Type::$kind,
                unit: $unit,
                help: concat!($($help),*),
                labels: &[$(Label::$label),*],
            };
        )*
        /// Every metric, in the order of the documentation.
        pub const TABLE: &[&Metric] = &[$($id,)*];
    };
}

metrics! {
    /// Whether a finding is going on: 1 if it was seen in the last 60 seconds, 0 after that.
    FINDING_ACTIVE = Gauge "pollscope_finding_active"
        [Service, Process, Kind, Class, Severity, Confidence, File, Line, Function] "boolean";
    /// How often a finding happened; the polls of a busy task, the tasks of a cycle.
    FINDING_OCCURRENCES = Counter "pollscope_finding_occurrences_total"
        [Service, Process, Kind, Class, File, Line, Function] "occurrences";
    /// For how long a finding happened, all occurrences together.
    FINDING_SECONDS = Counter "pollscope_finding_seconds_total"
        [Service, Process, Kind, Class, File, Line, Function] "seconds";
    /// The longest occurrence of a finding.
    FINDING_WORST = Gauge "pollscope_finding_worst_seconds"
        [Service, Process, Kind, Class, File, Line, Function] "seconds";
    /// Findings that are not exposed because the process has more than 50.
    FINDINGS_LEFT_OUT = Gauge "pollscope_findings_left_out" [Service, Process] "findings";
    /// The answer to each question that is asked about a process; the series with the current answer is 1.
    CHECK_ANSWER = Gauge "pollscope_check_answer" [Service, Process, Kind, Answer] "boolean";
    /// What cannot be seen in a process, counted; `pollscope diagnose` says what it is.
    NOT_OBSERVABLE = Gauge "pollscope_not_observable" [Service, Process] "sentences";

    /// How a poll took, from its start to its return; its sum is the time spent in polls.
    POLL_DURATION = Histogram "pollscope_poll_duration_seconds" [Service, Process] "seconds";
    /// Polls since the start of the process.
    POLLS = Counter "pollscope_polls_total" [Service, Process] "polls";
    /// Polls that were open for more than 20 milliseconds.
    STALLS = Counter "pollscope_stalls_total" [Service, Process] "polls";
    /// Time of polls that were open for more than 20 milliseconds, counted when they end.
    STALL_SECONDS = Counter "pollscope_stall_seconds_total" [Service, Process] "seconds";
    /// Polls that are open for more than 20 milliseconds now.
    OPEN_STALLS = Gauge "pollscope_open_stalls" [Service, Process] "polls";
    /// Age of the oldest poll that is open for more than 20 milliseconds now; 0 if there is none.
    OLDEST_OPEN_POLL = Gauge "pollscope_oldest_open_poll_seconds" [Service, Process] "seconds";
    /// Heartbeats of the runtimes: a timer of 10 milliseconds in each.
    HEARTBEATS = Counter "pollscope_heartbeats_total" [Service, Process] "beats";
    /// Heartbeats that fired at least 10 milliseconds late.
    LATE_HEARTBEATS = Counter "pollscope_late_heartbeats_total" [Service, Process] "beats";
    /// Worst lateness of a heartbeat in the last 30 seconds.
    HEARTBEAT_LATE = Gauge "pollscope_heartbeat_late_seconds" [Service, Process] "seconds";
    /// Polls that started at least 5 milliseconds after their task was woken or spawned.
    SCHEDULE_DELAYS = Counter "pollscope_schedule_delays_total" [Service, Process] "polls";
    /// Time by which such polls started late, all together.
    SCHEDULE_DELAY_SECONDS = Counter "pollscope_schedule_delay_seconds_total" [Service, Process] "seconds";
    /// Worst such delay in the last 30 seconds.
    SCHEDULE_DELAY_WORST = Gauge "pollscope_schedule_delay_worst_seconds" [Service, Process] "seconds";
    /// Tasks, blocking closures and root futures that have begun.
    TASKS_STARTED = Counter "pollscope_tasks_started_total" [Service, Process] "tasks";
    /// Tasks, blocking closures and root futures alive, by the line that spawned them.
    LIVE_TASKS = Gauge "pollscope_live_tasks" [Service, Process, File, Line] "tasks";
    /// Panics of tasks.
    PANICS = Counter "pollscope_panics_total" [Service, Process] "panics";

    /// Waits for locks, semaphores and bounded channels under way.
    LOCK_WAITERS = Gauge "pollscope_lock_waiters" [Service, Process, Resource] "waits";
    /// Age of the oldest such wait; 0 if there is none.
    OLDEST_LOCK_WAIT = Gauge "pollscope_oldest_lock_wait_seconds" [Service, Process, Resource] "seconds";
    /// Such waits that ended, by the line that made the lock.
    LOCK_WAITS = Counter "pollscope_lock_waits_total" [Service, Process, Resource, File, Line] "waits";
    /// Time of such waits that ended, by the line that made the lock.
    LOCK_WAIT_SECONDS = Counter "pollscope_lock_wait_seconds_total" [Service, Process, Resource, File, Line] "seconds";

    /// What a process is; always 1.
    PROCESS_INFO = Gauge "pollscope_process_info" [Service, Process, Pid, Program, Tokio, Sources] "boolean";
    /// How a process is; the series with the current state is 1.
    PROCESS_STATE = Gauge "pollscope_process_state" [Service, Process, State] "boolean";
    /// When a process started, in seconds since 1970.
    PROCESS_START = Gauge "pollscope_process_start_timestamp_seconds" [Service, Process] "seconds";
    /// Time since the last word of a process; it speaks about once a second.
    PROCESS_SILENCE = Gauge "pollscope_process_silence_seconds" [Service, Process] "seconds";
    /// CPU time of the agent's own threads in a process.
    AGENT_CPU = Counter "pollscope_agent_cpu_seconds_total" [Service, Process] "seconds";
    /// Events lost because a ring in the agent was full; other figures are too low then.
    DROPPED_EVENTS = Counter "pollscope_dropped_events_total" [Service, Process] "events";
    /// Events read from the recording of a process.
    EVENTS = Counter "pollscope_events_total" [Service, Process] "events";
    /// Size of the recording of a process on disk.
    RECORDING_BYTES = Gauge "pollscope_recording_bytes" [Service, Process] "bytes";

    /// The watch itself; always 1.
    WATCH_INFO = Gauge "pollscope_watch_info" [Version] "boolean";
    /// When the watch last finished a look at the recordings, in seconds since 1970.
    WATCH_LOOKED = Gauge "pollscope_watch_last_look_timestamp_seconds" [] "seconds";
    /// Recordings under way that are not followed because there are more than 64.
    WATCH_LEFT_OUT = Gauge "pollscope_watch_recordings_left_out" [] "recordings";
    /// Looks at a recording that failed; the watch says on stderr why.
    WATCH_FAILURES = Counter "pollscope_watch_failures_total" [] "looks";
    /// CPU time of the watch itself.
    WATCH_CPU = Counter "process_cpu_seconds_total" [] "seconds";
    /// Memory of the watch itself.
    WATCH_MEMORY = Gauge "process_resident_memory_bytes" [] "bytes";
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

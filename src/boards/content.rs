//! The boards for services.

use super::View::{Heatmap, Lines, Stat, Table};
use super::{Board, Panel, Row};

/// All findings of the classes given by a pattern that go on, a row each.
macro_rules! findings {
    ($classes:literal) => {
        concat!(
            "max by (service, process, kind, severity, confidence, file, line, function) (pollscope_finding_active{$who,class=~\"",
            $classes,
            "\"}) == 1"
        )
    };
}

const fn panel(
    view: super::View,
    width: u8,
    unit: &'static str,
    title: &'static str,
    question: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, question, view, unit, width, queries }
}

pub(super) const HEALTH: Board = Board {
    uid: "pollscope-health",
    title: "pollscope / Runtime health",
    about: "Is any async service unwell, which, and since when? Start here.",
    lab: false,
    rows: &[
        Row {
            title: "At a glance",
            panels: &[
                panel(
                    Stat,
                    6,
                    "none",
                    "Processes",
                    "Are all processes alive? `silent` ones were killed or suspended.",
                    &[("sum by (state) (pollscope_process_state{$who})", "{{state}}")],
                ),
                panel(
                    Stat,
                    6,
                    "none",
                    "Faults going on",
                    "How many faults go on now? Each has its line in the table below.",
                    &[(
                        "sum(max by (service, process, kind, file, line) (pollscope_finding_active{$who,severity=~\"warning|critical\"})) or vector(0)",
                        "faults",
                    )],
                ),
                panel(
                    Stat,
                    6,
                    "s",
                    "Worst timer",
                    "How late do timers fire? Everything with a deadline is at least this late.",
                    &[("max(pollscope_heartbeat_late_seconds{$who})", "late")],
                ),
                panel(
                    Stat,
                    6,
                    "s",
                    "Oldest open poll",
                    "Is a worker thread held right now? A poll should take microseconds; 0 is good.",
                    &[("max(pollscope_oldest_open_poll_seconds{$who})", "open for")],
                ),
                panel(
                    Table,
                    24,
                    "none",
                    "Faults, by line",
                    "Which line is to blame? `pollscope explain KIND` says what to do about it.",
                    &[(findings!(".+"), "")],
                ),
            ],
        },
        Row {
            title: "Work",
            panels: &[
                panel(
                    Lines,
                    8,
                    "ops",
                    "Polls",
                    "How much does each service do? A drop to nothing under load is a stall or a deadlock.",
                    &[("sum by (service) (rate(pollscope_polls_total{$who}[$__rate_interval]))", "{{service}}")],
                ),
                panel(
                    Lines,
                    8,
                    "short",
                    "Threads busy in polls",
                    "How many threads are busy? Near the number of workers, tasks have to wait for a thread.",
                    &[(
                        "sum by (service) (rate(pollscope_poll_duration_seconds_sum{$who}[$__rate_interval]))",
                        "{{service}}",
                    )],
                ),
                panel(
                    Lines,
                    8,
                    "s",
                    "Poll time",
                    "How long do polls take? The 99th percentile beyond some milliseconds delays every neighbor.",
                    &[
                        (
                            "histogram_quantile(0.99, sum by (service, le) (rate(pollscope_poll_duration_seconds_bucket{$who}[$__rate_interval])))",
                            "{{service}} p99",
                        ),
                        (
                            "histogram_quantile(0.5, sum by (service, le) (rate(pollscope_poll_duration_seconds_bucket{$who}[$__rate_interval])))",
                            "{{service}} p50",
                        ),
                    ],
                ),
                panel(
                    Heatmap,
                    12,
                    "s",
                    "Poll time, all of it",
                    "Are there two kinds of polls? A second band far above the first is work that belongs elsewhere.",
                    &[(
                        "sum by (le) (increase(pollscope_poll_duration_seconds_bucket{$who}[$__rate_interval]))",
                        "{{le}}",
                    )],
                ),
                panel(
                    Lines,
                    6,
                    "short",
                    "Live tasks",
                    "Does the number of tasks follow the load? One that only grows is a leak.",
                    &[("sum by (service) (pollscope_live_tasks{$who})", "{{service}}")],
                ),
                panel(
                    Lines,
                    6,
                    "ops",
                    "Tasks started, panics",
                    "Are tasks started at the usual rate, and do any panic? A panic in a task is silent unless somebody awaits it.",
                    &[
                        (
                            "sum by (service) (rate(pollscope_tasks_started_total{$who}[$__rate_interval]))",
                            "{{service}} started",
                        ),
                        (
                            "sum by (service) (rate(pollscope_panics_total{$who}[$__rate_interval]))",
                            "{{service}} panics",
                        ),
                    ],
                ),
            ],
        },
        Row {
            title: "Lateness",
            panels: &[
                panel(
                    Lines,
                    8,
                    "s",
                    "Timers",
                    "How late do timers fire? Late timers with idle workers: one blocked task holds the driver.",
                    &[("max by (service) (pollscope_heartbeat_late_seconds{$who})", "{{service}}")],
                ),
                panel(
                    Lines,
                    8,
                    "s",
                    "Wake to poll",
                    "How long does a task that could run wait for a thread? Long waits mean starvation, or too few workers.",
                    &[("max by (service) (pollscope_schedule_delay_worst_seconds{$who})", "{{service}}")],
                ),
                panel(
                    Lines,
                    8,
                    "ops",
                    "Late polls and beats",
                    "How often is something late? Rare lateness is noise of the machine, steady lateness is not.",
                    &[
                        (
                            "sum by (service) (rate(pollscope_schedule_delays_total{$who}[$__rate_interval]))",
                            "{{service}} polls",
                        ),
                        (
                            "sum by (service) (rate(pollscope_late_heartbeats_total{$who}[$__rate_interval]))",
                            "{{service}} beats",
                        ),
                    ],
                ),
            ],
        },
        Row {
            title: "What observing costs, and what it cannot see",
            panels: &[
                panel(
                    Lines,
                    6,
                    "percentunit",
                    "Agent",
                    "How much of a core does the agent take? A few percent is usual for a busy service.",
                    &[(
                        "sum by (service) (rate(pollscope_agent_cpu_seconds_total{$who}[$__rate_interval]))",
                        "{{service}}",
                    )],
                ),
                panel(
                    Lines,
                    6,
                    "ops",
                    "Events lost and read",
                    "Are the figures complete? Lost events make every other figure too low.",
                    &[
                        (
                            "sum by (service) (rate(pollscope_dropped_events_total{$who}[$__rate_interval]))",
                            "{{service}} lost",
                        ),
                        ("sum by (service) (rate(pollscope_events_total{$who}[$__rate_interval]))", "{{service}} read"),
                    ],
                ),
                panel(
                    Lines,
                    6,
                    "bytes",
                    "Recordings on disk, memory of the watch",
                    "Does observing stay within its budget? A recording goes up to POLLSCOPE_MAX_BYTES and no further.",
                    &[
                        ("sum by (service) (pollscope_recording_bytes{$who})", "{{service}} disk"),
                        ("max by (instance) (process_resident_memory_bytes{job=\"pollscope\"})", "watch {{instance}}"),
                    ],
                ),
                panel(
                    Table,
                    6,
                    "none",
                    "Not observable",
                    "What cannot be seen? `pollscope diagnose` on the recording says it in words; 0 is complete.",
                    &[("max by (service, process) (pollscope_not_observable{$who})", "")],
                ),
            ],
        },
    ],
};

pub(super) const STALLS: Board = Board {
    uid: "pollscope-stalls",
    title: "pollscope / Stalls and starvation",
    about: "Which line keeps a worker thread from its other tasks, and whom does it hurt?",
    lab: false,
    rows: &[
        Row {
            title: "Who",
            panels: &[
                panel(
                    Table,
                    24,
                    "none",
                    "Stalls and busy loops going on",
                    "Which line holds a thread now? The function is where it blocks or computes.",
                    &[(findings!("stall|waste"), "")],
                ),
                panel(
                    Lines,
                    12,
                    "percentunit",
                    "Time lost, by line",
                    "Which line costs most? 1 is one thread held all the time.",
                    &[(
                        "topk(10, sum by (service, kind, file, line) (rate(pollscope_finding_seconds_total{$who,class=~\"stall|waste\"}[$__rate_interval])))",
                        "{{kind}} {{file}}:{{line}}",
                    )],
                ),
                panel(
                    Lines,
                    12,
                    "s",
                    "Longest, by line",
                    "How bad can it get? The longest single occurrence so far.",
                    &[(
                        "topk(10, max by (service, kind, file, line) (pollscope_finding_worst_seconds{$who,class=~\"stall|waste\"}))",
                        "{{kind}} {{file}}:{{line}}",
                    )],
                ),
            ],
        },
        Row {
            title: "How much",
            panels: &[
                panel(
                    Lines,
                    8,
                    "ops",
                    "Long polls",
                    "How often is a poll open for more than 20 ms? In a healthy service hardly ever.",
                    &[("sum by (service) (rate(pollscope_stalls_total{$who}[$__rate_interval]))", "{{service}}")],
                ),
                panel(
                    Lines,
                    8,
                    "short",
                    "Threads held by long polls",
                    "How many threads are lost to long polls? At the number of workers, nothing else runs.",
                    &[(
                        "sum by (service) (rate(pollscope_stall_seconds_total{$who}[$__rate_interval]))",
                        "{{service}}",
                    )],
                ),
                panel(
                    Lines,
                    8,
                    "s",
                    "Open now",
                    "Is a thread held at this moment, and for how long? One that rises without end never comes back.",
                    &[
                        ("max by (service) (pollscope_oldest_open_poll_seconds{$who})", "{{service}} oldest"),
                        ("sum by (service) (pollscope_open_stalls{$who})", "{{service}} count"),
                    ],
                ),
            ],
        },
        Row {
            title: "Who is hurt",
            panels: &[
                panel(
                    Lines,
                    8,
                    "s",
                    "Timers",
                    "Do timers fire late? If they do while the next panel is flat, the task that blocks holds the driver.",
                    &[("max by (service, process) (pollscope_heartbeat_late_seconds{$who})", "{{process}}")],
                ),
                panel(
                    Lines,
                    8,
                    "s",
                    "Wake to poll, worst",
                    "How long do others wait for a thread? This is latency your users see.",
                    &[("max by (service, process) (pollscope_schedule_delay_worst_seconds{$who})", "{{process}}")],
                ),
                panel(
                    Lines,
                    8,
                    "s",
                    "Wake to poll, sum",
                    "How much waiting comes together each second? Above 1, several tasks wait all the time.",
                    &[(
                        "sum by (service) (rate(pollscope_schedule_delay_seconds_total{$who}[$__rate_interval]))",
                        "{{service}}",
                    )],
                ),
            ],
        },
    ],
};

pub(super) const LOCKS: Board = Board {
    uid: "pollscope-locks",
    title: "pollscope / Locks and deadlocks",
    about: "Who waits for whom, and will it ever end?",
    lab: false,
    rows: &[
        Row {
            title: "Never ending",
            panels: &[
                panel(
                    Table,
                    24,
                    "none",
                    "Deadlocks, futurelocks, leaks and lines in queue",
                    "Which tasks will never move again, and at which line do they wait? `pollscope diagnose --format dot` draws the ring.",
                    &[(findings!("deadlock|queue|growth|loss"), "")],
                ),
                panel(
                    Lines,
                    12,
                    "s",
                    "Oldest wait",
                    "Does any wait for a lock never end? A line that rises with the clock does not.",
                    &[(
                        "max by (service, resource) (pollscope_oldest_lock_wait_seconds{$who})",
                        "{{service}} {{resource}}",
                    )],
                ),
                panel(
                    Lines,
                    12,
                    "short",
                    "Waiting now",
                    "How many wait, and for what? Growing crowds behind one kind of lock are stuck or far too slow.",
                    &[("sum by (service, resource) (pollscope_lock_waiters{$who})", "{{service}} {{resource}}")],
                ),
            ],
        },
        Row {
            title: "Which lock",
            panels: &[
                panel(
                    Lines,
                    8,
                    "short",
                    "Tasks waiting, by lock",
                    "Which lock is waited for most? On average so many tasks stood before it; the line is where it was made.",
                    &[(
                        "topk(10, sum by (service, resource, file, line) (rate(pollscope_lock_wait_seconds_total{$who}[$__rate_interval])))",
                        "{{resource}} {{file}}:{{line}}",
                    )],
                ),
                panel(
                    Lines,
                    8,
                    "ops",
                    "Waits, by lock",
                    "Which lock is fought over most often? Many short waits cost less than few long ones.",
                    &[(
                        "topk(10, sum by (service, resource, file, line) (rate(pollscope_lock_waits_total{$who}[$__rate_interval])))",
                        "{{resource}} {{file}}:{{line}}",
                    )],
                ),
                panel(
                    Lines,
                    8,
                    "s",
                    "Mean wait, by lock",
                    "How long does a wait take? Much longer than the work under the lock means a queue.",
                    &[(
                        "topk(10, sum by (service, resource, file, line) (rate(pollscope_lock_wait_seconds_total{$who}[$__rate_interval])) / sum by (service, resource, file, line) (rate(pollscope_lock_waits_total{$who}[$__rate_interval]) > 0))",
                        "{{resource}} {{file}}:{{line}}",
                    )],
                ),
            ],
        },
        Row {
            title: "What piles up behind",
            panels: &[
                panel(
                    Lines,
                    12,
                    "short",
                    "Live tasks, by line",
                    "Which line spawned the tasks that are alive? Behind a deadlock, those of requests pile up.",
                    &[(
                        "topk(10, sum by (service, file, line) (pollscope_live_tasks{$who}))",
                        "{{service}} {{file}}:{{line}}",
                    )],
                ),
                panel(
                    Table,
                    12,
                    "none",
                    "Questions without an answer, or with a bad one",
                    "What was found, and what could not be told? Everything that is not listed here is clear.",
                    &[("max by (service, kind, answer) (pollscope_check_answer{$who,answer!=\"clear\"}) == 1", "")],
                ),
            ],
        },
    ],
};

//! Is any service unwell?

use super::View::{Heatmap, Lines, Stat, Table};
use super::{Board, Row, findings, panel};

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
                panel(
                    Lines,
                    12,
                    "s",
                    "Timers, most of them",
                    "How late does nearly every timer fire? Up to 10 ms counts as on time; a line above is lateness that most requests feel.",
                    &[(
                        "histogram_quantile(0.99, sum by (service, le) (rate(pollscope_heartbeat_delay_seconds_bucket{$who}[$__rate_interval])))",
                        "{{service}} p99",
                    )],
                ),
                panel(
                    Lines,
                    12,
                    "s",
                    "Wake to poll, most of them",
                    "How late do nearly all polls start? Up to 5 ms counts as on time; beyond that tasks queue for threads.",
                    &[(
                        "histogram_quantile(0.99, sum by (service, le) (rate(pollscope_schedule_delay_seconds_bucket{$who}[$__rate_interval])))",
                        "{{service}} p99",
                    )],
                ),
            ],
        },
        Row {
            title: "Machine and blocking pool",
            panels: &[
                panel(
                    Lines,
                    6,
                    "bytes",
                    "Memory",
                    "Does memory follow the load? A line that only rises, with live tasks that do too, is a leak of tasks or messages.",
                    &[("sum by (service) (pollscope_process_resident_memory_bytes{$who})", "{{service}}")],
                ),
                panel(
                    Lines,
                    6,
                    "short",
                    "Throttled",
                    "Does the kernel keep the service off the CPU? The quota of its cgroup is too small then, and no line of code is to blame.",
                    &[
                        (
                            "sum by (service) (rate(pollscope_throttled_seconds_total{$who}[$__rate_interval]))",
                            "{{service}} CPUs",
                        ),
                        (
                            "sum by (service) (rate(pollscope_throttled_periods_total{$who}[$__rate_interval]))",
                            "{{service}} periods a second",
                        ),
                    ],
                ),
                panel(
                    Lines,
                    6,
                    "short",
                    "Blocking pool",
                    "Is there a thread for each closure of spawn_blocking? With a queue and nobody idle, closures wait for each other.",
                    &[
                        ("sum by (service) (pollscope_blocking_threads{$who})", "{{service}} threads"),
                        ("sum by (service) (pollscope_blocking_idle_threads{$who})", "{{service}} idle"),
                        ("sum by (service) (pollscope_blocking_queued_closures{$who})", "{{service}} queued"),
                    ],
                ),
                panel(
                    Lines,
                    6,
                    "s",
                    "Blocking pool, full",
                    "For how long has every thread of the pool been at work while closures wait? One that rises with the clock is stuck.",
                    &[("max by (service) (pollscope_blocking_pool_full_seconds{$who})", "{{service}}")],
                ),
            ],
        },
        Row {
            title: "What tokio counts: of programs that serve metrics of their own",
            panels: &[
                panel(
                    Lines,
                    6,
                    "percentunit",
                    "Workers busy",
                    "Are all workers at work? At 1 there is no thread left for more.",
                    &[(
                        "sum by (service) (rate(pollscope_runtime_busy_seconds_total{$who}[$__rate_interval])) / sum by (service) (pollscope_runtime_workers{$who})",
                        "{{service}}",
                    )],
                ),
                panel(
                    Lines,
                    6,
                    "short",
                    "Tasks in queues",
                    "Do tasks that could run wait for a worker? A queue that stays is too much work for the workers.",
                    &[
                        ("sum by (service) (pollscope_runtime_global_queue_tasks{$who})", "{{service}} global"),
                        ("sum by (service) (pollscope_runtime_local_queue_tasks{$who})", "{{service}} local"),
                        ("sum by (service) (pollscope_runtime_alive_tasks{$who})", "{{service}} alive"),
                    ],
                ),
                panel(
                    Lines,
                    6,
                    "ops",
                    "Parking, stealing",
                    "Do workers sleep and wake, or fight over tasks? Much stealing with few polls is work in pieces too small.",
                    &[
                        (
                            "sum by (service) (rate(pollscope_runtime_parks_total{$who}[$__rate_interval]))",
                            "{{service}} parks",
                        ),
                        (
                            "sum by (service) (rate(pollscope_runtime_steals_total{$who}[$__rate_interval]))",
                            "{{service}} steals",
                        ),
                        (
                            "sum by (service) (rate(pollscope_runtime_overflows_total{$who}[$__rate_interval]))",
                            "{{service}} overflows",
                        ),
                    ],
                ),
                panel(
                    Lines,
                    6,
                    "ops",
                    "Wakes, forced yields",
                    "Where do wakes come from, and does a task use up its budget? Forced yields name a loop that never waits.",
                    &[
                        (
                            "sum by (service) (rate(pollscope_runtime_local_schedules_total{$who}[$__rate_interval]))",
                            "{{service}} local",
                        ),
                        (
                            "sum by (service) (rate(pollscope_runtime_remote_schedules_total{$who}[$__rate_interval]))",
                            "{{service}} remote",
                        ),
                        (
                            "sum by (service) (rate(pollscope_runtime_forced_yields_total{$who}[$__rate_interval]))",
                            "{{service}} forced yields",
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

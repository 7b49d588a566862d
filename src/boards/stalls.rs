//! Who keeps threads?

use super::View::{Lines, Table};
use super::{Board, Row, findings, panel};

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
                panel(
                    Lines,
                    8,
                    "ops",
                    "Long polls, by task",
                    "Whose polls are long, and what did the thread do? The line is where the task was spawned; a system call's name is what it slept in.",
                    &[(
                        "topk(10, sum by (service, file, line, doing) (rate(pollscope_line_stalls_total{$who}[$__rate_interval])))",
                        "{{doing}} {{file}}:{{line}}",
                    )],
                ),
                panel(
                    Lines,
                    8,
                    "short",
                    "Threads held, by task",
                    "Which tasks keep threads, and by what? 1 is one thread held all the time.",
                    &[(
                        "topk(10, sum by (service, file, line, doing) (rate(pollscope_line_stall_seconds_total{$who}[$__rate_interval])))",
                        "{{doing}} {{file}}:{{line}}",
                    )],
                ),
                panel(
                    Lines,
                    8,
                    "short",
                    "Open now, by task",
                    "Whose poll holds a thread at this moment? The line is where the task was spawned.",
                    &[(
                        "topk(10, sum by (service, file, line) (pollscope_line_open_stalls{$who}))",
                        "{{file}}:{{line}}",
                    )],
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

//! The board of the lab: a scenario beside its cured twin, the same work on both sides.

use super::View::{Heatmap, Lines, Table};
use super::{Board, Panel, Row};

pub(super) const LAB: Board = Board {
    uid: "pollscope-lab",
    title: "pollscope / Scenario lab",
    about: "What does a fault look like from outside, beside the same service without it? \
            Run `pollscope run NAME --loop`, the same with --cured, and `pollscope watch pollscope-out --metrics 9464`.",
    lab: true,
    rows: &[
        Row {
            title: "What pollscope says",
            panels: &[Panel {
                title: "Verdict",
                question: "Is the fault named, and the twin left in peace? The right side should stay empty.",
                view: Table,
                unit: "none",
                width: 12,
                queries: &[(
                    "max by (kind, severity, file, line, function) (pollscope_finding_active{$who,severity=~\"warning|critical\"}) == 1",
                    "",
                )],
            }],
        },
        Row {
            title: "What a dashboard shows",
            panels: &[
                Panel {
                    title: "Polls",
                    question: "Do both do the same work? Polls a second.",
                    view: Lines,
                    unit: "ops",
                    width: 12,
                    queries: &[("sum(rate(pollscope_polls_total{$who}[$__rate_interval]))", "polls")],
                },
                Panel {
                    title: "Poll time",
                    question: "Does a poll take long? Every dot far up held a thread for that long.",
                    view: Heatmap,
                    unit: "s",
                    width: 12,
                    queries: &[(
                        "sum by (le) (increase(pollscope_poll_duration_seconds_bucket{$who}[$__rate_interval]))",
                        "{{le}}",
                    )],
                },
                Panel {
                    title: "Lateness",
                    question: "Who is hurt? Timers, and tasks between their wake and their poll.",
                    view: Lines,
                    unit: "s",
                    width: 12,
                    queries: &[
                        ("max(pollscope_heartbeat_late_seconds{$who})", "timers"),
                        ("max(pollscope_schedule_delay_worst_seconds{$who})", "wake to poll"),
                        ("max(pollscope_oldest_open_poll_seconds{$who})", "oldest open poll"),
                    ],
                },
                Panel {
                    title: "Waits",
                    question: "Does a wait for a lock ever end? One that rises with the clock does not.",
                    view: Lines,
                    unit: "s",
                    width: 12,
                    queries: &[("max by (resource) (pollscope_oldest_lock_wait_seconds{$who})", "{{resource}}")],
                },
                Panel {
                    title: "Live tasks",
                    question: "Do tasks pile up? By the line that spawned them.",
                    view: Lines,
                    unit: "short",
                    width: 12,
                    queries: &[("sum by (file, line) (pollscope_live_tasks{$who})", "{{file}}:{{line}}")],
                },
                Panel {
                    title: "Threads busy in polls",
                    question: "Is the machine busy at all? A service can be stuck with every thread idle.",
                    view: Lines,
                    unit: "short",
                    width: 12,
                    queries: &[("sum(rate(pollscope_poll_duration_seconds_sum{$who}[$__rate_interval]))", "threads")],
                },
            ],
        },
    ],
};

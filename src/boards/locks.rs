//! Who waits for whom?

use super::View::{Lines, Table};
use super::{Board, Row, findings, panel};

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
                panel(
                    Lines,
                    12,
                    "short",
                    "Held, by lock",
                    "Which lock is held most of the time? Near 1, everybody else stands in line; a semaphore may go beyond.",
                    &[(
                        "topk(10, sum by (service, resource, file, line) (rate(pollscope_lock_hold_seconds_total{$who}[$__rate_interval])))",
                        "{{resource}} {{file}}:{{line}}",
                    )],
                ),
                panel(
                    Lines,
                    12,
                    "s",
                    "Mean hold, by lock",
                    "For how long is a lock kept? Longer than the work on what it guards, it is kept across an await.",
                    &[(
                        "topk(10, sum by (service, resource, file, line) (rate(pollscope_lock_hold_seconds_total{$who}[$__rate_interval])) / sum by (service, resource, file, line) (rate(pollscope_lock_holds_total{$who}[$__rate_interval]) > 0))",
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

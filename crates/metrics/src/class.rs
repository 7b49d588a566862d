//! Kinds of faults by what they do to a service: what an operator alerts on.

/// Kinds with one effect in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The value of the label `class`.
    pub name: &'static str,
    /// What it does to the service.
    pub effect: &'static str,
    /// The kinds that do it.
    pub kinds: &'static [&'static str],
}

/// Every class; the last one is for kinds that are in no other.
pub const CLASSES: &[Class] = &[
    Class {
        name: "stall",
        effect: "a worker thread is kept from its other tasks",
        kinds: &[
            "backtrace-stall",
            "block-in-place",
            "block-on-in-async",
            "blocking-call",
            "blocking-dns",
            "blocking-drop",
            "blocking-pool-exhausted",
            "chatty-fs",
            "cpu-bound-poll",
            "large-future",
            "long-poll",
            "sync-db-driver",
            "sync-lock-contention",
            "sync-logging",
            "thread-wait-in-task",
            "unconstrained",
        ],
    },
    Class {
        name: "deadlock",
        effect: "tasks wait for what never comes",
        kinds: &[
            "channel-cycle",
            "futurelock",
            "lock-cycle",
            "lock-order-inversion",
            "lost-notify",
            "lost-wakeup",
            "permit-leak",
            "pool-starvation",
            "rwlock-deadlock",
            "self-deadlock",
            "shutdown-hang",
            "sync-guard-across-await",
            "watch-borrow-across-await",
        ],
    },
    Class {
        name: "waste",
        effect: "the CPU is spent on polls without progress",
        kinds: &["busy-poll", "interval-burst", "lifo-ping-pong", "retry-storm", "thundering-herd", "tiny-tasks"],
    },
    Class {
        name: "queue",
        effect: "work that could run at the same time waits in line",
        kinds: &[
            "biased-select",
            "lock-across-io",
            "mixed-latency",
            "sequential-awaits",
            "sleep-holding-permit",
            "unpolled-futures",
            "worker-imbalance",
        ],
    },
    Class {
        name: "growth",
        effect: "memory or tasks grow without end",
        kinds: &["client-per-request", "task-leak", "unbounded-channel"],
    },
    Class {
        name: "loss",
        effect: "work or messages are lost without a word",
        kinds: &["broadcast-lag", "cancellation-loses-progress", "swallowed-panic", "timer-restart"],
    },
    Class { name: "other", effect: "anything else", kinds: &[] },
];

/// The class of a kind; `other` for one that is not known here.
///
/// ```
/// assert_eq!(pollscope_metrics::class_of("futurelock"), "deadlock");
/// assert_eq!(pollscope_metrics::class_of("gremlins"), "other");
/// ```
pub fn class_of(kind: &str) -> &'static str {
    CLASSES.iter().find(|class| class.kinds.contains(&kind)).map_or("other", |class| class.name)
}

//! Rules for Prometheus: figures worked out ahead, and when to wake somebody.

use std::fmt::Write;

use pollscope_metrics::CLASSES;

/// Where the page of each kind is.
const PAGES: &str = "https://github.com/pollscope/pollscope/blob/main/docs/kinds";
/// Where the other alerts are explained.
const RUNBOOK: &str = "https://github.com/pollscope/pollscope/blob/main/dashboards/README.md#alerts";

/// A figure that is worked out ahead.
#[derive(Debug, Clone, Copy)]
pub struct Recording {
    /// Its name: level, metric, operation.
    pub name: &'static str,
    /// The query.
    pub query: &'static str,
}

/// A reason to wake somebody.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// The query; every series of it is one alert.
    pub query: String,
    /// How long that has to hold.
    pub wait: &'static str,
    /// `None` where the series bring their own.
    pub severity: Option<&'static str>,
    /// One line.
    pub summary: String,
    /// What it means.
    pub description: String,
    /// What to read.
    pub runbook: String,
}

/// Every recorded figure.
pub const RECORDINGS: &[Recording] = &[
    Recording { name: "service:pollscope_polls:rate1m", query: "sum by (service) (rate(pollscope_polls_total[1m]))" },
    Recording {
        name: "service:pollscope_poll_duration_seconds:rate1m_sum",
        query: "sum by (service) (rate(pollscope_poll_duration_seconds_sum[1m]))",
    },
    Recording {
        name: "service:pollscope_poll_duration_seconds:p99_rate5m",
        query: "histogram_quantile(0.99, sum by (service, le) (rate(pollscope_poll_duration_seconds_bucket[5m])))",
    },
    Recording {
        name: "service:pollscope_stall_seconds:rate1m",
        query: "sum by (service) (rate(pollscope_stall_seconds_total[1m]))",
    },
    Recording {
        name: "service:pollscope_lock_wait_seconds:rate1m",
        query: "sum by (service) (rate(pollscope_lock_wait_seconds_total[1m]))",
    },
    Recording {
        name: "service:pollscope_heartbeat_late_seconds:max",
        query: "max by (service) (pollscope_heartbeat_late_seconds)",
    },
    Recording {
        name: "service_class:pollscope_finding_active:sum",
        query: "sum by (service, class) (max by (service, process, class, kind, file, line) \
                (pollscope_finding_active{severity=~\"warning|critical\"}))",
    },
];

/// A process in which something is named: a symptom is no news there.
const NAMED: &str = "max by (service, process) (pollscope_finding_active{severity=~\"warning|critical\"}) == 1";
/// A process whose machine is to blame.
const MACHINE: &str = "max by (service, process) (pollscope_check_answer{kind=\"environment\",answer=\"found\"}) == 1";

/// One alert a class of findings, then those for symptoms without a name and for the watch itself.
pub fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = CLASSES.iter().map(|class| finding(class.name, class.effect)).collect();
    let unnamed = |query: &str| format!("({query}) unless on (service, process) ({NAMED})");
    let symptom = |name: &str, query: String, wait, severity, summary: &str, description: &str| Alert {
        name: format!("Pollscope{name}"),
        query,
        wait,
        severity: Some(severity),
        summary: summary.to_owned(),
        description: description.to_owned(),
        runbook: RUNBOOK.to_owned(),
    };
    alerts.extend([
        symptom(
            "TimersLate",
            format!(
                "({}) unless on (service, process) ({MACHINE})",
                unnamed("max by (service, process) (pollscope_heartbeat_late_seconds) > 0.25")
            ),
            "1m",
            "warning",
            "timers in {{ $labels.service }} fire {{ $value | humanizeDuration }} late",
            "Neither a line of the program nor the machine explains it. Look at the processes beside it, and record it at \
             level full.",
        ),
        symptom(
            "PollOpen",
            unnamed("max by (service, process) (pollscope_oldest_open_poll_seconds) > 2"),
            "10s",
            "warning",
            "a poll in {{ $labels.service }} has been open for {{ $value | humanizeDuration }}",
            "A thread is held and no line could be named. `pollscope diagnose` on its recording says what could not be seen.",
        ),
        symptom(
            "LockWait",
            unnamed("max by (service, process) (pollscope_oldest_lock_wait_seconds{resource=~\"Mutex|RwLock\"}) > 30"),
            "0s",
            "warning",
            "a task in {{ $labels.service }} has waited for a lock for {{ $value | humanizeDuration }}",
            "It is no deadlock that can be proven: the one who holds the lock may still move. The board Locks and deadlocks \
             shows which lock it is.",
        ),
        symptom(
            "PoolFull",
            unnamed("max by (service, process) (pollscope_blocking_pool_full_seconds) > 5"),
            "10s",
            "warning",
            "closures in {{ $labels.service }} have waited for a thread of the blocking pool for {{ $value | humanizeDuration }}",
            "Every thread of the pool is at work. Give work that never ends a thread of its own, and what computes a pool of \
             its own; more threads (`max_blocking_threads`) help only against bursts.",
        ),
        symptom(
            "Throttled",
            "sum by (service, process) (rate(pollscope_throttled_seconds_total[5m])) > 0.1".to_owned(),
            "5m",
            "warning",
            "the kernel keeps {{ $labels.service }} off the CPU",
            "Its cgroup uses up its quota, so it stands still for {{ $value | humanizePercentage }} of a core's time. Raise the \
             limit, or run fewer worker threads than the quota has CPUs.",
        ),
        symptom(
            "ProcessSilent",
            "max by (service, process) (pollscope_process_state{state=\"silent\"}) == 1".to_owned(),
            "0s",
            "warning",
            "{{ $labels.service }} says nothing any more",
            "Its agent stopped without closing the recording: the process was killed, ran out of memory, is suspended, or \
             its disk is full. The recording holds everything up to then.",
        ),
        symptom(
            "EventsDropped",
            "sum by (service, process) (increase(pollscope_dropped_events_total[5m])) > 0".to_owned(),
            "0s",
            "info",
            "the recording of {{ $labels.service }} is not complete",
            "Events came faster than they could be written, so figures of this process are too low.",
        ),
        symptom(
            "AgentExpensive",
            "sum by (service, process) (rate(pollscope_agent_cpu_seconds_total[5m])) > 0.2".to_owned(),
            "5m",
            "info",
            "observing {{ $labels.service }} takes {{ $value | humanizePercentage }} of a core",
            "Start it without POLLSCOPE_TRACE=1, or unset POLLSCOPE to do without observation.",
        ),
        symptom(
            "WatchIncomplete",
            "max by (instance) (pollscope_watch_recordings_left_out) > 0 or max by (instance) \
             (pollscope_findings_left_out) > 0"
                .to_owned(),
            "1m",
            "info",
            "pollscope watch on {{ $labels.instance }} cannot show everything",
            "More processes or findings than the bounds in docs/metrics.md. Watch several folders, each by itself.",
        ),
        symptom(
            "WatchStuck",
            "time() - max by (instance) (pollscope_watch_last_look_timestamp_seconds) > 60".to_owned(),
            "0s",
            "warning",
            "pollscope watch on {{ $labels.instance }} looks no more",
            "Its figures are old. Restart it; the recordings go on without it.",
        ),
        symptom(
            "WatchDown",
            "up{job=\"pollscope\"} == 0".to_owned(),
            "1m",
            "warning",
            "pollscope watch on {{ $labels.instance }} does not answer",
            "Nobody would see a fault now. Start it again; the recordings go on without it.",
        ),
    ]);
    alerts
}

fn finding(class: &str, effect: &str) -> Alert {
    let active = format!("pollscope_finding_active{{class=\"{class}\",severity=~\"warning|critical\"}}");
    // What is lost happens in a moment, and the service goes on without it.
    let active = if class == "loss" { format!("max_over_time({active}[15m])") } else { active };
    let mut letters = class.chars();
    let name: String = letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect();
    Alert {
        name: format!("Pollscope{name}"),
        query: format!("max by (service, process, class, kind, severity, file, line, function) ({active}) == 1"),
        wait: "0s",
        severity: None,
        summary: "{{ $labels.kind }} in {{ $labels.service }} at {{ $labels.file }}:{{ $labels.line }}".to_owned(),
        description: format!(
            "In {{{{ $labels.process }}}}, function {{{{ $labels.function }}}}: {effect}. `pollscope explain \
             {{{{ $labels.kind }}}}` says what to do, `pollscope diagnose` on the recording shows the stack and who was hurt."
        ),
        runbook: format!("{PAGES}/{{{{ $labels.kind }}}}.md"),
    }
}

/// The text of `recording.yml`.
pub(super) fn recording() -> String {
    let mut text = format!("{HEAD}groups:\n  - name: pollscope-recording\n    rules:\n");
    for rule in RECORDINGS {
        // Writing to a String cannot fail.
        let _ = write!(text, "      - record: {}\n        expr: {}\n", rule.name, quoted(rule.query));
    }
    text
}

/// The text of `alerts.yml`.
pub(super) fn alerting() -> String {
    let mut text = format!("{HEAD}groups:\n  - name: pollscope-alerts\n    rules:\n");
    for alert in alerts() {
        let _ = write!(text, "      - alert: {}\n        expr: {}\n", alert.name, quoted(&alert.query));
        let _ = writeln!(text, "        for: {}", alert.wait);
        if let Some(severity) = alert.severity {
            let _ = write!(text, "        labels:\n          severity: {severity}\n");
        }
        let _ = writeln!(text, "        annotations:");
        let texts = [("summary", alert.summary), ("description", alert.description), ("runbook_url", alert.runbook)];
        for (name, value) in texts {
            let _ = writeln!(text, "          {name}: {}", quoted(&value));
        }
    }
    text
}

const HEAD: &str = "# Made from src/boards; `UPDATE=1 cargo test --test it dashboards` writes it anew.\n";

/// A text between single quotes, as YAML has it: nothing in it means anything.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

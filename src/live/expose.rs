//! What is known of every process, as figures of the metrics' table.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Watch;
use super::findings::{Entry, Key};
use super::followed::{Followed, State};
use super::tally::RESOURCES;
use crate::detect::{Answer, Confidence, Severity};
use pollscope_metrics::{self as metrics, Exposition, POLL_BUCKET_BITS, class_of};
use pollscope_recording::Nanos;

impl Watch {
    /// Everything a scrape shows, as of the last look.
    pub fn exposition(&self, now: Instant, wall: SystemTime) -> Exposition {
        let mut out = Exposition::default();
        for followed in self.followed.values() {
            process(&mut out, followed, now);
        }
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.add(metrics::WATCH_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        out.add(metrics::WATCH_LOOKED, &[], wall.as_secs_f64());
        out.add(metrics::WATCH_LEFT_OUT, &[], self.left_out as f64);
        out.add(metrics::WATCH_FAILURES, &[], self.failures as f64);
        own(&mut out);
        out
    }
}

fn process(out: &mut Exposition, followed: &Followed, now: Instant) {
    let Some(program) = &followed.program else { return };
    let who @ [service, process] = [followed.who.service.as_str(), followed.who.process.as_str()];
    let info = [service, process, &program.pid.to_string(), &program.program, &program.tokio, &program.sources];
    out.add(metrics::PROCESS_INFO, &info, 1.0);
    for (state, word) in [(State::Running, "running"), (State::Ended, "ended"), (State::Silent, "silent")] {
        out.add(metrics::PROCESS_STATE, &[service, process, word], f64::from(u8::from(followed.state == state)));
    }
    out.add(metrics::PROCESS_START, &who, seconds(program.wall_ns));
    out.add(metrics::PROCESS_SILENCE, &who, now.saturating_duration_since(followed.heard).as_secs_f64());
    out.add(metrics::RECORDING_BYTES, &who, followed.bytes as f64);
    out.add(metrics::NOT_OBSERVABLE, &who, followed.not_observable as f64);
    counts(out, followed, who);
    locks(out, followed, who);
    for (key, entry) in followed.findings.entries() {
        finding(out, who, key, entry);
    }
    out.add(metrics::FINDINGS_LEFT_OUT, &who, followed.findings.left_out as f64);
    for check in followed.findings.checks() {
        let answer = match check.answer {
            Answer::Found => "found",
            Answer::Clear => "clear",
            Answer::CannotTell => "cannot-tell",
        };
        out.add(metrics::CHECK_ANSWER, &[service, process, &check.kind, answer], 1.0);
    }
}

fn counts(out: &mut Exposition, followed: &Followed, who: [&str; 2]) {
    let tally = &followed.tally;
    let bounds = POLL_BUCKET_BITS.map(|bits| seconds(1 << bits)).chain([f64::INFINITY]);
    out.add_histogram(metrics::POLL_DURATION, &who, bounds.zip(tally.polls).collect(), seconds(tally.busy_ns));
    let (open, oldest) = tally.open();
    for (metric, value) in [
        (metrics::POLLS, tally.polls_since_start as f64),
        (metrics::STALLS, tally.stalls as f64),
        (metrics::STALL_SECONDS, seconds(tally.stall_ns)),
        (metrics::OPEN_STALLS, open as f64),
        (metrics::OLDEST_OPEN_POLL, seconds(oldest)),
        (metrics::HEARTBEATS, tally.beats as f64),
        (metrics::LATE_HEARTBEATS, tally.late_beats as f64),
        (metrics::HEARTBEAT_LATE, seconds(tally.beat_late.of_late(tally.last_at))),
        (metrics::SCHEDULE_DELAYS, tally.delays as f64),
        (metrics::SCHEDULE_DELAY_SECONDS, seconds(tally.delay_ns)),
        (metrics::SCHEDULE_DELAY_WORST, seconds(tally.delay_worst.of_late(tally.last_at))),
        (metrics::TASKS_STARTED, tally.tasks_started as f64),
        (metrics::PANICS, tally.panics as f64),
        (metrics::AGENT_CPU, seconds(tally.agent_cpu_ns)),
        (metrics::DROPPED_EVENTS, tally.dropped as f64),
        (metrics::EVENTS, tally.events as f64),
    ] {
        out.add(metric, &who, value);
    }
    let [service, process] = who;
    for ((file, line), live) in tally.live() {
        out.add(metrics::LIVE_TASKS, &[service, process, file, line], live as f64);
    }
}

fn locks(out: &mut Exposition, followed: &Followed, [service, process]: [&str; 2]) {
    for (resource, (waiting, oldest)) in RESOURCES.into_iter().zip(followed.tally.waiting()) {
        let labels = [service, process, resource];
        out.add(metrics::LOCK_WAITERS, &labels, waiting as f64);
        out.add(metrics::OLDEST_LOCK_WAIT, &labels, seconds(oldest));
    }
    for (resource, (file, line), count, nanos) in followed.tally.waited() {
        let labels = [service, process, resource, file, line];
        out.add(metrics::LOCK_WAITS, &labels, count as f64);
        out.add(metrics::LOCK_WAIT_SECONDS, &labels, seconds(nanos));
    }
}

fn finding(out: &mut Exposition, [service, process]: [&str; 2], key: &Key, entry: &Entry) {
    let Key { kind, file, line, function } = key;
    let class = class_of(kind);
    let severity = match entry.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let confidence = match entry.confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Proven => "proven",
    };
    let active = [service, process, kind, class, severity, confidence, file, line, function];
    out.add(metrics::FINDING_ACTIVE, &active, f64::from(u8::from(entry.active)));
    let labels = [service, process, kind, class, file, line, function];
    out.add(metrics::FINDING_OCCURRENCES, &labels, entry.count as f64);
    out.add(metrics::FINDING_SECONDS, &labels, entry.total_ms / 1e3);
    out.add(metrics::FINDING_WORST, &labels, entry.worst_ms / 1e3);
}

/// What watching costs, where the system says so.
fn own(out: &mut Exposition) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills in.
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } == 0 {
        out.add(metrics::WATCH_CPU, &[], time.tv_sec as f64 + time.tv_nsec as f64 / 1e9);
    }
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
    // SAFETY: sysconf reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if let Some(resident) = resident.filter(|_| page > 0) {
        out.add(metrics::WATCH_MEMORY, &[], resident * page as f64);
    }
}

fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

//! What is known of every process, as figures of the metrics' table.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Watch;
use super::findings::{Entry, Key};
use super::followed::{Followed, State};
use crate::detect::{Answer, Confidence, Severity};
use pollscope_metrics::{self as metrics, Exposition, class_of};

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
    pollscope_tally::identity(out, who, program);
    for (state, word) in [(State::Running, "running"), (State::Ended, "ended"), (State::Silent, "silent")] {
        out.add(metrics::PROCESS_STATE, &[service, process, word], f64::from(u8::from(followed.state == state)));
    }
    out.add(metrics::PROCESS_SILENCE, &who, now.saturating_duration_since(followed.heard).as_secs_f64());
    out.add(metrics::RECORDING_BYTES, &who, followed.bytes as f64);
    out.add(metrics::NOT_OBSERVABLE, &who, followed.not_observable as f64);
    followed.tally.expose(out, who, followed.tally.last_at());
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

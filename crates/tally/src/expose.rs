//! What was counted, as figures of the metrics' table.

use pollscope_metrics::{self as metrics, Exposition, POLL_BUCKET_BITS};
use pollscope_recording::{Nanos, Process};

use crate::locks::{ByPlace, RESOURCES};
use crate::tally::Tally;

/// What a process says of itself. `who` is its service and its process.
pub fn identity(out: &mut Exposition, who: [&str; 2], program: &Process) {
    let [service, process] = who;
    let info = [service, process, &program.pid.to_string(), &program.program, &program.tokio, &program.sources];
    out.add(metrics::PROCESS_INFO, &info, 1.0);
    out.add(metrics::PROCESS_START, &who, seconds(program.wall_ns));
}

impl Tally {
    /// Every figure as of `now`; `who` is service and process.
    pub fn expose(&self, out: &mut Exposition, who: [&str; 2], now: Nanos) {
        self.histograms(out, who);
        self.counts(out, who, now);
        self.places(out, who);
        self.locks(out, who, now);
    }

    fn histograms(&self, out: &mut Exposition, who: [&str; 2]) {
        let bounds = POLL_BUCKET_BITS.map(|bits| seconds(1 << bits)).chain([f64::INFINITY]);
        let buckets = bounds.zip(self.polls).collect();
        out.add_histogram(metrics::POLL_DURATION, &who, buckets, seconds(self.busy_ns));
        let (beats, delays) = (&self.beats.all, &self.delays);
        out.add_histogram(metrics::HEARTBEAT_DELAY, &who, beats.histogram(0.01), seconds(beats.late_ns));
        out.add_histogram(metrics::SCHEDULE_DELAY, &who, delays.histogram(0.005), seconds(delays.late_ns));
    }

    fn counts(&self, out: &mut Exposition, who: [&str; 2], now: Nanos) {
        let (open, oldest) = self.stalls.open(now);
        let [threads, idle, queued] = self.pools.sums();
        for (metric, value) in [
            (metrics::POLLS, self.polls_since_start as f64),
            (metrics::STALLS, self.stalls.count as f64),
            (metrics::STALL_SECONDS, seconds(self.stalls.nanos)),
            (metrics::OPEN_STALLS, open as f64),
            (metrics::OLDEST_OPEN_POLL, seconds(oldest)),
            (metrics::HEARTBEATS, self.beats.count as f64),
            (metrics::LATE_HEARTBEATS, self.beats.late as f64),
            (metrics::HEARTBEAT_LATE, seconds(self.beats.worst.of_late(now))),
            (metrics::SCHEDULE_DELAYS, self.delays.late as f64),
            (metrics::SCHEDULE_DELAY_SECONDS, seconds(self.delays.late_ns)),
            (metrics::SCHEDULE_DELAY_WORST, seconds(self.delay_worst.of_late(now))),
            (metrics::TASKS_STARTED, self.tasks_started as f64),
            (metrics::PANICS, self.panics as f64),
            (metrics::BLOCKING_THREADS, threads as f64),
            (metrics::BLOCKING_IDLE, idle as f64),
            (metrics::BLOCKING_QUEUE, queued as f64),
            (metrics::BLOCKING_FULL, seconds(self.pools.full_for(now))),
            (metrics::PROCESS_MEMORY, self.resident_bytes as f64),
            (metrics::THROTTLED, self.throttled as f64),
            (metrics::THROTTLED_SECONDS, seconds(self.throttled_ns)),
            (metrics::AGENT_CPU, seconds(self.agent_cpu_ns)),
            (metrics::DROPPED_EVENTS, self.dropped as f64),
            (metrics::EVENTS, self.events as f64),
        ] {
            out.add(metric, &who, value);
        }
    }

    fn places(&self, out: &mut Exposition, [service, process]: [&str; 2]) {
        for ((file, line), live) in self.live() {
            out.add(metrics::LIVE_TASKS, &[service, process, file, line], live as f64);
        }
        for (place, open) in self.stalls.open_by_place() {
            let (file, line) = self.spawned(place);
            out.add(metrics::LINE_OPEN_STALLS, &[service, process, file, line], open as f64);
        }
        for (place, doing, count, nanos) in self.stalls.ended() {
            let (file, line) = self.spawned(place);
            let labels = [service, process, file, line, doing];
            out.add(metrics::LINE_STALLS, &labels, count as f64);
            out.add(metrics::LINE_STALL_SECONDS, &labels, seconds(nanos));
        }
    }

    fn locks(&self, out: &mut Exposition, [service, process]: [&str; 2], now: Nanos) {
        for (resource, (waiting, oldest)) in RESOURCES.into_iter().zip(self.locks.waiting(now)) {
            let labels = [service, process, resource];
            out.add(metrics::LOCK_WAITERS, &labels, waiting as f64);
            out.add(metrics::OLDEST_LOCK_WAIT, &labels, seconds(oldest));
        }
        let mut add = |(resource, (file, line), count, nanos): ByPlace<'_>, how_often, how_long| {
            let labels = [service, process, resource, file, line];
            out.add(how_often, &labels, count as f64);
            out.add(how_long, &labels, seconds(nanos));
        };
        self.locks.waited().for_each(|sums| add(sums, metrics::LOCK_WAITS, metrics::LOCK_WAIT_SECONDS));
        self.locks.held().for_each(|sums| add(sums, metrics::LOCK_HOLDS, metrics::LOCK_HOLD_SECONDS));
    }
}

fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

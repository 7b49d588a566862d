//! How late things were: the worst of late, and all of it as a histogram.

use std::collections::{HashMap, VecDeque};

use pollscope_metrics::{LATE_BOUNDS, WORST_SECONDS};
use pollscope_recording::{LateBeat, Nanos};

const SECOND: Nanos = 1_000_000_000;

/// The worst of the last [`WORST_SECONDS`], to the second.
#[derive(Debug, Default)]
pub(crate) struct Worst(VecDeque<(u64, Nanos)>);

impl Worst {
    pub(crate) fn note(&mut self, at: Nanos, value: Nanos) {
        let second = at / SECOND;
        match self.0.back_mut() {
            Some((last, worst)) if *last >= second => *worst = value.max(*worst),
            _ => self.0.push_back((second, value)),
        }
        while self.0.front().is_some_and(|(first, _)| first + WORST_SECONDS < second) {
            self.0.pop_front();
        }
    }

    /// The worst as of `now`.
    pub(crate) fn of_late(&self, now: Nanos) -> Nanos {
        let recent = self.0.iter().filter(|(second, _)| second + WORST_SECONDS >= now / SECOND);
        recent.map(|(_, worst)| *worst).max().unwrap_or(0)
    }
}

/// Things that may be late. Only lateness from some bound on is told one by one; the others are counted together.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    /// How many were late, and the sum.
    pub(crate) late: u64,
    pub(crate) late_ns: Nanos,
    punctual: u64,
    buckets: [u64; LATE_BOUNDS.len() + 1],
}

impl Lateness {
    /// One was so late.
    pub(crate) fn note(&mut self, late: Nanos) {
        self.late += 1;
        self.late_ns = self.late_ns.saturating_add(late);
        let seconds = late as f64 / 1e9;
        let at = LATE_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(LATE_BOUNDS.len());
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
    }

    /// So many were there up to now, late or not. The late ones are told first, so the difference may go back for a
    /// moment, which a counter must not.
    pub(crate) fn all(&mut self, all: u64) {
        self.punctual = self.punctual.max(all.saturating_sub(self.late));
    }

    /// Those below `bound` seconds are in the first bucket, and the sum knows nothing of them. Upper bounds with how many
    /// there are, as [`Exposition::add_histogram`](pollscope_metrics::Exposition::add_histogram) takes them.
    pub(crate) fn histogram(&self, bound: f64) -> Vec<(f64, u64)> {
        let bounds = LATE_BOUNDS.into_iter().chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = bounds.zip(self.buckets).filter(|(upper, _)| *upper >= bound).collect();
        if let Some((_, first)) = buckets.first_mut() {
            *first += self.punctual;
        }
        buckets
    }
}

/// Heartbeats, of all runtimes.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    pub(crate) count: u64,
    pub(crate) late: u64,
    pub(crate) worst: Worst,
    pub(crate) all: Lateness,
    /// The last late one of each runtime: when it was due, how late it is, and whether that is its last word.
    last: HashMap<u64, (Nanos, Nanos, bool)>,
}

impl Beats {
    /// A beat is late: told again while it is pending.
    pub(crate) fn late(&mut self, beat: &LateBeat) {
        self.worst.note(beat.at, beat.late_ns);
        match self.last.get_mut(&beat.runtime) {
            Some((due, late, _)) if *due == beat.due => *late = beat.late_ns.max(*late),
            _ => {
                self.settle(beat.runtime);
                self.late += 1;
                self.last.insert(beat.runtime, (beat.due, beat.late_ns, false));
            }
        }
    }

    /// So many more came, on time or not.
    pub(crate) fn came(&mut self, runtime: u64, count: u64) {
        self.settle(runtime);
        self.count = self.count.saturating_add(count);
        self.all.all(self.count);
    }

    fn settle(&mut self, runtime: u64) {
        if let Some((_, late, settled)) = self.last.get_mut(&runtime)
            && !std::mem::replace(settled, true)
        {
            self.all.note(*late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_ones_are_told_one_by_one_and_the_others_together() {
        let mut lateness = Lateness::default();
        lateness.all(10);
        lateness.note(6_000_000);
        lateness.note(30_000_000_000);
        lateness.all(12);
        let histogram = lateness.histogram(0.005);
        assert_eq!(histogram.first(), Some(&(0.005, 10)));
        assert_eq!(histogram.get(1), Some(&(0.01, 1)));
        assert_eq!(histogram.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!((lateness.late, lateness.late_ns), (2, 30_006_000_000));
        // A poll that is late and not over yet is no reason to go back.
        lateness.note(7_000_000);
        lateness.all(12);
        assert_eq!(lateness.histogram(0.005).first(), Some(&(0.005, 10)));
        assert_eq!(lateness.histogram(0.01).first(), Some(&(0.01, 12)));
    }

    #[test]
    fn the_beats_of_two_runtimes_are_told_apart() {
        let mut beats = Beats::default();
        let late = |runtime, due, late_ns| LateBeat { at: due + late_ns, runtime, due, late_ns };
        for ms in [500_000_000, 1_000_000_000] {
            beats.late(&late(1, 5 * SECOND, ms));
            beats.late(&late(2, 4 * SECOND, ms));
        }
        assert_eq!((beats.late, beats.all.late), (2, 0));
        beats.came(1, 100);
        // Its last word may come after the count that holds it.
        beats.late(&late(1, 5 * SECOND, 1_100_000_000));
        assert_eq!((beats.late, beats.all.late, beats.count), (2, 1, 100));
        assert_eq!(beats.worst.of_late(6 * SECOND), 1_100_000_000);
    }
}

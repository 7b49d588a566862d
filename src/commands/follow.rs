//! Findings while the program still runs.

use super::terminal::Progress;
use super::{rules, terminal, verdict};
use pollscope::detect::{Finding, Severity, Watched};
use pollscope::report;
use pollscope::symbols::Symbols;
use pollscope_recording::{Follower, find_recordings};
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the recording is read on.
const READ: Duration = Duration::from_millis(250);
/// How often what was read is diagnosed.
const DIAGNOSE: Duration = Duration::from_secs(1);
/// What is critical and has gone on for this long will not end by itself.
const STUCK_MS: f64 = 1000.0;

/// Reads a recording while it grows and says each new finding once.
pub(crate) struct Live<'a> {
    recordings: &'a Path,
    pid: u32,
    follower: Option<Follower>,
    watched: Watched,
    symbols: Symbols,
    started: Instant,
    read: Instant,
    diagnosed: Instant,
    told: HashSet<String>,
    stuck: bool,
    tell: bool,
}

impl<'a> Live<'a> {
    /// Follows what process `pid` (or a child of it) records below the folder `recordings`, and says what it finds if it
    /// is to `tell`.
    pub(crate) fn new(recordings: &'a Path, pid: u32, tell: bool) -> Live<'a> {
        let now = Instant::now();
        Live {
            recordings,
            pid,
            follower: None,
            watched: Watched::by(rules::current()),
            symbols: Symbols::new(),
            started: now,
            read: now,
            diagnosed: now,
            told: HashSet::new(),
            stuck: false,
            tell,
        }
    }

    /// Whether the program was stuck when it was last looked at.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Reads and diagnoses if it is time to. Trouble here is left to the reading from disk, which tells it.
    pub(crate) fn tick(&mut self, progress: &Progress) {
        if self.read.elapsed() < READ {
            return;
        }
        self.read = Instant::now();
        if self.follower.is_none() {
            let found = verdict::choose(find_recordings(self.recordings), Some(self.pid));
            self.follower = found.map(|(path, _)| Follower::new(&path));
        }
        let Some(follower) = &mut self.follower else {
            return;
        };
        let watched = &mut self.watched;
        if follower.poll(|event| watched.feed(&event)).is_err() || self.diagnosed.elapsed() < DIAGNOSE {
            return;
        }
        let diagnosis = self.watched.diagnose(&mut self.symbols);
        self.diagnosed = Instant::now();
        let going_on = |finding: &Finding| {
            finding.severity == Severity::Critical
                && finding.occurrences.worst_ms >= STUCK_MS
                && finding.occurrences.last_ns >= self.watched.model().last_at
        };
        self.stuck = diagnosis.findings.iter().any(going_on);
        for finding in diagnosis.findings.iter().filter(|finding| self.tell && finding.severity >= Severity::Warning) {
            let at = finding.culprit.at.as_ref().map(|at| (&at.file, at.line, &at.function));
            if self.told.insert(format!("{} {at:?}", finding.kind)) {
                let seconds = self.started.elapsed().as_secs_f64();
                progress.note(&report::text::line(finding, seconds, terminal::note_columns()));
            }
        }
    }
}

//! One recording under way: read on, counted, diagnosed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::discover::run_folder;
use super::findings::Findings;
use super::generation::Generations;
use super::{News, Who};
use crate::detect::{Rules, Thresholds, diagnose_by};
use crate::symbols::{Binaries, Symbols};
use pollscope_recording::{Event, Follower, Nanos, Process};
use pollscope_tally::Tally;

/// How often it is read on.
const READ: Duration = Duration::from_millis(500);
/// How often it is diagnosed at most.
const DIAGNOSE: Duration = Duration::from_secs(1);
/// A diagnosis is repeated after this many times what the last one took, so that time is left to others.
const REST: u32 = 4;
/// But no later than this: the first one opens files, which takes long and is done once.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// An agent speaks about once a second; one that says nothing for so long is gone, or suspended.
const SILENT: Duration = Duration::from_secs(10);

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Ended,
    Silent,
}

/// What is known of one process.
pub(super) struct Followed {
    pub(super) who: Who,
    /// What the program says it is; nothing is exposed before that.
    pub(super) program: Option<Process>,
    pub(super) state: State,
    pub(super) tally: Tally,
    pub(super) findings: Findings,
    pub(super) not_observable: usize,
    /// Size on disk.
    pub(super) bytes: u64,
    /// When it last said something.
    pub(super) heard: Instant,
    rules: Rules,
    path: PathBuf,
    named: bool,
    follower: Follower,
    generations: Generations,
    symbols: Symbols,
    first_at: Nanos,
    read: Option<Instant>,
    diagnose_at: Instant,
    gone: Option<Instant>,
}

impl Followed {
    /// Follows the recording at `path` from its newest segment, which says again what still holds: reading all of a
    /// large one would keep others waiting.
    pub(super) fn new(path: &Path, binaries: &Binaries, rules: Rules, now: Instant) -> Followed {
        let run = run_folder(path);
        let process = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Followed {
            rules,
            path: path.to_owned(),
            named: run.is_some(),
            who: Who { service: run.unwrap_or_default(), process },
            program: None,
            state: State::Running,
            tally: Tally::default(),
            findings: Findings::default(),
            not_observable: 0,
            bytes: super::discover::size(path).unwrap_or(0),
            heard: now,
            follower: Follower::newest(path),
            generations: Generations::default(),
            symbols: Symbols::sharing(binaries),
            first_at: 0,
            read: None,
            diagnose_at: now,
            gone: None,
        }
    }

    /// Reads and diagnoses if it is time to.
    pub(super) fn look(&mut self, now: Instant, news: &mut Vec<News>) -> io::Result<()> {
        // Nothing comes after the end.
        let ended = self.state == State::Ended;
        if ended || self.read.is_some_and(|read| now.duration_since(read) < READ) {
            return Ok(());
        }
        self.read = Some(now);
        let known = self.program.is_some();
        let (program, tally, generations) = (&mut self.program, &mut self.tally, &mut self.generations);
        let mut end = false;
        let first_at = &mut self.first_at;
        let read = self.follower.poll(|event| {
            match &event {
                Event::Process(process) => {
                    if program.is_none() {
                        *first_at = process.at;
                    }
                    *program = Some(process.clone());
                }
                Event::End(_) => end = true,
                _ => {}
            }
            tally.feed(&event);
            generations.feed(&event);
        });
        let more = match read {
            Ok(more) => more,
            // A folder that went away says nothing any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if let Some(program) = self.program.as_ref().filter(|_| !known) {
            if !self.named {
                self.who.service = program.program.to_string();
            }
            news.push(News::Began(self.who.clone()));
        }
        if more > 0 {
            self.heard = now;
            if self.state == State::Silent {
                (self.state, self.gone) = (State::Running, None);
            }
            if self.program.is_some() && (now >= self.diagnose_at || end) {
                self.diagnose(now, news);
            }
        }
        // Whoever removes a recording knows that its process is over.
        let removed = more == 0 && !self.path.exists();
        if self.state != State::Ended && self.program.is_some() {
            if end || removed {
                self.leave(State::Ended, now);
                news.push(News::Ended(self.who.clone(), true));
            } else if self.state == State::Running && now.duration_since(self.heard) >= SILENT {
                self.leave(State::Silent, now);
                news.push(News::Ended(self.who.clone(), false));
            }
        }
        Ok(())
    }

    /// The observed process, once it has said so.
    pub(super) fn pid(&self) -> Option<u64> {
        self.program.as_ref().map(|program| program.pid)
    }

    /// Counts it as ended in order.
    pub(super) fn end(&mut self, now: Instant) {
        if self.state != State::Ended {
            self.leave(State::Ended, now);
        }
    }

    /// Whether it is to be followed, or at least shown, any longer.
    pub(super) fn kept(&self, now: Instant, after_end: Duration) -> bool {
        // What never said what it is has no end either.
        let since = self.gone.or((self.program.is_none()).then_some(self.heard));
        since.is_none_or(|since| now.duration_since(since) < after_end)
    }

    fn leave(&mut self, state: State, now: Instant) {
        self.state = state;
        self.gone = Some(now);
        if state == State::Ended {
            self.tally.over();
        }
        self.findings.over();
    }

    fn diagnose(&mut self, now: Instant, news: &mut Vec<News>) {
        let began = Instant::now();
        let another = self.generations.turn();
        let model = self.generations.model();
        let diagnosis = diagnose_by(model, &mut self.symbols, &Thresholds::default(), &self.rules);
        self.not_observable = diagnosis.not_observable.len();
        let seconds = model.last_at.saturating_sub(self.first_at) as f64 / 1e9;
        for finding in self.findings.update(diagnosis, model.last_at, another) {
            news.push(News::Found { who: self.who.clone(), seconds, finding: Box::new(finding) });
        }
        self.diagnose_at = now + (began.elapsed() * REST).clamp(DIAGNOSE, LONGEST_REST);
    }
}

//! Recordings under way: many processes in one folder, started and ended in any order, each diagnosed while it runs.
//!
//! What is kept is bounded, so a watch may go on for months: places, findings and processes by the bounds of the
//! metrics' table, what is counted by `pollscope-tally`, what is diagnosed by `generation.rs`, and beyond that only what lives in the programs themselves.

mod discover;
mod expose;
mod findings;
mod followed;
mod generation;
#[cfg(feature = "otlp")]
pub mod otlp;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::detect::{Finding, Rules};
use crate::symbols::Binaries;
use followed::Followed;
use pollscope_metrics::{KEPT_SECONDS, MOST_PROCESSES};

/// How often the folder is searched for more recordings.
const SEARCH: Duration = Duration::from_secs(1);

/// Which process something is said about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The name of its service.
    pub service: String,
    /// The folder of its recording, without the path to it.
    pub process: String,
}

/// Something a person may want to read.
#[derive(Debug, Clone)]
pub enum News {
    /// A process is followed from now on.
    Began(Who),
    /// A process ended in order, or says nothing more (false).
    Ended(Who, bool),
    /// A fault was found, or has become worse.
    Found {
        /// In which process.
        who: Who,
        /// Seconds from the start of the process to now.
        seconds: f64,
        /// The fault.
        finding: Box<Finding>,
    },
    /// Something could not be read, as one sentence.
    Trouble(String),
}

/// The recordings below one folder.
pub struct Watch {
    folder: PathBuf,
    rules: Rules,
    followed: BTreeMap<PathBuf, Followed>,
    binaries: Binaries,
    searched: Option<Instant>,
    left_out: usize,
    failures: u64,
    complained: BTreeSet<String>,
}

impl Watch {
    /// Watches `folder`, and nothing in it yet.
    pub fn new(folder: &Path) -> Watch {
        Watch {
            folder: folder.to_owned(),
            rules: Rules::default(),
            followed: BTreeMap::new(),
            binaries: Binaries::default(),
            searched: None,
            left_out: 0,
            failures: 0,
            complained: BTreeSet::new(),
        }
    }

    /// Judges by the rules of a user from here on.
    pub fn by(self, rules: Rules) -> Watch {
        Watch { rules, ..self }
    }

    /// Looks for new recordings, reads on in those it knows and diagnoses them, as far as it is time to.
    pub fn look(&mut self, now: Instant, wall: SystemTime) -> Vec<News> {
        let mut news = Vec::new();
        if self.searched.is_none_or(|searched| now.duration_since(searched) >= SEARCH) {
            self.searched = Some(now);
            self.search(now, wall, &mut news);
        }
        let mut troubles = Vec::new();
        for (path, followed) in &mut self.followed {
            if let Err(error) = followed.look(now, &mut news) {
                self.failures += 1;
                troubles.push(format!("cannot read {}: {error}", path.display()));
            }
        }
        troubles.into_iter().for_each(|trouble| self.complain(trouble, &mut news));
        self.followed.retain(|_, followed| followed.kept(now, Duration::from_secs(KEPT_SECONDS)));
        news
    }

    /// Whether nothing is followed at the moment.
    pub fn is_idle(&self) -> bool {
        self.followed.is_empty()
    }

    /// Counts process `pid` as ended in order, however it ended.
    pub fn ended(&mut self, pid: u32, now: Instant) {
        self.followed.values_mut().filter(|one| one.pid() == Some(u64::from(pid))).for_each(|one| one.end(now));
    }

    fn search(&mut self, now: Instant, wall: SystemTime, news: &mut Vec<News>) {
        let found = match discover::under_way(&self.folder, wall) {
            Ok(found) => found,
            Err(error) => {
                self.failures += 1;
                let trouble = format!("cannot read {}: {error}", self.folder.display());
                return self.complain(trouble, news);
            }
        };
        for (path, followed) in &mut self.followed {
            followed.bytes = discover::size(path).unwrap_or(followed.bytes);
        }
        let fresh: Vec<_> = found.into_iter().filter(|path| !self.followed.contains_key(path)).collect();
        let free = MOST_PROCESSES.saturating_sub(self.followed.len());
        self.left_out = fresh.len().saturating_sub(free);
        if self.left_out > 0 {
            let most = MOST_PROCESSES;
            self.complain(format!("more than {most} processes record here; only {most} are followed"), news);
        }
        for path in fresh.into_iter().take(free) {
            self.followed.insert(path.clone(), Followed::new(&path, &self.binaries, self.rules.clone(), now));
        }
    }

    /// Says each sentence once, and few of them: a folder that went away is no news twice a second.
    fn complain(&mut self, trouble: String, news: &mut Vec<News>) {
        if self.complained.len() < MOST_PROCESSES && self.complained.insert(trouble.clone()) {
            news.push(News::Trouble(trouble));
        }
    }
}

#[cfg(test)]
mod tests;

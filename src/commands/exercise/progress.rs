//! How far the learner is: a small file that is the learner's own.

use super::place;
use crate::commands::Failure;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// The whole file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// By the exercise's name.
    #[serde(default)]
    exercises: BTreeMap<String, Steps>,
}

/// How far one exercise is.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Steps {
    /// Where it was laid out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dir: Option<PathBuf>,
    /// Hints shown, of four.
    pub(super) hints: u8,
    /// Numbers of the faults that were named, where there are several.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) named: BTreeSet<usize>,
    /// Whether the right diagnosis was given: of every fault.
    pub(super) diagnosed: bool,
    /// Whether a fix passed.
    pub(super) fixed: bool,
}

impl Steps {
    /// Whether nothing is left to do.
    pub(super) fn solved(&self) -> bool {
        self.diagnosed && self.fixed
    }

    /// The state in a word.
    pub(super) fn state(&self) -> &'static str {
        match (self.dir.is_some(), self.diagnosed, self.fixed) {
            (_, true, true) => "solved",
            (_, true, false) => "diagnosed",
            (_, false, true) => "fixed",
            (true, ..) => "started",
            _ => "open",
        }
    }
}

impl Progress {
    /// Reads the file; no file is no progress.
    pub(super) fn load() -> Result<Progress, Failure> {
        let path = place::progress()?;
        let Some(text) = place::read(&path)? else {
            return Ok(Progress::default());
        };
        toml::from_str(&text).map_err(|error| {
            let reason = error.message().lines().next().unwrap_or("it is no TOML");
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            Failure::new(format!(
                "{} is damaged at line {line}: {reason}; mend it, or delete it to start anew",
                path.display()
            ))
        })
    }

    /// How far exercise `name` is.
    pub(super) fn of(&self, name: &str) -> Steps {
        self.exercises.get(name).cloned().unwrap_or_default()
    }

    /// Changes the steps of exercise `name` and writes the file whole.
    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Steps)) -> Result<Steps, Failure> {
        let steps = self.exercises.entry(name.to_owned()).or_default();
        let before = steps.clone();
        change(steps);
        let steps = steps.clone();
        if steps != before {
            self.save()?;
        }
        Ok(steps)
    }

    fn save(&self) -> Result<(), Failure> {
        let path = place::progress()?;
        let text = toml::to_string(self).map_err(|error| Failure::cannot("write your progress", error))?;
        // Half a file would be a damaged one.
        let fresh = path.with_extension("toml.new");
        place::write(&fresh, &format!("# Your progress in `pollscope exercise`.\n\n{text}"))?;
        fs::rename(&fresh, &path).map_err(|error| Failure::cannot(format_args!("write {}", path.display()), error))
    }
}

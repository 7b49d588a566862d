//! `pollscope.toml`: the rules of a user, found and read once.

use super::Failure;
use pollscope::detect::Rules;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const NAME: &str = "pollscope.toml";

static CURRENT: OnceLock<Rules> = OnceLock::new();

/// Reads the rules: those that were asked for, else, if any, the nearest from the current folder upward.
pub(crate) fn load(asked: Option<&Path>, nearest: bool) -> Result<(), Failure> {
    let rules = match asked {
        Some(path) => Some(read(path)?),
        None if nearest => found().map(|path| read(&path)).transpose()?,
        None => None,
    };
    if let Some(rules) = rules {
        let _ = CURRENT.set(rules);
    }
    Ok(())
}

/// The rules to judge by.
pub(crate) fn current() -> Rules {
    CURRENT.get().cloned().unwrap_or_default()
}

fn found() -> Option<PathBuf> {
    // Without a current folder there is nothing beside it.
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|folder| folder.join(NAME)).find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Rules, Failure> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(format!("there is no file {shown}; give the one that holds your rules")),
        _ => Failure::cannot(format_args!("read {shown}"), error),
    })?;
    Rules::read(&text, &shown).map_err(|error| Failure::new(format!("{shown}:{}: {error}", error.line)))
}

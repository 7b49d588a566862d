//! Where things lie: the learner's progress, and what is compiled.

use crate::commands::Failure;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file with the learner's progress.
pub(super) fn progress() -> Result<PathBuf, Failure> {
    if let Some(path) = set("POLLSCOPE_PROGRESS") {
        return absolute(Path::new(&path));
    }
    Ok(base("XDG_DATA_HOME", ".local/share", "POLLSCOPE_PROGRESS")?.join("pollscope/progress.toml"))
}

/// The folder of everything that can be made again.
pub(super) fn cache() -> Result<PathBuf, Failure> {
    if let Some(path) = set("POLLSCOPE_EXERCISES") {
        return absolute(Path::new(&path));
    }
    Ok(base("XDG_CACHE_HOME", ".cache", "POLLSCOPE_EXERCISES")?.join("pollscope/exercises"))
}

/// The one folder all exercises are compiled in.
pub(super) fn target() -> Result<PathBuf, Failure> {
    Ok(cache()?.join("target"))
}

/// `path` from the root.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::cannot(format_args!("find {}", path.display()), error))
}

/// Writes a file and the folders above it; leaves one alone that says the same already, so that nothing is compiled
/// again for it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let cannot = |error| Failure::cannot(format_args!("write {}", path.display()), error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    fs::write(path, text).map_err(cannot)
}

/// The text of a file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::cannot(format_args!("read {}", path.display()), error)),
    }
}

fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// A folder of the XDG base directories; relative values are to be ignored.
fn base(variable: &str, below_home: &str, instead: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = set(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(path);
    }
    let home =
        set("HOME").ok_or_else(|| Failure::new(format!("HOME is not set; set {instead} to say where to write")))?;
    Ok(PathBuf::from(home).join(below_home))
}

//! `pollscope exercise watch`: the check again whenever the learner saves.

use super::check::{check, folder};
use super::content;
use super::progress::Progress;
use super::project::{ANSWER, sources};
use crate::commands::learn::CheckOptions;
use crate::commands::{Failure, HEALTHY, terminal};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How often the files are looked at. A handful of times of change needs no service of the kernel.
const LOOK: Duration = Duration::from_millis(300);

pub(super) fn watch(options: &CheckOptions) -> Result<u8, Failure> {
    let exercise = content::find(&options.name)?;
    let folder = folder(&exercise, options.dir.as_deref(), &Progress::load()?)?;
    loop {
        let seen = changes(&folder)?;
        match check(options) {
            Ok(HEALTHY) => return Ok(HEALTHY),
            // A file half written, or an answer with a slip, is mended with the next save.
            Ok(_) => {}
            Err(failure) => terminal::note(&format!("pollscope: {failure}")),
        }
        terminal::note("Waiting for you to save; Ctrl-C ends.");
        while changes(&folder)? == seen {
            std::thread::sleep(LOOK);
        }
    }
}

/// When the learner's files changed last.
fn changes(folder: &Path) -> Result<Vec<Option<SystemTime>>, Failure> {
    let mut files = sources(folder)?;
    files.sort();
    files.push(ANSWER.into());
    Ok(files.iter().map(|file| fs::metadata(folder.join(file)).and_then(|about| about.modified()).ok()).collect())
}

//! `pollscope exercise watch`: the check again whenever the learner saves.

use super::check::{check, folder};
use super::content;
use super::progress::Progress;
use super::project::{ANSWER, sources};
use crate::commands::interrupt::listen;
use crate::commands::learn::CheckOptions;
use crate::commands::{FINDINGS, Failure, HEALTHY, terminal};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// How often the files are looked at. A handful of times of change needs no service of the kernel.
const LOOK: Duration = Duration::from_millis(300);

/// Checks until the exercise is solved, or the learner has had enough; that it is not solved yet is what the exit status
/// says then, as after a check.
pub(super) fn watch(options: &CheckOptions) -> Result<u8, Failure> {
    let exercise = content::find(&options.name)?;
    let folder = folder(&exercise, options.dir.as_deref(), &Progress::load()?)?;
    let interrupted = listen()?;
    let enough = || interrupted.load(Ordering::Relaxed);
    // Looked at before the check: what is saved meanwhile is checked next.
    let mut saves = Saves::new(look(&folder));
    loop {
        let said = check(options);
        if enough() {
            return Ok(FINDINGS);
        }
        match said {
            Ok(HEALTHY) => return Ok(HEALTHY),
            // A file half written, or an answer with a slip, is mended with the next save.
            Ok(_) => {}
            Err(failure) => terminal::note(&format!("pollscope: {failure}")),
        }
        terminal::note("Waiting for you to save; Ctrl-C ends.");
        loop {
            std::thread::sleep(LOOK);
            if enough() {
                return Ok(FINDINGS);
            }
            if saves.is_next(look(&folder)) {
                break;
            }
        }
        terminal::note("Saved; checking again.\n");
    }
}

/// A file as it was when it was looked at. One that is renamed into its place has another number.
type Seen = (PathBuf, Option<(SystemTime, u64, u64)>);

/// The learner's files as they are now; none while there is no folder, as between two branches of a repository.
fn look(folder: &Path) -> Vec<Seen> {
    let mut files = sources(folder).unwrap_or_default();
    files.sort();
    files.push(ANSWER.into());
    let about = |file: &PathBuf| {
        let about = fs::metadata(folder.join(file)).ok()?;
        Some((about.modified().ok()?, about.len(), about.ino()))
    };
    files.into_iter().map(|file| (file.clone(), about(&file))).collect()
}

/// Tells a save from its first half: an editor may empty a file before it fills it, and save one file after another.
struct Saves<T> {
    checked: T,
    last: Option<T>,
}

impl<T: PartialEq> Saves<T> {
    fn new(checked: T) -> Saves<T> {
        Saves { checked, last: None }
    }

    /// Whether the files, as they are `now`, are others than were checked, and have come to rest since the last look.
    /// Then they count as checked.
    fn is_next(&mut self, now: T) -> bool {
        let rests = self.last.as_ref() == Some(&now);
        if now != self.checked && rests {
            (self.checked, self.last) = (now, None);
            return true;
        }
        self.last = Some(now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the looks begin a check, of files that were `a` at the last one.
    #[track_caller]
    fn checks(looks: &str, expected: &str) {
        let mut saves = Saves::new('a');
        let said: String = looks.chars().map(|now| if saves.is_next(now) { '!' } else { '.' }).collect();
        assert_eq!(said, expected, "{looks}");
    }

    #[test]
    fn a_save_is_checked_once_it_is_whole() {
        checks("aaaa", "....");
        checks("abbbb", "..!..");
        checks("abcdd", "....!");
        checks("abba", "..!.");
        checks("abbaa", "..!.!");
        checks("abaa", "....");
    }
}

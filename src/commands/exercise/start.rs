//! `pollscope exercise start`: a ticket and the program it is about.

use super::progress::Progress;
use super::project::Project;
use super::{content, place};
use crate::commands::{Failure, HEALTHY, terminal};
use std::fs;
use std::path::Path;

pub(super) fn start(name: &str, dir: Option<&Path>) -> Result<u8, Failure> {
    let exercise = content::find(name)?;
    let mut progress = Progress::load()?;
    let folder = place::absolute(dir.unwrap_or(Path::new(name)))?;
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(format!(
            "{} is not empty; choose another folder with --dir, or remove it to start anew",
            folder.display()
        )));
    }
    Project::shipped(&exercise)?.write(&folder)?;
    progress.change(name, |steps| steps.dir = Some(folder.clone()))?;
    terminal::result(&format!(
        "{}\n\n{}\n\nThe service lies in {}; its README.md says how to go on.\n",
        exercise.title,
        exercise.ticket,
        folder.display()
    ));
    Ok(HEALTHY)
}

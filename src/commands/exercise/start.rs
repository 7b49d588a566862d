//! `pollscope exercise start`: a ticket and the program it is about.

use super::progress::Progress;
use super::project::Project;
use super::{content, place};
use crate::commands::{Failure, HEALTHY, terminal};
use pollscope::report::hanging;
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
    let end = format!("The service lies in {}; its README.md says how to go on.", folder.display());
    let paragraph = |text: &str| hanging("", text, terminal::prose_columns());
    let text = [&exercise.title, &exercise.ticket, &end].map(|text| paragraph(text)).join("\n");
    terminal::result(&text);
    Ok(HEALTHY)
}

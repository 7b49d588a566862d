//! `pollscope run NAME --loop`: a scenario kept going, for a session at the dashboards.

use super::child::Program;
use super::folder::Folder;
use super::interrupt::listen;
use super::watch::Session;
use super::{Failure, HEALTHY, terminal};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the program is looked after.
const TICK: Duration = Duration::from_millis(50);
/// No two starts are closer than this, whatever the program does.
const PACE: Duration = Duration::from_secs(1);
/// Recordings kept: the one under way and the one before.
const KEPT: usize = 2;

/// Starts what `command` gives again and again, each time for `limit` at most, until Ctrl-C.
pub(crate) fn rerun(
    command: impl Fn() -> Command,
    folder: &Folder,
    limit: Duration,
    metrics: Option<&str>,
) -> Result<u8, Failure> {
    let interrupted = listen()?;
    let recordings = folder.recording();
    let mut session = Session::new(&recordings, metrics)?;
    terminal::note("Ctrl-C ends it");
    loop {
        let mut command = command();
        command.env("POLLSCOPE", &recordings).env_remove("POLLSCOPE_COLLECT");
        let started = Instant::now();
        let mut program = Program::start(command, &folder.log())?;
        while program.ended().is_none() && started.elapsed() < limit {
            if interrupted.load(Ordering::Relaxed) {
                program.stop(SIGINT);
                return Ok(HEALTHY);
            }
            session.look();
            std::thread::sleep(TICK);
        }
        // One that is stuck is stopped here, and that is no news: not to others who watch the folder either.
        if program.ended().is_none() {
            program.stop(SIGTERM);
            session.ended(program.pid());
            remove(&recordings, program.pid());
        }
        while started.elapsed() < PACE && !interrupted.load(Ordering::Relaxed) {
            session.look();
            std::thread::sleep(TICK);
        }
        forget(&recordings);
    }
}

/// Removes the recording of process `pid`.
fn remove(recordings: &Path, pid: u32) {
    let own = format!("-{pid}-");
    for entry in fs::read_dir(recordings).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(&own) {
            // What stays is no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes all recordings but the newest: a session may last for days.
fn forget(recordings: &Path) {
    let entries = fs::read_dir(recordings).into_iter().flatten().flatten();
    let mut folders: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    folders.sort();
    for (_, path) in folders.iter().rev().skip(KEPT) {
        // What stays is no harm.
        let _ = fs::remove_dir_all(path);
    }
}

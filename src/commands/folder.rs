//! The folder of a run: where the recording, the program's output and the diagnosis go.

use super::{Failure, page};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A folder of ours, fresh.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes `path` an empty run folder. An earlier run is replaced; anything else in the way is refused.
    pub(crate) fn claim(path: &Path) -> Result<Folder, Failure> {
        let refuse = |error| Failure::cannot(format_args!("write the folder {}", path.display()), error);
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() && !is_run(path) {
                    return Err(Failure::new(format!(
                        "{} is not empty and holds no earlier run; choose another folder with --out",
                        path.display()
                    )));
                }
                empty(path).map_err(refuse)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error)),
        }
        fs::create_dir_all(path.join("recording")).map_err(refuse)?;
        Ok(Folder(std::path::absolute(path).map_err(refuse)?))
    }

    /// Where the agent writes.
    pub(crate) fn recording(&self) -> PathBuf {
        self.0.join("recording")
    }

    /// Where the program's stdout and stderr go.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("program.log")
    }

    /// Where the diagnosis goes.
    pub(crate) fn diagnosis(&self) -> PathBuf {
        self.0.join("diagnosis.json")
    }

    /// Where the HTML report goes.
    pub(crate) fn report(&self) -> PathBuf {
        self.0.join(page::NAME)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the program's stdout and stderr go while the collectors run.
    #[cfg(feature = "collect")]
    pub(crate) fn collectors_log(&self) -> PathBuf {
        self.0.join("collectors.log")
    }

    /// Removes what the collectors need only while they run.
    #[cfg(feature = "collect")]
    pub(crate) fn forget_traces(&self) {
        for name in TRACES {
            // A file that stays is no harm.
            let _ = fs::remove_file(self.0.join(name));
        }
    }

    /// The folder as the user would write it.
    pub(crate) fn shown(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        self.0.strip_prefix(&here).unwrap_or(&self.0).display().to_string()
    }
}

/// What a run writes beside its recording.
const FILES: [&str; 9] = [
    "diagnosis.json",
    "program.log",
    "collectors.log",
    "console.json",
    "flame.folded",
    "flame.svg",
    "cpu.pb.gz",
    "cpu.svg",
    "metrics.jsonl",
];

/// What the collectors need while they run.
const TRACES: [&str; 4] = ["console.sock", "collectors.pid", ".cpu.pb.gz", ".flame.folded"];

fn is_run(path: &Path) -> bool {
    path.join("diagnosis.json").is_file() || path.join("recording").is_dir()
}

/// Removes what a run writes, and nothing else.
fn empty(path: &Path) -> std::io::Result<()> {
    for name in FILES.into_iter().chain(TRACES).chain([page::NAME]) {
        ignore_missing(fs::remove_file(path.join(name)))?;
    }
    ignore_missing(fs::remove_dir_all(path.join("recording")))
}

fn ignore_missing(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

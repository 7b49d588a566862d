//! Building with cargo: from what is on this machine if possible.

use crate::commands::Failure;
use crate::commands::terminal::Progress;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What came of a build.
pub(super) enum Built {
    /// The program.
    Program(PathBuf),
    /// What the compiler said.
    Refused(String),
}

/// Builds the project in `folder` into `target`; its program is called `name`.
pub(super) fn build(folder: &Path, target: &Path, name: &str) -> Result<Built, Failure> {
    let progress = Progress::new(&format!("building {name} (the first time takes minutes)"), None);
    let mut output = cargo(folder, target, &["--offline"])?;
    // Cargo names the flag in every message about something that is not on this machine.
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--offline") {
        output = cargo(folder, target, &[])?;
    }
    drop(progress);
    if output.status.success() {
        return Ok(Built::Program(target.join("debug").join(name)));
    }
    // Ctrl-C reaches all programs of a terminal.
    if let Some(signal) = output.status.signal() {
        return Err(Failure::new(format!("cargo was ended by signal {signal}; the program is not built")));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let quiet = |line: &&str| {
        !["Compiling ", "Fresh ", "Blocking ", "Finished "].iter().any(|word| line.trim_start().starts_with(word))
    };
    Ok(Built::Refused(said.lines().filter(quiet).map(|line| format!("{line}\n")).collect()))
}

fn cargo(folder: &Path, target: &Path, more: &[&str]) -> Result<Output, Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("build").args(more).current_dir(folder);
    // What the learner's shell sets would compile the libraries anew, or elsewhere.
    command.env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", "--cfg tokio_unstable");
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    command.output().map_err(|error| Failure::cannot("run cargo; is Rust installed?", error))
}

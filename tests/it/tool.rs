//! The built binary, and what it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What one invocation came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command `pollscope`, to be run in the folder `place`.
pub(crate) fn command(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollscope"));
    command
        .current_dir(place)
        .stdin(Stdio::null())
        .env_remove("POLLSCOPE")
        .env_remove("POLLSCOPE_TRACE")
        .env_remove("POLLSCOPE_COLLECT");
    command
}

/// Runs `pollscope ARGUMENTS` in the folder `place`.
pub(crate) fn pollscope(place: &Path, arguments: &[&str]) -> Said {
    let output = command(place).args(arguments).output().unwrap();
    let said = Said {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    // A finding may well say that a task of the program panicked; this is how a thread of the tool would.
    let own = said.stderr.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"));
    assert!(!own, "{said:?}");
    said
}

/// A program of `tests/programs`, which `cargo test` builds as an example.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_pollscope")).with_file_name("examples").join(name);
    assert!(path.is_file(), "{} is missing: `cargo build --examples` builds it", path.display());
    path
}

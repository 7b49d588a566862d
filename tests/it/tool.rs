//! The built binary, and what it said.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
        .env_remove("POLLSCOPE_COLLECT")
        .env_remove("POLLSCOPE_METRICS");
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

/// `pollscope record` of such a program with these arguments, for so many seconds or until it ends, in a folder of
/// `place` that is called after the arguments.
pub(crate) fn recorder(place: &Path, example: &str, arguments: &[&str], seconds: Option<u64>) -> Command {
    let mut command = command(place);
    command.args(["record", "--format", "json", "--out", &arguments.join("-")]);
    if let Some(seconds) = seconds {
        command.args(["--seconds", &seconds.to_string()]);
    }
    command.arg("--").arg(program(example)).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Starts it, with tokio's tracing. These programs sleep most of the time, so many run at once.
pub(crate) fn start(place: &Path, example: &str, arguments: &[&str], seconds: Option<u64>) -> Child {
    // Built in this workspace they hold the collectors, so the recorder would not decide by itself.
    recorder(place, example, arguments, seconds).env("POLLSCOPE_TRACE", "1").spawn().unwrap()
}

/// The diagnosis, once the recorder has ended.
pub(crate) fn diagnosed(recorder: Child) -> Value {
    let output = recorder.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

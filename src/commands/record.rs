//! `pollscope record`: a program of the user's own.

use super::folder::Folder;
use super::observe::{Plan, observe, second_pass};
use super::options::RecordOptions;
use super::{Failure, terminal, verdict};
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How much longer than expected a program may take with the collectors.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn record(options: &RecordOptions) -> Result<u8, Failure> {
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(Failure::new("there is no program to record; name it after `--`"));
    };
    let Some(binary) = find_program(program) else {
        let shown = program.to_string_lossy();
        return Err(Failure::new(format!("there is no program `{shown}`; check the path or $PATH")));
    };
    let name = binary.file_name().unwrap_or(program).to_string_lossy().into_owned();
    let out = options.out.clone().unwrap_or_else(|| Path::new("pollscope-out").join(&name));
    let folder = Folder::claim(&out)?;
    let (trace, why) = tracing_choice(&binary);
    let command = || {
        let mut command = Command::new(program);
        command.args(arguments);
        if trace {
            command.env("POLLSCOPE_TRACE", "1");
        }
        command
    };
    terminal::note(&why);
    let plan = Plan {
        name: &name,
        expected: options.seconds.map(Duration::from_secs),
        limit: options.seconds.map(Duration::from_secs),
        should_end: false,
        tell: true,
        notes: vec![why],
    };
    let outcome = observe(command(), &folder, plan)?;
    let status = verdict::show(&outcome.diagnosis, &folder.shown(), options.verdict);
    if outcome.interrupted && !options.collect.is_empty() {
        terminal::note("pollscope: nothing is collected after Ctrl-C; --seconds N ends both passes by itself");
    } else {
        // What ends by itself may take longer with the collectors; what was stopped is stopped again.
        let limit = if outcome.stopped { outcome.took } else { outcome.took * 2 + PATIENCE };
        second_pass(command(), &folder, &options.collect, &name, (&outcome, limit))?;
    }
    Ok(status)
}

/// Whether the agent may be the program's tracing subscriber, and the sentence that says so. A program that installs
/// one of its own would panic if ours stood there first.
fn tracing_choice(binary: &Path) -> (bool, String) {
    if env::var_os("POLLSCOPE_TRACE").is_some() {
        return (false, "POLLSCOPE_TRACE is set by you and was left alone".to_owned());
    }
    let none = "wakes and locks are seen only through pollscope_agent::layer()";
    // The last names a variable that only the collectors read; names of functions are gone from a stripped binary.
    match holds(binary, [b"pollscope_agent", b"tracing_subscriber", b"POLLSCOPE_COLLECT_DIR"]) {
        Ok([true, true, true]) => {
            let hint = "if it does not, set POLLSCOPE_TRACE=1 to see wakes and locks";
            (
                false,
                format!(
                    "the collectors in this program hide whether it brings a tracing subscriber of its own; {hint}"
                ),
            )
        }
        Ok([true, false, _]) => {
            (true, "the program has no tracing subscriber, so the agent is it: wakes and locks are seen".to_owned())
        }
        Ok([true, true, false]) => (false, format!("the program brings a tracing subscriber of its own: {none}")),
        Ok([false, _, _]) => (false, format!("the agent is not in this binary, perhaps in one that it starts: {none}")),
        Err(error) => (false, format!("the binary could not be searched for a tracing subscriber ({error}): {none}")),
    }
}

/// The file that `program` names, looked up as the kernel would.
fn find_program(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 || path.is_absolute() {
        return path.is_file().then(|| path.to_owned());
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(path)).find(|path| path.is_file())
}

/// Which of the words occur in the bytes of a file. Reads it piece by piece: binaries are large.
fn holds<const N: usize>(file: &Path, words: [&[u8]; N]) -> io::Result<[bool; N]> {
    let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
    let mut file = File::open(file)?;
    let mut piece = vec![0; 1 << 20];
    let (mut kept, mut found) = (0, [false; N]);
    loop {
        let read = file.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(found);
        }
        let bytes = &piece[..kept + read];
        for (found, word) in found.iter_mut().zip(words) {
            *found = *found || contains(bytes, word);
        }
        // A word may lie across two pieces.
        let keep = longest.min(bytes.len());
        let from = bytes.len() - keep;
        piece.copy_within(from..from + keep, 0);
        kept = keep;
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    let Some((first, rest)) = word.split_first() else {
        return true;
    };
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if bytes[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_binaries() {
        let own = env::current_exe().unwrap();
        let absent: Vec<u8> = b"ecnes on sekam drow siht".iter().rev().copied().chain([7, 7, 7]).collect();
        assert_eq!(holds(&own, [b"words_are_found_in_binaries", &absent]).unwrap(), [true, false]);
    }
}

//! Programs that wait for ever are named with their lines; programs that only wait for long are met with silence.

use crate::tool::{command, program};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::tempdir;

const SOURCES: [&str; 2] = ["tests/programs/waits.rs", "tests/programs/permits.rs"];
const RUNTIMES: [&str; 3] = ["current_thread", "two", "four"];

/// What never moves again, and what that is called.
const STUCK: [(&str, &str); 16] = [
    ("abba", "lock-cycle"),
    ("triangle", "lock-cycle"),
    ("three_kinds", "lock-cycle"),
    ("five", "lock-cycle"),
    ("mixed", "lock-cycle"),
    ("owned", "lock-cycle"),
    ("relock", "self-deadlock"),
    ("upgrade", "self-deadlock"),
    ("reread", "rwlock-deadlock"),
    ("pool", "pool-starvation"),
    ("circle", "channel-cycle"),
    ("self_send", "channel-cycle"),
    ("futurelock", "futurelock"),
    ("leak", "permit-leak"),
    ("returned_pool", "pool-starvation"),
    ("patient", "lock-cycle"),
];

const MOVING: [&str; 16] = [
    "long_holder",
    "nested_holders",
    "moved_permits",
    "dispatched_permits",
    "forgotten_permits",
    "inherited_permits",
    "tried_permits",
    "rate_limit",
    "select_borrowed",
    "timed_locks",
    "slow_consumer",
    "notify_under_lock",
    "writer_behind_readers",
    "ordered_locks",
    "draining_pool",
    "idle_server",
];

/// Records a program for three seconds; they sleep most of the time, so many run at once.
fn start(place: &Path, name: &str, runtime: &str) -> Child {
    command(place)
        .args(["record", "--seconds", "3", "--format", "json", "--out", &format!("{name}-{runtime}"), "--"])
        .arg(program("waits"))
        .args([name, runtime])
        // Built in this workspace they hold the collectors, so the recorder would not decide by itself.
        .env("POLLSCOPE_TRACE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn diagnosed(recorder: Child) -> Value {
    let output = recorder.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines(file: &'static str) -> Vec<(&'static str, u64, String)> {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    (1..).zip(source.lines()).map(|(number, line)| (file, number, line.to_owned())).collect()
}

#[test]
fn what_waits_for_ever_is_named_with_its_line() {
    let place = tempdir().unwrap();
    let marked: Vec<(&str, u64, String)> = SOURCES.iter().flat_map(|file| lines(file)).collect();
    for runtime in RUNTIMES {
        let started: Vec<_> =
            STUCK.iter().map(|(name, kind)| (*name, *kind, start(place.path(), name, runtime))).collect();
        for (name, kind, recorder) in started {
            let is_marked =
                |line: &str| line.rsplit_once("// ").is_some_and(|(_, names)| names.split(' ').any(|one| one == name));
            let lines: Vec<(&str, u64)> =
                marked.iter().filter(|(.., line)| is_marked(line)).map(|&(file, line, _)| (file, line)).collect();
            assert!(!lines.is_empty(), "{name} has a marked line");
            let diagnosis = diagnosed(recorder);
            let findings = diagnosis["findings"].as_array().unwrap();
            let kinds: Vec<_> = findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, [kind], "{name} on {runtime}: {diagnosis:#}");
            let at = &findings[0]["culprit"]["at"];
            let named = (at["file"].as_str().unwrap(), at["line"].as_u64().unwrap());
            assert!(lines.contains(&named), "{name} on {runtime}: {at} is none of {lines:?}");
        }
    }
}

#[test]
fn what_only_waits_for_long_is_met_with_silence() {
    let place = tempdir().unwrap();
    for runtime in RUNTIMES {
        let started: Vec<_> = MOVING.iter().map(|name| (name, start(place.path(), name, runtime))).collect();
        for (name, recorder) in started {
            let diagnosis = diagnosed(recorder);
            // Many programs at once are a crowd, which may be told.
            let silent = ["healthy", "environment"].iter().any(|verdict| diagnosis["verdict"] == *verdict);
            assert!(silent, "{name} on {runtime}: {diagnosis:#}");
        }
    }
}

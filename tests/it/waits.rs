//! Programs that wait for ever are named with their lines; programs that only wait for long are met with silence.

use crate::tool;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::{TempDir, tempdir};

pub(crate) const RUNTIMES: [&str; 3] = ["current_thread", "two", "four"];

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

/// Seconds for those that never move again: many start at once and take their time.
pub(crate) const STUCK_FOR: u64 = 5;
/// Seconds after which those that only wait for long are stopped: in the middle of it, so that what is diagnosed at the
/// end is a wait of more than a second.
pub(crate) const MIDDLE: u64 = 2;

/// A program while it is recorded. It sleeps most of the time, so many run at once.
pub(crate) struct Recorded {
    name: String,
    runtime: String,
    sources: Vec<String>,
    recorder: Child,
    _place: TempDir,
}

impl Recorded {
    /// Starts the program `name` of `example` for so many seconds.
    pub(crate) fn start(example: &str, name: &str, runtime: &str, seconds: u64) -> Recorded {
        let place = tempdir().unwrap();
        let recorder = tool::start(place.path(), example, &[name, runtime], Some(seconds));
        let sources = [example, "permits"].map(|file| format!("tests/programs/{file}.rs")).to_vec();
        let (name, runtime) = (name.to_owned(), runtime.to_owned());
        Recorded { name, runtime, sources, recorder, _place: place }
    }

    fn diagnosed(self) -> (Value, String) {
        (tool::diagnosed(self.recorder), format!("{} on {}", self.name, self.runtime))
    }

    /// The lines that a comment marks with the program's name.
    fn marked(&self) -> Vec<(String, u64)> {
        let is_marked =
            |line: &str| line.rsplit_once("// ").is_some_and(|(_, names)| names.split(' ').any(|one| one == self.name));
        let of_file = |file: &String| {
            let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
            let lines = (1..).zip(source.lines()).filter(|(_, line)| is_marked(line));
            lines.map(|(number, _)| (file.clone(), number)).collect::<Vec<_>>()
        };
        self.sources.iter().flat_map(of_file).collect()
    }
}

/// The programs of one test run at once; those of two tests would be a crowd, in which some hardly begin in their time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one finding is of this kind, at a marked line.
pub(crate) fn assert_named(recorded: Recorded, kind: &str) {
    let lines = recorded.marked();
    assert!(!lines.is_empty(), "{} has a marked line", recorded.name);
    let (diagnosis, what) = recorded.diagnosed();
    let findings = diagnosis["findings"].as_array().unwrap();
    let kinds: Vec<_> = findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, [kind], "{what}: {diagnosis:#}");
    let at = &findings[0]["culprit"]["at"];
    let named = (at["file"].as_str().unwrap().to_owned(), at["line"].as_u64().unwrap());
    assert!(lines.contains(&named), "{what}: {at} is none of {lines:?}");
}

/// No harm is told.
pub(crate) fn assert_silent(recorded: Recorded) {
    let (diagnosis, what) = recorded.diagnosed();
    // Many programs at once are a crowd, which may be told.
    let silent = ["healthy", "environment"].iter().any(|verdict| diagnosis["verdict"] == *verdict);
    assert!(silent, "{what}: {diagnosis:#}");
}

#[test]
fn what_waits_for_ever_is_named_with_its_line() {
    let _alone = alone();
    for runtime in RUNTIMES {
        let started: Vec<_> =
            STUCK.iter().map(|(name, kind)| (*kind, Recorded::start("waits", name, runtime, STUCK_FOR))).collect();
        for (kind, recorded) in started {
            assert_named(recorded, kind);
        }
    }
}

#[test]
fn what_only_waits_for_long_is_met_with_silence() {
    let _alone = alone();
    for runtime in RUNTIMES {
        let started: Vec<_> = MOVING.iter().map(|name| Recorded::start("waits", name, runtime, MIDDLE)).collect();
        started.into_iter().for_each(assert_silent);
    }
}

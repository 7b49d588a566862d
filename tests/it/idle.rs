//! Tasks that stand still: where each awaits is told with its line, and a verdict is given only where one is due.

use crate::tool::{diagnosed, start};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

const SOURCE: &str = "tests/programs/idle.rs";
/// How long each is recorded.
const SECONDS: Option<u64> = Some(4);
const RUNTIMES: [&str; 2] = ["current_thread", "two"];

const STUCK: [(&str, &str); 4] = [
    ("forgets_its_waker", "lost-wakeup"),
    ("notified_too_early", "lost-notify"),
    ("keeps_its_sender", "shutdown-hang"),
    ("blocks_the_end", "shutdown-hang"),
];

const WELL: [&str; 8] = [
    "pends_on_purpose",
    "serves",
    "fed_by_a_thread",
    "ends_slowly",
    "in_a_collection",
    "ends_tasks",
    "supervises",
    "rests",
];

/// Nothing moves, or only a thread could that never has: no fault is named, and nothing is called healthy.
const UNKNOWN: [&str; 3] = ["waits_in_a_ring", "asked_by_a_thread", "const_locks"];

/// Lines of the source that end in a comment, and the comment.
fn marks() -> Vec<(u64, String)> {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE)).unwrap();
    let code = source.lines().filter_map(|line| line.rsplit_once("// "));
    assert!(code.clone().count() > 20, "{SOURCE} has marked lines");
    let lines = (1..).zip(source.lines());
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter_map(|(number, line)| Some((number, line.rsplit_once(" // ")?.1.to_owned())))
        .collect()
}

#[test]
fn where_a_task_awaits_is_told_with_its_line() {
    let place = tempdir().unwrap();
    let started: Vec<_> =
        RUNTIMES.iter().map(|runtime| start(place.path(), "idle", &["places", runtime], SECONDS)).collect();
    let kinds =
        ["a message", "an answer", "a new value", "a notification", "the end", "a lock", "one of", "I/O", "a timer"];
    let wanted: Vec<(u64, String)> =
        marks().into_iter().filter(|(_, mark)| kinds.iter().any(|kind| mark.starts_with(kind))).collect();
    assert_eq!(wanted.len(), 20, "{wanted:?}");
    for recorder in started {
        let diagnosis = diagnosed(recorder);
        let idle = diagnosis["idle"].as_array().unwrap();
        for (line, waits_for) in &wanted {
            let here = idle.iter().filter(|group| group["at"]["file"] == SOURCE && group["at"]["line"] == *line);
            let told: Vec<_> = here.map(|group| group["waits_for"].as_str().unwrap()).collect();
            assert_eq!(told, [waits_for], "line {line}: {idle:#?}");
        }
        assert_eq!(diagnosis["verdict"], "healthy", "{diagnosis:#}");
    }
}

#[test]
fn what_stands_still_for_good_is_named_with_its_line() {
    let place = tempdir().unwrap();
    for runtime in RUNTIMES {
        let started: Vec<_> = STUCK
            .iter()
            .map(|(name, kind)| (*name, *kind, start(place.path(), "idle", &[name, runtime], SECONDS)))
            .collect();
        for (name, kind, recorder) in started {
            let line = marks().into_iter().find(|(_, mark)| mark == name).map(|(line, _)| line).unwrap();
            let diagnosis = diagnosed(recorder);
            let findings = diagnosis["findings"].as_array().unwrap();
            let kinds: Vec<_> = findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, [kind], "{name} on {runtime}: {diagnosis:#}");
            let at = &findings[0]["culprit"]["at"];
            assert_eq!((&at["file"], &at["line"]), (&SOURCE.into(), &line.into()), "{name} on {runtime}");
        }
    }
}

#[test]
fn what_may_still_move_is_not_accused() {
    let place = tempdir().unwrap();
    for runtime in RUNTIMES {
        let well = WELL.iter().map(|name| (*name, true));
        let unknown = UNKNOWN.iter().map(|name| (*name, false));
        let started: Vec<_> = well
            .chain(unknown)
            .map(|(name, well)| (name, well, start(place.path(), "idle", &[name, runtime], SECONDS)))
            .collect();
        for (name, well, recorder) in started {
            let diagnosis = diagnosed(recorder);
            let harmful = diagnosis["findings"].as_array().unwrap().iter().any(|one| one["severity"] != "info");
            assert!(!harmful, "{name} on {runtime}: {diagnosis:#}");
            // Many programs at once are a crowd, which may be told.
            let verdict = if well { "healthy" } else { "unknown" };
            let told = diagnosis["verdict"].as_str().unwrap();
            assert!(told == verdict || told == "environment", "{name} on {runtime}: {diagnosis:#}");
            assert!(well || diagnosis["notes"].to_string().contains("nothing has moved"), "{name}: {diagnosis:#}");
            let untraced =
                diagnosis["notes"].to_string().contains("2 of them wait for locks that tokio does not trace");
            assert_eq!(untraced, name == "const_locks", "{name}: {diagnosis:#}");
        }
    }
}

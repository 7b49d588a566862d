//! Deadlocks that a timeout or an abort has ended are told with what ended them; what only waited is met with silence.

use crate::tool::{diagnosed, pollscope, start};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

const SOURCE: &str = "tests/programs/freed.rs";

/// What was stuck, how often, and what the title says of its end.
const STUCK: [(&str, u64, &str); 4] = [
    ("timed", 1, "until a timeout ended it after 3."),
    ("again", 2, "until a timeout ended it after 3."),
    ("aborted", 1, "until one of them gave up or was dropped after 2."),
    ("left_behind", 1, "until one of them gave up or was dropped after 2."),
];

const MOVING: [&str; 4] = ["brief", "moved", "long_holder", "patient_holder"];

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

#[test]
fn what_was_stuck_and_came_free_is_not_forgotten() {
    let place = tempdir().unwrap();
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE)).unwrap();
    let started = STUCK.map(|(name, times, end)| (name, times, end, start(place.path(), "freed", &[name], None)));
    for (name, times, end, recorder) in started {
        let diagnosis = diagnosed(recorder);
        let findings = diagnosis["findings"].as_array().unwrap();
        let kinds: Vec<_> = findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["lock-cycle"], "{name}: {diagnosis:#}");
        let finding = &findings[0];
        assert_eq!(finding["occurrences"]["count"], times, "{name}: {finding:#}");
        assert!(finding["title"].as_str().unwrap().contains(end), "{name}: {finding:#}");
        let marked = |line: &str| line.contains("// ") && line.split_whitespace().any(|word| word == name);
        let lines: Vec<usize> = (1..).zip(source.lines()).filter(|(_, line)| marked(line)).map(|(at, _)| at).collect();
        let at = finding["culprit"]["at"]["line"].as_u64().unwrap() as usize;
        assert!(lines.contains(&at), "{name}: {at} is none of {lines:?}");
        let again = pollscope(place.path(), &["diagnose", name, "--format", "json"]);
        assert_eq!(json(again.stdout.as_bytes())["findings"], diagnosis["findings"], "{name}: the same from the disk");
    }
}

#[test]
fn what_only_waited_is_met_with_silence() {
    let place = tempdir().unwrap();
    let started = MOVING.map(|name| (name, start(place.path(), "freed", &[name], None)));
    for (name, recorder) in started {
        let diagnosis = diagnosed(recorder);
        let found = diagnosis["findings"].as_array().unwrap();
        assert!(found.iter().all(|finding| finding["severity"] == "info"), "{name}: {diagnosis:#}");
    }
}

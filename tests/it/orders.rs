//! Locks taken in contradicting orders are named with their lines, although nothing hung; what looks like it is met
//! with silence.

use crate::tool::{diagnosed, start};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

const SOURCE: &str = "tests/programs/orders.rs";
const RUNTIMES: [&str; 2] = ["current_thread", "two"];

/// What might have stopped, and how many locks are in it.
const INVERTED: [(&str, usize); 6] =
    [("once", 2), ("by_turns", 2), ("three", 3), ("mixed", 2), ("many_tasks", 2), ("selected", 2)];

const SAFE: [&str; 15] = [
    "gated",
    "read_gated",
    "gate_permit",
    "tried",
    "dropped",
    "readers",
    "spawned_after",
    "joined",
    "phases",
    "alone",
    "instances",
    "sent_guard",
    "joined_futures",
    "gathered",
    "other_pairs",
];

fn findings(diagnosis: &Value) -> Vec<&Value> {
    diagnosis["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "info").collect()
}

#[test]
fn orders_that_contradict_each_other_are_named_although_nothing_hung() {
    let place = tempdir().unwrap();
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE)).unwrap();
    for runtime in RUNTIMES {
        let started: Vec<_> = INVERTED
            .iter()
            .map(|(name, locks)| (*name, *locks, start(place.path(), "orders", &[name, runtime], None)))
            .collect();
        for (name, locks, recorder) in started {
            let mark = format!("// {name}");
            let marked = (1_u64..).zip(source.lines()).filter(|(_, line)| line.ends_with(&mark));
            let lines: Vec<u64> = marked.map(|(number, _)| number).collect();
            assert!(!lines.is_empty(), "{name} has a marked line");
            let diagnosis = diagnosed(recorder);
            let found = findings(&diagnosis);
            let kinds: Vec<_> = found.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["lock-order-inversion"], "{name} on {runtime}: {diagnosis:#}");
            let at = &found[0]["culprit"]["at"];
            assert_eq!(at["file"], SOURCE, "{name} on {runtime}: {at}");
            assert!(lines.contains(&at["line"].as_u64().unwrap()), "{name} on {runtime}: {at} is none of {lines:?}");
            let edges = found[0]["graph"]["edges"].as_array().unwrap();
            assert_eq!(edges.len(), 2 * locks, "{name} on {runtime}: {edges:#?}");
            assert!(edges.iter().all(|edge| edge["at"]["file"] == SOURCE), "{name} on {runtime}: {edges:#?}");
        }
    }
}

#[test]
fn orders_that_never_meet_are_met_with_silence() {
    let place = tempdir().unwrap();
    for runtime in RUNTIMES {
        let started: Vec<_> =
            SAFE.iter().map(|name| (name, start(place.path(), "orders", &[name, runtime], None))).collect();
        for (name, recorder) in started {
            let diagnosis = diagnosed(recorder);
            assert!(findings(&diagnosis).is_empty(), "{name} on {runtime}: {diagnosis:#}");
        }
    }
}

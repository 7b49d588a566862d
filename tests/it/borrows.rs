//! A borrow of a `watch` channel that is kept over an `.await` is named where it stops a thread; short borrows, slow
//! senders and crowds are not.

use crate::tool::{diagnosed, recorder};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

const SOURCE: &str = "tests/programs/borrows.rs";
const KIND: &str = "watch-borrow-across-await";
const RUNTIMES: [&str; 2] = ["current_thread", "two"];

/// Records programs for three seconds, all at once, and gives what was found.
fn found<const N: usize>(names: [&'static str; N]) -> Vec<(&'static str, &'static str, Value)> {
    let place = tempdir().unwrap();
    let both = names.iter().flat_map(|name| RUNTIMES.map(|runtime| (*name, runtime)));
    let started: Vec<_> = both
        .map(|(name, runtime)| {
            let mut recorder = recorder(place.path(), "borrows", &[name, runtime], Some(3));
            (name, runtime, recorder.spawn().unwrap())
        })
        .collect();
    started.into_iter().map(|(name, runtime, recorder)| (name, runtime, diagnosed(recorder))).collect()
}

#[test]
fn a_borrow_that_is_kept_over_an_await_is_named() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE)).unwrap();
    for (name, runtime, diagnosis) in found(["kept", "kept_and_read"]) {
        let findings = diagnosis["findings"].as_array().unwrap();
        let kinds: Vec<_> = findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, [KIND], "{name} on {runtime}: {diagnosis:#}");
        let mark = format!("// {name}");
        let marked = (1_u64..).zip(source.lines()).filter(|(_, line)| line.ends_with(&mark));
        let lines: Vec<u64> = marked.map(|(number, _)| number).collect();
        let at = &findings[0]["culprit"]["at"];
        assert_eq!(at["file"], SOURCE, "{name} on {runtime}: {at}");
        assert!(lines.contains(&at["line"].as_u64().unwrap()), "{name} on {runtime}: {at} is none of {lines:?}");
        assert!(
            findings[0]["title"].as_str().unwrap().contains("the root future"),
            "{name} on {runtime}: {findings:#?}"
        );
    }
}

#[test]
fn what_is_borrowed_for_a_moment_is_not() {
    for (name, runtime, diagnosis) in found(["short", "slow_change", "contended"]) {
        let findings = diagnosis["findings"].as_array().unwrap();
        let kinds: Vec<_> = findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
        assert!(!kinds.contains(&KIND), "{name} on {runtime}: {diagnosis:#}");
        // The sender that sleeps with the value in its hands is a fault of another kind.
        assert_eq!(kinds.contains(&"blocking-call"), name == "slow_change", "{name} on {runtime}: {diagnosis:#}");
    }
}

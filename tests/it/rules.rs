//! `pollscope.toml`: found beside the program, and told when it is wrong.

use crate::tool::{pollscope, program};
use serde_json::Value;
use std::fs;
use tempfile::tempdir;

/// A program that blocks its worker again and again.
const NAME: &str = "never_returns";

#[test]
fn what_is_accepted_is_told_and_counts_no_more() {
    let place = tempdir().unwrap();
    let program = program(NAME).display().to_string();
    let recorded = ["record", "--out", "out", "--seconds", "2", "--", &program];
    let said = pollscope(place.path(), &recorded);
    assert_eq!(said.status, Some(1), "{said:?}");
    let diagnosed = |arguments: &[&str]| pollscope(place.path(), arguments);
    let before: Value = serde_json::from_str(&diagnosed(&["diagnose", "out", "--format", "json"]).stdout).unwrap();
    let finding = &before["findings"][0];
    let (kind, file) = (finding["kind"].as_str().unwrap(), finding["culprit"]["at"]["file"].as_str().unwrap());

    fs::write(place.path().join("pollscope.toml"), format!("[[accept]]\nat = '{file}'\nwhy = 'a test'\n")).unwrap();
    let said = diagnosed(&["diagnose", "out", "--format", "json"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let after: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(after["findings"].as_array().unwrap().len(), 0, "{after:#}");
    let notes = after["notes"].to_string();
    assert!(notes.contains("pollscope.toml:1 (a test)") && notes.contains(kind), "{notes}");

    fs::write(place.path().join("other.toml"), "[[accept]]\nat = 'src/elsewhere.rs'\n").unwrap();
    let other = diagnosed(&["diagnose", "out", "--config", "other.toml"]);
    assert_eq!(other.status, Some(1), "{other:?}");
}

#[test]
fn wrong_rules_are_one_sentence_with_file_line_and_key() {
    let place = tempdir().unwrap();
    fs::write(place.path().join("pollscope.toml"), "\n[[class]]\nkind = 'slow'\ncalls = ['a::*']\n").unwrap();
    let said = pollscope(place.path(), &["diagnose", "out"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("pollscope.toml:3: `class.kind` is `slow`, but must be one of"), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    // A scenario is none of the user's programs.
    assert_eq!(pollscope(place.path(), &["list"]).status, Some(0));
    let missing = pollscope(place.path(), &["diagnose", "out", "--config", "none.toml"]);
    assert!(missing.stderr.contains("there is no file none.toml"), "{missing:?}");
}

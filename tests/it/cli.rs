//! Everything around the diagnosis: help, exit status, and one clear sentence for each thing that can go wrong.

use crate::tool::pollscope;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// The command could not do it, and says why in one sentence that holds `part`.
#[track_caller]
fn refuses(place: &Path, arguments: &[&str], part: &str) {
    let said = pollscope(place, arguments);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert_eq!(said.stdout, "", "{said:?}");
    let sentences: Vec<_> = said.stderr.lines().filter(|line| line.starts_with("pollscope: ")).collect();
    assert!(sentences.len() == 1 && sentences[0].contains(part), "{said:?}");
}

#[test]
fn help_teaches_by_examples() {
    let place = tempdir().unwrap();
    let said = pollscope(place.path(), &["--help"]);
    assert_eq!(said.status, Some(0));
    assert!(said.stdout.contains("pollscope run blocking-call") && said.stdout.contains("Exit status"), "{said:?}");
    assert!(!said.stdout.contains("__scenario"), "{said:?}");
    for command in ["run", "record", "attach", "diagnose", "report", "watch", "explain", "eval"] {
        let said = pollscope(place.path(), &[command, "--help"]);
        assert!(said.status == Some(0) && said.stdout.contains("Examples:"), "{said:?}");
    }
}

#[test]
fn mistakes_in_the_arguments_exit_with_2() {
    let place = tempdir().unwrap();
    for arguments in [&[][..], &["frobnicate"], &["record"], &["diagnose"], &["diagnose", ".", "--format", "xml"]] {
        let said = pollscope(place.path(), arguments);
        assert!(said.status == Some(2) && said.stdout.is_empty(), "{said:?}");
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let place = tempdir().unwrap();
    fs::write(place.path().join("letter.txt"), "dear reader").unwrap();
    fs::create_dir(place.path().join("empty")).unwrap();
    refuses(place.path(), &["diagnose", "nowhere"], "there is no recording nowhere");
    refuses(place.path(), &["diagnose", "letter.txt"], "letter.txt");
    refuses(place.path(), &["diagnose", "empty"], "empty holds no recording");
    refuses(place.path(), &["report", "nowhere"], "there is no recording nowhere");
    refuses(place.path(), &["report", "letter.txt"], "letter.txt holds no recording");
    refuses(place.path(), &["report", "empty"], "empty holds no recording");
    fs::write(place.path().join("empty/diagnosis.json"), "{}").unwrap();
    refuses(place.path(), &["report", "empty"], "cannot read empty/diagnosis.json");
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let place = tempdir().unwrap();
    refuses(place.path(), &["record", "--", "no-such-program"], "there is no program `no-such-program`");
    refuses(place.path(), &["record", "--", "./no-such-program"], "there is no program `./no-such-program`");
    refuses(place.path(), &["record", "--", "true"], "must link pollscope-agent");
    refuses(place.path(), &["record", "--", "sh", "-c", "kill -9 $$"], "killed by SIGKILL");
}

#[test]
fn a_program_that_outlives_its_time_is_stopped() {
    let place = tempdir().unwrap();
    refuses(place.path(), &["record", "--seconds", "1", "--", "sleep", "60"], "nothing was recorded");
}

#[test]
fn foreign_folders_are_left_alone() {
    let place = tempdir().unwrap();
    let letter = place.path().join("mine/letter.txt");
    fs::create_dir(place.path().join("mine")).unwrap();
    fs::write(&letter, "dear reader").unwrap();
    refuses(place.path(), &["record", "--out", "mine", "--", "true"], "holds no earlier run");
    refuses(place.path(), &["record", "--out", "mine/letter.txt/x", "--", "true"], "cannot write the folder");
    assert_eq!(fs::read_to_string(letter).unwrap(), "dear reader");
}

#[test]
fn each_kind_is_explained() {
    let place = tempdir().unwrap();
    let list = pollscope(place.path(), &["explain"]);
    assert_eq!(list.status, Some(0), "{list:?}");
    let kinds: Vec<&str> = list.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(kinds.contains(&"blocking-call") && kinds.contains(&"driver-held"), "{list:?}");
    for kind in ["blocking-call", "driver-held", "unknown"] {
        let said = pollscope(place.path(), &["explain", kind]);
        assert!(said.status == Some(0) && said.stdout.starts_with(&format!("{kind}: ")), "{said:?}");
        assert!(said.stdout.contains("How pollscope tells") && !said.stdout.contains('\u{1b}'), "{said:?}");
    }
    refuses(place.path(), &["explain", "self-deadlok"], "did you mean `self-deadlock`");
    refuses(place.path(), &["explain", "xyz"], "`pollscope explain` names them");
}

#[cfg(feature = "lab")]
#[test]
fn an_unknown_scenario_is_answered_with_the_nearest() {
    let place = tempdir().unwrap();
    refuses(place.path(), &["run", "blocking-cal"], "did you mean `blocking-call`?");
    refuses(place.path(), &["run", "../../etc"], "`pollscope list` names them");
    refuses(place.path(), &["eval", "lock-cicle"], "did you mean `lock-cycle`?");
    refuses(place.path(), &["eval", "driver-held", "--flavor", "current_thread"], "nothing is left to evaluate");
    assert!(!place.path().join("pollscope-out").exists());
}

#[cfg(feature = "lab")]
#[test]
fn the_list_names_every_scenario() {
    let place = tempdir().unwrap();
    let said = pollscope(place.path(), &["list"]);
    assert_eq!(said.status, Some(0));
    let json = pollscope(place.path(), &["list", "--format", "json"]).stdout;
    let json: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let healthy = pollscope_scenarios::healthy();
    assert_eq!(json.len(), healthy.len() + pollscope_scenarios::all().len());
    assert!(said.stdout.lines().nth(1).unwrap().contains("no fault"), "{said:?}");
    for scenario in healthy.iter().chain(pollscope_scenarios::all()) {
        assert!(said.stdout.contains(scenario.name), "{said:?}");
        assert!(json.iter().any(|entry| entry["name"] == scenario.name && entry["title"] != ""), "{json:?}");
    }
}

#[cfg(not(feature = "lab"))]
#[test]
fn the_lean_tool_says_that_it_has_no_scenarios() {
    let place = tempdir().unwrap();
    refuses(place.path(), &["list"], "holds no scenarios");
    refuses(place.path(), &["run", "blocking-call"], "holds no scenarios");
}

//! What the exercises say of themselves, and of answers; nothing is built or run.

use crate::learner::{Learner, place};
use std::fs;

const MAIN: &str = "slow-quotes/src/main.rs";

#[test]
fn the_exercises_are_listed_in_their_order() {
    let learner = Learner::new();
    let said = learner.says(&["list"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.contains("\n  late-session-checks") && said.stdout.contains("Next: "), "{said:?}");
    let list = learner.says(&["list", "--format", "json"]).stdout;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    assert!(list.len() >= 10, "{list:?}");
    for entry in &list {
        assert!(entry["scenario"].is_null() && entry["state"] == "open", "{entry}");
        let ready = entry["after"].as_array().unwrap().is_empty();
        assert_eq!(entry["ready"], ready, "{entry}");
        let before = |name: &serde_json::Value| list.iter().any(|other| other["name"] == *name);
        assert!(entry["after"].as_array().unwrap().iter().all(before), "{entry}");
    }
    assert!(!learner.progress().exists(), "looking is no progress");
}

#[test]
fn every_exercise_reads_well() {
    let said = Learner::new().says(&["verify", "--quick"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.lines().count() >= 10 && said.stdout.lines().all(|line| line.ends_with(": sound")), "{said:?}");
}

#[test]
fn a_started_exercise_names_no_fault() {
    let learner = Learner::new();
    let said = learner.says(&["start", "slow-quotes"]);
    assert!(said.status == Some(0) && said.stdout.contains("a third of the quotes"), "{said:?}");
    let mut told = said.stdout;
    for file in ["Cargo.toml", "README.md", "TICKET.md", "answer.toml", "src/main.rs", "src/workload/mod.rs"] {
        told += &learner.file(&format!("slow-quotes/{file}"));
    }
    for word in ["blocking-call", "blocking call", "fault.rs", "scenario"] {
        assert!(!told.to_lowercase().contains(word), "{word}");
    }
    let again = learner.says(&["start", "slow-quotes"]);
    assert!(again.status == Some(2) && again.stderr.contains("is not empty"), "{again:?}");
    let wrong = learner.says(&["start", "slow-quots"]);
    assert!(wrong.status == Some(2) && wrong.stderr.contains("did you mean `slow-quotes`?"), "{wrong:?}");
}

#[test]
fn hints_go_one_step_further_each_time() {
    let learner = Learner::new();
    for step in 1..=5_usize {
        let said = learner.says(&["hint", "slow-quotes"]);
        assert_eq!(said.stdout.lines().count(), step.min(4), "{said:?}");
        assert!(!said.stdout.contains("run blocking-call"), "{said:?}");
    }
    assert!(fs::read_to_string(learner.progress()).unwrap().contains("hints = 4"));
}

#[test]
fn the_diagnosis_is_graded_apart() {
    let learner = Learner::new();
    let check = |more: &[&str]| learner.says(&[&["check", "slow-quotes"], more].concat());
    assert!(check(&[]).stderr.contains("is not started"));
    learner.says(&["start", "slow-quotes"]);
    assert!(
        check(&[]).stdout.contains("Diagnosis: not given yet.\nFix: not yet.\n  - src/main.rs is as it was shipped")
    );
    let said = check(&["--kind", "cpu-bound-poll", "--task", "serve"]);
    assert!(said.status == Some(1) && said.stdout.contains("kind not right, line not given, task right."), "{said:?}");

    let at = place(&learner.file(MAIN), "StdBufReader::new(connection).read_line");
    let answer = |at: &str| format!("kind = \"blocking-call\"\nat = \"{at}\"\ntask = \"serve\"\n");
    learner.write("slow-quotes/answer.toml", &answer(&at));
    let said = check(&[]);
    assert!(said.status == Some(1) && said.stdout.contains("kind right, line right, task right."), "{said:?}");
    let list = learner.says(&["list"]).stdout;
    assert!(list.contains("diagnosed"), "{list}");

    learner.write("slow-quotes/answer.toml", &answer("somewhere"));
    let said = check(&[]);
    assert!(said.status == Some(2) && said.stderr.contains("`somewhere` is no place"), "{said:?}");
    learner.write("slow-quotes/answer.toml", "kind = 7");
    let said = check(&[]);
    assert!(said.status == Some(2) && said.stderr.contains("answer.toml cannot be read"), "{said:?}");
}

#[test]
fn a_damaged_progress_file_is_one_sentence() {
    let learner = Learner::new();
    fs::create_dir_all(learner.progress().parent().unwrap()).unwrap();
    for text in ["exercises = 3", "[exercises.slow-quotes]\nhints = \"many\"\n", "{{{"] {
        fs::write(learner.progress(), text).unwrap();
        let said = learner.says(&["list"]);
        assert_eq!(said.status, Some(2), "{said:?}");
        assert!(said.stderr.lines().count() == 1 && said.stderr.contains("progress.toml is damaged"), "{said:?}");
        assert_eq!(fs::read_to_string(learner.progress()).unwrap(), text, "it is the learner's");
    }
}

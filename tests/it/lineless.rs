//! Programs without line tables: what is wrong keeps its kind, the function stands for the line, and what is missing is
//! said. Built without optimization, as all tests are, every function of the program's own stands on the stacks.

use crate::scenarios::ALONE;
use crate::tool::{command, pollscope};
use pollscope_scenarios::Scenario;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tempfile::tempdir;

/// One of each kind of stall, and of the ways to wait for each other.
const SCENARIOS: [&str; 10] = [
    "blocking-call",
    "blocking-drop",
    "block-in-place",
    "cpu-bound-poll",
    "sync-db-driver",
    "sync-lock-contention",
    "sync-logging",
    "thread-wait-in-task",
    "futurelock",
    "lock-cycle",
];

fn harmful(diagnosis: &Value) -> Vec<&Value> {
    let findings = diagnosis["findings"].as_array().unwrap();
    findings.iter().filter(|finding| finding["severity"] != "info").collect()
}

/// What the stripped program comes to as this scenario, or as its twin.
fn recorded(place: &Path, scenario: &Scenario, twin: &[&str]) -> Value {
    let out = format!("{}{}", scenario.name, twin.concat());
    let arguments = ["record", "--seconds", "6", "--format", "json", "--out", &out, "--", "./lean", "__scenario"];
    let mut recorder = command(place);
    recorder.args(arguments).arg(scenario.name).args(twin).env("SERVICE_SECONDS", "2").env("POLLSCOPE_TRACE", "1");
    let output = recorder.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The functions of the fault that the truth's lines stand in.
fn true_functions(scenario: &Scenario) -> Vec<String> {
    let manifest: toml::Table = scenario.manifest.parse().unwrap();
    let truth = &manifest["truth"];
    let several = truth.get("culprits").and_then(toml::Value::as_array).into_iter().flatten();
    let culprits = truth.get("culprit").into_iter().chain(several);
    let function = |culprit: &toml::Value| {
        let (before, _) = scenario.fault_source.split_once(culprit["pattern"].as_str().unwrap()).unwrap();
        let (_, function) = before.rsplit_once("fn ").unwrap();
        function.split(['(', '<']).next().unwrap().to_owned()
    };
    culprits.map(function).collect()
}

#[test]
fn without_line_tables_functions_are_named() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let own = env!("CARGO_BIN_EXE_pollscope");
    let stripped = Command::new("strip").args(["--strip-debug", "-o", "lean", own]).current_dir(place.path()).status();
    assert!(stripped.unwrap().success());
    for name in SCENARIOS {
        let scenario = pollscope_scenarios::all().iter().find(|scenario| scenario.name == name).unwrap();
        let manifest: toml::Table = scenario.manifest.parse().unwrap();
        let diagnosis = recorded(place.path(), scenario, &[]);
        let found = harmful(&diagnosis);
        assert_eq!(found.len(), 1, "{name}: {diagnosis:#}");
        assert_eq!(found[0]["kind"].as_str(), manifest["truth"]["kind"].as_str(), "{name}: {diagnosis:#}");
        let at = &found[0]["culprit"]["at"];
        assert_eq!((at["file"].as_str(), at["line"].as_u64()), (Some(""), Some(0)), "{name}: {at}");
        let function = at["function"].as_str().unwrap();
        let known = true_functions(scenario);
        assert!(
            known.iter().any(|known| function.ends_with(&format!("::{known}"))),
            "{name}: {function}, not {known:?}"
        );
        assert!(found[0]["title"].as_str().is_some_and(|title| !title.contains(":0")), "{name}: {}", found[0]["title"]);
        assert!(diagnosis["notes"].to_string().contains("no line tables"), "{name}: {}", diagnosis["notes"]);
        let text = pollscope(place.path(), &["diagnose", name]).stdout;
        // The text is broken at blanks.
        let last = function.rsplit(' ').next().unwrap();
        assert!(text.contains(last) && !text.contains(":0 "), "{name}: {text}");

        let twin = recorded(place.path(), scenario, &["--cured"]);
        assert!(harmful(&twin).is_empty(), "{name}: {twin:#}");
        assert!(twin["verdict"] == "healthy" || twin["verdict"] == "environment", "{name}: {twin:#}");
    }
}

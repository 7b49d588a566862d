//! Each scenario is named with its line, each cured twin met with silence, and a killed program still tells.

use crate::collect::every_consumer_opens_its_file;
use crate::tool::{Said, command, pollscope};
use pollscope_scenarios::Scenario;
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// Scenarios measure time: one test at a time.
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

/// Scenarios of one test at a time: they wait more than they work, and what is slow only by the others is told as that.
const TOGETHER: usize = 3;

/// Does something with each scenario.
fn each(check: impl Fn(&Scenario) + Sync) {
    let (all, next) = (pollscope_scenarios::all(), AtomicUsize::new(0));
    let take = || {
        while let Some(scenario) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            check(scenario);
        }
    };
    std::thread::scope(|scope| (0..TOGETHER).for_each(|_| drop(scope.spawn(take))));
}

#[test]
fn each_fault_is_named_with_its_line() {
    let _alone = ALONE.lock();
    each(|scenario| {
        let place = tempdir().unwrap();
        let said = pollscope(place.path(), &["run", scenario.name, "--format", "json"]);
        assert_eq!(said.status, Some(1), "{}: {said:?}", scenario.name);
        assert!(!said.stderr.contains("pollscope: "), "{}: a collector failed: {said:?}", scenario.name);
        names_the_culprit(scenario, &json(&said));
        let folder = format!("pollscope-out/{}", scenario.name);
        for file in ["diagnosis.json", "report.html", "program.log", "collectors.log"] {
            assert!(place.path().join(&folder).join(file).is_file(), "{}: no {file}", scenario.name);
        }
        every_consumer_opens_its_file(&place.path().join(&folder));

        let again = pollscope(place.path(), &["diagnose", &folder, "--format", "json"]);
        assert_eq!(again.status, Some(1), "{}: {again:?}", scenario.name);
        assert_eq!(json(&again)["findings"], json(&said)["findings"], "the same from the disk");
        let text = pollscope(place.path(), &["diagnose", &folder]).stdout;
        assert!(text.contains(scenario.fault_path) && !text.contains('\u{1b}'), "{text}");
        assert!(text.lines().count() <= 50, "more than a screen:\n{text}");
    });
}

#[test]
fn each_cured_twin_is_healthy() {
    let _alone = ALONE.lock();
    each(|scenario| {
        let place = tempdir().unwrap();
        let said = pollscope(place.path(), &["run", scenario.name, "--cured", "--collect", "none", "--format", "json"]);
        assert_eq!(said.status, Some(0), "{}: {said:?}", scenario.name);
        // On a crowded machine the twin is slow too, and the verdict says whose doing that is.
        let verdict = &json(&said)["verdict"];
        assert!(verdict == "healthy" || verdict == "environment", "{said:?}");
    });
}

#[test]
fn a_scenario_is_judged_on_every_runtime_asked_for() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let arguments =
        ["eval", "lock-cycle", "--flavor", "current_thread,4", "--load", "0,1", "--jobs", "4", "--format", "json"];
    let said = pollscope(place.path(), &arguments);
    let rows: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    // A run on another runtime than asked for would be a remark, and a fault missed.
    assert!(rows.iter().all(|row| row["found"] == 1 && row["runs"] == 1), "{said:?}");
    let axes: Vec<_> =
        rows.iter().map(|row| (row["flavor"].as_str().unwrap(), row["load"].as_u64().unwrap())).collect();
    assert_eq!(axes, [("current_thread", 0), ("current_thread", 1), ("4", 0), ("4", 1)]);
    assert!(rows.iter().all(|row| row["build"] == if cfg!(debug_assertions) { "debug" } else { "release" }));
}

#[test]
fn programs_without_a_fault_are_met_with_silence() {
    let _alone = ALONE.lock();
    for scenario in pollscope_scenarios::healthy() {
        let place = tempdir().unwrap();
        let said = pollscope(place.path(), &["run", scenario.name, "--collect", "none", "--format", "json"]);
        assert_eq!(said.status, Some(0), "{said:?}");
        let diagnosis = json(&said);
        assert!(diagnosis["verdict"] == "healthy" || diagnosis["verdict"] == "environment", "{diagnosis:#}");
        let page =
            fs::read_to_string(place.path().join("pollscope-out").join(scenario.name).join("report.html")).unwrap();
        assert!(page.contains("class=\"lanes\""), "{}: no timeline", scenario.name);
    }
}

#[test]
fn a_killed_program_still_names_its_culprit() {
    let _alone = ALONE.lock();
    let scenario = pollscope_scenarios::all().iter().find(|scenario| scenario.name == "blocking-call").unwrap();
    let place = tempdir().unwrap();
    let own = env!("CARGO_BIN_EXE_pollscope");
    let mut recorder = command(place.path())
        .args(["record", "--out", "out", "--format", "json", "--", own, "__scenario", scenario.name])
        .env("SERVICE_SECONDS", "60")
        .env("POLLSCOPE_TRACE", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let program = recorded_pid(&mut recorder, &place.path().join("out/recording"));
    std::thread::sleep(Duration::from_millis(2500));
    let killed = std::process::Command::new("kill").args(["-9", &program]).status().unwrap();
    assert!(killed.success());
    let output = recorder.wait_with_output().unwrap();
    assert_eq!(output.status.into_raw(), 1 << 8, "exit status 1");
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
    names_the_culprit(scenario, &diagnosis);
    let notes = diagnosis["notes"].to_string();
    assert!(notes.contains("killed by SIGKILL"), "{notes}");
}

/// The process id of the recorded program, from the name of the folder it records into.
fn recorded_pid(recorder: &mut Child, recordings: &Path) -> String {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        assert!(recorder.try_wait().unwrap().is_none(), "the recorder ended");
        let entry: Option<PathBuf> =
            fs::read_dir(recordings).ok().and_then(|mut entries| entries.next()).map(|entry| entry.unwrap().path());
        if let Some(path) = entry {
            // <program>-<pid>-<start>
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            return name.rsplit('-').nth(1).unwrap().to_owned();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nothing is recorded below {}", recordings.display());
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap()
}

/// The lines of the fault that the manifest's truth names.
fn true_lines(scenario: &Scenario) -> Vec<usize> {
    let manifest: toml::Table = scenario.manifest.parse().unwrap();
    let truth = &manifest["truth"];
    let several = truth.get("culprits").and_then(toml::Value::as_array).into_iter().flatten();
    let culprits = truth.get("culprit").into_iter().chain(several);
    let line = |culprit: &toml::Value| {
        let pattern = culprit["pattern"].as_str().unwrap();
        scenario.fault_source.lines().position(|line| line.contains(pattern)).unwrap() + 1
    };
    culprits.map(line).collect()
}

/// What a newcomer reads there is what they will see.
#[test]
fn the_readme_names_the_line() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let scenario = pollscope_scenarios::all().iter().find(|scenario| scenario.name == "blocking-call").unwrap();
    let place = format!("  where     {}:{}\n", scenario.fault_path, true_lines(scenario)[0]);
    assert!(readme.contains(&place), "README.md does not say `{place}`");
}

/// Exactly one harmful finding, of the right kind, at a line the manifest's truth names, with the amplifiers it lists.
#[track_caller]
fn names_the_culprit(scenario: &Scenario, diagnosis: &Value) {
    let manifest: toml::Table = scenario.manifest.parse().unwrap();
    let truth = &manifest["truth"];
    let lines = true_lines(scenario);
    let findings = diagnosis["findings"].as_array().unwrap();
    let harmful: Vec<_> = findings.iter().filter(|finding| finding["severity"] != "info").collect();
    assert_eq!(diagnosis["verdict"], "findings", "{diagnosis:#}");
    assert_eq!(harmful.len(), 1, "{diagnosis:#}");
    assert_eq!(harmful[0]["kind"], truth["kind"].as_str().unwrap(), "{diagnosis:#}");
    for amplifier in truth.get("amplifiers").and_then(toml::Value::as_array).into_iter().flatten() {
        let named = harmful[0]["amplifiers"].as_array().unwrap();
        assert!(named.iter().any(|one| one.as_str() == amplifier.as_str()), "no {amplifier} in {diagnosis:#}");
    }
    let at = &harmful[0]["culprit"]["at"];
    assert_eq!(at["file"], scenario.fault_path, "{diagnosis:#}");
    assert!(lines.iter().any(|line| at["line"] == *line), "{at} is none of {lines:?}");
}

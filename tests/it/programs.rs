//! Programs of a user's own: recorded, killed, interrupted, stripped, and their recordings mistreated.

use crate::tool::{Said, command, pollscope, program};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::tempdir;

const NEVER_RETURNS: &str = "tests/programs/never_returns.rs";
const MAIN_BLOCKS: &str = "tests/programs/main_blocks.rs";

/// The line of `file` that holds `part`, from 1.
fn line(file: &str, part: &str) -> usize {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| line.contains(part));
    let (line, _) = lines.next().unwrap();
    assert_eq!(lines.next(), None, "{part} stands once in {file}");
    line
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The one harmful finding, at `file:line`.
#[track_caller]
fn names(diagnosis: &Value, file: &str, line: usize) -> Value {
    let findings = diagnosis["findings"].as_array().unwrap();
    let harmful: Vec<_> = findings.iter().filter(|finding| finding["severity"] != "info").collect();
    assert_eq!(harmful.len(), 1, "{diagnosis:#}");
    let at = &harmful[0]["culprit"]["at"];
    assert_eq!((at["file"].as_str(), at["line"].as_u64()), (Some(file), Some(line as u64)), "{diagnosis:#}");
    harmful[0].clone()
}

/// Records `name` into `out` for two seconds.
fn recorded(place: &Path, name: &str) -> Said {
    let binary = program(name);
    pollscope(place, &["record", "--seconds", "2", "--out", "out", "--format", "json", "--", binary.to_str().unwrap()])
}

#[test]
fn a_poll_that_never_returns_is_named_while_it_hangs_and_afterwards() {
    let place = tempdir().unwrap();
    let culprit = line(NEVER_RETURNS, "answers.recv()");
    let mut recorder = command(place.path())
        .args(["record", "--out", "out", "--format", "json", "--"])
        .arg(program("never_returns"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // While it hangs: the line on stderr comes, or this waits for ever and the test's own time limit tells.
    let mut told = BufReader::new(recorder.stderr.take().unwrap()).lines().map_while(Result::ok);
    let wanted = format!("{NEVER_RETURNS}:{culprit}");
    assert!(told.any(|line| line.contains(&wanted)), "the recorder ended without a word");
    // And afterwards: Ctrl-C ends it in order.
    let interrupted = Command::new("kill").args(["-INT", &recorder.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let mut stdout = String::new();
    recorder.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(recorder.wait().unwrap().into_raw(), 1 << 8, "exit status 1");
    let diagnosis = json(&stdout);
    let finding = names(&diagnosis, NEVER_RETURNS, culprit);
    assert_eq!(finding["severity"], "critical", "{finding:#}");
    let functions = finding["culprit"]["stack"].to_string();
    assert!(functions.contains("never_returns::total") && functions.contains("never_returns::report"), "{functions}");
    assert!(diagnosis["notes"].to_string().contains("interrupted"), "{diagnosis:#}");
}

#[test]
fn a_blocking_call_in_main_itself_is_named() {
    let place = tempdir().unwrap();
    let said = recorded(place.path(), "main_blocks");
    let finding = names(&json(&said.stdout), MAIN_BLOCKS, line(MAIN_BLOCKS, "read_to_string"));
    assert_eq!(finding["kind"], "blocking-call", "{finding:#}");
    assert!(finding["culprit"]["task"]["id"].as_u64().unwrap() > u64::MAX / 2, "the root future: {finding:#}");
    assert_eq!(finding["amplifiers"][0], "single-thread-starved", "{finding:#}");
}

#[test]
fn without_debug_information_functions_are_named_and_the_loss_is_told() {
    let place = tempdir().unwrap();
    let lean = place.path().join("never_returns");
    let stripped =
        Command::new("strip").arg("--strip-debug").arg("-o").arg(&lean).arg(program("never_returns")).status();
    assert!(stripped.unwrap().success());
    let said = pollscope(
        place.path(),
        &["record", "--seconds", "2", "--out", "out", "--format", "json", "--", "./never_returns"],
    );
    let diagnosis = json(&said.stdout);
    assert_eq!(diagnosis["verdict"], "findings", "{diagnosis:#}");
    let at = &diagnosis["findings"][0]["culprit"]["at"];
    assert_eq!((at["file"].as_str(), at["line"].as_u64()), (Some(""), Some(0)), "{diagnosis:#}");
    assert_eq!(at["function"], "never_returns::total", "{diagnosis:#}");
    let notes = diagnosis["notes"].to_string();
    assert!(notes.contains("no line tables") && notes.contains("line-tables-only"), "{notes}");
}

#[test]
fn a_mistreated_recording_is_read_as_far_as_it_goes() {
    let place = tempdir().unwrap();
    let first = recorded(place.path(), "never_returns");
    assert_eq!(first.status, Some(1), "{first:?}");
    let recording = fs::read_dir(place.path().join("out/recording")).unwrap().next().unwrap().unwrap().path();
    let segment = fs::read_dir(&recording).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&segment).unwrap();
    let diagnosed = |bytes: &[u8]| {
        fs::write(&segment, bytes).unwrap();
        pollscope(place.path(), &["diagnose", "out", "--format", "json"])
    };

    let cut = diagnosed(&whole[..whole.len() - 16]);
    assert_eq!(cut.status, Some(1), "{cut:?}");
    assert!(json(&cut.stdout)["notes"].to_string().contains("segment 0"), "{cut:?}");

    for (bytes, sentence) in [(&b""[..], "is an empty recording"), (&b"dear reader"[..], "is not a recording")] {
        let said = diagnosed(bytes);
        assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.stderr.contains(sentence), "{said:?}");
    }
}

#[test]
fn a_sealed_recording_that_was_bent_is_read_up_to_the_damage() {
    let place = tempdir().unwrap();
    let binary = program("main_blocks");
    let said = pollscope(place.path(), &["record", "--out", "out", "--format", "json", "--", binary.to_str().unwrap()]);
    assert_eq!(said.status, Some(1), "the program ended by itself: {said:?}");
    let recording = fs::read_dir(place.path().join("out/recording")).unwrap().next().unwrap().unwrap().path();
    let segment = recording.join("000000.pollscope.gz");
    let mut bytes = fs::read(&segment).unwrap();
    let length = bytes.len();
    bytes[length - 4..].fill(0xff);
    fs::write(&segment, bytes).unwrap();
    let said = pollscope(place.path(), &["diagnose", "out", "--format", "json"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let diagnosis = json(&said.stdout);
    names(&diagnosis, MAIN_BLOCKS, line(MAIN_BLOCKS, "read_to_string"));
    assert!(diagnosis["notes"].to_string().contains("segment 0"), "{diagnosis:#}");
}

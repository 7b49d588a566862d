//! A great many tasks and locks at once: `MANY_LOCKS` of each, ten thousand by hand, fewer where nobody says.

use crate::tool::{self, command, program};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::tempdir;

fn locks() -> usize {
    std::env::var("MANY_LOCKS").map_or(3000, |number| number.parse().unwrap())
}

/// `pollscope record` of one of the programs in `place`: until a fault of this kind is told, or the program ends.
fn recorded(place: &Path, name: &str, kind: Option<&str>) {
    let mut recorder = command(place)
        .args(["record", "--out", "out", "--"])
        .arg(program("many"))
        .args([name, "two"])
        .env("LOCKS", locks().to_string())
        .env("POLLSCOPE_TRACE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(recorder.stderr.take().unwrap()).lines().map_while(Result::ok);
    if let Some(kind) = kind {
        assert!(lines.any(|line| line.contains(kind)), "the recorder ended without a word");
        let interrupted = Command::new("kill").args(["-INT", &recorder.id().to_string()]).status().unwrap();
        assert!(interrupted.success());
    }
    let mut stdout = String::new();
    recorder.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    recorder.wait().unwrap();
    let lines = stdout.lines().count();
    assert!(lines < 60, "{lines} lines are more than a screen: {stdout}");
}

/// The diagnosis of the recording, whose page and drawing are of a size that a browser and Graphviz can take.
fn diagnosed(place: &Path) -> Value {
    let said = tool::pollscope(place, &["diagnose", "out", "--format", "json"]);
    let page = fs::metadata(place.join("out/report.html")).unwrap().len();
    assert!(page < 300_000, "a page of {page} bytes");
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stderr))
}

#[test]
fn a_ring_of_thousands_is_one_deadlock() {
    let place = tempdir().unwrap();
    recorded(place.path(), "ring", Some("lock-cycle"));
    let diagnosis = diagnosed(place.path());
    let findings = diagnosis["findings"].as_array().unwrap();
    let harmful: Vec<_> = findings.iter().filter(|finding| finding["severity"] == "critical").collect();
    let [finding] = harmful[..] else { panic!("{} findings", harmful.len()) };
    assert_eq!(finding["kind"], "lock-cycle");
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/many.rs")).unwrap();
    let (line, _) = (1..).zip(source.lines()).find(|(_, line)| line.ends_with("// ring")).unwrap();
    assert_eq!(finding["culprit"]["at"]["line"], line, "{}", finding["culprit"]);
    let nodes = finding["graph"]["nodes"].as_array().unwrap().len();
    assert_eq!(nodes, 2 * locks(), "all of them stand in the data");
}

#[test]
fn a_chain_of_thousands_that_moves_at_its_end_is_none() {
    let place = tempdir().unwrap();
    recorded(place.path(), "chain", None);
    let diagnosis = diagnosed(place.path());
    let silent = ["healthy", "environment"].iter().any(|verdict| diagnosis["verdict"] == *verdict);
    assert!(silent, "{}: {}", diagnosis["verdict"], diagnosis["findings"]);
    let checks = diagnosis["checks"].as_array().unwrap();
    let why = checks.iter().find(|check| check["kind"] == "lock-cycle").unwrap()["why"].as_str().unwrap();
    let (waiting, words) = why.split_once(' ').unwrap();
    assert!(words.ends_with("none of them so"), "{why}");
    assert!(waiting.parse::<usize>().unwrap() >= locks() / 2, "{why}");
}

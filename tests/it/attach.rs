//! A program without the agent, heard through its console-subscriber: from its start, late, and to its sudden end.

use crate::tool::{Said, command, pollscope, program};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::tempdir;

const PROGRAM: &str = "tests/programs/console.rs";

/// Asks until `done`; how long that takes is the machine's business.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The bank, which has not begun yet.
struct Bank {
    child: Child,
    stdin: ChildStdin,
}

impl Bank {
    fn open(place: &Path, order: &str) -> Bank {
        let socket = place.join("bank.sock");
        let mut child = Command::new(program("console"))
            .arg(&socket)
            .arg(order)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until("the console server", || UnixStream::connect(&socket).is_ok());
        let stdin = child.stdin.take().unwrap();
        Bank { child, stdin }
    }

    /// Returns once transfers are under way.
    fn begin(&mut self) {
        self.stdin.write_all(b"begin\n").unwrap();
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "under way\n");
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `pollscope attach`, and returns once it has heard the program.
fn attached(place: &Path, more: &[&str]) -> Child {
    let mut attach = command(place)
        .args(["attach", "./bank.sock", "--out", "out", "--format", "json"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the folder of the run", || place.join("out").is_dir() || attach.try_wait().unwrap().is_some());
    attach
}

fn said(attach: Child) -> Said {
    let output = attach.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// The line of the program that ends in `mark`.
fn line(mark: &str) -> u64 {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM)).unwrap();
    let found = (1..).zip(text.lines()).find(|(_, line)| line.ends_with(&format!("// {mark}")));
    found.unwrap().0
}

/// Two tasks and two locks, each by its place.
#[track_caller]
fn names_the_cycle(diagnosis: &Value) {
    assert_eq!(diagnosis["verdict"], "findings", "{diagnosis:#}");
    let findings = diagnosis["findings"].as_array().unwrap();
    assert!(findings.len() == 1 && findings[0]["kind"] == "lock-cycle", "{findings:#?}");
    assert_eq!(findings[0]["confidence"], "likely", "who holds a lock is deduced from less than the agent sees");
    let nodes = findings[0]["graph"]["nodes"].as_array().unwrap();
    let places = |kind: &str| -> BTreeSet<u64> {
        let nodes = nodes.iter().filter(|node| node["type"] == kind);
        nodes
            .map(|node| {
                assert_eq!(node["at"]["file"], PROGRAM);
                node["at"]["line"].as_u64().unwrap()
            })
            .collect()
    };
    assert_eq!(places("task"), [line("there"), line("back")].into());
    assert_eq!(places("resource"), [line("left"), line("right")].into());
    assert_eq!(findings[0]["graph"]["edges"].as_array().unwrap().len(), 4);
    let unseen = diagnosis["not_observable"].to_string();
    assert!(unseen.contains("the lines where tasks wait") && unseen.contains("timeouts"), "{unseen}");
    assert_eq!(diagnosis["observer"]["sources"], serde_json::json!(["console"]));
}

#[test]
fn a_cycle_is_named_by_who_listens_from_the_start() {
    let place = tempdir().unwrap();
    let mut bank = Bank::open(place.path(), "crossed");
    let attach = attached(place.path(), &["--seconds", "3"]);
    bank.begin();
    let said = said(attach);
    assert_eq!(said.status, Some(1), "{said:?}");
    let diagnosis = json(&said);
    names_the_cycle(&diagnosis);
    assert!(!diagnosis["not_observable"].to_string().contains("before pollscope was attached"), "{diagnosis:#}");
    let out = place.path().join("out");
    let kept: Value = serde_json::from_str(&fs::read_to_string(out.join("diagnosis.json")).unwrap()).unwrap();
    assert_eq!(kept, diagnosis);
    let console: Value = serde_json::from_str(&fs::read_to_string(out.join("console.json")).unwrap()).unwrap();
    assert_eq!(console["schema"], "pollscope.console/1");
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("lock-cycle"));
    let text = pollscope(place.path(), &["report", "out", "--out", "again.html"]);
    assert_eq!(text.status, Some(0), "{text:?}");
}

#[test]
fn a_cycle_is_named_by_who_comes_late_and_by_ctrl_c() {
    let place = tempdir().unwrap();
    let mut bank = Bank::open(place.path(), "crossed");
    bank.begin();
    let attach = attached(place.path(), &[]);
    // A deadlock is one once it has lasted: as long as two looks of the diagnosis.
    std::thread::sleep(Duration::from_secs(2));
    let stopped = Command::new("kill").args(["-INT", &attach.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let said = said(attach);
    assert_eq!(said.status, Some(1), "{said:?}");
    names_the_cycle(&json(&said));
}

#[test]
fn locks_in_one_order_are_met_with_silence() {
    let place = tempdir().unwrap();
    let mut bank = Bank::open(place.path(), "ordered");
    let attach = attached(place.path(), &["--seconds", "3"]);
    bank.begin();
    let early = json(&said(attach));
    let late = json(&said(attached(place.path(), &["--seconds", "2"])));
    for diagnosis in [early, late] {
        assert!(diagnosis["findings"].as_array().unwrap().is_empty(), "{diagnosis:#}");
        assert_eq!(diagnosis["verdict"], "healthy", "{diagnosis:#}");
        let checks = diagnosis["checks"].as_array().unwrap();
        let check = |kind: &str| checks.iter().find(|check| check["kind"] == kind).unwrap()["answer"].clone();
        assert_eq!((check("lock-cycle"), check("swallowed-panic")), ("clear".into(), "cannot-tell".into()));
    }
}

#[test]
fn a_connection_that_is_lost_is_told_and_still_diagnosed() {
    let place = tempdir().unwrap();
    let mut bank = Bank::open(place.path(), "ordered");
    let attach = attached(place.path(), &[]);
    bank.begin();
    drop(bank);
    let said = said(attach);
    assert_eq!(said.status, Some(0), "{said:?}");
    let notes = json(&said)["notes"].to_string();
    assert!(notes.contains("the connection to ./bank.sock was lost"), "{notes}");
}

#[test]
fn addresses_where_no_console_is_are_refused_in_a_sentence() {
    let place = tempdir().unwrap();
    let refuses = |address: &str, part: &str| {
        let said = pollscope(place.path(), &["attach", address, "--seconds", "1"]);
        let lines: Vec<_> = said.stderr.lines().collect();
        assert!(said.status == Some(2) && lines.len() == 1 && lines[0].contains(part), "{said:?}");
        assert!(!place.path().join("pollscope-out").exists());
    };
    refuses("service", "is no address");
    refuses("https://127.0.0.1:6669", "TLS");
    refuses("./no.sock", "there is no socket ./no.sock");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Somebody who answers, but speaks something else.
    let other = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        }
    });
    refuses(&address, "does not answer as console-subscriber does");
    other.join().unwrap();
    refuses(&format!("http://{address}"), "nobody listens");
}

//! `pollscope console` with the real `tokio-console`, in a terminal that is tmux: `.ci/console` runs this.
//!
//! Keys are sent and screens are read; nothing waits for a time, everything for what is on the screen.
//! `docs/console.md` shows the screens; `UPDATE=1` writes it anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod document;
mod terminal;

use document::{Chapter, Document, Shot};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use terminal::Terminal;

/// `pollscope console`, and what it said.
struct Lesson {
    child: Child,
    guide: String,
}

impl Lesson {
    fn start(arguments: &[&str]) -> Lesson {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pollscope"))
            .args([&["console"], arguments, &["--address", &address]].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut guide = String::new();
        // Its last line is told once the console is open.
        for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
            let line = line.unwrap();
            guide.push_str(&line);
            guide.push('\n');
            if line == "Ctrl-C ends it." {
                break;
            }
        }
        assert!(guide.contains(&address), "{guide}");
        Lesson { child, guide }
    }

    /// What it says is to be typed.
    fn typed(&self) -> &str {
        self.guide.lines().find_map(|line| line.strip_prefix("  tokio-console")).map(|rest| rest.trim()).unwrap()
    }

    /// Ctrl-C, and what came of it.
    fn end(mut self) {
        let signaled = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(signaled.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "everything was said at the start");
    }
}

impl Drop for Lesson {
    fn drop(&mut self) {
        // The service dies with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens tokio-console as the guide says, and waits for the first list.
fn open(lesson: &Lesson) -> Terminal {
    let terminal = Terminal::run(&format!("tokio-console {}", lesson.typed()));
    terminal.wait("the list of tasks", |screen| screen.contains("CONNECTED") && screen.contains("fault.rs:"));
    terminal
}

/// Chooses the column that the list is sorted by.
fn sort_by(terminal: &Terminal, column: &str) {
    let sorted = |screen: &str| screen.contains(&format!("{column}▿")) || screen.contains(&format!("{column}▵"));
    terminal.press_until("l", &format!("sorted by {column}"), sorted);
}

/// Sorts by polls, whose column is often too narrow for the mark: it follows the one of idle times.
fn sort_by_polls(terminal: &Terminal) {
    sort_by(terminal, "Idle");
    terminal.press("l");
    terminal.wait("sorted by polls", |screen| screen.contains("Idle ") && !screen.contains("Idle▿"));
}

/// Goes down to the line with all of `parts` and opens it.
fn open_line(terminal: &Terminal, parts: &[&str]) {
    let chosen =
        |screen: &str| screen.lines().any(|line| line.contains(">>") && parts.iter().all(|part| line.contains(part)));
    terminal.press_until("j", &format!("a line of {parts:?} is chosen"), chosen);
    terminal.press("Enter");
}

/// The figures of the column "Polls" in the lines with `part`.
fn polls(screen: &str, part: &str) -> Vec<u64> {
    let lines = screen.lines().filter(|line| line.contains(part) && line.contains(" task "));
    lines.filter_map(|line| line.split(" task ").next()?.split_whitespace().next_back()?.parse().ok()).collect()
}

#[test]
fn the_tour_is_as_it_is_told() {
    let mut document = Document::new();
    document.push(a_task_that_wakes_itself());
    document.push(threads_that_sleep());
    document.push(a_circle_of_locks());
    document.push(wakers_that_are_lost());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/console.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, document.text()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    document.is_told_in(&written);
}

fn a_task_that_wakes_itself() -> Chapter {
    let lesson = Lesson::start(&["busy-poll"]);
    let terminal = open(&lesson);
    let mut chapter = Chapter::new("busy-poll", &lesson.guide);
    sort_by_polls(&terminal);
    let shot = Shot::new("→ to the column Polls", &["woken themselves over 50% of the time", "⚠ 1"]);
    chapter.push(shot.take(&terminal, "One task has a thousand times the polls of all others, and a warning."));
    open_line(&terminal, &["⚠ 1"]);
    let shot = Shot::new(
        "↓ to the line with the warning, Enter",
        &["This task has woken itself for more than 50%", "Woken: "],
    );
    chapter.push(shot.take(&terminal, "It is nobody but itself who wakes it."));
    lesson.end();
    chapter
}

fn threads_that_sleep() -> Chapter {
    let lesson = Lesson::start(&["blocking-call"]);
    let terminal = open(&lesson);
    let mut chapter = Chapter::new("blocking-call", &lesson.guide);
    sort_by(&terminal, "Busy");
    let connections = spawned("blocking-call", "tokio::spawn(connection.instrument");
    let busy = |screen: &str| polls(screen, &connections).len() > 3;
    terminal.wait("the connections lead", busy);
    let shot = Shot::new("→ to the column Busy", &["Busy▿", &connections]);
    chapter.push(shot.take(&terminal, "The connections are busiest. Whether they compute or sleep is not to be seen."));
    open_line(&terminal, &[&connections]);
    terminal
        .wait("a poll was long", |screen| screen.lines().any(|line| line.contains("p99: 1") && line.contains("ms ")));
    let shot = Shot::new("↓ to a connection, Enter", &["Poll Times Percentiles", "p99: 1"]);
    chapter.push(shot.take(
        &terminal,
        "Most polls take microseconds, and the longest a tenth of a second: that is a thread that nobody else had.",
    ));
    lesson.end();
    chapter
}

fn a_circle_of_locks() -> Chapter {
    let lesson = Lesson::start(&["lock-cycle"]);
    let terminal = open(&lesson);
    let mut chapter = Chapter::new("lock-cycle", &lesson.guide);
    sort_by_polls(&terminal);
    // Two looks with an update between them: nothing moves any more.
    let connection = spawned("lock-cycle", "tokio::spawn(connection.instrument");
    let connections = |screen: &str| polls(screen, &connection);
    let mut last = Vec::new();
    terminal.wait("no polls are added", |screen| {
        let now = (total_time(screen), connections(screen));
        let still = last.iter().rev().take(3).all(|(time, polls)| *time < now.0 && *polls == now.1) && last.len() >= 3;
        if last.last().is_none_or(|(time, _)| *time < now.0) {
            last.push(now);
        }
        still
    });
    let shot = Shot::new("→ to the column Polls", &["lock-cycle/fault.rs"]);
    chapter.push(shot.take(
        &terminal,
        "The connections were at work and are Idle now: their polls stay as they are, second by second.",
    ));
    terminal.press("r");
    let locked =
        |screen: &str| screen.lines().filter(|line| line.contains(" Mutex ") && line.contains("locked=true")).count();
    terminal.wait("two locks stay locked", |screen| locked(screen) >= 2);
    let shot = Shot::new("r", &["Resources (", "locked=true", "locked=false"]);
    chapter.push(shot.take(&terminal, "Two accounts are locked."));
    // The mark of the chosen line pushes the last letter off the screen.
    open_line(&terminal, &[" Mutex ", "locked=tru"]);
    let shot = Shot::new(
        "↓ to a Mutex with `locked=true`, Enter",
        &["Type: Mutex", "locked=true", "Async Ops (", "Mutex::lock"],
    );
    chapter.push(shot.take(&terminal, "Those who wait for it. Which task has it, and what that one waits for, is for you to find: `pollscope run lock-cycle` says it."));
    lesson.end();

    let cured = Lesson::start(&["lock-cycle", "--cured"]);
    let terminal = Terminal::run(&format!("tokio-console {}", cured.typed()));
    terminal.wait("the twin", |screen| screen.contains("lock-cycle/cure.rs"));
    sort_by_polls(&terminal);
    let mut first = None;
    terminal.wait("the twin's polls grow", |screen| {
        let most = polls(screen, "lock-cycle/cure.rs").into_iter().max();
        most > *first.get_or_insert(most)
    });
    cured.end();
    chapter
}

fn wakers_that_are_lost() -> Chapter {
    let lesson = Lesson::start(&["lost-wakeup"]);
    let terminal = open(&lesson);
    let mut chapter = Chapter::new("lost-wakeup", &lesson.guide);
    let connection = spawned("lost-wakeup", "tokio::spawn(connection.instrument");
    let lost = |line: &str| line.contains("⚠ 1") && line.contains(&connection);
    sort_by_polls(&terminal);
    terminal.wait("a connection has lost its waker", |screen| screen.lines().any(lost));
    let shot = Shot::new("→ to the column Polls", &["lost their wakers", "⚠ 1", &connection]);
    chapter.push(shot.take(
        &terminal,
        "tokio-console warns of what nobody can wake any more. It warns of the caretaker too, who has had one poll and \
         waits for ever on purpose.",
    ));
    open_line(&terminal, &["⚠ 1", &connection]);
    let shot = Shot::new("↓ to a connection with a warning, Enter", &["Current wakers: 0", "Last woken: "]);
    chapter.push(shot.take(&terminal, "It was woken often, and nobody has a waker of it now."));
    lesson.end();
    chapter
}

/// `SCENARIO/fault.rs:LINE` of the line that holds `part`.
#[track_caller]
fn spawned(scenario: &str, part: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{scenario}/fault.rs"));
    let text = fs::read_to_string(source).unwrap();
    let line = text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no `{part}`"));
    format!("{scenario}/fault.rs:{}", line + 1)
}

/// The time that the oldest task on the screen has lived, in seconds.
fn total_time(screen: &str) -> u64 {
    let words = screen.lines().filter(|line| line.contains(" task ")).flat_map(str::split_whitespace);
    words.filter_map(|word| word.strip_suffix('s')?.parse().ok()).max().unwrap_or(0)
}

//! A disk that is slow, or answers no more. No worker waits for it, and neither does the end of the program for ever.
//!
//! The disk is a pipe: the program puts it in the place of the segment's file, and it takes no more than fits the pipe
//! until the test reads from it.

use crate::harness::{Entry, entries};
use crate::record::*;
use pollscope_recording::{Event, find_recordings};
use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tempfile::TempDir;

pub const PROGRAMS: &[Entry] =
    entries!("slow": polling_program, ending_program, #[cfg(feature = "tracing")] locking_program);
pub const TESTS: &[Entry] = entries!("slow": a_disk_that_comes_back, ends_where_nothing_else_has_room, a_disk_that_never_answers,
    #[cfg(feature = "tracing")] stacks_for_a_disk_that_never_answers);

/// More than there is room for, if nobody takes it.
const TURNS: u64 = 1_200_000;

/// For programs: from now on the recording goes to the pipe.
fn write_to_the_pipe() {
    let pipe = OpenOptions::new().write(true).open(std::env::var_os("DISK").unwrap()).unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let mut segments = open.filter(|fd| {
        std::fs::read_link(fd.path()).is_ok_and(|file| file.extension().is_some_and(|kind| kind == "pollscope"))
    });
    let segment: i32 = segments.next().unwrap().file_name().to_str().unwrap().parse().unwrap();
    // SAFETY: both descriptors are open; whoever owns the second goes on owning it.
    assert_eq!(unsafe { libc::dup2(pipe.as_raw_fd(), segment) }, segment);
}

/// The reading end of a new pipe in `place`, from which nobody reads yet.
fn pipe(place: &TempDir) -> File {
    let path = CString::new(place.path().join("disk").to_str().unwrap()).unwrap();
    // SAFETY: the path ends with a zero byte.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let path = Path::new(path.to_str().unwrap());
    // Without this flag it would wait for somebody who writes.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, 0) }, 0);
    file
}

fn start_with(program: &str, place: &TempDir) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let (path, disk) = (folder.path().to_owned(), place.path().join("disk"));
    let environment = [("POLLSCOPE_LEVEL", "full"), ("POLLSCOPE_TRACE", "1")];
    let own = [("POLLSCOPE", path.to_str().unwrap()), ("DISK", disk.to_str().unwrap())];
    start(program, folder, &[&own[..], &environment].concat())
}

#[pollscope_agent::main(worker_threads = 2)]
async fn polling_program() {
    write_to_the_pipe();
    say("turns", polled().await);
    told_by_the_test().await;
}

async fn polled() -> u64 {
    let turns = tokio::spawn(async {
        say("task", own_id());
        let mut turns = 0;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            turns += 1;
        }
        turns
    });
    turns.await.unwrap()
}

/// Tasks that end when there is no room any more.
const ENDING: u64 = 50_000;

#[pollscope_agent::main(worker_threads = 2)]
async fn ending_program() {
    let bell = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let tasks: Vec<_> = (0..ENDING)
        .map(|_| {
            let bell = bell.clone();
            tokio::spawn(async move { bell.acquire().await.map(drop) })
        })
        .collect();
    write_to_the_pipe();
    let turns = polled().await;
    bell.close();
    for task in tasks {
        assert!(task.await.unwrap().is_err());
    }
    say("turns", turns);
    told_by_the_test().await;
}

/// Runs a program beside a disk that takes nothing until all its work is done.
fn comes_back(program: &str) -> (Ended, Seen) {
    let place = tempfile::tempdir().unwrap();
    let mut pipe = pipe(&place);
    let mut run = start_with(program, &place);
    // All of its work is done before the disk takes a single byte more than the pipe holds.
    assert_eq!(run.said("turns"), TURNS);
    // What came before the pipe is in the file, what comes later in the pipe: the same segment.
    let recording = find_recordings(run.folder()).remove(0);
    let mut bytes = std::fs::read(recording.join("000000.pollscope")).unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    });
    run.tell();
    let ended = run.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}: {}", ended.status, ended.stderr);
    bytes.extend(reader.join().unwrap());
    std::fs::remove_file(recording.join("000000.pollscope.gz")).unwrap();
    std::fs::write(recording.join("000000.pollscope"), bytes).unwrap();
    let seen = Seen::read(ended.folder.path());
    assert!(seen.damages.is_empty(), "{:?}", seen.damages);
    assert!(matches!(seen.events.last(), Some(Event::End(_))), "the end is told too");
    (ended, seen)
}

fn a_disk_that_comes_back() {
    let (ended, seen) = comes_back("slow::polling_program");
    // What there was no room for is counted, and the sums are whole all the same.
    let task = ended.said("task");
    let polls = seen.events.iter().filter(|event| matches!(event, Event::Poll(poll) if poll.task == task)).count();
    let dropped = seen.costs().last().unwrap().dropped;
    assert!(dropped > 0 && polls as u64 + dropped >= TURNS, "{polls} polls and {dropped} dropped");
    assert!(seen.polls_of(task) >= TURNS, "{}", seen.polls_of(task));
}

fn ends_where_nothing_else_has_room() {
    let (_, seen) = comes_back("slow::ending_program");
    assert!(seen.costs().last().unwrap().dropped > 0, "there was room for everything");
    let tasks: HashSet<u64> =
        seen.tasks().iter().filter(|task| task.kind.as_ref() == "task").map(|task| task.task).collect();
    let ended: HashSet<u64> = seen.task_ends().iter().map(|end| end.task).collect();
    let alive: Vec<&u64> = tasks.difference(&ended).collect();
    assert!(tasks.len() as u64 > ENDING && alive.is_empty(), "of {} tasks {} are alive", tasks.len(), alive.len());
}

/// The program's own work is done, and one sentence says that not all of it is on the disk.
#[track_caller]
fn is_told(ended: &Ended) {
    assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.starts_with("pollscope: cannot record any longer: the disk has not answered"),
        "{}",
        ended.stderr
    );
    assert!(!ended.seen.events.iter().any(|event| matches!(event, Event::End(_))));
}

fn a_disk_that_never_answers() {
    let place = tempfile::tempdir().unwrap();
    let pipe = pipe(&place);
    let mut run = start_with("slow::polling_program", &place);
    run.tell();
    let ended = run.end();
    assert_eq!(ended.said("turns"), TURNS);
    is_told(&ended);
    drop(pipe);
}

#[cfg(feature = "tracing")]
const WAITS: u64 = 60_000;

#[cfg(feature = "tracing")]
#[pollscope_agent::main(worker_threads = 2)]
async fn locking_program() {
    write_to_the_pipe();
    let lock = std::sync::Arc::new(tokio::sync::Mutex::new(0_u64));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move {
                for _ in 0..WAITS / 4 {
                    let mut held = lock.lock().await;
                    // The others come to wait for it, and their stacks are copied.
                    tokio::task::yield_now().await;
                    *held += 1;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    say("locked", *lock.lock().await);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    say("kilobytes", most.trim().strip_suffix(" kB").unwrap());
}

#[cfg(feature = "tracing")]
fn stacks_for_a_disk_that_never_answers() {
    let place = tempfile::tempdir().unwrap();
    let pipe = pipe(&place);
    let ended = start_with("slow::locking_program", &place).end();
    assert_eq!(ended.said("locked"), WAITS);
    is_told(&ended);
    // The rings and the stacks have 64 MiB each; the program itself takes a few.
    assert!(ended.said("kilobytes") < 250_000, "{} kB", ended.said("kilobytes"));
    drop(pipe);
}

//! The ways a program ends, and the children it makes.

use crate::harness::{Entry, entries};
use crate::record::*;
use pollscope_recording::{DamageKind, Event, Recording, find_recordings};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};

pub const PROGRAMS: &[Entry] = entries!("ends": hang_program, exit_program, abort_program, parent_program, child_program, fork_program, exec_program);
pub const TESTS: &[Entry] = entries!("ends": killed_while_it_hangs, process_exit, abort, child_process, fork, exec);

#[inline(never)]
fn hang_for_ever() {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv();
    std::hint::black_box(());
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn hang_program() {
    tokio::spawn(async {
        say("task", own_id());
        hang_for_ever();
    })
    .await
    .unwrap();
}

/// A recording that ends in the middle has lost at most its tail.
fn is_cut_at_most(ended: &Ended) {
    assert!(ended.seen.damages.iter().all(|damage| damage.kind == DamageKind::Torn), "{:?}", ended.seen.damages);
    assert!(!ended.seen.events.iter().any(|event| matches!(event, Event::End(_))));
}

fn killed_while_it_hangs() {
    let mut run = record("ends::hang_program");
    let task = run.said("task");
    run.until("the stack while it hangs", |seen| {
        seen.stalls_of(task).iter().any(|stall| seen.is_in(&stall.stack, "hang_for_ever"))
    });
    let ended = run.kill();
    assert_eq!(ended.status.signal(), Some(libc::SIGKILL));
    is_cut_at_most(&ended);
    let stalls = ended.seen.stalls_of(task);
    assert!(stalls.iter().any(|stall| ended.seen.is_in(&stall.stack, "hang_for_ever")));
    assert!(ended.seen.stall_ends().iter().all(|end| end.task != task));
}

async fn some_work() {
    for _ in 0..100 {
        tokio::spawn(tokio::task::yield_now()).await.unwrap();
    }
    tokio::spawn(async { say("task", own_id()) }).await.unwrap();
    told_by_the_test().await;
}

#[pollscope_agent::main]
async fn exit_program() {
    some_work().await;
    std::process::exit(3);
}

#[pollscope_agent::main]
async fn abort_program() {
    some_work().await;
    std::process::abort();
}

fn ends_abruptly(program: &str) -> Ended {
    let mut run = record(program);
    let task = run.said("task");
    run.until("the last task", |seen| seen.polls_of(task) > 0);
    run.tell();
    let ended = run.end();
    is_cut_at_most(&ended);
    assert!(ended.seen.tasks().len() >= 100);
    ended
}

fn process_exit() {
    assert_eq!(ends_abruptly("ends::exit_program").status.code(), Some(3));
}

fn abort() {
    assert_eq!(ends_abruptly("ends::abort_program").status.signal(), Some(libc::SIGABRT));
}

#[pollscope_agent::main]
async fn parent_program() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let status = tokio::task::spawn_blocking(move || command.env(PROGRAM, "ends::child_program").status());
    assert!(status.await.unwrap().unwrap().success());
    tokio::spawn(async { say("parent", std::process::id()) }).await.unwrap();
}

#[pollscope_agent::main]
async fn child_program() {
    tokio::spawn(async { say("child", std::process::id()) }).await.unwrap();
}

fn child_process() {
    let ended = record("ends::parent_program").end().well();
    let found = find_recordings(ended.folder.path());
    assert_eq!(found.len(), 2, "{found:?}");
    for folder in &found {
        assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let pid = |folder: &std::path::PathBuf| {
        let mut pids = Vec::new();
        let damages = Recording::open(folder).unwrap().for_each(|event| {
            if let Event::Process(process) = event {
                pids.push(process.pid);
            }
        });
        assert!(damages.is_empty(), "{damages:?}");
        assert!(pids.iter().all(|pid| *pid == pids[0]));
        pids[0]
    };
    let mut pids: Vec<u64> = found.iter().map(pid).collect();
    let mut wanted = vec![ended.said("parent"), ended.said("child")];
    pids.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(pids, wanted);
}

fn fork_program() {
    let mut child = -1;
    forking(&mut child);
    if child == 0 {
        // Through the end of `main`, as a program would that forks and goes on.
        return;
    }
    let mut status = 0;
    // SAFETY: waits for the child made below.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    say("status", status);
}

fn forking(child: &mut i32) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all();
    let guard = pollscope_agent::init();
    pollscope_agent::instrument(&mut builder);
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        tokio::spawn(tokio::task::yield_now()).await.unwrap();
        // SAFETY: the only thread of the program itself.
        *child = unsafe { libc::fork() };
        for _ in 0..10_000 {
            tokio::spawn(tokio::task::yield_now()).await.unwrap();
        }
        if *child != 0 {
            tokio::spawn(async { say("after", own_id()) }).await.unwrap();
        } else {
            drop(std::thread::spawn(pollscope_agent::init).join().unwrap());
        }
    });
    drop((runtime, guard));
}

fn fork() {
    let ended = record("ends::fork_program").end().well();
    assert_eq!(ended.said("status"), 0);
    assert_eq!(find_recordings(ended.folder.path()).len(), 1);
    assert!(ended.seen.polls_of(ended.said("after")) > 0);
    let starts = ended.seen.events.iter().filter(|event| matches!(event, Event::Process(_))).count();
    assert_eq!(starts, 1, "one process wrote");
}

#[pollscope_agent::main]
async fn exec_program() {
    some_work().await;
    let error = std::process::Command::new(std::env::current_exe().unwrap()).env(PROGRAM, "ends::child_program").exec();
    panic!("{error}");
}

/// A program that becomes another one in the same process.
fn exec() {
    let mut run = record("ends::exec_program");
    let task = run.said("task");
    run.until("the last task", |seen| seen.polls_of(task) > 0);
    run.tell();
    let ended = run.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}: {}", ended.status, ended.stderr);
    let found = find_recordings(ended.folder.path());
    assert_eq!(found.len(), 2, "{found:?}");
    let mut ends = 0;
    for folder in &found {
        let damages = Recording::open(folder).unwrap().for_each(|event| match event {
            Event::Process(process) => assert_eq!(process.pid, ended.said("child")),
            Event::End(_) => ends += 1,
            _ => {}
        });
        assert!(damages.iter().all(|damage| damage.kind == DamageKind::Torn), "{damages:?}");
    }
    assert_eq!(ends, 1, "the first one is cut off, the second one ends in order");
}

//! What the agent must stand: no room, no folder, panics, and more of everything than is usual. The program goes on and
//! its results are right.

use crate::harness::{Entry, entries};
use crate::record::*;
use pollscope_recording::{Damage, DamageKind, Event, find_recordings};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

pub const PROGRAMS: &[Entry] = entries!("stress": writing_program, deleted_program, panicking_program, runtimes_program,
    workers_program, spawning_program, waiting_program, passing_program);
pub const TESTS: &[Entry] = entries!("stress": budget_spent, file_may_not_grow, disk_full, folder_deleted, panics,
    a_thousand_runtimes, many_workers, spawning_at_full_rate, many_tasks_alive, many_tasks_pass);

const POLLS: u64 = 200_000;

/// How many of something: less than could be, where nobody says more.
fn wanted(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |number| number.parse().unwrap())
}

/// For programs: bytes of the process in RAM.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// As many polls as one task can do.
async fn polled() -> u64 {
    let turns = tokio::spawn(async {
        let mut turns = 0;
        for _ in 0..POLLS {
            tokio::task::yield_now().await;
            turns += 1;
        }
        turns
    });
    turns.await.unwrap()
}

fn record_with(program: &str, folder: tempfile::TempDir, environment: &[(&str, &str)]) -> Run {
    let path = folder.path().to_owned();
    let mut all = vec![("POLLSCOPE", path.to_str().unwrap()), ("POLLSCOPE_LEVEL", "full")];
    all.extend(environment);
    start(program, folder, &all)
}

/// The tasks that were spawned, and how many of them have ended. Threads of the blocking pool end too, workers among them.
fn spawned(seen: &Seen) -> (u64, u64) {
    let tasks: HashSet<u64> =
        seen.tasks().iter().filter(|task| task.kind.as_ref() == "task").map(|task| task.task).collect();
    let ended: HashSet<u64> = seen.task_ends().iter().map(|end| end.task).collect();
    (tasks.len() as u64, tasks.intersection(&ended).count() as u64)
}

fn dropped(seen: &Seen) -> u64 {
    seen.costs().last().expect("every recording tells its cost").dropped
}

/// The program's own result is right, and the agent said nothing but one sentence with this in it.
#[track_caller]
fn complained(ended: &Ended, part: &str) {
    assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    assert_eq!(ended.said("turns"), POLLS);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("pollscope: cannot record any longer: "), "{}", ended.stderr);
    assert!(ended.stderr.contains(part), "{}", ended.stderr);
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn writing_program() {
    if let Ok(bytes) = std::env::var("MAY_WRITE") {
        let most = bytes.parse().unwrap();
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the limit is valid for the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    }
    say("turns", polled().await);
}

fn budget_spent() {
    let budget = 400_000;
    let folder = tempfile::tempdir().unwrap();
    let ended = record_with("stress::writing_program", folder, &[("POLLSCOPE_MAX_BYTES", &budget.to_string())]).end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}: {}", ended.status, ended.stderr);
    assert_eq!(ended.said("turns"), POLLS);
    assert!(matches!(ended.seen.damages[..], [Damage { kind: DamageKind::Gone, .. }]), "{:?}", ended.seen.damages);
    let recording = &find_recordings(ended.folder.path())[0];
    let bytes: u64 = std::fs::read_dir(recording).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= budget, "{bytes} bytes on disk");
    assert_eq!(dropped(&ended.seen), 0);
    // The totals are whole, whatever went.
    assert!(ended.seen.costs().last().unwrap().polls >= POLLS);
}

fn file_may_not_grow() {
    // A write beyond this limit raises a signal that ends a program which does not expect it.
    let folder = tempfile::tempdir().unwrap();
    let ended = record_with("stress::writing_program", folder, &[("MAY_WRITE", "100000")]).end();
    complained(&ended, "too large");
    assert!(!ended.seen.events.iter().any(|event| matches!(event, Event::End(_))));
    assert!(ended.seen.events.len() > 100, "what was written before is there");
}

fn disk_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = std::ffi::CString::new(folder.path().to_str().unwrap()).unwrap();
    // SAFETY: all strings end with a zero byte.
    let mounted = unsafe {
        libc::mount(c"none".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=256k".as_ptr().cast()) == 0
    };
    if !mounted {
        println!("a small disk needs the right to mount one: disk_full proves nothing here");
        return;
    }
    let ended = std::panic::catch_unwind(|| {
        let path = folder.path().to_owned();
        let other = tempfile::tempdir().unwrap();
        let environment = [("POLLSCOPE", path.to_str().unwrap()), ("POLLSCOPE_LEVEL", "full")];
        let ended = start("stress::writing_program", other, &environment).end();
        (ended, Seen::read(&path))
    });
    // SAFETY: as above.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    let (ended, seen) = ended.unwrap();
    complained(&ended, "No space left on device");
    assert!(seen.events.len() > 100, "what was written before is there");
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_program() {
    tokio::spawn(async { say("task", own_id()) }).await.unwrap();
    told_by_the_test().await;
    say("turns", polled().await);
}

fn folder_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = record_with("stress::deleted_program", folder, &[("POLLSCOPE_MAX_BYTES", "400000")]);
    let task = run.said("task");
    run.until("its first polls", |seen| seen.polls_of(task) > 0);
    for recording in find_recordings(run.folder()) {
        std::fs::remove_dir_all(recording).unwrap();
    }
    run.tell();
    let ended = run.end();
    complained(&ended, "No such file");
    assert!(find_recordings(ended.folder.path()).is_empty(), "what was deleted does not come back");
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped with its runtime");
    }
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn panicking_program() {
    std::panic::set_hook(Box::new(|_| {}));
    for _ in 0..100 {
        assert!(tokio::spawn(async { panic!("in a task") }).await.unwrap_err().is_panic());
        assert!(tokio::task::spawn_blocking(|| panic!("in a closure")).await.unwrap_err().is_panic());
    }
    let bell = Arc::new(Notify::new());
    for _ in 0..100 {
        let (polled, guard) = (bell.clone(), PanicsWhenDropped);
        tokio::spawn(async move {
            polled.notify_one();
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        bell.notified().await;
    }
    say("caught", 200);
    panic!("in the root future");
}

fn panics() {
    let ended = record("stress::panicking_program").end();
    assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
    assert_eq!((ended.said("caught"), ended.stderr.as_str()), (200, ""));
    assert!(ended.seen.damages.is_empty(), "{:?}", ended.seen.damages);
    assert!(matches!(ended.seen.events.last(), Some(Event::End(_))), "a panic ends the recording in order");
    assert_eq!(dropped(&ended.seen), 0);
}

fn runtimes_program() {
    let _guard = pollscope_agent::init();
    let mut sum = 0_u64;
    for number in 0..1000_u64 {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2);
        pollscope_agent::instrument(&mut builder);
        let runtime = builder.build().unwrap();
        sum += runtime.block_on(async {
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                number
            })
            .await
            .unwrap()
        });
    }
    say("sum", sum);
    say("threads", std::fs::read_dir("/proc/self/task").unwrap().count());
}

fn a_thousand_runtimes() {
    let ended = record("stress::runtimes_program").end().well();
    assert_eq!(ended.said("sum"), 999 * 1000 / 2);
    assert!(ended.said("threads") <= 4, "{} threads are left", ended.said("threads"));
    assert_eq!(spawned(&ended.seen), (1000, 1000));
    assert_eq!(ended.seen.polls().iter().map(|polls| polls.polls).sum::<u64>(), 2000);
    assert_eq!(dropped(&ended.seen), 0);
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 64)]
async fn workers_program() {
    let tasks: Vec<_> = (0..2000_u64)
        .map(|number| {
            tokio::spawn(async move {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                number
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    say("sum", sum);
}

fn many_workers() {
    let ended = record("stress::workers_program").end().well();
    assert_eq!(ended.said("sum"), 1999 * 2000 / 2);
    assert_eq!(spawned(&ended.seen), (2000, 2000));
    assert_eq!(dropped(&ended.seen), 0);
    let by_tasks: u64 = ended
        .seen
        .tasks()
        .iter()
        .filter(|task| task.kind.as_ref() == "task")
        .map(|task| ended.seen.polls_of(task.task))
        .sum();
    assert_eq!(by_tasks, 2000 * 11);
}

/// Three events each: all of them fit the rings, however late the drain is.
const SPAWNED: u64 = 150_000;

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn spawning_program() {
    let sum = Arc::new(AtomicU64::new(0));
    let spawner = {
        let sum = sum.clone();
        tokio::spawn(async move {
            for number in 0..SPAWNED {
                let sum = sum.clone();
                tokio::spawn(async move { sum.fetch_add(number, Ordering::Relaxed) });
                // The other worker may be slower than this one: who only spawns fills the memory.
                if number % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    spawner.await.unwrap();
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 1 {
        tokio::task::yield_now().await;
    }
    say("sum", sum.load(Ordering::Relaxed));
}

fn spawning_at_full_rate() {
    let ended = record("stress::spawning_program").end().well();
    assert_eq!(ended.said("sum"), SPAWNED * (SPAWNED - 1) / 2);
    assert_eq!(dropped(&ended.seen), 0);
    assert_eq!(spawned(&ended.seen), (SPAWNED + 1, SPAWNED + 1));
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_program() {
    let bell = Arc::new(Notify::new());
    let polled = Arc::new(AtomicU64::new(0));
    let before = resident();
    let waiting: Vec<_> = (0..alive())
        .map(|_| {
            let (bell, polled) = (bell.clone(), polled.clone());
            tokio::spawn(async move {
                polled.fetch_add(1, Ordering::Relaxed);
                bell.notified().await;
            })
        })
        .collect();
    while polled.load(Ordering::Relaxed) < alive() {
        tokio::task::yield_now().await;
    }
    say("polled", alive());
    told_by_the_test().await;
    say("bytes", resident() - before);
    bell.notify_waiters();
    let mut woken = 0;
    for task in waiting {
        // Who was not yet polled when the bell rang would wait for ever.
        task.abort();
        woken += u64::from(task.await.is_ok());
    }
    say("woken", woken);
}

/// Tasks that live together; a million by hand.
fn alive() -> u64 {
    wanted("ALIVE", SPAWNED)
}

fn many_tasks_alive() {
    let mut run = record("stress::waiting_program");
    run.said("polled");
    // What was noted is on the disk, and what that took is given back.
    run.until("all tasks", |seen| seen.polls().iter().map(|polls| polls.polls).sum::<u64>() > alive());
    run.tell();
    let ended = run.end().well();
    assert_eq!(spawned(&ended.seen), (alive(), alive()));
    assert_eq!(dropped(&ended.seen), 0);

    let mut unobserved = start("stress::waiting_program", tempfile::tempdir().unwrap(), &[]);
    unobserved.said("polled");
    unobserved.tell();
    let (with, without) = (ended.said("bytes"), unobserved.end().said("bytes"));
    let each = with.saturating_sub(without) / alive();
    println!("{} tasks alive: {} bytes each, of them {each} for the agent", alive(), with / alive());
    // With what is left of the burst of their beginning.
    assert!(each <= 256, "{each} bytes a task: {with} instead of {without}");
}

/// Tasks that come and go at once, and how often they do; a thousand times by hand.
const WAVE: u64 = 10_000;

fn waves() -> u64 {
    wanted("WAVES", 12)
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn passing_program() {
    for wave in 1..=waves() {
        let tasks: Vec<_> = (0..WAVE).map(|number| tokio::spawn(async move { number })).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        assert_eq!(sum, WAVE * (WAVE - 1) / 2);
        say(&format!("wave{wave}"), resident());
        told_by_the_test().await;
    }
}

fn many_tasks_pass() {
    let mut run = record("stress::passing_program");
    for wave in 1..=waves() {
        run.said(&format!("wave{wave}"));
        // What is on its way to the disk is no growth.
        run.until("all tasks", |seen| seen.task_ends().len() as u64 >= wave * WAVE);
        run.tell();
    }
    let ended = run.end().well();
    assert_eq!(dropped(&ended.seen), 0);
    let (early, late) = (waves() / 3, waves());
    let [before, after] = [early, late].map(|wave| ended.said(&format!("wave{wave}")));
    println!("{} KiB after {} tasks, {} KiB after {}", before >> 10, early * WAVE, after >> 10, late * WAVE);
    assert!(after < before + (8 << 20), "{before} bytes grew to {after}");
}

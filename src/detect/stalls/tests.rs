//! Scripted polls that were open for too long, each beside those that look much like it.

use pollscope_recording::{Delay, FutexWait, ROOT_TASK_BIT, Stall, StallEnd, Task};

use super::super::tests::{MS, alive, place, program, text};
use super::super::{Diagnosis, Finding, Severity, Thresholds, diagnose};
use crate::model::Model;
use crate::symbols::{self, Symbols};

/// Functions on scripted stacks, by address; those of `svc` are the program's own.
const FUNCTIONS: &[(u64, &str)] = &[
    (1, "<std::sys::sync::condvar::futex::Condvar>::wait_optional_timeout"),
    (2, "<r2d2::Pool<svc::Manager>>::get"),
    (3, "std::sys::net::connection::socket::lookup_host"),
    (4, "std::net::tcp::TcpStream::connect::<(&str, u16)>"),
    (5, "<std::net::tcp::TcpStream as std::io::Read>::read"),
    (6, "core::ptr::drop_in_place::<svc::Session>"),
    (7, "core::ptr::drop_in_place::<lib::Session>"),
    (8, "tokio::runtime::park::CachedParkThread::block_on"),
    (9, "<tokio::runtime::runtime::Runtime>::block_on::<svc::main::{{closure}}>"),
    (10, "futures_executor::local_pool::block_on::<svc::Load>"),
    (11, "log::__private_api::log_impl"),
    (12, "<std::io::pipe::PipeWriter as std::io::Write>::write_all"),
    (13, "<std::sys::sync::mutex::futex::Mutex>::lock_contended"),
    (14, "<std::sync::mpsc::Receiver<u64>>::recv"),
    (15, "tokio::runtime::task::harness::poll_future"),
    (16, "pollscope_agent::root::Root::poll"),
    (17, "tokio::runtime::scheduler::multi_thread::worker::block_in_place"),
    (18, "sqlite3_step"),
    (19, "serde_json::de::from_slice::<svc::Order>"),
    (20, "std::fs::read::<&str>"),
    (21, "std::io::stdio::_print"),
    (23, "pollscope_agent::trace::keep"),
    (24, "tokio::runtime::blocking::pool::Spawner::spawn_task"),
    (25, "__lll_lock_wait_private"),
    (26, "tokio::time::sleep::Sleep::poll_elapsed"),
    (27, "__libc_malloc"),
    (22, "<tokio::net::tcp::stream::TcpStream>::connect"),
    (101, "svc::load::{{closure}}"),
    (102, "<svc::Session as core::ops::drop::Drop>::drop"),
    (103, "svc::main"),
    (104, "<svc::Logger as log::Log>::log"),
    (105, "svc::pass"),
];

fn answers(model: &Model) -> Diagnosis {
    let mut symbols = Symbols::new();
    for &(address, function) in FUNCTIONS {
        let library = address < 100;
        let (file, line) = (Some("src/main.rs".into()), Some(address as u32));
        symbols.set(
            address,
            vec![symbols::Frame { function: function.into(), file, line, library, ..Default::default() }],
        );
    }
    diagnose(model, &mut symbols, &Thresholds::default())
}

/// A poll of 300 ms with this stack.
struct Poll {
    task: u64,
    tid: u64,
    stack: &'static [u64],
    cpu_ns: u64,
    delay_ns: u64,
    futex: u64,
    end: Option<u64>,
}

impl Default for Poll {
    fn default() -> Poll {
        Poll { task: 1, tid: 10, stack: &[], cpu_ns: 0, delay_ns: 0, futex: 0, end: Some(400 * MS) }
    }
}

impl Poll {
    fn feed(&self, model: &mut Model) {
        let (since, observed, task, tid) = (100 * MS, 101 * MS, self.task, self.tid);
        if self.futex != 0 {
            model.feed(&FutexWait { at: 130 * MS, task, tid, since, address: self.futex }.into());
        }
        let (at, state, syscall, stack) = (130 * MS, u64::from(b'S'), 202, self.stack.to_vec());
        model.feed(&Stall { at, task, tid, since, observed, cpu_ns: 0, run_delay_ns: 0, state, syscall, stack }.into());
        if let Some(at) = self.end {
            let end = StallEnd { at, task, tid, since, cpu_ns: self.cpu_ns, run_delay_ns: self.delay_ns, observed };
            model.feed(&end.into());
            model.feed(&Delay { at, task: 4, tid, delay_ns: at - since - MS }.into());
        }
    }
}

fn found(polls: &[Poll]) -> Vec<Finding> {
    let mut model = program("hooks,tracing,watchdog");
    for (task, kind) in [(ROOT_TASK_BIT | 1, "root"), (9, "blocking")] {
        let (kind, name, spawned) = (text(kind), text(""), place(9));
        model.feed(&Task { at: 0, task, runtime: 1, kind, name, spawned, parent: 0 }.into());
    }
    polls.iter().for_each(|poll| poll.feed(&mut model));
    alive(&mut model, 2000 * MS);
    answers(&model).findings
}

fn line(finding: &Finding) -> u32 {
    finding.culprit.at.as_ref().map_or(0, |at| at.line)
}

#[test]
fn the_stack_tells_in_what_a_thread_is_blocked() {
    let cases: &[(&'static [u64], &str, &str)] = &[
        // A pool waits on a condition variable, a connect looks a name up: the more telling counts.
        (&[1, 2, 101, 15], "sync-db-driver", "r2d2::Pool::get"),
        (&[1, 101, 15], "thread-wait-in-task", "std::sync::Condvar::wait"),
        (&[3, 4, 101, 15], "blocking-dns", "std::net::ToSocketAddrs::to_socket_addrs"),
        (&[5, 4, 101, 15], "blocking-call", "std::net::tcp::TcpStream::connect"),
        (&[18, 101, 15], "sync-db-driver", "sqlite3_step"),
        (&[14, 101, 15], "thread-wait-in-task", "std::sync::mpsc::Receiver::recv"),
        (&[20, 101, 15], "blocking-call", "std::fs::read"),
        (&[13, 21, 101, 15], "sync-logging", "println!"),
        (&[13, 101, 15], "sync-lock-contention", "std::sync::Mutex::lock"),
        // A logger of one's own is called through the library, of which an optimized build leaves no frame; the same write
        // without it is no log.
        (&[12, 104, 11, 105, 15], "sync-logging", "std::io::pipe::PipeWriter::write_all"),
        (&[12, 104, 105, 15], "sync-logging", "std::io::pipe::PipeWriter::write_all"),
        (&[12, 105, 15], "blocking-call", "std::io::pipe::PipeWriter::write_all"),
        // A `Drop` of the program's own; that of a library is what its stack says.
        (&[5, 102, 6, 101, 15], "blocking-drop", "std::net::tcp::TcpStream::read"),
        (&[5, 102, 101, 15], "blocking-drop", "std::net::tcp::TcpStream::read"),
        (&[5, 7, 101, 15], "blocking-call", "core::ptr::drop_in_place"),
        // A value that was dropped by whoever polls the task is none of its calls.
        (&[5, 101, 15, 6, 103], "blocking-call", "std::net::tcp::TcpStream::read"),
        (&[8, 10, 101, 15], "block-on-in-async", "futures_executor::local_pool::block_on"),
    ];
    for &(stack, kind, call) in cases {
        let found = found(&[Poll { stack, ..Poll::default() }]);
        assert_eq!(found.len(), 1, "{stack:?}: {found:#?}");
        assert_eq!((found[0].kind.as_str(), found[0].culprit.call.as_deref()), (kind, Some(call)), "{stack:?}");
        assert!(!found[0].repair.is_empty() && found[0].read_more.ends_with(kind));
    }
}

#[test]
fn a_thread_that_computes_is_judged_by_other_classes() {
    let cases: &[(&'static [u64], &str)] = &[
        (&[19, 101, 15], "cpu-bound-poll"),
        // SQLite computes, too; a name that is on the stack for a moment does not make a lookup.
        (&[18, 101, 15], "sync-db-driver"),
        (&[3, 101, 15], "cpu-bound-poll"),
    ];
    for &(stack, kind) in cases {
        let found = found(&[Poll { stack, cpu_ns: 299 * MS, ..Poll::default() }]);
        assert_eq!((found.len(), found[0].kind.as_str()), (1, kind), "{stack:?}");
    }
    let asleep = found(&[Poll { stack: &[19, 101, 15], ..Poll::default() }]);
    assert_eq!(asleep[0].kind, "blocking-call", "a parser that waits for its input");
}

/// Tasks 11 and 12 are spawned at one line, 13 at another.
#[test]
fn without_a_stack_only_its_own_time_makes_a_poll_long() {
    let severity = |cpu_ns, delay_ns| {
        let end = Some(101 * MS + cpu_ns + delay_ns);
        let found = found(&[Poll { cpu_ns, delay_ns, end, ..Poll::default() }]);
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].severity
    };
    assert_eq!(severity(50 * MS, 70 * MS), Severity::Info);
    assert_eq!(severity(120 * MS, 70 * MS), Severity::Critical);
}

#[test]
fn a_poll_without_a_stack_is_what_its_like_were_seen_in() {
    let seen = |task, stack| Poll { task, tid: task, stack, ..Poll::default() };
    let found = |polls: &[Poll]| {
        let mut model = program("hooks,tracing,watchdog");
        for (task, line) in [(11, 90), (12, 90), (13, 91)] {
            let (kind, name, spawned) = (text("task"), text(""), place(line));
            model.feed(&Task { at: 0, task, runtime: 1, kind, name, spawned, parent: 0 }.into());
        }
        polls.iter().for_each(|poll| poll.feed(&mut model));
        alive(&mut model, 2000 * MS);
        let found = answers(&model).findings;
        let mut kinds: Vec<_> = found.iter().map(|one| (one.kind.clone(), line(one), one.occurrences.count)).collect();
        kinds.sort();
        kinds
    };
    let database = |count| ("sync-db-driver".to_owned(), 101, count);
    let unknown = ("blocking-call".to_owned(), 0, 1);
    assert_eq!(found(&[seen(11, &[18, 101, 15]), seen(12, &[])]), [database(2)]);
    assert_eq!(found(&[seen(11, &[18, 101, 15]), seen(13, &[])]), [unknown.clone(), database(1)]);
    // It computed, so it was something else.
    let computes = Poll { cpu_ns: 299 * MS, ..seen(12, &[]) };
    assert_eq!(found(&[seen(11, &[18, 101, 15]), computes]), [("cpu-bound-poll".to_owned(), 0, 1), database(1)]);
    // Which lock it waited for cannot be told, if it was one.
    assert_eq!(found(&[seen(11, &[13, 101, 15]), seen(12, &[])])[0], unknown);
}

#[test]
fn who_may_block_is_innocent() {
    // The runtime of the root future is entered by `block_on`; below the poll it is nobody's call.
    let root = found(&[Poll { task: ROOT_TASK_BIT | 1, stack: &[22, 16, 8, 9, 103], ..Poll::default() }]);
    assert!(root.iter().all(|finding| finding.kind == "blocking-call"), "{root:#?}");
    let pool = found(&[Poll { task: 9, stack: &[8, 10, 101], ..Poll::default() }]);
    let in_place = found(&[Poll { stack: &[8, 9, 101, 17, 101, 15], ..Poll::default() }]);
    assert!(pool.is_empty() && in_place.is_empty());
}

#[test]
fn who_blocks_in_place_stops_what_is_beside_it_in_its_task() {
    let twice = |woken: u64, task: u64| {
        let mut model = program("hooks,tracing,watchdog");
        for since in [100 * MS, 600 * MS] {
            let (end, tid, observed, state) = (since + 200 * MS, 10, since + MS, u64::from(b'S'));
            let stack = vec![5, 101, 17, 104, 15];
            let (cpu_ns, run_delay_ns, at) = (0, 0, since + 50 * MS);
            model.feed(
                &Stall { at, task: 1, tid, since, observed, cpu_ns, run_delay_ns, state, syscall: 7, stack }.into(),
            );
            model.feed(&StallEnd { at: end, task: 1, tid, since, cpu_ns, run_delay_ns, observed }.into());
            model.feed(&Delay { at: end + MS, task, tid, delay_ns: end + MS - (since + woken) }.into());
        }
        alive(&mut model, 2000 * MS);
        answers(&model).findings
    };
    let found = twice(50 * MS, 1);
    assert_eq!((found.len(), found[0].kind.as_str(), found[0].severity), (1, "block-in-place", Severity::Warning));
    assert_eq!((line(&found[0]), found[0].culprit.call.as_deref()), (104, Some("tokio::task::block_in_place")));
    assert!((found[0].victims[0].value - 150.0).abs() < 0.1, "{:?}", found[0].victims);
    // Woken when it was nearly over, or before it began; and somebody else's being late is not its doing.
    assert!(twice(190 * MS, 1).is_empty());
    assert!(twice(0, 2).is_empty());
}

#[test]
fn what_the_observer_or_the_machine_did_is_not_held_against_anybody() {
    let observer = found(&[Poll { stack: &[13, 23, 101, 15], ..Poll::default() }]);
    let runtime = found(&[Poll { stack: &[13, 24, 101, 15], ..Poll::default() }]);
    // Whoever holds the lock was ready and not run.
    let preempted = Poll { task: 2, tid: 11, stack: &[105, 15], cpu_ns: MS, delay_ns: 298 * MS, ..Poll::default() };
    let waiting = found(&[Poll { stack: &[13, 101, 15], ..Poll::default() }, preempted]);
    let unseen = found(&[Poll { delay_ns: 150 * MS, ..Poll::default() }]);
    // The future of the task is a library's, so none of these has a line of the program's.
    let [no_line, timers] = [[13, 23, 26, 15], [13, 24, 26, 15]].map(|stack: [u64; 4]| {
        let mut model = program("hooks,tracing,watchdog");
        let poll = Poll::default();
        let (at, state, stack, observed) = (130 * MS, u64::from(b'S'), stack.to_vec(), 101 * MS);
        let (task, tid, since) = (poll.task, poll.tid, 100 * MS);
        let (cpu_ns, run_delay_ns, syscall) = (0, 0, 202);
        model.feed(&Stall { at, task, tid, since, observed, cpu_ns, run_delay_ns, state, syscall, stack }.into());
        model.feed(&StallEnd { at: 400 * MS, task, tid, since, cpu_ns, run_delay_ns, observed }.into());
        alive(&mut model, 2000 * MS);
        answers(&model).findings
    });
    let allocator = found(&[Poll { stack: &[25, 101, 15], ..Poll::default() }]);
    // For the lock of the address space, which another thread keeps that is not run.
    let memory = found(&[Poll { stack: &[27, 101, 15], ..Poll::default() }]);
    for found in [observer, runtime, no_line, timers, allocator, memory, waiting, unseen] {
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn the_runtime_is_known_by_its_file_where_names_are_short() {
    let of = |function: &str, file: &str| symbols::Frame {
        function: function.into(),
        file: Some(file.into()),
        ..symbols::Frame::default()
    };
    let sources = "/home/x/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src";
    assert!(super::is_runtime(&of("reregister", &format!("{sources}/runtime/time/mod.rs"))));
    assert!(super::is_runtime(&of("tokio::runtime::time::Handle::reregister", "mod.rs")));
    assert!(!super::is_runtime(&of("lock", &format!("{sources}/sync/mutex.rs"))));
    assert!(!super::is_runtime(&of("run", "/src/tokio-shop/runtime/src/run.rs")));
}

#[test]
fn one_log_is_one_fault_and_the_writer_is_named() {
    let writer = Poll { stack: &[12, 104, 11, 105, 15], ..Poll::default() };
    let waiter =
        Poll { task: 2, tid: 11, stack: &[13, 21, 101, 15], futex: 0xf00, end: Some(500 * MS), ..Poll::default() };
    let found = found(&[waiter, writer]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((line(&found[0]), found[0].occurrences.count), (104, 2));
}

#[test]
fn one_lock_is_one_fault_at_however_many_lines() {
    let at = |task, tid, stack| Poll { task, tid, stack, futex: 0xf00, ..Poll::default() };
    let found = found(&[at(1, 10, &[13, 101, 15]), at(2, 11, &[13, 105, 15])]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].kind.as_str(), found[0].occurrences.count), ("sync-lock-contention", 2));
}

#[test]
fn a_task_that_cannot_start_is_named() {
    let spawned = |begun, polled: bool| {
        let mut model = program("hooks,tracing,watchdog");
        let (kind, name, spawned) = (text("task"), text(""), place(77));
        model.feed(&Task { at: begun, task: 7, runtime: 1, kind, name, spawned, parent: 1 }.into());
        if polled {
            model.feed(&pollscope_recording::Poll { at: 110 * MS, task: 7, tid: 11, duration_ns: MS }.into());
        }
        Poll { stack: &[14, 101, 15], end: None, ..Poll::default() }.feed(&mut model);
        alive(&mut model, 2000 * MS);
        let found = answers(&model).findings;
        assert_eq!((found.len(), found[0].severity), (1, Severity::Critical));
        found[0].title.contains("cannot start")
    };
    assert!(spawned(101 * MS, false));
    assert!(!spawned(101 * MS, true), "another worker took it");
    assert!(!spawned(50 * MS, false), "it was spawned before, so it may be in any queue");
}

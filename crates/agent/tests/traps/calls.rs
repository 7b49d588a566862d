//! Blocking calls behave as without us, and each sort of sleep has its stack.

use crate::harness::{Entry, entries};
use crate::record::*;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

pub const PROGRAMS: &[Entry] = entries!("calls": program);
pub const TESTS: &[Entry] = entries!("calls": are_undisturbed_and_seen);

const LONG: Duration = Duration::from_millis(300);

/// What a call shall give, with nobody's signal in it.
const CALLS: &[(&str, fn())] = &[
    ("in_read", in_read),
    ("in_poll", in_poll),
    ("in_nanosleep", in_nanosleep),
    ("in_epoll", in_epoll),
    ("in_futex", in_futex),
];

#[inline(never)]
fn in_read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let error = stream.read(&mut [0u8; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[inline(never)]
fn in_poll() {
    // SAFETY: an empty set needs no memory.
    assert_eq!(unsafe { libc::poll(std::ptr::null_mut(), 0, LONG.as_millis() as i32) }, 0);
}

#[inline(never)]
fn in_nanosleep() {
    let wanted = libc::timespec { tv_sec: 0, tv_nsec: LONG.as_nanos() as i64 };
    // SAFETY: the time is valid for the call; nobody asks for the rest.
    assert_eq!(unsafe { libc::nanosleep(&raw const wanted, std::ptr::null_mut()) }, 0);
}

#[inline(never)]
fn in_epoll() {
    // SAFETY: one event fits where it may be written; the descriptor is closed once.
    unsafe {
        let epoll = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        assert_eq!(libc::epoll_wait(epoll, &raw mut event, 1, LONG.as_millis() as i32), 0);
        libc::close(epoll);
    }
}

#[inline(never)]
fn in_futex() {
    let never = Mutex::new(());
    let waited = Condvar::new().wait_timeout_while(never.lock().unwrap(), LONG, |()| true).unwrap();
    assert!(waited.1.timed_out());
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn program() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(|| {
        for _ in CALLS {
            wait_for_the_test();
            TOLD.fetch_add(1, Ordering::Relaxed);
        }
    });
    for (number, (name, call)) in CALLS.iter().enumerate() {
        // One poll for each sort of call, until the test has seen it.
        tokio::spawn(async move {
            say(name, own_id());
            loop {
                let before = Instant::now();
                call();
                // An interrupted call would be short; std repeats some of them, so the result alone does not tell.
                assert!(before.elapsed() >= LONG, "{name} took {:?}", before.elapsed());
                if TOLD.load(Ordering::Relaxed) > number as u64 {
                    break;
                }
            }
        })
        .await
        .unwrap();
    }
}

fn are_undisturbed_and_seen() {
    #[cfg(target_arch = "x86_64")]
    let numbers =
        [libc::SYS_recvfrom, libc::SYS_poll, libc::SYS_clock_nanosleep, libc::SYS_epoll_wait, libc::SYS_futex];
    #[cfg(not(target_arch = "x86_64"))]
    let numbers =
        [libc::SYS_recvfrom, libc::SYS_ppoll, libc::SYS_clock_nanosleep, libc::SYS_epoll_pwait, libc::SYS_futex];
    let mut run = record("calls::program");
    for ((name, _), number) in CALLS.iter().zip(numbers) {
        let task = run.said(name);
        run.until(name, |seen| {
            let asleep = |stall: &&&pollscope_recording::Stall| stall.syscall == number as u64;
            seen.stalls_of(task).iter().filter(asleep).any(|stall| seen.is_in(&stall.stack, name))
        });
        run.tell();
    }
    run.end().well();
}

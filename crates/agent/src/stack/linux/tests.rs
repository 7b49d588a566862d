//! Each way a thread can stand still or run, looked at until its stack names the function it is in.

use super::{Sampler, ThreadBounds, Unwinder, generation, mapped};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, mpsc};
use std::time::Duration;

/// The first address of a function and the end of what may be its code: none here is longer.
fn covers(function: fn(&AtomicBool), stack: &[u64]) -> bool {
    let start = function as *const () as u64;
    stack.iter().any(|address| (start..start + 1024).contains(address))
}

/// Takes stacks of a thread in `body` until one names it, then lets it go.
fn finds(body: fn(&AtomicBool)) {
    static NEVER: Duration = Duration::from_secs(60);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (stop, started) = (&stop, std::time::Instant::now());
        scope.spawn(move || {
            tell.send(ThreadBounds::current().unwrap()).unwrap();
            body(stop);
        });
        let bounds = told.recv().unwrap();
        let mut sampler = Sampler::new();
        let mut found = false;
        while !found && started.elapsed() < NEVER {
            found = covers(body, &sampler.capture(&bounds).stack);
        }
        stop.store(true, Ordering::Release);
        assert!(found, "no stack names the function");
    });
}

const MOMENT: Duration = Duration::from_millis(50);

#[inline(never)]
fn sleeps(stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(MOMENT);
    }
}

#[inline(never)]
fn waits_on_a_futex(stop: &AtomicBool) {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    while !stop.load(Ordering::Acquire) {
        drop(condvar.wait_timeout(mutex.lock().unwrap(), MOMENT).unwrap());
    }
}

#[inline(never)]
fn polls(stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        // SAFETY: an empty set needs no memory.
        assert_eq!(unsafe { libc::poll(std::ptr::null_mut(), 0, MOMENT.as_millis() as i32) }, 0);
    }
}

#[inline(never)]
fn runs(stop: &AtomicBool) {
    let mut number = 1u64;
    while !stop.load(Ordering::Acquire) {
        number = std::hint::black_box(number.wrapping_mul(3));
    }
}

#[test]
fn a_sleeping_thread() {
    finds(sleeps);
}

#[test]
fn a_thread_on_a_futex() {
    finds(waits_on_a_futex);
}

#[test]
fn a_thread_in_poll() {
    finds(polls);
}

#[test]
fn a_running_thread() {
    finds(runs);
}

#[inline(never)]
fn stands_here(_: &AtomicBool) {
    let bounds = ThreadBounds::current().unwrap();
    let mut copied = super::RawStack::default();
    assert!(super::here::capture_here(&bounds, &mut copied));
    let (stack, whole) = Unwinder::new().unwind_to_root(&copied);
    assert!(whole, "the stack ends where the thread began");
    assert!(covers(stands_here, &stack));
}

#[test]
fn the_current_thread() {
    stands_here(&AtomicBool::new(false));
}

#[test]
fn a_thread_that_is_gone_has_no_stack() {
    let bounds = std::thread::spawn(|| ThreadBounds::current().unwrap()).join().unwrap();
    // The kernel lets go of it a moment after `join`.
    while std::fs::exists(format!("/proc/self/task/{}", bounds.tid)).unwrap() {
        std::thread::yield_now();
    }
    let captured = Sampler::new().capture(&bounds);
    assert!(captured.stack.is_empty() && captured.state == b'?');
}

#[test]
fn the_program_is_among_the_modules() {
    let before = generation();
    let own = a_sleeping_thread as *const () as u64;
    let modules = mapped();
    let program = modules.iter().find(|module| (module.start..module.end).contains(&own)).unwrap();
    assert_eq!(program.path, std::env::current_exe().unwrap().to_str().unwrap());
    assert!(program.build_id.chars().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(before, generation(), "nothing was loaded meanwhile");
}

static INTERRUPTED: AtomicU64 = AtomicU64::new(0);

#[inline(never)]
fn runs_and_polls(stop: &AtomicBool) {
    let seen = AtomicU64::new(0);
    while !stop.load(Ordering::Acquire) {
        (0..2_000).for_each(|_| _ = seen.fetch_add(1, Ordering::Relaxed));
        // SAFETY: an empty set needs no memory.
        if unsafe { libc::poll(std::ptr::null_mut(), 0, 1) } != 0 {
            INTERRUPTED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_restless_thread_is_never_interrupted() {
    // It is running in most looks' beginning and asleep before a signal could reach it.
    (0..20).for_each(|_| finds(runs_and_polls));
    assert_eq!(INTERRUPTED.load(Ordering::Relaxed), 0);
}

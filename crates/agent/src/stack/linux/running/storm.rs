//! The signal lands again and again wherever a thread happens to be, and what the thread computes stays the same.

use super::{ARMED, DONE, HIGH, LENGTH, LOW, Queued, SIGNAL, STATE, TARGET, ThreadBounds, install};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Each needs both threads to run. A hundred thousand by hand.
fn landings() -> u64 {
    std::env::var("LANDINGS").map_or(1000, |number| number.parse().unwrap())
}

/// Memory of many sizes is taken and given back.
fn allocates() -> u64 {
    let lists: Vec<Vec<u64>> = (0..64_u64).map(|length| (0..length * 7 % 97).collect()).collect();
    lists.iter().flatten().sum()
}

/// The loader's locks and tables.
fn loads() -> u64 {
    // SAFETY: the names end with a zero byte; the function is called with what it takes.
    unsafe {
        let library = libc::dlopen(c"libm.so.6".as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null());
        let found = libc::dlsym(library, c"cbrt".as_ptr());
        assert!(!found.is_null());
        let cbrt: extern "C" fn(f64) -> f64 = std::mem::transmute(found);
        let root = cbrt(27.0);
        libc::dlclose(library);
        root.to_bits()
    }
}

/// Calls that stand still for a moment, and set `errno`.
fn calls() -> u64 {
    let (mut from, mut to) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || (0..8_u8).for_each(|byte| to.write_all(&[byte; 512]).unwrap()));
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    writer.join().unwrap();
    let missing = std::fs::metadata("/nowhere/to/be/found").unwrap_err();
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

/// Registers alone.
fn computes() -> u64 {
    let mut value = 1.0_f64;
    for step in 1..2000_u64 {
        value = (value * 1.000_1 + 1.0 / step as f64).sqrt() + 0.5;
    }
    value.to_bits()
}

/// Lands on a thread that does this over and over.
fn withstands(work: fn() -> u64) {
    let (expected, over, rounds) = (work(), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (over, rounds) = (&over, &rounds);
        let worker = scope.spawn(move || {
            tell.send(ThreadBounds::current().unwrap()).unwrap();
            while !over.load(Ordering::Acquire) {
                assert_eq!(work(), expected);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let bounds = told.recv().unwrap();
        let mut copied = 0;
        for _ in 0..landings() {
            if worker.is_finished() {
                break;
            }
            copied += u64::from(lands(&bounds) > 0);
        }
        over.store(true, Ordering::Release);
        worker.join().expect("the results are those without signals");
        assert_eq!(copied, landings(), "each landing copied some of the stack");
    });
    assert!(rounds.load(Ordering::Relaxed) > 1);
}

/// One request, without the questions that keep it from a thread that sleeps: bytes that were copied.
fn lands(thread: &ThreadBounds) -> u64 {
    // The statics of a request are this one's for as long as this is held.
    let mut taken = SIGNAL.lock().unwrap();
    let signal = (*taken.get_or_insert_with(install)).unwrap();
    let request = (STATE.load(Ordering::Acquire) >> 2).wrapping_add(1);
    TARGET.store(thread.tid, Ordering::Relaxed);
    LOW.store(thread.stack_low, Ordering::Relaxed);
    HIGH.store(thread.stack_high, Ordering::Relaxed);
    STATE.store(request << 2 | ARMED, Ordering::Release);
    // SAFETY: no preconditions.
    let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
    let queued =
        Queued { signo: signal, errno: 0, code: libc::SI_QUEUE, pad: 0, pid, uid, value: request, rest: [0; 12] };
    // SAFETY: the layout the kernel reads.
    let sent = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, thread.tid, signal, &raw const queued) };
    assert_eq!(sent, 0);
    while STATE.load(Ordering::Acquire) != request << 2 | DONE {
        // Who only yields keeps the processor for a slice of some milliseconds, and the other thread from answering.
        std::thread::sleep(Duration::from_micros(1));
    }
    LENGTH.load(Ordering::Relaxed)
}

#[test]
fn in_allocations() {
    withstands(allocates);
}

#[test]
fn in_the_loader() {
    withstands(loads);
}

#[test]
fn in_system_calls() {
    withstands(calls);
}

#[test]
fn in_tight_loops() {
    withstands(computes);
}

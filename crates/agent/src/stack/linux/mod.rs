//! Stacks on 64-bit Linux.

mod here;
mod modules;
mod prologue;
mod running;
mod sleeping;
#[cfg(test)]
mod tests;
mod unwind;

pub(crate) use here::capture_here;
#[cfg(feature = "tracing")]
pub(crate) use here::{Look, look_here};
pub(crate) use modules::{generation, mapped};
pub(crate) use unwind::Unwinder;

use super::Captured;
use crate::clock;
use pollscope_recording::Nanos;
use std::collections::HashMap;

/// A stack as copied: registers and the bytes from `base` up.
#[derive(Default)]
pub(crate) struct RawStack {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
    /// Zero where the architecture has none.
    pub(crate) lr: u64,
    pub(crate) base: u64,
    pub(crate) bytes: Vec<u8>,
}

impl RawStack {
    /// Bytes of memory it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.capacity()
    }

    /// The eight bytes at an address, if they were copied.
    fn word(&self, at: u64) -> Option<u64> {
        let offset = usize::try_from(at.checked_sub(self.base)?).ok()?;
        Some(u64::from_le_bytes(self.bytes.get(offset..offset.checked_add(8)?)?.try_into().ok()?))
    }

    /// One of several stacks that were copied into one buffer, with its own bytes.
    #[cfg(feature = "tracing")]
    pub(crate) fn new(look: &Look, bytes: Vec<u8>) -> RawStack {
        RawStack { pc: look.pc, sp: look.sp, fp: look.fp, lr: look.lr, base: look.sp, bytes }
    }
}

/// A thread and where its stack lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadBounds {
    pub(crate) tid: i32,
    pub(crate) stack_low: u64,
    pub(crate) stack_high: u64,
}

/// The most of a stack that is copied.
const MOST_BYTES: u64 = 256 * 1024;
/// Only a thread that has used this much CPU time since it last slept gets a signal. Between the last look and the signal
/// lie some 10 µs: a thread that sleeps often would be asleep by then, and its `poll` or `epoll_wait` would end with
/// EINTR. Counted in CPU time, since one that waits for a processor is no further from its next sleep.
const AWAKE: Nanos = 5_000_000;
/// Threads remembered at most; those that ended are never taken out one by one.
const MOST_AWAKE: usize = 1024;

/// The main thread's lower bound is its limit, not its mapping: trust no more than this.
const MAIN_MOST: u64 = 64 * 1024 * 1024;

impl ThreadBounds {
    /// One past the thread's outermost frame.
    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn high(&self) -> u64 {
        self.stack_high
    }

    /// Leaves out what lies from `high` on.
    #[cfg(feature = "tracing")]
    pub(crate) fn end_at(&mut self, high: u64) {
        self.stack_high = self.stack_high.min(high);
    }

    /// Of the calling thread. Reads a file on the main thread: once a thread is enough.
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: plain calls with out-pointers to locals; the attributes are destroyed
        // exactly when they were filled in.
        let (tid, low, size) = unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
                return None;
            }
            let (mut low, mut size) = (std::ptr::null_mut(), 0);
            let got = libc::pthread_attr_getstack(&raw const attributes, &raw mut low, &raw mut size);
            libc::pthread_attr_destroy(&raw mut attributes);
            if got != 0 {
                return None;
            }
            (libc::syscall(libc::SYS_gettid) as i32, low as u64, size as u64)
        };
        let stack_high = low.checked_add(size)?;
        // SAFETY: no preconditions.
        let main = tid == unsafe { libc::getpid() };
        let stack_low = if main { low.max(stack_high.saturating_sub(MAIN_MOST)) } else { low };
        Some(Self { tid, stack_low, stack_high })
    }
}

/// Takes stacks of other threads; the watchdog owns the only one.
pub(crate) struct Sampler {
    unwinder: Unwinder,
    told: bool,
    /// How often each thread had gone to sleep, and its CPU time when that was first seen.
    awake: HashMap<i32, (u64, Nanos)>,
}

impl Sampler {
    pub(crate) fn new() -> Self {
        Self { unwinder: Unwinder::new(), told: false, awake: HashMap::new() }
    }

    /// A stack of this thread may be wanted soon.
    pub(crate) fn expect(&mut self, thread: &ThreadBounds) {
        self.is_awake(thread.tid);
    }

    /// Whether the thread has been at work for a while without a sleep.
    fn is_awake(&mut self, tid: i32) -> bool {
        let Some(sleeps) = running::sleeps(tid) else { return false };
        if self.awake.len() >= MOST_AWAKE {
            self.awake.clear();
        }
        let now = clock::thread_cpu(tid);
        let (before, since) = self.awake.entry(tid).or_insert((sleeps, now));
        if *before != sleeps {
            (*before, *since) = (sleeps, now);
        }
        now.saturating_sub(*since) >= AWAKE
    }

    /// The thread as it is now.
    pub(crate) fn capture(&mut self, thread: &ThreadBounds) -> Captured {
        let mut captured =
            Captured { stack: Vec::new(), state: state(thread.tid), syscall: None, futex: None, restless: false };
        match sleeping::copy(thread) {
            sleeping::Outcome::Stack { stack, syscall, argument } => {
                captured.syscall = syscall;
                captured.futex = argument.filter(|_| syscall == Some(libc::SYS_futex as u64));
                captured.stack = sleeping::unwind(&mut self.unwinder, &stack);
            }
            sleeping::Outcome::Running => {
                if !self.is_awake(thread.tid) {
                    captured.restless = true;
                } else if let Some(stack) = running::copy_running(thread) {
                    captured.stack = self.unwinder.unwind(&stack);
                }
            }
            sleeping::Outcome::Nothing => {}
        }
        captured
    }

    /// Why stacks of running threads are missing, if so; said once.
    pub(crate) fn problem(&mut self) -> Option<&'static str> {
        let problem = running::problem().filter(|_| !self.told);
        self.told |= problem.is_some();
        problem
    }
}

fn state(tid: i32) -> u8 {
    // The name in parentheses may hold anything, a parenthesis too: the last one counts.
    let read = || {
        let stat = std::fs::read(format!("/proc/self/task/{tid}/stat")).ok()?;
        let close = stat.iter().rposition(|b| *b == b')')?;
        stat.get(close + 2).copied()
    };
    read().unwrap_or(b'?')
}

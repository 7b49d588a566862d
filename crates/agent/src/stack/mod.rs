//! Stacks of threads: of sleeping ones without a signal, of running ones with one, of the
//! current one from where it stands. Only addresses leave this module; the copied bytes,
//! which may hold secrets, are dropped with the `RawStack`.
#![allow(dead_code, reason = "the interface is whole on every platform; each uses a part")]

/// A stack as copied: registers and the bytes from `base` up.
pub(crate) struct RawStack {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
    /// Zero where the architecture has none.
    pub(crate) lr: u64,
    pub(crate) base: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A thread and where its stack lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadBounds {
    pub(crate) tid: i32,
    pub(crate) stack_low: u64,
    pub(crate) stack_high: u64,
}

/// What a look at another thread gave.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// Innermost first; empty if it could not be had.
    pub(crate) stack: Vec<u64>,
    /// The kernel's letter for the thread's state, `?` if unknown.
    pub(crate) state: u8,
    /// The system call it sleeps in.
    pub(crate) syscall: Option<u64>,
    /// The address it waits at, if that call is a futex wait.
    pub(crate) futex: Option<u64>,
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here;
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod modules;
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod running;
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sleeping;
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod unwind;

#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux {
    use super::unwind::Unwinder;
    use super::{Captured, ThreadBounds, running, sleeping};

    /// The main thread's lower bound is its limit, not its mapping: trust no more than this.
    const MAIN_MOST: u64 = 64 * 1024 * 1024;

    impl ThreadBounds {
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

    /// Takes stacks of other threads; owned by the watchdog's.
    pub(crate) struct Sampler {
        unwinder: Unwinder,
    }

    impl Sampler {
        pub(crate) fn new() -> Self {
            Self { unwinder: Unwinder::new() }
        }

        /// The thread as it is now.
        pub(crate) fn capture(&mut self, thread: &ThreadBounds) -> Captured {
            let mut captured = Captured { stack: Vec::new(), state: state(thread.tid), syscall: None, futex: None };
            match sleeping::copy(thread) {
                sleeping::Outcome::Stack { stack, syscall, argument } => {
                    captured.syscall = syscall;
                    captured.futex = argument.filter(|_| syscall == Some(libc::SYS_futex as u64));
                    captured.stack = sleeping::unwind(&mut self.unwinder, &stack);
                }
                sleeping::Outcome::Running => {
                    if let Some(stack) = running::copy_running(thread) {
                        captured.stack = self.unwinder.unwind(&stack);
                    }
                }
                sleeping::Outcome::Nothing => {}
            }
            captured
        }

        /// For stacks taken with `capture_here`.
        pub(crate) fn unwinder(&mut self) -> &mut Unwinder {
            &mut self.unwinder
        }

        /// Why stacks of running threads are missing, if so.
        pub(crate) fn signal_problem(&self) -> Option<&'static str> {
            running::problem()
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
}

/// The most of a stack that is copied.
const MOST_BYTES: u64 = 256 * 1024;

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#[allow(unused_imports, reason = "see the top of the file")]
pub(crate) use {
    here::{capture_here, copy_here},
    linux::Sampler,
    modules::{MappedModule, mapped},
    unwind::Unwinder,
};

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
#[allow(unused_imports, reason = "see the top of the file")]
pub(crate) use absent::{MappedModule, Sampler, Unwinder, capture_here, copy_here, mapped};

/// Where nothing of this works, all of it says so.
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod absent {
    use super::{Captured, RawStack, ThreadBounds};

    pub(crate) struct MappedModule {
        pub(crate) start: u64,
        pub(crate) end: u64,
        pub(crate) bias: u64,
        pub(crate) path: String,
        pub(crate) build_id: String,
    }

    pub(crate) fn mapped() -> Vec<MappedModule> {
        Vec::new()
    }

    pub(crate) fn copy_here(_high: u64, _into: &mut Vec<u8>) -> Option<(u64, u64, u64, u64)> {
        None
    }

    pub(crate) fn capture_here(_high: u64) -> Option<RawStack> {
        None
    }

    impl ThreadBounds {
        pub(crate) fn current() -> Option<Self> {
            None
        }
    }

    pub(crate) struct Unwinder;

    impl Unwinder {
        pub(crate) fn new() -> Self {
            Self
        }
        pub(crate) fn refresh(&mut self) -> bool {
            false
        }
        pub(crate) fn is_code(&self, _address: u64) -> bool {
            false
        }
        pub(crate) fn unwind(&mut self, _stack: &RawStack) -> Vec<u64> {
            Vec::new()
        }
        pub(crate) fn unwind_to_root(&mut self, _stack: &RawStack) -> (Vec<u64>, bool) {
            (Vec::new(), false)
        }
    }

    pub(crate) struct Sampler {
        unwinder: Unwinder,
    }

    impl Sampler {
        pub(crate) fn new() -> Self {
            Self { unwinder: Unwinder }
        }
        pub(crate) fn capture(&mut self, _thread: &ThreadBounds) -> Captured {
            Captured { stack: Vec::new(), state: b'?', syscall: None, futex: None }
        }
        pub(crate) fn unwinder(&mut self) -> &mut Unwinder {
            &mut self.unwinder
        }
        pub(crate) fn signal_problem(&self) -> Option<&'static str> {
            Some("stacks are taken on 64-bit Linux on x86_64 and aarch64 only")
        }
    }
}

//! Stacks of threads: of sleeping ones without a signal, of running ones with one, of the current one from where it
//! stands. Only addresses leave this module; the copied bytes, which may hold secrets, are overwritten by those of
//! the next stack or freed.

#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
#[path = "absent.rs"]
mod platform;

pub(crate) use platform::capture_here;
#[cfg(feature = "tracing")]
pub(crate) use platform::{Look, look_here};
pub(crate) use platform::{RawStack, Sampler, ThreadBounds, Unwinder, generation, mapped};

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
    /// It runs, but slept a moment ago: a signal could end the next call it sleeps in. Worth another look soon.
    pub(crate) restless: bool,
}

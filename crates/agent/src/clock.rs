//! The one clock of the agent: `CLOCK_MONOTONIC` in nanoseconds, the same in every thread and process.

use crate::ticks;
use pollscope_recording::Nanos;

/// Now. Two threads may differ by some microseconds.
#[inline]
pub(crate) fn now() -> Nanos {
    ticks::now().unwrap_or_else(exact)
}

/// Now, as the kernel says it.
pub(crate) fn exact() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
}

/// Wall clock, nanoseconds since 1970.
pub(crate) fn wall() -> Nanos {
    read(libc::CLOCK_REALTIME)
}

/// CPU time of the calling thread.
pub(crate) fn own_cpu() -> Nanos {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of another thread of this process; 0 once it is gone.
pub(crate) fn thread_cpu(tid: i32) -> Nanos {
    // The kernel's encoding of "the CPU clock of thread `tid`": see `CPUCLOCK_PERTHREAD` in linux/posix-timers.h.
    const PER_THREAD_SCHED: libc::clockid_t = 4 | 2;
    read((!tid << 3) | PER_THREAD_SCHED)
}

#[inline]
fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to; an unknown clock leaves it at zero.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

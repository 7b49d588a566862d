//! The current thread's own stack, copied where it stands.

use super::{RawStack, ThreadBounds};

/// One of several stacks copied into one buffer.
#[cfg(feature = "tracing")]
pub(crate) struct Look {
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) fp: u64,
    pub(super) lr: u64,
    /// Its bytes in the buffer.
    pub(crate) length: usize,
}

/// This runs on the program's threads and must stay cheap. Optimized await stacks are shallow; through a database pool,
/// unoptimized ones are not.
const MOST: u64 = 64 * 1024;

/// Appends this thread's stack from here up to `high` (`most` bytes at most) to `into`, and
/// gives pc, sp, fp and lr. None if `high` is not above the stack pointer.
#[inline(always)]
fn copy_here(high: u64, most: u64, into: &mut Vec<u8>) -> Option<(u64, u64, u64, u64)> {
    let (pc, sp, fp, lr): (u64, u64, u64, u64);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads registers only.
    unsafe {
        std::arch::asm!(
            "lea {pc}, [rip]", "mov {sp}, rsp", "mov {fp}, rbp",
            pc = out(reg) pc, sp = out(reg) sp, fp = out(reg) fp,
            options(nomem, nostack, preserves_flags),
        );
        lr = 0;
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads registers only.
    unsafe {
        std::arch::asm!(
            "adr {pc}, .", "mov {sp}, sp", "mov {fp}, x29", "mov {lr}, x30",
            pc = out(reg) pc, sp = out(reg) sp, fp = out(reg) fp, lr = out(reg) lr,
            options(nomem, nostack, preserves_flags),
        );
    }
    // A stack that somebody switched to (a coroutine's) may end well before `high`.
    let length = high.checked_sub(sp).filter(|l| (1..=1 << 30).contains(l))?.min(most) as usize;
    let before = into.len();
    into.reserve(length);
    // SAFETY: [sp, high) is this thread's live stack as its bounds say, it does not
    // overlap the vector's heap memory, and the vector has room. The copy is of raw bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(sp as *const u8, into.as_mut_ptr().add(before), length);
        into.set_len(before + length);
    }
    Some((pc, sp, fp, lr))
}

/// The stack of the caller, whose thread has these bounds; its own frame comes first. False if it could not be had.
#[inline(never)]
pub(crate) fn capture_here(thread: &ThreadBounds, into: &mut RawStack) -> bool {
    into.bytes.clear();
    let Some((pc, sp, fp, lr)) = copy_here(thread.stack_high, MOST, &mut into.bytes) else { return false };
    (into.pc, into.sp, into.fp, into.lr, into.base) = (pc, sp, fp, lr, sp);
    true
}

/// Appends the stack of the caller up to `high`, `most` bytes at most, to `into`; `high` lies on this thread's stack.
#[cfg(feature = "tracing")]
#[inline(never)]
pub(crate) fn look_here(high: u64, most: usize, into: &mut Vec<u8>) -> Option<Look> {
    let before = into.len();
    let (pc, sp, fp, lr) = copy_here(high, most as u64, into)?;
    Some(Look { pc, sp, fp, lr, length: into.len() - before })
}

//! A fence that costs one side nothing: the other side, which seldom comes, has the kernel put a fence into every thread
//! of the process that runs (`membarrier`, Linux 4.14). Where the kernel has no such call, both sides fence themselves.

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, compiler_fence};
use std::sync::atomic::{Ordering, fence};

/// The kernel does it for both.
#[cfg(target_os = "linux")]
static BY_KERNEL: AtomicBool = AtomicBool::new(false);

/// Asks the kernel whether it would; once, before other threads are there.
#[cfg(target_os = "linux")]
pub(crate) fn prepare() {
    BY_KERNEL.store(membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED), Ordering::Relaxed);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn prepare() {}

/// The fence of the side that comes often.
#[inline]
pub(crate) fn light() {
    #[cfg(target_os = "linux")]
    if BY_KERNEL.load(Ordering::Relaxed) {
        return compiler_fence(Ordering::SeqCst);
    }
    fence(Ordering::SeqCst);
}

/// The fence of the side that comes seldom: what either side wrote before its fence, the other one sees after its own.
/// About a microsecond for each processor that runs a thread of the process.
pub(crate) fn heavy() {
    fence(Ordering::SeqCst);
    #[cfg(target_os = "linux")]
    if BY_KERNEL.load(Ordering::Relaxed) && !membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        // A filter of system calls that came later. From here on both sides fence themselves; who is between the two now
        // has its stores seen long before this sleep is over.
        BY_KERNEL.store(false, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[cfg(target_os = "linux")]
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

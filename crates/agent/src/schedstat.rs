//! What the kernel says of a thread's time: `/proc/self/task/TID/schedstat`.

use pollscope_recording::Nanos;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Up to now, since the thread began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedstat {
    /// On the CPU.
    pub(crate) cpu: Nanos,
    /// Ready to run, while the kernel ran others.
    pub(crate) run_delay: Nanos,
}

/// The file of a thread of this process; `None` once it is gone, and where the kernel does not count.
pub(crate) fn open(tid: i32) -> Option<File> {
    File::open(format!("/proc/self/task/{tid}/schedstat")).ok()
}

/// Reads it: some microseconds.
pub(crate) fn read(file: &File) -> Option<Schedstat> {
    let mut text = [0u8; 96];
    let length = file.read_at(&mut text, 0).ok()?;
    let mut figures = std::str::from_utf8(text.get(..length)?).ok()?.split_ascii_whitespace();
    Some(Schedstat { cpu: figures.next()?.parse().ok()?, run_delay: figures.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_ours_is_read_and_one_that_is_gone_tells_nothing() {
        // SAFETY: the call takes no arguments and cannot fail.
        let tid = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        assert!(open(i32::MAX).is_none());
        // Some kernels do not count.
        assert!(open(tid).is_none_or(|file| read(&file).is_some()));
    }
}

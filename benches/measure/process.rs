//! What surrounds a contender's process.

use pollscope_recording::{Event, Recording, find_recordings};
use std::path::Path;

/// Variables by which an observer is turned on, or would say more than asked.
pub(crate) const OBSERVERS: [&str; 6] =
    ["POLLSCOPE", "POLLSCOPE_TRACE", "POLLSCOPE_LEVEL", "POLLSCOPE_COLLECT", "POLLSCOPE_COLLECT_DIR", "RUST_LOG"];

/// Events that an agent lost, as its recordings in this folder tell.
pub(crate) fn dropped(folder: &Path) -> u64 {
    let mut dropped = 0;
    for recording in find_recordings(folder).iter().filter_map(|dir| Recording::open(dir).ok()) {
        recording.for_each(|event| {
            if let Event::Cost(cost) = event {
                dropped = dropped.max(cost.dropped);
            }
        });
    }
    dropped
}

/// The load of the last minute; 0 where nothing tells.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// CPU time in nanoseconds that the threads of the program itself have used: `main` and tokio's.
pub(crate) fn own_threads_cpu() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|entry| entry.path());
    let main = std::process::id().to_string();
    tasks
        .filter(|task| {
            let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
            name.starts_with("tokio-") || task.ends_with(&main)
        })
        .map(|task| thread_cpu(&task))
        .sum()
}

fn thread_cpu(task: &Path) -> u64 {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// CPU time in nanoseconds of the whole process, of threads that have ended too.
pub(crate) fn process_cpu() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to; a failure leaves it at zero.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Bytes of the files in a folder and below.
pub(crate) fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

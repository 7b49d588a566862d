//! Threads of the program that work for no runtime: they may wake a task though every task is at rest.

use crate::session::Session;
use crate::slots::ROLE_OTHER;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Threads that tokio has started: workers and those of the blocking pool. An id may come again after its thread has
/// ended; then one thread too few is counted.
static STARTED: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

/// tokio has started this thread.
pub(crate) fn started_by_tokio() {
    // SAFETY: the call takes no arguments and cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(tid);
}

/// How many threads there are that work for no runtime; `None` where that cannot be told.
pub(crate) fn threads(session: &Session) -> Option<u64> {
    let slots = session.slots();
    let works = |tid: i32| slots.iter().any(|slot| slot.tid == tid && slot.role.load(Ordering::Relaxed) != ROLE_OTHER);
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    let mut foreign = 0;
    for entry in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if tid as u32 == std::process::id() || started.contains(&tid) || works(tid) {
            continue;
        }
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        // The agent's own; the kernel cuts names after 15 bytes.
        foreign += u64::from(!name.starts_with("pollscope-"));
    }
    Some(foreign)
}

//! The polls that are open on one thread. The thread itself writes them; the watchdog reads them at any moment, and sees
//! all of a poll or nothing.

use crate::sync::{AtomicU64, AtomicUsize, fence};
use pollscope_recording::{Nanos, TaskId};
use std::sync::atomic::Ordering;

/// Polls nest: a `LocalSet` polls its tasks inside its own task's poll. Deeper than this only the depth is counted.
pub(crate) const DEPTH: usize = 8;

#[derive(Default)]
pub(crate) struct OpenPoll {
    pub(crate) task: AtomicU64,
    pub(crate) since: AtomicU64,
    /// The runtime whose hooks opened it; 0 for a root future and for a task told by tracing.
    pub(crate) hooks: AtomicU64,
    /// Spans of the program's that were entered before it.
    #[cfg(feature = "tracing")]
    pub(crate) spans: AtomicUsize,
}

/// The innermost open poll of a thread, as the watchdog sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) task: TaskId,
    pub(crate) since: Nanos,
    /// The runtime whose hooks opened it; 0 if none.
    pub(crate) hooks: u64,
}

#[derive(Default)]
pub(crate) struct OpenPolls {
    /// Odd while the owner changes the open polls; grows by two with each change.
    version: AtomicU64,
    depth: AtomicUsize,
    open: [OpenPoll; DEPTH],
}

impl OpenPolls {
    /// How deep they are nested; for the owner only.
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// The poll at a depth, if it is not too deep; for the owner only.
    #[inline]
    pub(crate) fn at(&self, depth: usize) -> Option<&OpenPoll> {
        self.open.get(depth)
    }

    /// Opens one more, which `fill` describes; for the owner only.
    #[inline]
    pub(crate) fn enter(&self, fill: impl FnOnce(&OpenPoll)) {
        let depth = self.depth();
        self.change(|| {
            if let Some(open) = self.open.get(depth) {
                fill(open);
            }
            self.depth.store(depth + 1, Ordering::Relaxed);
        });
    }

    /// Closes the innermost; for the owner only.
    #[inline]
    pub(crate) fn leave(&self) {
        let depth = self.depth();
        self.change(|| self.depth.store(depth.saturating_sub(1), Ordering::Relaxed));
    }

    #[inline]
    pub(crate) fn innermost(&self) -> Option<&OpenPoll> {
        self.open.get(self.depth().checked_sub(1)?.min(DEPTH - 1))
    }

    /// The innermost, seen from another thread; `None` also when it changes at this moment.
    pub(crate) fn seen(&self) -> Option<Open> {
        let before = self.version.load(Ordering::Acquire);
        let open = self.innermost()?;
        let seen = Open {
            task: open.task.load(Ordering::Relaxed),
            since: open.since.load(Ordering::Relaxed),
            hooks: open.hooks.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        (before & 1 == 0 && self.version.load(Ordering::Relaxed) == before).then_some(seen)
    }

    #[inline]
    fn change(&self, body: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        body();
        self.version.store(version + 2, Ordering::Release);
    }
}

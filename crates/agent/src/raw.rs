//! What a thread of the program puts into its ring: the events of the recording before the drain has made sense of
//! them.

use crate::spares;
use crate::stack::{RawStack, ThreadBounds, capture_here};
use crate::table::Entry;
#[cfg(feature = "tracing")]
use crate::trace::user_spans::Live;
use pollscope_recording::{Nanos, ResourceId, TaskId, WaitId};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place in source code as the compiler keeps it.
#[derive(Clone, Copy)]
pub(crate) struct StaticPlace {
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<&'static std::panic::Location<'static>> for StaticPlace {
    fn from(location: &'static std::panic::Location<'static>) -> StaticPlace {
        StaticPlace { file: location.file(), line: location.line(), column: location.column() }
    }
}

/// A copied stack that is kept for as long as a lock is held. They are counted, since nobody knows for how long.
pub(crate) struct Copied(pub(crate) RawStack);

static COPIED: AtomicUsize = AtomicUsize::new(0);

#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only tracing tells of locks"))]
impl Copied {
    /// The stack of the caller.
    pub(crate) fn here(thread: &ThreadBounds) -> Option<Copied> {
        let mut stack = RawStack::default();
        let copied = capture_here(thread, &mut stack);
        copied.then(|| {
            COPIED.fetch_add(1, Ordering::Relaxed);
            Copied(stack)
        })
    }

    /// How many there are.
    pub(crate) fn count() -> usize {
        COPIED.load(Ordering::Relaxed)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        COPIED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of copied stacks that wait to be unwound, for all threads together. A disk that is slow keeps the drain, and a
/// million tasks may come to wait at once: beyond this, what comes is told without its place.
const MOST_NOTED: usize = 64 << 20;

static NOTED: AtomicUsize = AtomicUsize::new(0);

/// A copied stack on its way to the drain, or kept there until it matters.
pub(crate) struct Noted(ManuallyDrop<Box<RawStack>>);

impl Noted {
    /// Whether there is room for one more. What is copied on suspicion leaves half of it to what is certain to be told.
    #[inline]
    pub(crate) fn has_room(suspicion: bool) -> bool {
        NOTED.load(Ordering::Relaxed) < if suspicion { MOST_NOTED / 2 } else { MOST_NOTED }
    }

    /// The stack of the caller.
    pub(crate) fn here(thread: &ThreadBounds) -> Option<Noted> {
        let mut stack = spares::take();
        let copied = capture_here(thread, &mut stack);
        copied.then(|| {
            NOTED.fetch_add(stack.size(), Ordering::Relaxed);
            Noted(ManuallyDrop::new(stack))
        })
    }
}

impl std::ops::Deref for Noted {
    type Target = RawStack;

    fn deref(&self) -> &RawStack {
        &self.0
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        NOTED.fetch_sub(self.0.size(), Ordering::Relaxed);
        // SAFETY: nobody uses it after this.
        spares::give(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}

/// A lock that a task holds, or held.
pub(crate) struct HeldLock {
    pub(crate) resource: ResourceId,
    /// For reading.
    pub(crate) shared: bool,
    pub(crate) since: Nanos,
    pub(crate) stack: Option<Arc<Copied>>,
    /// What was taken meanwhile.
    pub(crate) taken: Vec<TakenLock>,
}

/// A lock that was taken while another was held.
pub(crate) struct TakenLock {
    pub(crate) resource: ResourceId,
    /// For reading.
    pub(crate) shared: bool,
    pub(crate) at: Nanos,
    /// What else was held then, alone and for reading.
    pub(crate) beside: Vec<ResourceId>,
    pub(crate) beside_shared: Vec<ResourceId>,
    pub(crate) stack: Option<Arc<Copied>>,
}

pub(crate) struct Raw {
    pub(crate) at: Nanos,
    pub(crate) what: What,
}

#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "most of it only tracing tells"))]
pub(crate) enum What {
    Spawn {
        task: TaskId,
        runtime: u64,
        kind: &'static str,
        name: Option<Box<str>>,
        spawned: StaticPlace,
        parent: TaskId,
    },
    /// The name of a task that is spawned next.
    Named {
        task: TaskId,
        name: Box<str>,
    },
    End {
        task: TaskId,
    },
    Poll {
        task: TaskId,
        duration: Nanos,
    },
    /// What the thread's table has no place for: one poll of a task, or several.
    PolledOnce {
        task: TaskId,
        since: Nanos,
        duration: Nanos,
    },
    Polled(Box<Entry>),
    Delay {
        task: TaskId,
        delay: Nanos,
    },
    LateBeat {
        runtime: u64,
        due: Nanos,
        late: Nanos,
    },
    Made {
        resource: ResourceId,
        parent: ResourceId,
        kind: &'static str,
        made: Option<StaticPlace>,
    },
    /// How many permits a semaphore began with.
    Capacity {
        resource: ResourceId,
        permits: u64,
    },
    Dropped {
        resource: ResourceId,
    },
    Acquired {
        resource: ResourceId,
        task: TaskId,
        permits: u64,
        /// It can be sent to another task.
        owned: bool,
        /// Of some takings of a semaphore.
        stack: Option<Noted>,
    },
    Released {
        resource: ResourceId,
        task: TaskId,
        permits: u64,
    },
    Wait {
        wait: WaitId,
        resource: ResourceId,
        task: TaskId,
        operation: &'static str,
        until: Nanos,
        stack: Option<Noted>,
    },
    /// A task gave permits back, and they went to one who waits.
    HandedOver {
        wait: WaitId,
        task: TaskId,
        permits: u64,
    },
    /// Everything a wait asks for is its own now; its task has yet to poll it.
    Granted {
        wait: WaitId,
    },
    /// The program's own spans that the task is in; `wait` is 0 if that matters at once, and otherwise a wait that begins.
    #[cfg(feature = "tracing")]
    InSpans {
        task: TaskId,
        wait: WaitId,
        spans: Arc<Live>,
    },
    WaitEnd {
        wait: WaitId,
        ready: bool,
    },
    SelfWake {
        task: TaskId,
        woke: bool,
        stack: Option<Noted>,
    },
    Panic {
        task: TaskId,
        /// File, line and column.
        place: Option<(Box<str>, u32, u32)>,
        message: &'static str,
        stack: Option<Noted>,
    },
    Awaited {
        task: TaskId,
    },
    PanicEnd {
        task: TaskId,
        awaited: bool,
    },
    /// A task gave back a lock under which it had taken others.
    Orders {
        task: TaskId,
        held: Box<HeldLock>,
    },
}

//! The kinds of stalls, one row each: how a poll that was open for too long is put into words.

use super::super::{Finding, Severity};
use super::{Judged, Model, in_place, long_poll, sync_guard_across_await, sync_lock_contention, thread_wait_in_task};

pub(super) const BLOCKS: &str = "blocking-call";
pub(super) const COMPUTES: &str = "cpu-bound-poll";
pub(super) const GUARD: &str = "sync-guard-across-await";
pub(super) const BORROW: &str = "watch-borrow-across-await";
pub(super) const PANIC: &str = "backtrace-stall";
pub(super) const CONTENTION: &str = "sync-lock-contention";
pub(super) const LOGGING: &str = "sync-logging";
pub(super) const DROP: &str = "blocking-drop";
pub(super) const IN_PLACE: &str = "block-in-place";
pub(super) const UNSEEN: &str = "long-poll";

/// How one kind of stall is put into words.
pub(super) struct Kind {
    pub(super) id: &'static str,
    /// Place, call, worst duration in ms.
    pub(super) title: fn(&str, Option<&str>, f64) -> String,
    /// Place, call: what to do where the class of the call knows nothing better.
    pub(super) repair: fn(&str, Option<&str>) -> String,
    /// Why that helps.
    pub(super) why: &'static str,
    /// What is said of a program without it, before "in N polls".
    pub(super) clear: &'static str,
    /// What more is known of such a poll than its stack and times.
    pub(super) more: fn(&Model, &[Judged<'_>], &[&Judged<'_>], Finding) -> Finding,
}

/// The kind called `id`.
pub(super) fn row(id: &str) -> Option<&'static Kind> {
    ROWS.iter().find(|kind| kind.id == id)
}

/// A call in words.
fn named(call: Option<&str>, otherwise: &str) -> String {
    call.map_or_else(|| otherwise.to_owned(), |call| format!("`{call}`"))
}

/// Every kind of stall, in the order they are reported.
pub(super) static ROWS: &[Kind] = &[
    Kind {
        id: BLOCKS,
        title: |spot, call, worst| match call {
            Some(call) => format!("`{call}` at {spot} blocks its worker thread for up to {worst:.0} ms"),
            None => format!("{spot} blocks its worker thread for up to {worst:.0} ms"),
        },
        repair: |spot, call| {
            let what = named(call, "the blocking call");
            format!(
                "Replace {what} at {spot} by its async counterpart in tokio, or move it into \
                 `tokio::task::spawn_blocking` and await the handle."
            )
        },
        why: "A worker thread that sleeps in the kernel can poll no other task.",
        clear: "no poll was blocked in the kernel for long",
        more: |_, _, _, finding| finding,
    },
    Kind {
        id: COMPUTES,
        title: |spot, call, worst| match call {
            Some(call) => format!("`{call}` at {spot} computes for up to {worst:.0} ms within one poll"),
            None => format!("{spot} computes for up to {worst:.0} ms within one poll"),
        },
        repair: |spot, call| {
            let what = named(call, "the computation");
            format!(
                "Move {what} at {spot} into `tokio::task::spawn_blocking` (with a semaphore of about as many permits \
                 as cores) or onto a rayon pool."
            )
        },
        why: "If it is a loop of small steps, call `tokio::task::yield_now().await` every few hundred microseconds \
              instead.",
        clear: "no poll computed for long",
        more: |_, _, _, finding| finding,
    },
    Kind {
        id: GUARD,
        title: |spot, call, worst| {
            let call = named(call, "a lock");
            format!("{call} at {spot} waits for {worst:.0} ms, although no task that runs can be holding the lock")
        },
        repair: |spot, _| {
            format!(
                "Find the guard of the lock taken at {spot} that lives across an `.await`, and end its scope before: \
                 await first and lock to store the result, or copy out what is needed. If the lock must be held across \
                 the `.await`, make it a `tokio::sync::Mutex`."
            )
        },
        why: "(If the stack itself has taken the lock further up, it waits for its own guard.)",
        clear: "no thread waited for a lock that no running code could hold",
        more: sync_guard_across_await::more,
    },
    // `borrow()` returns a guard for reading, and `send` takes the lock for writing: a borrow kept over an `.await` stops the
    // thread of whoever sends, and behind it those that borrow.
    Kind {
        id: BORROW,
        title: |spot, call, worst| {
            let call = named(call, "a `watch` channel");
            format!(
                "{call} at {spot} waits for {worst:.0} ms, because a future that is suspended keeps a borrow of the value"
            )
        },
        repair: |spot, _| {
            format!(
                "Find the `borrow()` or `borrow_and_update()` of the channel used at {spot} whose result lives across an \
                 `.await` (also one in the head of a `match`, `if let` or `for`), and copy the value out before: \
                 `let value = receiver.borrow().clone();`."
            )
        },
        why: "The value lies in a lock of threads, and the sender's thread waits for whoever reads it.",
        clear: "no thread waited for a `watch` channel that no running code could hold",
        more: sync_guard_across_await::more,
    },
    Kind {
        id: PANIC,
        title: |spot, _, worst| {
            format!("the panic at {spot} kept its worker thread for {worst:.0} ms in the panic hook")
        },
        repair: |spot, _| format!("Mend the panic at {spot}."),
        why: "What takes long is the backtrace: its frames are named from the program's debug information, a tenth of a \
              second the first time. With `RUST_BACKTRACE=0` the hook prints the message only.",
        clear: "no panic hook took long",
        // The panic is the fault, and what is told about it stands in `swallowed-panic`.
        more: |_, _, _, finding| Finding { severity: Severity::Info, ..finding },
    },
    Kind {
        id: CONTENTION,
        title: |spot, call, worst| {
            let call = named(call, "a lock of threads");
            format!("{call} at {spot} waits for up to {worst:.0} ms for other threads to let go of the lock")
        },
        repair: |spot, _| format!("Hold the lock taken at {spot} for less."),
        why: "Whoever waits for a lock of threads takes its worker along; more workers only wait in a longer line.",
        clear: "no thread waited for a lock for long",
        more: sync_lock_contention::more,
    },
    Kind {
        id: "thread-wait-in-task",
        title: |spot, call, worst| {
            let call = named(call, "a wait");
            format!("{call} at {spot} makes its worker thread wait for another thread for up to {worst:.0} ms")
        },
        repair: |spot, _| format!("Wait at {spot} with something of tokio's that is awaited."),
        why: "A thread that waits polls no other task; if what it waits for is a task queued on this very worker, it \
              waits for ever.",
        clear: "no poll waited for another thread for long",
        more: thread_wait_in_task::more,
    },
    Kind {
        id: "block-on-in-async",
        title: |spot, call, worst| {
            let call = named(call, "block_on");
            format!("{call} at {spot} makes its worker thread wait for a future for up to {worst:.0} ms")
        },
        repair: |spot, _| format!("Await the future at {spot} instead."),
        why: "The task's worker sleeps until somebody else makes the future ready, and after 128 operations within \
              one poll tokio's budget makes every further one of them wait for a next poll that never comes.",
        clear: "no poll waited for a future within",
        more: |_, _, _, finding| finding,
    },
    Kind {
        id: "sync-db-driver",
        title: |spot, call, worst| {
            let call = named(call, "a query");
            format!("{call} at {spot} keeps its worker thread for up to {worst:.0} ms with a database")
        },
        repair: |spot, _| format!("Run the query at {spot} in `tokio::task::spawn_blocking`."),
        why: "A driver that is not async holds its worker for as long as the database takes.",
        clear: "no poll was kept by a database driver for long",
        more: |_, _, _, finding| finding,
    },
    Kind {
        id: "blocking-dns",
        title: |spot, call, worst| {
            let call = named(call, "a lookup");
            format!("{call} at {spot} looks a name up and blocks its worker thread for up to {worst:.0} ms")
        },
        repair: |spot, _| format!("Use `tokio::net::lookup_host` at {spot}."),
        why: "The system's resolver waits for the name server, for seconds if that does not answer.",
        clear: "no poll waited for the resolver for long",
        more: |_, _, _, finding| finding,
    },
    Kind {
        id: LOGGING,
        title: |spot, call, worst| {
            let call = named(call, "a log line");
            format!("{call} at {spot} waits for up to {worst:.0} ms until its line is written")
        },
        repair: |spot, _| format!("Hand the line at {spot} to a thread of its own through a bounded queue."),
        why: "Whoever reads the log decides how fast the service runs, and all writers wait for one lock.",
        clear: "no poll waited to write its log for long",
        more: |_, _, _, finding| finding,
    },
    Kind {
        id: DROP,
        title: |spot, call, worst| {
            let call = named(call, "a call");
            format!("{call} at {spot} blocks in a `Drop` for up to {worst:.0} ms")
        },
        repair: |spot, _| {
            format!(
                "Give the type an `async fn close(self)` that does what its `Drop` does at {spot}, and call it; or \
                 hand what is to be cleaned up to a task or thread that does it."
            )
        },
        why: "`Drop` cannot await, and it runs wherever a value goes out of scope or a task is canceled: on a worker.",
        clear: "no poll was blocked in a `Drop` for long",
        more: |_, _, _, finding| finding,
    },
    Kind {
        id: IN_PLACE,
        title: |spot, call, worst| {
            let call = named(call, "block_in_place");
            format!("{call} at {spot} stops the other futures of its own task for up to {worst:.0} ms")
        },
        repair: |spot, _| {
            format!(
                "Await the work at {spot} with `tokio::task::spawn_blocking(..).await`, or spawn the future that does it \
                 as a task of its own."
            )
        },
        why: "`block_in_place` hands the worker's other tasks to another thread; the futures that are joined or selected \
              beside it belong to the same task, and wait.",
        clear: "no task was woken in vain while it blocked in place",
        more: in_place::more,
    },
    Kind {
        id: UNSEEN,
        title: |spot, _, worst| {
            format!("{spot} kept its worker thread for up to {worst:.0} ms in one poll; what it did is not seen")
        },
        repair: |spot, _| {
            format!(
                "Look between the awaits of {spot} for a call that blocks or a long computation, and move it into \
                 `tokio::task::spawn_blocking`."
            )
        },
        why: "pollscope's agent (`pollscope record`) names the line.",
        clear: "no long poll was left unexplained",
        more: long_poll::more,
    },
];

//! Polls that were open for too long: what each was doing, and which of them are one fault.
//!
//! One pipeline for all of them, by order of elimination:
//!
//! 1. What waited for a core, or for the program's code to be in memory, is subtracted; what had handed its worker off,
//!    or ran on the blocking pool, is innocent.
//! 2. A poll that was in the panic hook is the panic's doing.
//! 3. What is left was blocked or computed: the times of its thread tell which.
//! 4. The functions below the program's own line tell by which call (`calls.toml`, the first class that matches).
//! 5. The stack above it tells whether that happened in a `Drop`.
//! 6. Who else ran tells who can hold the lock that a thread waits for.
//!
//! Each kind is one row of `kinds.rs`, or a file where it takes more than a stack.

mod amplifiers;
mod calls;
mod environment;
mod finding;
mod function;
mod in_place;
mod kinds;
mod long_poll;
mod stackless;
mod sync_guard_across_await;
mod sync_lock_contention;
#[cfg(test)]
mod tests;
mod thread_wait_in_task;
mod victims;

use std::sync::Arc;

use pollscope_recording::CODE_FAULT;

use super::place::{self, Blame};
use super::{Check, Location, Outcome, Thresholds, ms};
use crate::model::{Model, Sample, Stall};
use crate::symbols::{self, Symbols};
use calls::Lock;
pub(in crate::detect) use calls::{Call, Calls, Class, When, matches};
pub(in crate::detect) use function::Function;

pub(super) use long_poll::undecided;

/// What kept a poll open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// A fault of this kind.
    Kind(&'static str),
    /// It waited for a lock that another long poll likely held: part of the harm of that one.
    Behind,
    /// The kernel ran others, or read the program's code from disk: the machine's fault.
    Machine,
    /// It had handed its worker off, or was below the threshold.
    Innocent,
}

/// One open poll, judged.
struct Judged<'a> {
    stall: &'a Stall,
    end: u64,
    cause: Cause,
    /// Scaled from what was observed to the whole poll.
    cpu_ns: u64,
    blocked_ns: u64,
    delay_ns: u64,
    /// Part of that time its code was on its way from the disk.
    fetching: bool,
    blame: Blame,
    /// What sort of call it was in.
    class: Option<Arc<Class>>,
    /// That was within a `watch` channel of tokio's.
    watch: bool,
}

impl Judged<'_> {
    fn is(&self, kind: &str) -> bool {
        matches!(self.cause, Cause::Kind(own) if own == kind)
    }

    fn length(&self) -> u64 {
        self.end - self.stall.since
    }

    /// The lock of threads it waits for.
    fn lock(&self) -> Option<Lock> {
        self.class.as_ref().and_then(|class| class.lock)
    }
}

/// What the environment did, and each kind of stall.
pub(super) fn detect(
    model: &Model,
    symbols: &mut Symbols,
    thresholds: &Thresholds,
    calls: &Calls,
) -> (Check, Vec<Outcome>) {
    let mut polls: Vec<Judged<'_>> =
        model.stalls.values().map(|stall| judge(model, stall, symbols, calls, thresholds)).collect();
    stackless::mark(model, &mut polls);
    sync_guard_across_await::mark(&mut polls, thresholds);
    sync_lock_contention::mark(&mut polls);
    let environment = environment::detect(model, &polls, thresholds);
    let outcomes = kinds::ROWS.iter().map(|kind| finding::outcome(model, &polls, kind, thresholds)).collect();
    (environment, outcomes)
}

/// Judges one stall. The environment is subtracted, never taken as an excuse: a poll is guilty if its own CPU or
/// blocked time alone reaches the threshold.
fn judge<'a>(
    model: &Model,
    stall: &'a Stall,
    symbols: &mut Symbols,
    calls: &Calls,
    thresholds: &Thresholds,
) -> Judged<'a> {
    let end = model.end_of(stall);
    // A process that is stopped does no harm of its own.
    let running = |from: u64, to: u64| to.saturating_sub(from).saturating_sub(model.paused_ns(from, to));
    let whole = running(stall.since, end);
    let window = running(stall.observed, stall.measured);
    // With a window of nothing the times are zero too; a sleeping thread's first sample then decides.
    let (cpu, delay) = (stall.cpu_ns.min(window), stall.run_delay_ns.min(window.saturating_sub(stall.cpu_ns)));
    // Where the kernel does not tell run delay, throttling looks like a wait. But a thread that waits is not ready.
    let ready = !stall.samples.is_empty() && stall.samples.iter().all(|sample| sample.state == u64::from(b'R'));
    let delay = match delay {
        0 if ready => model.throttled_between(stall.since, end).min(window - cpu),
        told => told,
    };
    let scale = |part: u64| (part as f64 / window.max(1) as f64 * whole as f64) as u64;
    let (cpu_ns, delay_ns, blocked_ns) = if window == 0 {
        let running = stall.samples.iter().any(|sample| sample.state == u64::from(b'R'));
        if running { (whole, 0, 0) } else { (0, 0, whole) }
    } else {
        (scale(cpu), scale(delay), scale(window - cpu - delay))
    };
    // Nobody's call: the kernel reads the program itself, as the machine is short of memory or runs it for the first time.
    let slept = |sample: &&Sample| sample.state != 0 && sample.state != u64::from(b'R');
    let fetching = stall.samples.iter().any(|sample| sample.syscall == CODE_FAULT)
        && stall.samples.iter().filter(slept).all(|sample| sample.syscall == CODE_FAULT);
    let (delay_ns, blocked_ns) = if fetching { (delay_ns + blocked_ns, 0) } else { (delay_ns, blocked_ns) };
    let state = if cpu_ns >= blocked_ns { When::Computing } else { When::Blocked };
    let mut look = |stack: &[u64]| Look::at(&symbols.stack(stack), calls, state);
    let looks: Vec<Look> =
        stall.samples.iter().filter(|one| !one.stack.is_empty()).map(|one| look(&one.stack)).collect();
    // A panic is told from its start, so a poll of which most came after one was in the hook, also if no stack shows it.
    let mut panics = model.panics.iter().filter(|panic| panic.task == stall.task && panic.at >= stall.since);
    let panic = panics.find(|panic| panic.at <= end && end - panic.at >= whole / 2);
    let seen = match panic {
        Some(panic) if looks.is_empty() => look(&panic.stack),
        _ => majority(&looks),
    };
    // A `spawn_blocking` body may block as long as it likes.
    let pool = model.tasks.get(&stall.task).is_some_and(|task| task.kind == "blocking");
    // What no stack could be taken of, and waited for a core for longer than for anything else, waited often and shortly.
    let unseen = looks.is_empty()
        && panic.is_none()
        && state == When::Blocked
        && delay_ns >= blocked_ns.max(thresholds.stall_ns);
    // Its thread was never looked at.
    let untold = window == 0 && stall.samples.iter().all(|one| one.state == 0 && one.stack.is_empty());
    let handed_off = looks.iter().any(|look| look.blame.handed_off);
    // Nobody keeps the observer's locks for long: such a stack was put together wrongly.
    let observing = state == When::Blocked && seen.observing && whole < thresholds.stuck_ns;
    let cause = if handed_off && !pool && in_place::kept_waiting(model, stall, end) >= thresholds.stall_ns {
        Cause::Kind(kinds::IN_PLACE)
    } else if pool || handed_off || observing {
        Cause::Innocent
    } else if untold && whole >= thresholds.stall_ns {
        Cause::Kind(kinds::UNSEEN)
    } else if unseen {
        Cause::Machine
    } else if cpu_ns.max(blocked_ns) < thresholds.stall_ns {
        if seen.blame.panicking && cpu_ns + blocked_ns >= thresholds.stall_ns {
            Cause::Kind(kinds::PANIC)
        } else if delay_ns >= thresholds.stall_ns {
            Cause::Machine
        } else {
            Cause::Innocent
        }
    } else {
        Cause::Kind(seen.kind(state, panic.is_some()))
    };
    let Look { blame, class, watch, .. } = seen;
    Judged { stall, end, cause, cpu_ns, blocked_ns, delay_ns, fetching, blame, class, watch }
}

/// Where the observer's own functions live.
const OBSERVER: &str = "pollscope_agent::";

/// Those of them that poll a future of the program's.
const WRAPPER: &str = "pollscope_agent::monitored::";

/// Where the runtime's own functions live; its channels and locks for programs are elsewhere.
const RUNTIME: &str = "tokio::runtime::";

/// The C library's allocator, and where it waits: for a lock of its own, or for the kernel's of the address space.
const ALLOCATOR: [&str; 12] = [
    "lll_lock_wait_private",
    "malloc",
    "calloc",
    "realloc",
    "free",
    "int_malloc",
    "int_free",
    "sysmalloc",
    "mmap",
    "munmap",
    "madvise",
    "brk",
];

/// What one stack tells.
#[derive(Clone, Default)]
struct Look {
    blame: Blame,
    class: Option<Arc<Class>>,
    /// The type whose `Drop` the program's own line is in.
    dropped: Option<String>,
    /// It was in the observer's own code, or at a lock of the runtime's or the allocator's: what that waits for is not the program's doing.
    observing: bool,
    /// It was within a `watch` channel, whose value lies in a lock of threads.
    watch: bool,
}

impl Look {
    fn at(frames: &[symbols::Frame], calls: &Calls, state: When) -> Look {
        let mut blame = place::blame(frames);
        let user = place::own(frames);
        // What stands beyond the poll itself is no call of the task's: there the root future's runtime is entered.
        let poll = frames.iter().position(begins_a_poll).unwrap_or(frames.len());
        let user = user.filter(|&user| user < poll);
        let below = frames.get(..user.unwrap_or(0)).unwrap_or_default();
        let above = frames.get(user.unwrap_or(poll)..poll).unwrap_or_default();
        let known = calls.known(below, above, state);
        let called = || blame.call.as_deref().map(|call| Function::of(call).path);
        blame.call = known.as_ref().and_then(|known| known.name.clone()).or_else(called);
        let dropped = above.iter().find_map(|frame| function::dropped(&frame.function));
        if let Some((at, call)) = in_place::called(frames) {
            (blame.at, blame.call) = (Some(at), Some(call));
        }
        // A task whose future is a library's has no line of its own.
        let beneath = frames.get(..user.unwrap_or(poll)).unwrap_or_default();
        let observes = |frame: &symbols::Frame| {
            let function = frame.function.trim_start_matches('<');
            function.starts_with(OBSERVER) && !function.starts_with(WRAPPER)
        };
        let c_name =
            |frame: &symbols::Frame| frame.function.trim_start_matches('_').trim_start_matches("libc_").to_owned();
        let allocates = beneath.iter().any(|frame| ALLOCATOR.contains(&c_name(frame).as_str()));
        // Nor does the program keep the locks inside the runtime and the allocator: whoever has one is not run.
        let locks = || calls.known(beneath, &[], state).is_some_and(|known| known.class.lock.is_some());
        let observing = beneath.iter().any(observes) || allocates || (beneath.iter().any(is_runtime) && locks());
        let watch = below.iter().any(|frame| frame.function.contains("tokio::sync::watch::"));
        Look { blame, class: known.map(|known| known.class), dropped, observing, watch }
    }

    /// The kind of fault that a poll deserves which was found here.
    fn kind(&self, state: When, panicked: bool) -> &'static str {
        let of_class = self.class.as_ref().and_then(|class| kinds::row(&class.kind)).map(|kind| kind.id);
        match state {
            _ if panicked || self.blame.panicking => kinds::PANIC,
            When::Computing => of_class.unwrap_or(kinds::COMPUTES),
            _ if self.dropped.is_some() => kinds::DROP,
            _ => of_class.unwrap_or(kinds::BLOCKS),
        }
    }
}

/// Whether this is code of the runtime itself. Where libraries have line tables only, what is inlined has a short name.
fn is_runtime(frame: &symbols::Frame) -> bool {
    let file = frame.file.as_deref().and_then(|file| file.split_once("/tokio-"));
    frame.function.trim_start_matches('<').starts_with(RUNTIME)
        || file
            .is_some_and(|(_, path)| path.split_once('/').is_some_and(|(_, inner)| inner.starts_with("src/runtime/")))
}

/// Whether the poll of a task begins in this frame.
fn begins_a_poll(frame: &symbols::Frame) -> bool {
    frame.function.contains("tokio::runtime::task::") || frame.function.contains("pollscope_agent::root::")
}

/// The stack whose culprit was seen most often: a busy poll is sampled in many places.
fn majority(looks: &[Look]) -> Look {
    let votes = |at: &Option<Location>| looks.iter().filter(|other| other.blame.at == *at).count();
    let known = |at: &Option<Location>| at.as_ref().map(|at| at.line > 0);
    let best = looks.iter().max_by_key(|look| (known(&look.blame.at), votes(&look.blame.at)));
    best.cloned().unwrap_or_default()
}

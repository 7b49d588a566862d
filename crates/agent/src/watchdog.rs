//! The watchdog: a plain thread that looks at every open poll a hundred times a second, more often at one that lasts, and
//! takes the stack of one that is open too long *while it is open*. tokio's own counters are published late and lie while
//! a worker is stuck.

use crate::clock;
use crate::heartbeat;
use crate::open_polls::Open;
use crate::pools::Pools;
use crate::schedstat;
use crate::session::Session;
use crate::slots::Slot;
use crate::stack::Sampler;
#[cfg(feature = "tracing")]
use crate::trace::user_spans::{self, Live};
use crate::workers::Workers;
#[cfg(feature = "tracing")]
use pollscope_recording::InSpans;
use pollscope_recording::{FutexWait, LateBeat, Nanos, Stall, StallEnd};
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Rare, for where the program has every core a thread that wakes takes one away for longer than it runs: it moves others
/// from where their caches are.
const LOOK_EVERY: Duration = Duration::from_millis(8);
/// The same shortly before a stack is due.
const LOOK_AGAIN: Duration = Duration::from_millis(4);
/// A poll open for this long gets its first stack; the next ones follow at doubled ages.
const STALL: Nanos = 20_000_000;
/// A thread that sleeps often is found asleep sooner or later: so many looks in a row are spent on that.
const RESTLESS_LOOKS: u32 = 25;
/// A heartbeat that has not fired for this long is told before it fires.
const SILENT: Nanos = 500_000_000;

/// What the watchdog knows of the poll it last saw open on a thread.
struct Watched {
    open: Open,
    observed: Nanos,
    cpu: Nanos,
    run_delay: Nanos,
    next_look: Nanos,
    reported: bool,
    /// The innermost span of the program's that was told of it.
    #[cfg(feature = "tracing")]
    span: Option<Arc<Live>>,
    /// Looks in a row that found it too restless for a stack; `None` before the first look after it was seen.
    restless: Option<u32>,
}

struct Thread {
    /// Held, so that no other slot takes its address.
    slot: Arc<Slot>,
    schedstat: Option<File>,
    watched: Option<Watched>,
}

pub(crate) fn run(session: &'static Session) {
    let mut sampler = Sampler::new();
    // By slot, since the kernel gives the ids of ended threads to new ones.
    let mut threads: HashMap<*const Slot, Thread> = HashMap::new();
    let mut workers = Workers::default();
    let mut pools = Pools::default();
    let mut told_silent: HashMap<u64, Nanos> = HashMap::new();
    let (mut last, mut rest) = (false, LOOK_EVERY);
    while !last {
        std::thread::park_timeout(rest);
        // Once more after the end: a stall that has just ended still wants its end told.
        last = session.stop_watching.load(Ordering::Acquire);
        workers.is_last = last;
        for slot in session.slots() {
            threads.entry(Arc::as_ptr(&slot)).or_insert_with(|| Thread { slot, schedstat: None, watched: None });
        }
        threads.retain(|_, thread| {
            let slot = thread.slot.clone();
            if !slot.ended.load(Ordering::Acquire) {
                look(session, &mut sampler, thread, || slot.open_poll().or_else(|| workers.stuck(session, &slot)));
                return true;
            }
            if let Some(watched) = thread.watched.take() {
                end(session, thread, &watched);
            }
            workers.forget(&slot);
            false
        });
        let soon = clock::now() + LOOK_EVERY.as_nanos() as Nanos;
        let is_due = |thread: &Thread| thread.watched.as_ref().is_some_and(|watched| watched.next_look < soon);
        rest = if threads.values().any(is_due) { LOOK_AGAIN } else { LOOK_EVERY };
        pools.look(session, &mut sampler);
        listen(session, &mut told_silent);
        session.watchdog_cpu.store(clock::own_cpu(), Ordering::Relaxed);
    }
}

/// Looks at one thread; `open` gives the poll open on it.
fn look(session: &Session, sampler: &mut Sampler, thread: &mut Thread, mut open: impl FnMut() -> Option<Open>) {
    let slot = thread.slot.clone();
    let now_open = open();
    let same = thread.watched.as_ref().is_some_and(|watched| Some(watched.open) == now_open);
    if !same {
        if let Some(watched) = thread.watched.take() {
            slot.watched.store(0, Ordering::Release);
            end(session, thread, &watched);
        }
        let Some(open) = now_open else { return };
        slot.watched_end.store(0, Ordering::Relaxed);
        thread.watched = Some(Watched {
            open,
            observed: clock::now(),
            cpu: clock::thread_cpu(slot.tid),
            run_delay: run_delay(thread, slot.tid),
            next_look: open.since + STALL,
            reported: false,
            #[cfg(feature = "tracing")]
            span: None,
            restless: None,
        });
        return;
    }
    let Some(watched) = &mut thread.watched else { return };
    if watched.restless.is_none() {
        watched.restless = Some(0);
        slot.bounds.iter().for_each(|bounds| sampler.expect(bounds));
    }
    if clock::now() < watched.next_look {
        return;
    }
    slot.watched.store(watched.open.since, Ordering::Release);
    let captured = slot.bounds.as_ref().map(|bounds| sampler.capture(bounds));
    let restless = watched.restless.get_or_insert(0);
    let again = captured.as_ref().is_some_and(|captured| captured.restless) && *restless < RESTLESS_LOOKS;
    *restless = if again { *restless + 1 } else { 0 };
    // Told without a stack at once, and not again until there is one.
    if *restless > 1 {
        return;
    }
    if let Some(problem) = sampler.problem() {
        session.not_observable(problem);
    }
    let (now, cpu, delay) = (clock::now(), clock::thread_cpu(slot.tid), run_delay(thread, slot.tid));
    #[cfg(feature = "tracing")]
    let span = user_spans::of_poll(&slot);
    let Some(watched) = &mut thread.watched else { return };
    // The poll may have ended while its stack was taken: such a stack belongs to nobody.
    let still = Some(watched.open) == open() && !session.are_hooks_replaced(watched.open.hooks);
    if !again {
        watched.next_look = watched.open.since + 2 * now.saturating_sub(watched.open.since);
    }
    watched.reported |= still;
    #[cfg(feature = "tracing")]
    if let Some(span) = span.filter(|_| still)
        && !watched.span.as_ref().is_some_and(|told| Arc::ptr_eq(told, &span))
    {
        session.push(InSpans { at: now, task: watched.open.task, spans: span.family() });
        watched.span = Some(span);
    }
    if still {
        if let Some(address) = captured.as_ref().and_then(|captured| captured.futex) {
            let (task, since) = (watched.open.task, watched.open.since);
            session.push(FutexWait { at: now, task, tid: slot.tid as u64, since, address });
        }
        session.push(Stall {
            at: now,
            task: watched.open.task,
            tid: slot.tid as u64,
            since: watched.open.since,
            observed: watched.observed,
            cpu_ns: cpu.saturating_sub(watched.cpu),
            run_delay_ns: delay.saturating_sub(watched.run_delay),
            state: captured.as_ref().map_or(0, |captured| u64::from(captured.state)),
            syscall: captured.as_ref().and_then(|captured| captured.syscall).unwrap_or(u64::MAX),
            stack: captured.map(|captured| captured.stack).unwrap_or_default(),
        });
    }
}

fn end(session: &Session, thread: &mut Thread, watched: &Watched) {
    let slot = thread.slot.clone();
    if !watched.reported {
        return;
    }
    let ended = slot.watched_end.load(Ordering::Acquire);
    let (at, cpu) = if ended > watched.observed {
        (ended, slot.watched_cpu.load(Ordering::Relaxed))
    } else {
        (clock::now(), clock::thread_cpu(slot.tid))
    };
    session.push(StallEnd {
        at,
        task: watched.open.task,
        tid: slot.tid as u64,
        since: watched.open.since,
        cpu_ns: cpu.saturating_sub(watched.cpu),
        run_delay_ns: run_delay(thread, slot.tid).saturating_sub(watched.run_delay),
        observed: watched.observed,
    });
}

/// Time the thread was ready to run while the kernel ran others.
fn run_delay(thread: &mut Thread, tid: i32) -> Nanos {
    if thread.schedstat.is_none() {
        thread.schedstat = schedstat::open(tid);
    }
    thread.schedstat.as_ref().and_then(schedstat::read).map_or(0, |stat| stat.run_delay)
}

/// Tells of heartbeats that should have fired long ago, about once a doubling of the silence.
fn listen(session: &Session, told: &mut HashMap<u64, Nanos>) {
    for runtime in session.runtimes() {
        if !runtime.beating.load(Ordering::Acquire) {
            continue;
        }
        let due = runtime.last_beat.load(Ordering::Acquire) + heartbeat::PERIOD;
        let now = clock::now();
        let late = now.saturating_sub(due);
        let threshold = told.entry(runtime.id).or_insert(SILENT);
        if late < SILENT {
            *threshold = SILENT;
        } else if late >= *threshold {
            *threshold = late * 2;
            session.push(LateBeat { at: now, runtime: runtime.id, due, late_ns: late });
        }
    }
}

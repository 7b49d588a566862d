//! Workers of a runtime that has no hooks: [`crate::init`] found it already built. tokio's own counters tell when one is
//! stuck, and the agent's threads are told apart by short tasks that ran on them.

use crate::clock;
use crate::heartbeat;
use crate::open_polls::Open;
use crate::session::{RuntimeState, Session};
use crate::slots::{self, ROLE_OTHER, ROLE_WORKER, Slot};
use pollscope_recording::Nanos;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor, RuntimeMetrics};

/// A worker whose counters stand still for this long is in one poll: tokio publishes them at least every 61 polls, so
/// only a row of polls of 4 ms each could look the same.
const STUCK: Nanos = 250_000_000;
/// How often the thread in `block_on` is looked at, which has no counters: it takes reading a file.
const LOOK_EVERY: Nanos = 20_000_000;
/// Workers that no task of ours has met yet are looked for so many times, once a second.
const ROUNDS: u64 = 60;
/// How long `init` and its tasks wait for every worker to take one: most workers have just been started.
const MEET_FIRST: Duration = Duration::from_millis(20);
/// The same for the rounds after that, which stand in the program's way.
const MEET_AGAIN: Duration = Duration::from_millis(2);

/// A runtime without hooks.
pub(crate) struct Unhooked {
    state: Arc<RuntimeState>,
    metrics: RuntimeMetrics,
    /// The thread that called `init`, if it is in the `block_on` of a runtime whose workers are others.
    caller: Option<i32>,
}

/// Starts to watch the runtime the caller is inside of. True if there is one.
pub(crate) fn watch_current(session: &'static Session) -> bool {
    let Ok(handle) = Handle::try_current() else { return false };
    let timers = heartbeat::can_beat();
    let known = || session.runtimes().into_iter().find(|state| state.tokio.get() == Some(&handle.id()));
    let mut state = known();
    if state.is_none() && session.runtimes().iter().any(|state| state.tokio.get().is_none()) {
        // If this runtime has our hooks, the one for spawns says now which it is.
        slots::quietly(|| drop(handle.spawn(async {})));
        state = known();
    }
    if let Some(state) = state {
        // Hooks tell all the rest.
        if timers && !state.beating.load(Ordering::Acquire) {
            state.timers.store(true, Ordering::Relaxed);
            session.tell_runtime(&state, flavor(&handle), handle.metrics().num_workers() as u64);
            heartbeat::start(&state);
        }
        return true;
    }
    let metrics = handle.metrics();
    let workers = metrics.num_workers();
    let state = session.add_runtime(flavor(&handle), workers as u64, timers);
    let _ = state.tokio.set(handle.id());
    let multi_thread = handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
    let slot = slots::current();
    if let Some(slot) = slot {
        slot.runtime.store(state.id, Ordering::Relaxed);
    }
    let caller = slot.filter(|_| multi_thread).map(|slot| slot.tid);
    session.unhooked.lock().unwrap_or_else(PoisonError::into_inner).push(Unhooked {
        state: state.clone(),
        metrics,
        caller,
    });
    if timers {
        heartbeat::start(&state);
    }
    if multi_thread {
        let met = meet(&handle, &state, workers, MEET_FIRST);
        wait(&met, workers, MEET_FIRST);
    }
    true
}

/// The runtime is this one of tokio's, as its first thread finds: what a builder was going to build it does not tell, and
/// whoever speaks for it may err.
pub(crate) fn found_to_be(session: &Session, state: &RuntimeState, handle: &Handle) {
    if state.tokio.set(handle.id()).is_ok() {
        session.tell_runtime(state, flavor(handle), handle.metrics().num_workers() as u64);
    }
}

pub(crate) fn flavor(handle: &Handle) -> &'static str {
    match handle.runtime_flavor() {
        RuntimeFlavor::CurrentThread => "current_thread",
        RuntimeFlavor::MultiThread => "multi_thread",
        _ => "unknown",
    }
}

/// Makes a slot for every worker: a task for each, that waits a moment so that no worker takes two.
fn meet(handle: &Handle, state: &Arc<RuntimeState>, workers: usize, most: Duration) -> Arc<AtomicUsize> {
    let met = Arc::new(AtomicUsize::new(0));
    slots::quietly(|| {
        for _ in 0..workers {
            let (state, met) = (state.clone(), met.clone());
            handle.spawn(async move {
                belongs(&state);
                met.fetch_add(1, Ordering::Relaxed);
                wait(&met, workers, most);
            });
        }
    });
    met
}

fn wait(met: &AtomicUsize, workers: usize, most: Duration) {
    let until = clock::now() + most.as_nanos() as Nanos;
    while met.load(Ordering::Relaxed) < workers && clock::now() < until {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// The calling thread is a worker of this runtime.
fn belongs(state: &RuntimeState) {
    slots::works_for(state.id);
    if let Some(slot) = slots::current()
        && slot.role.load(Ordering::Relaxed) == ROLE_OTHER
    {
        slot.role.store(ROLE_WORKER, Ordering::Relaxed);
    }
}

/// Called by each heartbeat: it may have come to a worker nobody has met.
pub(crate) fn meet_again(state: &Arc<RuntimeState>, beat: u64) {
    let Some(session) = crate::session::get() else { return };
    let unhooked = session.unhooked.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(workers) = unhooked.iter().find(|one| one.state.id == state.id).map(|one| one.metrics.num_workers())
    else {
        return;
    };
    drop(unhooked);
    belongs(state);
    if beat.is_multiple_of(100) && beat / 100 <= ROUNDS {
        let slots = session.slots();
        let known = slots.iter().filter(|slot| {
            slot.runtime.load(Ordering::Relaxed) == state.id && slot.role.load(Ordering::Relaxed) == ROLE_WORKER
        });
        if known.count() < workers
            && let Ok(handle) = Handle::try_current()
            && handle.runtime_flavor() != RuntimeFlavor::CurrentThread
        {
            meet(&handle, state, workers, MEET_AGAIN);
        }
    }
}

/// What stood still on a thread, and since when.
struct Still {
    figures: (u64, u64),
    since: Nanos,
    asked: Nanos,
}

/// The watchdog's knowledge of workers without hooks.
#[derive(Default)]
pub(crate) struct Workers {
    still: HashMap<*const Slot, Still>,
    /// The last look of all takes no figures from before.
    pub(crate) is_last: bool,
}

impl Workers {
    /// The poll that must be open on this thread, if it is stuck. Its task is not known.
    pub(crate) fn stuck(&mut self, session: &Session, slot: &Arc<Slot>) -> Option<Open> {
        let runtime = slot.runtime.load(Ordering::Relaxed);
        let unhooked = session.unhooked.lock().unwrap_or_else(PoisonError::into_inner);
        let one = unhooked.iter().find(|one| one.state.id == runtime)?;
        let now = clock::now();
        let figures = if one.caller == Some(slot.tid) {
            let recent =
                self.still.get(&Arc::as_ptr(slot)).filter(|still| !self.is_last && now < still.asked + LOOK_EVERY);
            match recent {
                Some(still) => Some(still.figures),
                None => outside_of_park(slot.tid),
            }
        } else {
            let worker = worker_of(&one.metrics, slot)?;
            let parks = one.metrics.worker_park_unpark_count(worker);
            let busy = one.metrics.worker_total_busy_duration(worker);
            // Odd while it is parked.
            parks.is_multiple_of(2).then_some((parks, busy.as_nanos() as u64))
        };
        let Some(figures) = figures else {
            self.still.remove(&Arc::as_ptr(slot));
            return None;
        };
        let fresh = Still { figures, since: now, asked: now };
        let still = self.still.entry(Arc::as_ptr(slot)).or_insert(fresh);
        if still.figures != figures {
            *still = Still { figures, since: now, asked: now };
        } else if now >= still.asked + LOOK_EVERY {
            still.asked = now;
        }
        (now.saturating_sub(still.since) >= STUCK).then_some(Open { task: 0, since: still.since, hooks: 0 })
    }

    pub(crate) fn forget(&mut self, slot: &Arc<Slot>) {
        self.still.remove(&Arc::as_ptr(slot));
    }
}

/// Which worker a thread is. tokio tells the threads of its workers only under `tokio_unstable`.
fn worker_of(metrics: &RuntimeMetrics, slot: &Slot) -> Option<usize> {
    #[cfg(tokio_unstable)]
    {
        (0..metrics.num_workers()).find(|worker| metrics.worker_thread_id(*worker) == Some(slot.thread))
    }
    #[cfg(not(tokio_unstable))]
    {
        (metrics.num_workers() == 1 && slot.role.load(Ordering::Relaxed) != ROLE_OTHER).then_some(0)
    }
}

/// Figures of a thread in `block_on` that stand still while it is in one poll: how often it went to sleep, and the call
/// it sleeps in. None if it may be parked: tokio parks such a thread on a futex.
fn outside_of_park(tid: i32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).ok()?;
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()?;
    let syscall = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
    match syscall.split_ascii_whitespace().next()? {
        "running" => Some((sleeps, u64::MAX)),
        number => {
            let number = number.parse::<i64>().ok()?;
            (number != futex()).then_some((sleeps, number.cast_unsigned()))
        }
    }
}

#[cfg(target_os = "linux")]
fn futex() -> i64 {
    libc::SYS_futex
}

#[cfg(not(target_os = "linux"))]
fn futex() -> i64 {
    -1
}

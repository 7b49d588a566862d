//! Blocking pools that are full: closures wait, and every thread is at work. Then the watchdog looks at what those
//! threads do, which no hook of tokio's tells.

use crate::clock;
use crate::session::Session;
use crate::slots::{ROLE_WORKER, Slot};
use crate::stack::{Sampler, ThreadBounds};
use pollscope_recording::{Nanos, PoolFull, PoolThread};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How often the pools are asked: three figures each.
const EVERY: Nanos = 20_000_000;
/// Full for so long, a pool is looked at; and again at doubled ages.
const FULL: Nanos = 100_000_000;
/// Most threads of a pool that are looked at: they mostly do the same.
const MOST: usize = 16;

/// A thread that tokio started: a worker, or one of the blocking pool.
struct Started {
    runtime: u64,
    tid: i32,
    bounds: ThreadBounds,
}

thread_local! {
    static OWN: RefCell<Option<Arc<Started>>> = const { RefCell::new(None) };
}

static STARTED: Mutex<Vec<Weak<Started>>> = Mutex::new(Vec::new());

/// The calling thread was started by tokio for this runtime.
pub(crate) fn started(runtime: u64) {
    let Some(bounds) = ThreadBounds::current() else { return };
    // SAFETY: the call takes no arguments and cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    let own = Arc::new(Started { runtime, tid, bounds });
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    // Pools start and end threads all day.
    if started.len() == started.capacity() {
        started.retain(|thread| thread.strong_count() > 0);
    }
    started.push(Arc::downgrade(&own));
    drop(started);
    let _ = OWN.try_with(|cell| cell.replace(Some(own)));
}

/// Since when a pool is full, and when it is looked at next.
struct Full {
    since: Nanos,
    next: Nanos,
    told: bool,
}

/// What the watchdog knows of the pools.
#[derive(Default)]
pub(crate) struct Pools {
    asked: Nanos,
    full: HashMap<u64, Full>,
}

impl Pools {
    /// Asks the pools, if it is time to, and looks at the threads of those that are full.
    pub(crate) fn look(&mut self, session: &Session, sampler: &mut Sampler) {
        let now = clock::now();
        if now.saturating_sub(self.asked) < EVERY {
            return;
        }
        self.asked = now;
        for runtime in session.runtimes() {
            // Each figure is read at a moment of its own: a pool is full only if it is again and again.
            let pool = census(&runtime).filter(|(threads, idle, queued)| *threads > 0 && *idle == 0 && *queued > 0);
            let Some((threads, _, queued)) = pool else {
                if let Some(full) = self.full.remove(&runtime.id).filter(|full| full.told) {
                    let (runtime, since) = (runtime.id, full.since);
                    session.push(PoolFull { at: now, runtime, since, threads: 0, queued: 0, over: true });
                }
                continue;
            };
            let full = self.full.entry(runtime.id).or_insert(Full { since: now, next: now + FULL, told: false });
            if now < full.next {
                // A thread at work is asked for its stack only if it was at work for a while.
                threads_of(session, runtime.id).iter().for_each(|thread| sampler.expect(&thread.bounds));
                continue;
            }
            (full.next, full.told) = (now + (now - full.since), true);
            let (runtime, since) = (runtime.id, full.since);
            session.push(PoolFull { at: now, runtime, since, threads, queued, over: false });
            for thread in threads_of(session, runtime) {
                let captured = sampler.capture(&thread.bounds);
                let (tid, state) = (thread.tid as u64, u64::from(captured.state));
                session.push(PoolThread { at: clock::now(), runtime, tid, since, state, stack: captured.stack });
            }
        }
    }
}

#[cfg(tokio_unstable)]
fn census(runtime: &crate::session::RuntimeState) -> Option<(u64, u64, u64)> {
    runtime.with_handle(|handle| {
        let metrics = handle.metrics();
        let (threads, idle) = (metrics.num_blocking_threads(), metrics.num_idle_blocking_threads());
        (threads as u64, idle as u64, metrics.blocking_queue_depth() as u64)
    })
}

#[cfg(not(tokio_unstable))]
fn census(_: &crate::session::RuntimeState) -> Option<(u64, u64, u64)> {
    None
}

/// Some threads of a runtime's blocking pool.
fn threads_of(session: &Session, runtime: u64) -> Vec<Arc<Started>> {
    let slots = session.slots();
    let works = |tid: i32| {
        let worker = |slot: &&Arc<Slot>| slot.tid == tid && !slot.ended.load(Ordering::Acquire);
        slots.iter().find(worker).is_some_and(|slot| slot.role.load(Ordering::Relaxed) == ROLE_WORKER)
    };
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let of_runtime = started.iter().filter_map(Weak::upgrade).filter(|thread| thread.runtime == runtime);
    of_runtime.filter(|thread| !works(thread.tid)).take(MOST).collect()
}

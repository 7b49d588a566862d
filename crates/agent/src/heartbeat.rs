//! The heartbeat: a timer inside the runtime that should fire every 10 ms. Its lateness is the only sign of a held
//! I/O and timer driver. It runs quietly: neither its task nor its timer is the program's.

use crate::clock;
use crate::raw::What;
use crate::session::RuntimeState;
use crate::slots;
use crate::task_number::task_number;
use crate::workers;
use pollscope_recording::Nanos;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it should beat.
pub(crate) const PERIOD: Nanos = 10_000_000;
/// tokio's timers have a resolution of 1 ms and fire up to that much late by design; below this nothing is said.
pub(crate) const LATE: Nanos = 10_000_000;

/// Starts the heartbeat on the runtime the caller is inside of, which must have a time driver.
pub(crate) fn start(runtime: &Arc<RuntimeState>) {
    slots::quietly(|| {
        #[cfg(tokio_unstable)]
        runtime.is_entered();
        let task = tokio::spawn(beat(Beating(runtime.clone())));
        runtime.heartbeat.store(task_number(task.id()), Ordering::Release);
    });
}

/// Whether tokio's clock stands still: a paused clock jumps to the next timer whenever all is at rest, and one of ours
/// would be in its way.
fn is_clock_paused() -> bool {
    let (real, seen) = (Instant::now(), tokio::time::Instant::now());
    while Instant::now() == real {
        std::hint::spin_loop();
    }
    tokio::time::Instant::now() == seen
}

/// Whether a heartbeat can run in the runtime the caller is inside of: it has a time driver, and its clock runs.
///
/// tokio answers this only by a panic. It is caught, and for its length the panic hook passes on the panics of other
/// threads alone; a program whose panics abort is not asked. A panic hook that the program sets at this very moment is
/// kept.
pub(crate) fn can_beat() -> bool {
    if cfg!(panic = "abort") || std::thread::panicking() {
        return false;
    }
    let before = Arc::new(panic::take_hook());
    let (prober, probing) = (std::thread::current().id(), Arc::new(AtomicBool::new(true)));
    let (forward, active) = (before.clone(), probing.clone());
    let ours = Box::new(move |info: &panic::PanicHookInfo<'_>| {
        if !active.load(Ordering::Relaxed) || std::thread::current().id() != prober {
            forward(info);
        }
    });
    let ours_at = (&raw const *ours).cast::<()>();
    panic::set_hook(ours);
    let has_timers = slots::quietly(|| panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok());
    probing.store(false, Ordering::Relaxed);
    let found = panic::take_hook();
    if std::ptr::eq((&raw const *found).cast::<()>(), ours_at) {
        drop(found);
        panic::set_hook(match Arc::try_unwrap(before) {
            Ok(before) => before,
            Err(before) => Box::new(move |info| before(info)),
        });
    } else {
        panic::set_hook(found);
    }
    has_timers && !is_clock_paused()
}

/// Ends the heartbeat however its task ends, which at the latest is with its runtime.
struct Beating(Arc<RuntimeState>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.beating.store(false, Ordering::Release);
        #[cfg(tokio_unstable)]
        self.0.is_gone();
    }
}

async fn beat(beating: Beating) {
    let runtime = &beating.0;
    let mut count = 0;
    while !is_clock_paused() {
        let due = clock::now() + PERIOD;
        runtime.last_beat.store(due - PERIOD, Ordering::Release);
        runtime.beating.store(true, Ordering::Release);
        tokio::time::sleep(Duration::from_nanos(PERIOD)).await;
        let now = clock::now();
        let late = now.saturating_sub(due);
        runtime.beats.fetch_add(1, Ordering::Relaxed);
        runtime.worst_late.fetch_max(late, Ordering::Relaxed);
        if late >= LATE
            && let Some(slot) = slots::current()
        {
            slot.note(now, What::LateBeat { runtime: runtime.id, due, late });
        }
        count += 1;
        workers::meet_again(runtime, count);
    }
}

//! The heartbeat: a timer inside the runtime that should fire every 10 ms. Its lateness is the only sign of a held
//! I/O and timer driver. It runs quietly: neither its task nor its timer is the program's.

use crate::clock;
use crate::raw::What;
use crate::session::RuntimeState;
use crate::slots;
use pollscope_recording::Nanos;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it should beat.
pub(crate) const PERIOD: Nanos = 10_000_000;
/// tokio's timers have a resolution of 1 ms and fire up to that much late by design; below this nothing is said.
pub(crate) const LATE: Nanos = 10_000_000;

/// Starts the heartbeat on the runtime the caller is inside of.
pub(crate) fn start(runtime: &Arc<RuntimeState>) {
    if !runtime.timers {
        return;
    }
    slots::quietly(|| {
        let state = runtime.clone();
        let task = tokio::spawn(beat(state));
        runtime.heartbeat.store(task_number(task.id()), Ordering::Release);
    });
}

/// The number of a task id, which tokio shows only as text.
pub(crate) fn task_number(id: tokio::task::Id) -> u64 {
    struct Digits(u64);
    impl std::fmt::Write for Digits {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for digit in text.bytes().filter(u8::is_ascii_digit) {
                self.0 = self.0.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            }
            Ok(())
        }
    }
    let mut digits = Digits(0);
    // Writing into `Digits` cannot fail.
    let _ = std::fmt::Write::write_fmt(&mut digits, format_args!("{id}"));
    digits.0
}

async fn beat(runtime: Arc<RuntimeState>) {
    runtime.beating.store(true, Ordering::Release);
    loop {
        let due = clock::now() + PERIOD;
        runtime.last_beat.store(due - PERIOD, Ordering::Release);
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
    }
}

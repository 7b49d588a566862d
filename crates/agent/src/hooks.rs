//! tokio's hooks: what the runtime itself calls on each spawn, poll and thread.

use crate::clock;
use crate::pools;
use crate::session::{RuntimeState, Session};
use crate::slots::{self, ROLE_WORKER, Slot};
use crate::workers;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Builder;

/// Sets our hooks on `builder`. tokio keeps one hook of each kind, so hooks set later replace ours; that shows as a
/// runtime without polls and is reported.
pub(crate) fn install(builder: &mut Builder, session: &'static Session, runtime: &Arc<RuntimeState>) {
    session.hooked.store(true, Ordering::Relaxed);
    let id = runtime.id;
    builder.on_thread_start(move || {
        slots::works_for(id);
        pools::started(id);
        #[cfg(feature = "tracing")]
        crate::foreign::started_by_tokio();
    });
    // Only workers park this way; threads of the blocking pool do not.
    let state = runtime.clone();
    builder.on_thread_park(move || {
        let Some(slot) = slots::current() else { return };
        belongs(slot, id);
        if state.tokio.get().is_none()
            && let Ok(handle) = tokio::runtime::Handle::try_current()
        {
            workers::found_to_be(session, &state, &handle);
        }
        if !state.polled.load(Ordering::Relaxed) {
            state.last_park.store(clock::now(), Ordering::Relaxed);
        }
        // A worker parks between polls, never in one.
        if slot.is_polling_for(id) {
            slot.poll_lost();
            replaced(session, &state);
        }
    });
    tasks(builder, session, runtime);
}

/// The thread works for this runtime: also the one in `block_on` of a current-thread runtime, which no hook announces.
#[inline]
fn belongs(slot: &Slot, runtime: u64) {
    if slot.role.load(Ordering::Relaxed) == slots::ROLE_OTHER {
        slot.role.store(ROLE_WORKER, Ordering::Relaxed);
    }
    if slot.runtime.load(Ordering::Relaxed) == 0 {
        slot.runtime.store(runtime, Ordering::Relaxed);
    }
}

/// From now on nothing the hooks of this runtime say about polls is believed.
#[cold]
pub(crate) fn replaced(session: &Session, runtime: &RuntimeState) {
    if !runtime.replaced.swap(true, Ordering::Relaxed) {
        session.not_observable(&format!(
            "polls of the tasks of runtime {}: the program sets hooks of its own for them, and tokio keeps one hook of \
             each kind",
            runtime.id
        ));
    }
}

#[cfg(not(tokio_unstable))]
fn tasks(_: &mut Builder, session: &'static Session, _: &Arc<RuntimeState>) {
    session.not_observable(
        "polls and spawns of tasks: the program was built without `--cfg tokio_unstable`; set \
         RUSTFLAGS=\"--cfg tokio_unstable\" or `rustflags` in .cargo/config.toml",
    );
}

#[cfg(tokio_unstable)]
fn tasks(builder: &mut Builder, session: &'static Session, runtime: &Arc<RuntimeState>) {
    use crate::panics;
    use crate::raw::{StaticPlace, What};
    use crate::task_number::task_number;
    use crate::wakes;

    let id = runtime.id;
    let state = runtime.clone();
    builder.on_task_spawn(move |meta| {
        let task = task_number(meta.id());
        if slots::is_quiet() {
            // Known before another worker can poll it.
            if state.tokio.get().is_some() {
                state.heartbeat.store(task, Ordering::Release);
            } else if let Ok(handle) = tokio::runtime::Handle::try_current() {
                state.probe.store(task, Ordering::Release);
                let _ = state.tokio.set(handle.id());
            }
            return;
        }
        let Some(slot) = slots::current() else { return };
        let now = clock::now();
        if state.first_spawn.load(Ordering::Relaxed) == 0 {
            state.first_spawn.store(now, Ordering::Relaxed);
            session.tasks_seen.store(true, Ordering::Relaxed);
        }
        slot.note(
            now,
            What::Spawn {
                task,
                runtime: id,
                kind: "task",
                name: None,
                spawned: StaticPlace::from(meta.spawned_at()),
                parent: slot.current_task().unwrap_or(0),
            },
        );
        wakes::woken(task, now);
    });
    let state = runtime.clone();
    builder.on_before_task_poll(move |meta| {
        let task = task_number(meta.id());
        if state.is_own(task) {
            slots::set_quiet(true);
            return;
        }
        let Some(slot) = slots::current() else { return };
        belongs(slot, id);
        // A runtime polls one task at a time on a thread: the end of the one before was never told.
        if slot.is_polling_for(id) {
            slot.poll_lost();
            replaced(session, &state);
        }
        if state.replaced.load(Ordering::Relaxed) {
            return;
        }
        if !state.polled.load(Ordering::Relaxed) {
            state.polled.store(true, Ordering::Relaxed);
        }
        slot.poll_start(task, wakes::take(task), id);
    });
    let state = runtime.clone();
    builder.on_after_task_poll(move |_| {
        if slots::is_quiet() {
            slots::set_quiet(false);
            return;
        }
        let Some(slot) = slots::current() else { return };
        if slot.is_polling_for(id) {
            slot.poll_end();
        } else {
            replaced(session, &state);
        }
    });
    let state = runtime.clone();
    builder.on_task_terminate(move |meta| {
        let task = task_number(meta.id());
        if state.heartbeat.load(Ordering::Relaxed) == task {
            state.beating.store(false, Ordering::Release);
        } else if !state.is_own(task)
            && let Some(slot) = slots::current()
        {
            panics::task_ended(slot, task, meta.spawned_at());
            slot.ending_of(task);
            slot.note(clock::now(), What::End { task });
        }
    });
}

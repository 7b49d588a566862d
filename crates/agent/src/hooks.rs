//! tokio's hooks: what the runtime itself calls on each spawn, poll and thread.

use crate::session::{RuntimeState, Session};
use crate::slots::{self, ROLE_WORKER};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Builder;

/// Sets our hooks on `builder`. tokio keeps one hook of each kind, so hooks set later replace ours; that shows as a
/// runtime without polls and is reported.
pub(crate) fn install(builder: &mut Builder, session: &'static Session, runtime: &Arc<RuntimeState>) {
    let id = runtime.id;
    builder.on_thread_start(move || {
        if let Some(slot) = slots::current() {
            slot.runtime.store(id, Ordering::Relaxed);
        }
    });
    builder.on_thread_stop(|| {
        if let Some(slot) = slots::current() {
            slot.ended.store(true, Ordering::Release);
        }
    });
    // Only workers park this way; threads of the blocking pool do not.
    builder.on_thread_park(|| {
        if let Some(slot) = slots::current()
            && slot.role.load(Ordering::Relaxed) == slots::ROLE_OTHER
        {
            slot.role.store(ROLE_WORKER, Ordering::Relaxed);
        }
    });
    tasks(builder, session, runtime);
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
    use crate::clock;
    use crate::heartbeat::task_number;
    use crate::panics;
    use crate::raw::{StaticPlace, What};
    use crate::wakes;

    let id = runtime.id;
    let state = runtime.clone();
    builder.on_task_spawn(move |meta| {
        if slots::is_quiet() {
            // Our heartbeat, told before a worker can poll it: a first poll taken for the program's would never end.
            let own = task_number(meta.id());
            let _ = state.heartbeat.compare_exchange(0, own, Ordering::AcqRel, Ordering::Relaxed);
            return;
        }
        let Some(slot) = slots::current() else { return };
        let (task, now) = (task_number(meta.id()), clock::now());
        if !session.tasks_seen.load(Ordering::Relaxed) {
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
        if state.heartbeat.load(Ordering::Relaxed) == task {
            slots::set_quiet(true);
            return;
        }
        if let Some(slot) = slots::current() {
            if slot.role.load(Ordering::Relaxed) == slots::ROLE_OTHER {
                slot.role.store(ROLE_WORKER, Ordering::Relaxed);
            }
            slot.poll_start(task, wakes::take(task));
        }
    });
    let state = runtime.clone();
    builder.on_after_task_poll(move |meta| {
        if state.heartbeat.load(Ordering::Relaxed) == task_number(meta.id()) {
            slots::set_quiet(false);
            return;
        }
        if let Some(slot) = slots::current() {
            slot.poll_end();
        }
    });
    let state = runtime.clone();
    builder.on_task_terminate(move |meta| {
        let task = task_number(meta.id());
        if state.heartbeat.load(Ordering::Relaxed) == task {
            state.beating.store(false, Ordering::Release);
        } else if let Some(slot) = slots::current() {
            panics::task_ended(slot, task, meta.spawned_at());
            slot.note(clock::now(), What::End { task });
        }
    });
}

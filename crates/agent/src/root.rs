//! The root future of a `block_on`: no hook is called for it, so it carries its own open-poll record.

use crate::clock;
use crate::heartbeat;
use crate::raw::{StaticPlace, What};
use crate::session::{RuntimeState, Session};
use crate::slots;
use crate::workers;
use pollscope_recording::{ROOT_TASK_BIT, TaskId};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// Wraps the root future; transparent while the agent is dormant.
pub(crate) struct Root<F> {
    pub(crate) future: F,
    pub(crate) watched: Option<(&'static Session, Arc<RuntimeState>)>,
    pub(crate) made: StaticPlace,
    pub(crate) begun: bool,
    pub(crate) waker: RootWaker,
}

/// The waker of the root future, which tokio's tracing events do not tell of: wrapped, it tells itself.
#[derive(Default)]
pub(crate) struct RootWaker(Option<(Waker, Waker)>);

struct Telling {
    task: TaskId,
    waker: Waker,
}

/// As the table of `Waker::from(Arc<impl Wake>)`, which does not tell of clones and drops.
static TELLING: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, dropped);

// The pointers below come from `Arc::into_raw` of a `Telling`, and each waker made of one owns one count of it.

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker being cloned keeps the `Arc` alive.
    let task = unsafe {
        Arc::increment_strong_count(data.cast::<Telling>());
        (*data.cast::<Telling>()).task
    };
    told(task, Told::Cloned);
    RawWaker::new(data, &TELLING)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker is used up, and its count with it.
    let telling = unsafe { Arc::from_raw(data.cast::<Telling>()) };
    told(telling.task, Told::Woken);
    told(telling.task, Told::Dropped);
    telling.waker.wake_by_ref();
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker keeps the `Arc` alive.
    let telling = unsafe { &*data.cast::<Telling>() };
    told(telling.task, Told::Woken);
    telling.waker.wake_by_ref();
}

unsafe fn dropped(data: *const ()) {
    // SAFETY: the waker is dropped, and its count with it.
    let telling = unsafe { Arc::from_raw(data.cast::<Telling>()) };
    told(telling.task, Told::Dropped);
}

enum Told {
    Cloned,
    Woken,
    Dropped,
}

fn told(task: TaskId, what: Told) {
    if matches!(what, Told::Woken) {
        crate::panics::woken(task);
    }
    #[cfg(feature = "tracing")]
    if !slots::is_quiet() {
        match what {
            Told::Cloned => crate::idle::cloned(task),
            Told::Woken => crate::idle::woken(task, clock::now()),
            Told::Dropped => crate::idle::dropped(task),
        }
    }
}

impl RootWaker {
    /// The same wrapped waker for as long as tokio gives the same one, so that futures need not register anew.
    fn telling<'a>(&'a mut self, task: TaskId, waker: &'a Waker) -> &'a Waker {
        if !self.0.as_ref().is_some_and(|(known, _)| known.will_wake(waker)) {
            let telling = Arc::new(Telling { task, waker: waker.clone() });
            // SAFETY: the table keeps the promises of a waker with the count of the `Arc`, whose pointer this is.
            let telling = unsafe { Waker::new(Arc::into_raw(telling).cast(), &TELLING) };
            self.0 = Some((waker.clone(), telling));
        }
        self.0.as_ref().map_or(waker, |(_, telling)| telling)
    }
}

impl<F> Root<F> {
    fn id(runtime: &RuntimeState) -> TaskId {
        ROOT_TASK_BIT | runtime.id
    }
}

/// Closes the open poll also when the future panics.
struct Closing(&'static slots::Slot);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.poll_end();
    }
}

impl<F: Future> Future for Root<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        #[cfg(feature = "collectors")]
        pollscope_collectors::runtime_entered();
        // SAFETY: `future` is never moved out of the pinned `Root`; the other fields are `Unpin`.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above: the field stays where it is as long as `this` is pinned.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        let Some((session, runtime)) = &this.watched else { return future.poll(context) };
        let Some(slot) = slots::current() else { return future.poll(context) };
        let task = Self::id(runtime);
        if !this.begun {
            this.begun = true;
            slot.runtime.store(runtime.id, Ordering::Relaxed);
            if let Ok(handle) = tokio::runtime::Handle::try_current() {
                workers::found_to_be(session, runtime, &handle);
            }
            if runtime.timers.load(Ordering::Relaxed) {
                heartbeat::start(runtime);
            }
            slot.note(
                clock::now(),
                What::Spawn { task, runtime: runtime.id, kind: "root", name: None, spawned: this.made, parent: 0 },
            );
        }
        slot.poll_start(task, None, 0);
        let closing = Closing(slot);
        let waker = this.waker.telling(task, context.waker());
        let out = future.poll(&mut Context::from_waker(waker));
        if out.is_ready() {
            slot.ending_of(task);
        }
        drop(closing);
        if out.is_ready() {
            slot.note(clock::now(), What::End { task });
        }
        out
    }
}

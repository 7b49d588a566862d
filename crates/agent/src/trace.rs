//! tokio's tracing events -> wakes, locks, waits. One reading of them, behind two fronts: our own lean `Subscriber` for
//! a program that has none, and a layer for one that has.

mod alive;
mod fields;
#[cfg(feature = "layer")]
pub(crate) mod layer;
mod names;
mod operations;
pub(crate) mod orders;
pub(crate) mod subscriber;
pub(crate) mod user_spans;

use crate::clock;
use crate::idle;
use crate::panics;
use crate::raw::What;
use crate::self_wakes;
use crate::session::Session;
use crate::slots;
use crate::wakes;
use alive::Begin;
use fields::{Fields, WakerFields, WakerOperation};
use pollscope_recording::{Nanos, TaskId, WaitId};
use std::cell::RefCell;
use std::sync::atomic::Ordering;
use tracing_core::{Event, Metadata, span};

/// A span, packed into the 64 bits of its id: what it is, and its number. Entering one needs no look-up. The number of a
/// span that is counted finds what is known of it in [`alive`]; that of any other task is tokio's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

const TAG_BITS: u32 = 4;
const TASK: u64 = 1;
const LOCAL_TASK: u64 = 2;
const BLOCKING_TASK: u64 = 3;
/// A `Mutex` or a `RwLock`: who holds it stands in events of its own.
const LOCK: u64 = 4;
/// A `Semaphore`: who holds its permits follows from its operations.
const SEMAPHORE: u64 = 5;
/// The semaphore of a bounded channel: its permits are free places, and who gives them back receives.
const CHANNEL: u64 = 6;
/// The semaphore inside a lock or a semaphore; carries the number of what it is inside of.
const PART_OF_LOCK: u64 = 7;
const PART_OF_SEMAPHORE: u64 = 8;
/// A timer, a oneshot, a barrier: a wait for it may end by itself.
const OTHER_RESOURCE: u64 = 9;
const OPERATION: u64 = 10;
const OTHER: u64 = 11;
/// A task of the scheduler in a program without our hooks: tracing alone tells of it.
const UNHOOKED_TASK: u64 = 12;
/// A span of the program's own.
const USER: u64 = 13;

impl Span {
    fn new(tag: u64, number: u64) -> Span {
        Span(number << TAG_BITS | tag)
    }
    fn tag(self) -> u64 {
        self.0 & ((1 << TAG_BITS) - 1)
    }
    fn number(self) -> u64 {
        self.0 >> TAG_BITS
    }
    /// tokio's number of a task; zero if that is no more.
    fn task(self) -> TaskId {
        match self.tag() {
            TASK => self.number(),
            _ => self.with(|task| task.task.load(Ordering::Relaxed)).unwrap_or(0),
        }
    }
    fn is_task(self) -> bool {
        matches!(self.tag(), TASK | LOCAL_TASK | BLOCKING_TASK | UNHOOKED_TASK)
    }
    /// Reads and changes what is known of a living span.
    fn with<T>(self, body: impl FnOnce(&alive::Alive) -> T) -> Option<T> {
        alive::with(self.number(), body)
    }
    /// A task whose polls are told by its span.
    fn is_polled_here(self) -> bool {
        matches!(self.tag(), LOCAL_TASK | UNHOOKED_TASK)
    }
    fn is_resource(self) -> bool {
        (LOCK..=OTHER_RESOURCE).contains(&self.tag())
    }
    /// Whether something is known of it until it ends, so that handles to it are counted.
    fn is_counted(self) -> bool {
        self.is_counted_resource() || matches!(self.tag(), OPERATION | USER) || (self.is_task() && self.tag() != TASK)
    }
    fn is_counted_resource(self) -> bool {
        matches!(self.tag(), LOCK | SEMAPHORE | CHANNEL | OTHER_RESOURCE)
    }
}

/// A span of which nothing is to be known.
const NONE: Span = Span(OTHER);

/// Begins a span that is counted.
fn begin(tag: u64, begin: Begin) -> Span {
    alive::begin(begin).map_or(NONE, |number| Span::new(tag, number))
}

thread_local! {
    /// The spans of tokio's entered on this thread, innermost last. `tracing`'s own current span skips those entered
    /// twice, so updates would go to the wrong one.
    static ENTERED: RefCell<Vec<Span>> = const { RefCell::new(Vec::new()) };
}

fn entered<T>(body: impl FnOnce(&mut Vec<Span>) -> T) -> Option<T> {
    ENTERED.try_with(|spans| spans.try_borrow_mut().ok().map(|mut spans| body(&mut spans))).ok().flatten()
}

fn innermost(wanted: impl Fn(Span) -> bool) -> Option<Span> {
    entered(|spans| spans.iter().rev().copied().find(|span| wanted(*span))).flatten()
}

/// Who is at work on this thread: the task being polled, else the innermost task span (a blocking closure).
pub(crate) fn current_task() -> TaskId {
    slots::current()
        .and_then(slots::Slot::current_task)
        .or_else(|| innermost(Span::is_task).map(Span::task))
        .unwrap_or(0)
}

/// Whether a callsite is one of tokio's that we read.
pub(crate) fn is_ours(metadata: &Metadata<'_>) -> bool {
    match metadata.name() {
        "runtime.spawn" => metadata.target().starts_with("tokio::task"),
        "runtime.resource" | "runtime.resource.async_op" => metadata.target().starts_with("tokio::"),
        _ => matches!(
            metadata.target(),
            "tokio::task::waker"
                | "runtime::resource::poll_op"
                | "runtime::resource::state_update"
                | "runtime::resource::async_op::state_update"
        ),
    }
}

/// A span of tokio's is made.
pub(crate) fn new_span(session: &Session, attributes: &span::Attributes<'_>) -> Span {
    if attributes.metadata().name() == "runtime.spawn" {
        session.spans_seen.store(true, Ordering::Relaxed);
    }
    if slots::is_quiet() {
        return NONE;
    }
    let mut fields = Fields::default();
    attributes.record(&mut fields);
    match attributes.metadata().name() {
        "runtime.spawn" => new_task(session, fields),
        "runtime.resource" => new_resource(&fields),
        _ => {
            // The acquisition inside a lock's operation is made while that is entered.
            let whole = innermost(|outer| outer.tag() == OPERATION && inside(fields.source)).map_or(0, Span::number);
            begin(OPERATION, Begin { name: fields.source, whole, ..Begin::default() })
        }
    }
}

/// When a wait under way was polled last.
pub(crate) fn last_polled(wait: WaitId) -> Option<Nanos> {
    Span::new(OPERATION, wait).with(alive::Alive::polled)
}

/// Whether an operation is that of a semaphore, which may be inside another.
fn inside(source: &str) -> bool {
    source == "Acquire::new"
}

fn new_task(session: &Session, fields: Fields) -> Span {
    let tag = match fields.kind {
        "local" => LOCAL_TASK,
        "blocking" => BLOCKING_TASK,
        "block_on" => return NONE,
        _ if session.hooked.load(Ordering::Relaxed) => TASK,
        _ => UNHOOKED_TASK,
    };
    // Tasks of the scheduler are told by the hooks; those the hooks do not see are told here. A worker thread is itself
    // a blocking closure of tokio's: it is no task of the program.
    if fields.file.is_some_and(|file| file.contains("/tokio-") && file.ends_with("worker.rs")) {
        return NONE;
    }
    if tag == TASK {
        // Only its name is in no hook.
        if let (Some(name), Some(slot)) = (fields.name, slots::current()) {
            slot.note(clock::now(), What::Named { task: fields.task, name });
        }
        return Span::new(TASK, fields.task);
    }
    let span = begin(tag, Begin { task: fields.task, ..Begin::default() });
    let kind = match tag {
        LOCAL_TASK => "local",
        BLOCKING_TASK => "blocking",
        _ => "task",
    };
    if let (Some(slot), Some(spawned)) = (slots::current(), fields.place()) {
        let parent = slot.current_task().unwrap_or(0);
        let (task, runtime) = (fields.task, slot.runtime.load(Ordering::Relaxed));
        slot.note(clock::now(), What::Spawn { task, runtime, kind, name: fields.name, spawned, parent });
    }
    span
}

fn new_resource(fields: &Fields) -> Span {
    let owner = if fields.internal { innermost(Span::is_resource) } else { None };
    let tag = match (fields.concrete_type, owner) {
        (_, Some(owner)) if owner.tag() == LOCK => return Span::new(PART_OF_LOCK, owner.number()),
        (_, Some(owner)) if owner.tag() == SEMAPHORE => return Span::new(PART_OF_SEMAPHORE, owner.number()),
        // What is internal is made inside what it belongs to; only a channel's semaphore belongs to nothing traced.
        ("Semaphore", None) if fields.internal => CHANNEL,
        ("Mutex" | "RwLock", _) => LOCK,
        ("Semaphore", _) if !fields.internal => SEMAPHORE,
        _ => OTHER_RESOURCE,
    };
    let span = begin(tag, Begin::default());
    if span.is_resource() && tag != OTHER_RESOURCE {
        let kind = if tag == CHANNEL { "Channel" } else { fields.concrete_type };
        if let Some(slot) = slots::current() {
            slot.note(clock::now(), What::Made { resource: span.number(), parent: 0, kind, made: fields.place() });
        }
    }
    span
}

/// A span is entered.
#[inline]
pub(crate) fn enter(span: Span) {
    if span.tag() == USER {
        return user_spans::enter(span);
    }
    if span.is_task() {
        panics::entered();
    }
    entered(|spans| spans.push(span));
    if span.is_polled_here() {
        let task = span.task();
        // Hooks set later may tell of it already.
        if let Some(slot) = slots::current().filter(|slot| slot.current_task() != Some(task)) {
            slot.poll_start(task, wakes::take(task), 0);
        }
    }
}

/// A span is left.
#[inline]
pub(crate) fn exit(span: Span) {
    if span.tag() == USER {
        return user_spans::exit(span);
    }
    if span.is_task() {
        panics::left(span.task());
        if std::thread::panicking() {
            panics::escapes(span.task());
        }
    }
    if span.is_polled_here()
        && let Some(slot) = slots::current()
        && slot.current_task() == Some(span.task())
        && slot.is_polling_for(0)
    {
        slot.poll_end();
    }
    entered(|spans| {
        if let Some(index) = spans.iter().rposition(|entered| *entered == span) {
            spans.remove(index);
        }
    });
}

/// One more handle to a span.
#[inline]
pub(crate) fn clone_span(span: Span) {
    if span.is_counted() {
        alive::hold(span.number());
    }
}

/// One handle less; true when it was the last.
pub(crate) fn close(span: Span) -> bool {
    if !span.is_counted() {
        return false;
    }
    let Some(ended) = alive::release(span.number()) else { return false };
    if span.tag() == USER {
        user_spans::ended();
        return true;
    }
    let (now, number) = (clock::now(), span.number());
    if let Some(slot) = slots::current() {
        match span.tag() {
            LOCK | SEMAPHORE | CHANNEL => {
                orders::dropped(number);
                slot.note(now, What::Dropped { resource: number });
            }
            OPERATION if ended.waiting => slot.note(now, What::WaitEnd { wait: number, ready: false }),
            OPERATION | OTHER_RESOURCE => {}
            _ => slot.note(now, What::End { task: ended.task }),
        }
    }
    true
}

/// An event of tokio's; `task_of` gives the span that an id in it stands for.
#[inline]
pub(crate) fn event(event: &Event<'_>, task_of: impl FnOnce(u64) -> Option<Span>) {
    if slots::is_quiet() {
        return;
    }
    if event.metadata().target() == "tokio::task::waker" {
        let mut fields = WakerFields::default();
        event.record(&mut fields);
        let task = task_of(fields.task).filter(|task| task.is_task() && task.tag() != BLOCKING_TASK);
        if let Some(task) = task {
            waker(task.task(), fields.operation);
        }
        return;
    }
    let mut fields = Fields::default();
    event.record(&mut fields);
    match event.metadata().target() {
        "runtime::resource::poll_op" => operations::polled(&fields),
        "runtime::resource::async_op::state_update" => operations::permits(&fields),
        _ => operations::state(&fields),
    }
}

/// Something was done with a waker of a task: the most frequent event there is.
#[inline]
fn waker(task: TaskId, operation: WakerOperation) {
    match operation {
        WakerOperation::Clone => {
            idle::cloned(task);
            self_wakes::noticed(task, false);
        }
        WakerOperation::Drop => idle::dropped(task),
        WakerOperation::Wake | WakerOperation::WakeByRef => {
            let now = clock::now();
            idle::woken(task, now);
            if operation == WakerOperation::Wake {
                idle::dropped(task);
            }
            wakes::woken(task, now);
            panics::woken(task);
            self_wakes::noticed(task, true);
        }
        WakerOperation::Other => {}
    }
}

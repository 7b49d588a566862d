//! tokio's tracing events -> wakes, locks, waits. One reading of them, behind two fronts: our own lean `Subscriber` for
//! a program that has none, and a layer for one that has.

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
use fields::{Fields, WakerFields, WakerOperation};
use pollscope_recording::{Nanos, TaskId, WaitId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tracing_core::{Event, Metadata, span};

/// A span of tokio's, packed into the 64 bits of its id, so that entering one needs no look-up.
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
    /// A task whose polls are told by its span.
    fn is_polled_here(self) -> bool {
        matches!(self.tag(), LOCAL_TASK | UNHOOKED_TASK)
    }
    fn is_resource(self) -> bool {
        (LOCK..=OTHER_RESOURCE).contains(&self.tag())
    }
    /// Whether its end matters, so that handles to it are counted.
    fn is_counted(self) -> bool {
        matches!(self.tag(), LOCK | SEMAPHORE | CHANNEL | OPERATION | LOCAL_TASK | BLOCKING_TASK | UNHOOKED_TASK)
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

const SHARDS: usize = 64;

/// What is known of a span that is alive and whose end matters.
struct Alive {
    handles: u64,
    /// Of an operation.
    operation: Operation,
}

/// An operation on a resource under way.
#[derive(Clone, Copy, Default)]
struct Operation {
    /// tokio's name of it.
    name: &'static str,
    /// It was polled and is not ready.
    waiting: bool,
    /// The operation that is waited for: this one's number, or that of the one it is part of.
    whole: u64,
    /// Permits it asks for and has been given.
    requested: u64,
    obtained: u64,
    /// Of a timer: when it fires.
    until: Nanos,
    /// When it was polled last.
    polled: Nanos,
    /// Of a taking of permits: the semaphore's number.
    semaphore: u64,
    /// Of a semaphore itself: the permits it began with.
    capacity: u64,
}

static ALIVE: [Mutex<Option<HashMap<u64, Alive>>>; SHARDS] = [const { Mutex::new(None) }; SHARDS];

fn with_alive<T>(span: Span, body: impl FnOnce(&mut HashMap<u64, Alive>) -> T) -> T {
    let mut shard = ALIVE[span.number() as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
    body(shard.get_or_insert_default())
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
        .or_else(|| {
            innermost(|span| matches!(span.tag(), TASK | LOCAL_TASK | BLOCKING_TASK | UNHOOKED_TASK)).map(Span::number)
        })
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
        return Span::new(OTHER, NEXT.fetch_add(1, Ordering::Relaxed));
    }
    let mut fields = Fields::default();
    attributes.record(&mut fields);
    match attributes.metadata().name() {
        "runtime.spawn" => new_task(session, fields),
        "runtime.resource" => new_resource(&fields),
        _ => {
            let span = Span::new(OPERATION, NEXT.fetch_add(1, Ordering::Relaxed));
            // The acquisition inside a lock's operation is made while that is entered.
            let whole = innermost(|outer| outer.tag() == OPERATION && inside(fields.source)).unwrap_or(span).number();
            keep(span, Operation { name: fields.source, whole, ..Operation::default() });
            span
        }
    }
}

fn keep(span: Span, operation: Operation) {
    with_alive(span, |alive| alive.insert(span.0, Alive { handles: 1, operation }));
}

/// When a wait under way was polled last.
pub(crate) fn last_polled(wait: WaitId) -> Option<Nanos> {
    with_operation(Span::new(OPERATION, wait), |operation| operation.polled)
}

/// Whether an operation is that of a semaphore, which may be inside another.
fn inside(source: &str) -> bool {
    source == "Acquire::new"
}

/// Reads and changes an operation under way.
fn with_operation<T>(span: Span, body: impl FnOnce(&mut Operation) -> T) -> Option<T> {
    with_alive(span, |alive| alive.get_mut(&span.0).map(|alive| body(&mut alive.operation)))
}

fn new_task(session: &Session, fields: Fields) -> Span {
    let tag = match fields.kind {
        "local" => LOCAL_TASK,
        "blocking" => BLOCKING_TASK,
        "block_on" => return Span::new(OTHER, fields.task),
        _ if session.hooked.load(Ordering::Relaxed) => TASK,
        _ => UNHOOKED_TASK,
    };
    let span = Span::new(tag, fields.task);
    // Tasks of the scheduler are told by the hooks; those the hooks do not see are told here. A worker thread is itself
    // a blocking closure of tokio's: it is no task of the program.
    let worker = fields.file.is_some_and(|file| file.contains("/tokio-") && file.ends_with("worker.rs"));
    if tag == TASK || worker {
        // Only its name is in no hook.
        if let (false, Some(name), Some(slot)) = (worker, fields.name, slots::current()) {
            slot.note(clock::now(), What::Named { task: fields.task, name });
        }
        return if worker { Span::new(OTHER, fields.task) } else { span };
    }
    keep(span, Operation::default());
    let kind = match tag {
        LOCAL_TASK => "local",
        BLOCKING_TASK => "blocking",
        _ => "task",
    };
    if let (Some(slot), Some(spawned)) = (slots::current(), fields.place()) {
        let parent = current_task();
        let (task, runtime) = (fields.task, slot.runtime.load(Ordering::Relaxed));
        slot.note(clock::now(), What::Spawn { task, runtime, kind, name: fields.name, spawned, parent });
    }
    span
}

fn new_resource(fields: &Fields) -> Span {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let owner = if fields.internal { innermost(Span::is_resource) } else { None };
    let span = match (fields.concrete_type, owner) {
        // What is internal is made inside what it belongs to; only a channel's semaphore belongs to nothing traced.
        ("Semaphore", None) if fields.internal => Span::new(CHANNEL, number),
        (_, Some(owner)) if owner.tag() == LOCK => Span::new(PART_OF_LOCK, owner.number()),
        (_, Some(owner)) if owner.tag() == SEMAPHORE => Span::new(PART_OF_SEMAPHORE, owner.number()),
        ("Mutex" | "RwLock", _) => Span::new(LOCK, number),
        ("Semaphore", _) if !fields.internal => Span::new(SEMAPHORE, number),
        _ => Span::new(OTHER_RESOURCE, number),
    };
    if span.is_counted() {
        keep(span, Operation::default());
        let kind = if span.tag() == CHANNEL { "Channel" } else { fields.concrete_type };
        if let Some(slot) = slots::current() {
            slot.note(clock::now(), What::Made { resource: number, parent: 0, kind, made: fields.place() });
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
    if matches!(span.tag(), TASK | LOCAL_TASK | BLOCKING_TASK | UNHOOKED_TASK) {
        panics::entered();
    }
    entered(|spans| spans.push(span));
    // Hooks set later may tell of it already.
    if span.is_polled_here()
        && let Some(slot) = slots::current()
        && slot.current_task() != Some(span.number())
    {
        slot.poll_start(span.number(), wakes::take(span.number()), 0);
    }
}

/// A span is left.
#[inline]
pub(crate) fn exit(span: Span) {
    if span.tag() == USER {
        return user_spans::exit(span);
    }
    if matches!(span.tag(), TASK | LOCAL_TASK | BLOCKING_TASK | UNHOOKED_TASK) {
        panics::left(span.number());
        if std::thread::panicking() {
            panics::escapes(span.number());
        }
    }
    if span.is_polled_here()
        && let Some(slot) = slots::current()
        && slot.current_task() == Some(span.number())
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
    if span.tag() == USER {
        return user_spans::clone(span);
    }
    if span.is_counted() {
        with_alive(span, |alive| {
            if let Some(alive) = alive.get_mut(&span.0) {
                alive.handles += 1;
            }
        });
    }
}

/// One handle less; true when it was the last.
pub(crate) fn close(span: Span) -> bool {
    if span.tag() == USER {
        return user_spans::close(span);
    }
    if !span.is_counted() {
        return false;
    }
    let ended = with_alive(span, |alive| {
        let entry = alive.get_mut(&span.0)?;
        entry.handles -= 1;
        (entry.handles == 0).then(|| alive.remove(&span.0)).flatten()
    });
    let Some(ended) = ended else { return false };
    let (now, number) = (clock::now(), span.number());
    if let Some(slot) = slots::current() {
        match span.tag() {
            LOCK | SEMAPHORE | CHANNEL => {
                orders::dropped(number);
                slot.note(now, What::Dropped { resource: number });
            }
            OPERATION if ended.operation.waiting => slot.note(now, What::WaitEnd { wait: number, ready: false }),
            OPERATION => {}
            _ => slot.note(now, What::End { task: number }),
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
        let task = task_of(fields.task).filter(|task| matches!(task.tag(), TASK | LOCAL_TASK | UNHOOKED_TASK));
        if let Some(task) = task {
            waker(task.number(), fields.operation);
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

//! tokio's tracing events -> wakes, locks, waits. One reading of them, behind two fronts: our own lean `Subscriber` for
//! a program that has none, and a layer for one that has.

#[cfg(feature = "layer")]
pub(crate) mod layer;
mod names;
pub(crate) mod subscriber;

use crate::clock;
use crate::panics;
use crate::raw::{StaticPlace, What};
use crate::self_wakes;
use crate::session::Session;
use crate::slots;
use crate::stack::capture_here;
use crate::wakes;
use names::intern;
use pollscope_recording::{ResourceId, TaskId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tracing_core::field::{Field, Visit};
use tracing_core::{Event, Metadata, span};

/// A span of tokio's, packed into the 64 bits of its id, so that entering one needs no look-up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

const TAG_BITS: u32 = 4;
const TASK: u64 = 1;
const LOCAL_TASK: u64 = 2;
const BLOCKING_TASK: u64 = 3;
const LOCK: u64 = 4;
const INTERNAL: u64 = 5;
const OTHER_RESOURCE: u64 = 6;
const OPERATION: u64 = 7;
const OTHER: u64 = 8;

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
    fn is_resource(self) -> bool {
        matches!(self.tag(), LOCK | INTERNAL | OTHER_RESOURCE)
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

const SHARDS: usize = 64;

/// What is known of a span that is alive and whose end matters.
struct Alive {
    handles: u64,
    operation: &'static str,
    waiting: bool,
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
        .or_else(|| innermost(|span| matches!(span.tag(), TASK | LOCAL_TASK | BLOCKING_TASK)).map(Span::number))
        .unwrap_or(0)
}

/// Whether a callsite is one of tokio's that we read.
pub(crate) fn is_ours(metadata: &Metadata<'_>) -> bool {
    match metadata.name() {
        "runtime.spawn" => metadata.target().starts_with("tokio::task"),
        "runtime.resource" | "runtime.resource.async_op" => metadata.target().starts_with("tokio::"),
        _ => matches!(
            metadata.target(),
            "tokio::task::waker" | "runtime::resource::poll_op" | "runtime::resource::state_update"
        ),
    }
}

/// The fields of tokio's spans and events, by the names tokio gives them.
#[derive(Default)]
struct Fields {
    task: u64,
    name: Option<Box<str>>,
    kind: &'static str,
    concrete_type: &'static str,
    internal: bool,
    file: Option<&'static str>,
    line: u64,
    column: u64,
    source: &'static str,
    operation: &'static str,
    ready: Option<bool>,
    locked: Option<bool>,
    write_locked: Option<bool>,
    readers: Option<u64>,
    readers_operation: &'static str,
}

impl Fields {
    fn place(&self) -> Option<StaticPlace> {
        Some(StaticPlace { file: self.file?, line: self.line as u32, column: self.column as u32 })
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "task.id" => self.task = value,
            "loc.line" => self.line = value,
            "loc.col" => self.column = value,
            "current_readers" => self.readers = Some(value),
            _ => {}
        }
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "is_internal" => self.internal = value,
            "is_ready" => self.ready = Some(value),
            "locked" => self.locked = Some(value),
            "write_locked" => self.write_locked = Some(value),
            _ => {}
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "concrete_type" => self.concrete_type = intern(value),
            "loc.file" => self.file = Some(intern(value)),
            "source" => self.source = intern(value),
            "op" => self.operation = intern(value),
            "current_readers.op" => self.readers_operation = intern(value),
            _ => {}
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "kind" => self.kind = intern(&format!("{value:?}")),
            "task.name" => self.name = Some(format!("{value:?}")).filter(|name| !name.is_empty()).map(Into::into),
            _ => {}
        }
    }
}

/// A span of tokio's is made.
pub(crate) fn new_span(session: &Session, attributes: &span::Attributes<'_>) -> Span {
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
            keep(span, fields.source);
            span
        }
    }
}

fn keep(span: Span, operation: &'static str) {
    with_alive(span, |alive| alive.insert(span.0, Alive { handles: 1, operation, waiting: false }));
}

fn new_task(session: &Session, fields: Fields) -> Span {
    session.spans_seen.store(true, Ordering::Relaxed);
    let tag = match fields.kind {
        "local" => LOCAL_TASK,
        "blocking" => BLOCKING_TASK,
        "block_on" => return Span::new(OTHER, fields.task),
        _ => TASK,
    };
    let span = Span::new(tag, fields.task);
    // Tasks of the scheduler are told by the hooks; those the hooks do not see are told here. A worker thread is itself
    // a blocking closure of tokio's: it is no task of the program.
    let worker = fields.file.is_some_and(|file| file.contains("/tokio-") && file.ends_with("worker.rs"));
    if tag == TASK || worker {
        return if worker { Span::new(OTHER, fields.task) } else { span };
    }
    keep(span, "");
    let kind = if tag == LOCAL_TASK { "local" } else { "blocking" };
    if let (Some(slot), Some(spawned)) = (slots::current(), fields.place()) {
        let parent = slot.current_task().unwrap_or(0);
        let task = fields.task;
        slot.note(clock::now(), What::Spawn { task, runtime: 0, kind, name: fields.name, spawned, parent });
    }
    span
}

fn new_resource(fields: &Fields) -> Span {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let tag = match fields.concrete_type {
        _ if fields.internal => INTERNAL,
        "Mutex" | "RwLock" | "Semaphore" => LOCK,
        _ => OTHER_RESOURCE,
    };
    let span = Span::new(tag, number);
    if tag == LOCK {
        keep(span, "");
        if let Some(slot) = slots::current() {
            let what = What::Made { resource: number, parent: 0, kind: fields.concrete_type, made: fields.place() };
            slot.note(clock::now(), what);
        }
    }
    span
}

/// A span of tokio's is entered.
#[inline]
pub(crate) fn enter(span: Span) {
    if matches!(span.tag(), TASK | LOCAL_TASK | BLOCKING_TASK) {
        panics::entered();
    }
    entered(|spans| spans.push(span));
    if span.tag() == LOCAL_TASK
        && let Some(slot) = slots::current()
    {
        slot.poll_start(span.number(), wakes::take(span.number()));
    }
}

/// A span of tokio's is left.
#[inline]
pub(crate) fn exit(span: Span) {
    if matches!(span.tag(), TASK | LOCAL_TASK | BLOCKING_TASK) {
        panics::left(span.number());
        if std::thread::panicking() {
            panics::escapes(span.number());
        }
    }
    if span.tag() == LOCAL_TASK
        && let Some(slot) = slots::current()
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
    if matches!(span.tag(), LOCK | OPERATION | LOCAL_TASK | BLOCKING_TASK) {
        with_alive(span, |alive| {
            if let Some(alive) = alive.get_mut(&span.0) {
                alive.handles += 1;
            }
        });
    }
}

/// One handle less; true when it was the last.
pub(crate) fn close(span: Span) -> bool {
    if !matches!(span.tag(), LOCK | OPERATION | LOCAL_TASK | BLOCKING_TASK) {
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
            LOCK => slot.note(now, What::Dropped { resource: number }),
            OPERATION if ended.waiting => slot.note(now, What::WaitEnd { wait: number, ready: false }),
            OPERATION => {}
            _ => slot.note(now, What::End { task: number }),
        }
    }
    true
}

/// An event of tokio's.
#[inline]
pub(crate) fn event(event: &Event<'_>) {
    if slots::is_quiet() {
        return;
    }
    let mut fields = Fields::default();
    event.record(&mut fields);
    match event.metadata().target() {
        "tokio::task::waker" => {
            let task = Span(fields.task);
            let woke = matches!(fields.operation, "waker.wake" | "waker.wake_by_ref");
            if matches!(task.tag(), TASK | LOCAL_TASK) {
                if woke {
                    wakes::woken(task.number(), clock::now());
                    panics::woken(task.number());
                }
                if woke || fields.operation == "waker.clone" {
                    self_wakes::noticed(task.number(), woke);
                }
            }
        }
        "runtime::resource::poll_op" => poll_operation(&fields),
        _ => state(&fields),
    }
}

/// An operation on a resource was polled.
fn poll_operation(fields: &Fields) {
    // The innermost resource tells whose poll this is; that of an internal semaphore is told again by its owner's.
    let Some(resource) = innermost(Span::is_resource).filter(|span| span.tag() == LOCK) else { return };
    let Some(operation) = innermost(|span| span.tag() == OPERATION) else { return };
    let Some(slot) = slots::current() else { return };
    let ready = fields.ready == Some(true);
    let (changed, name) = with_alive(operation, |alive| match alive.get_mut(&operation.0) {
        Some(entry) => (std::mem::replace(&mut entry.waiting, !ready) == ready, entry.operation),
        None => (false, ""),
    });
    if !changed {
        return;
    }
    let (now, wait) = (clock::now(), operation.number());
    if ready {
        slot.note(now, What::WaitEnd { wait, ready: true });
        return;
    }
    // The await stack of the user is on the thread right now, and nowhere later.
    let stack = slot.bounds.and_then(|bounds| capture_here(bounds.stack_high)).map(Box::new);
    slot.note(now, What::Wait { wait, resource: resource.number(), task: current_task(), operation: name, stack });
}

/// The state of a resource changed.
fn state(fields: &Fields) {
    let Some(resource) = innermost(Span::is_resource).filter(|span| span.tag() == LOCK) else { return };
    let resource: ResourceId = resource.number();
    let taken = match (fields.locked, fields.write_locked, fields.readers) {
        (Some(locked), _, _) => locked,
        (_, Some(locked), _) => locked,
        (_, _, Some(_)) if fields.readers_operation == "add" => true,
        (_, _, Some(_)) if fields.readers_operation == "sub" => false,
        _ => return,
    };
    let Some(slot) = slots::current() else { return };
    let (task, permits) = (current_task(), 1);
    let what =
        if taken { What::Acquired { resource, task, permits } } else { What::Released { resource, task, permits } };
    slot.note(clock::now(), what);
}

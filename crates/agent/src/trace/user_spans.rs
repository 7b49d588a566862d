//! The program's own tracing spans: which of them a task was in at a moment that matters.
//!
//! Entering and leaving a span stores a number into an array of the thread; what a span is called and what its fields
//! hold is kept once, when it is made, and looked up only when a poll is stuck, a wait begins or a task panics. What is
//! told are the innermost span entered in the poll and those it was made in, as a log line would show them: so a guard
//! that some other task forgot on this thread misleads nobody.
//!
//! Only spans of level INFO and above count: what libraries say about each frame and each byte is DEBUG and TRACE.

use super::alive::{self, Begin};
use super::{NONE, Span, USER};
use crate::moment;
use crate::raw::What;
use crate::session::Session;
use crate::slots::{self, Slot};
use pollscope_recording::{self as words, Nanos, TaskId};
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Level, Metadata};

/// Spans entered in each other on one thread that are told apart; deeper ones are only counted.
const DEPTH: usize = 16;
/// Spans that are alive and remembered; a program that makes more at a time has them without a name.
const MOST_LIVE: usize = 16_384;
/// Spans told of one moment: how far up the family of a span is looked.
const MOST_FAMILY: usize = 16;
/// Fields kept of a span, and bytes of a text.
const MOST_FIELDS: usize = 8;
const MOST_BYTES: usize = 64;

/// What is recorded of the program's own spans: `POLLSCOPE_SPANS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// `off`: nothing.
    Nothing,
    /// `names`: no field.
    Names,
    /// `numbers`: fields that hold a number or a truth value. Names, passwords and whatever else `#[instrument]` finds
    /// among the arguments are texts, and a recording is passed on; and no code of the program runs to show them.
    #[default]
    Numbers,
    /// `all`: texts too, cut at 64 bytes. Runs the program's own `Debug` and `Display`.
    All,
}

impl Recorded {
    pub(crate) fn from_environment() -> Recorded {
        match std::env::var("POLLSCOPE_SPANS").as_deref() {
            Ok("off") => Recorded::Nothing,
            Ok("names") => Recorded::Names,
            Ok("all") => Recorded::All,
            _ => Recorded::Numbers,
        }
    }
}

/// The program's spans entered on a thread, outermost first. Its owner writes, anybody reads.
#[derive(Default)]
pub(crate) struct SpanStack {
    depth: AtomicUsize,
    spans: [AtomicU64; DEPTH],
}

impl SpanStack {
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    #[inline]
    fn push(&self, span: Span) {
        let depth = self.depth();
        if let Some(place) = self.spans.get(depth) {
            place.store(span.0, Ordering::Relaxed);
        }
        self.depth.store(depth + 1, Ordering::Release);
    }

    #[inline]
    fn remove(&self, span: Span) {
        let depth = self.depth();
        if depth > DEPTH {
            return self.depth.store(depth - 1, Ordering::Release);
        }
        let Some(index) = self.spans[..depth].iter().rposition(|place| place.load(Ordering::Relaxed) == span.0) else {
            return;
        };
        // Guards may be dropped in any order.
        for at in index + 1..depth {
            self.spans[at - 1].store(self.spans[at].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.depth.store(depth - 1, Ordering::Release);
    }

    /// The innermost one, if there are more than `below`. Another thread may meet a change and then sees one of both.
    pub(crate) fn innermost(&self, below: usize) -> Option<Span> {
        let depth = self.depth.load(Ordering::Acquire);
        let place = self.spans.get(depth.min(DEPTH).checked_sub(1)?)?;
        (depth > below).then(|| Span(place.load(Ordering::Relaxed)))
    }
}

/// A span of the program's.
pub(crate) struct Live {
    metadata: &'static Metadata<'static>,
    fields: Mutex<Vec<(&'static str, Value)>>,
    parent: Option<Arc<Live>>,
    /// How many are above it.
    generation: usize,
}

/// Not yet a text, since most spans are never asked for.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Truth(bool),
    Text(Box<str>),
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

fn live(span: Span) -> Option<Arc<Live>> {
    (span.tag() == USER).then(|| alive::live(span.number())).flatten()
}

/// Whether a callsite is a span of the program's that is recorded.
pub(crate) fn is_recorded(session: &Session, metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && session.spans != Recorded::Nothing
}

/// A span of the program's is made; `parent` is the one it names itself, if any.
pub(crate) fn new_span(session: &Session, attributes: &Attributes<'_>, parent: Option<Span>) -> Span {
    if slots::is_quiet() {
        return NONE;
    }
    if COUNT.fetch_add(1, Ordering::Relaxed) >= MOST_LIVE {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            session
                .not_observable(&format!("some tracing spans of the program: it has more than {MOST_LIVE} at a time"));
        });
        return NONE;
    }
    let parent = match attributes.is_contextual() {
        true => slots::known().and_then(|slot| slot.spans.innermost(0)),
        false => parent,
    };
    let parent = parent.and_then(live).filter(|parent| parent.generation + 1 < MOST_FAMILY);
    let generation = parent.as_ref().map_or(0, |parent| parent.generation + 1);
    let mut fields = Fields { recorded: session.spans, values: Vec::new() };
    if session.spans != Recorded::Names {
        attributes.record(&mut fields);
    }
    let fields = Mutex::new(fields.values);
    let live = Arc::new(Live { metadata: attributes.metadata(), fields, parent, generation });
    let span = super::begin(USER, Begin { live: Some(live), ..Begin::default() });
    if span == NONE {
        ended();
    }
    span
}

/// More fields of a span are known now.
pub(crate) fn record(session: &Session, span: Span, values: &Record<'_>) {
    if span.tag() != USER || session.spans == Recorded::Names {
        return;
    }
    let Some(live) = live(span) else { return };
    // Showing a value may run code of the program, so nothing is locked meanwhile.
    let mut fields = Fields { recorded: session.spans, values: Vec::new() };
    values.record(&mut fields);
    // The drain reads them for a moment; a worker does not wait for it.
    let Some(mut known) = moment::lock(&live.fields) else { return };
    for (name, value) in fields.values {
        if let Some((_, known)) = known.iter_mut().find(|(other, _)| *other == name) {
            *known = value;
        } else if known.len() < MOST_FIELDS {
            known.push((name, value));
        }
    }
}

#[inline]
pub(super) fn enter(span: Span) {
    if let Some(slot) = slots::known() {
        slot.spans.push(span);
    }
}

#[inline]
pub(super) fn exit(span: Span) {
    if let Some(slot) = slots::known() {
        slot.spans.remove(span);
    }
}

/// A span of the program's is no more.
pub(super) fn ended() {
    COUNT.fetch_sub(1, Ordering::Relaxed);
}

/// The span of the program that this thread is in, for `tracing::Span::current()`.
pub(crate) fn current() -> Option<(Id, &'static Metadata<'static>)> {
    let span = slots::known()?.spans.innermost(0)?;
    Some((Id::from_u64(span.0), live(span)?.metadata))
}

/// The innermost span that was entered in the open poll of a thread, perhaps another one.
pub(crate) fn of_poll(slot: &Slot) -> Option<Arc<Live>> {
    live(slot.span_of_poll()?)
}

/// Notes which spans the task that this thread polls is in right now.
pub(crate) fn note(slot: &Slot, now: Nanos, task: TaskId) {
    if let Some(spans) = of_poll(slot) {
        slot.note(now, What::InSpans { task, wait: 0, spans });
    }
}

impl Live {
    /// The span and those it was made in, outermost first.
    pub(crate) fn family(&self) -> Vec<words::Span> {
        let mut family: Vec<_> = std::iter::successors(Some(self), |live| live.parent.as_deref()).collect();
        family.reverse();
        family.into_iter().map(Live::words).collect()
    }

    fn words(&self) -> words::Span {
        let fields = self.fields.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fields = fields.iter().map(|(name, value)| ((*name).into(), value.text().into())).collect();
        words::Span { name: self.metadata.name().into(), fields }
    }
}

impl Value {
    fn text(&self) -> String {
        match self {
            Value::Unsigned(value) => value.to_string(),
            Value::Signed(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Truth(value) => value.to_string(),
            Value::Text(text) => text.to_string(),
        }
    }
}

/// Fields as far as they are to be recorded.
struct Fields {
    recorded: Recorded,
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    fn keep(&mut self, field: &Field, value: Value) {
        if self.values.len() < MOST_FIELDS {
            self.values.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, Value::Unsigned(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, Value::Signed(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, Value::Float(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, Value::Truth(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.recorded == Recorded::All {
            let cut = &value[..value.floor_char_boundary(MOST_BYTES)];
            self.keep(field, Value::Text(cut.into()));
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.recorded == Recorded::All && self.values.len() < MOST_FIELDS {
            let mut start = Start(String::new());
            // It ends with an error once there is enough.
            let _ = write!(start, "{value:?}");
            self.keep(field, Value::Text(start.0.into()));
        }
    }
}

/// The beginning of a text that may be of any length.
struct Start(String);

impl Write for Start {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = MOST_BYTES - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(std::fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(number: u64) -> Span {
        Span::new(USER, number)
    }

    #[test]
    fn spans_are_left_in_any_order() {
        let stack = SpanStack::default();
        [1, 2, 3].into_iter().for_each(|number| stack.push(span(number)));
        stack.remove(span(2));
        assert_eq!((stack.innermost(0).map(Span::number), stack.depth()), (Some(3), 2));
        stack.remove(span(3));
        stack.remove(span(9));
        assert_eq!((stack.innermost(0).map(Span::number), stack.innermost(1).map(Span::number)), (Some(1), None));
    }

    #[test]
    fn what_is_too_deep_is_counted() {
        let stack = SpanStack::default();
        (0..DEPTH as u64 + 5).for_each(|number| stack.push(span(number)));
        assert_eq!(stack.innermost(0).map(Span::number), Some(DEPTH as u64 - 1));
        (0..DEPTH as u64 + 5).rev().for_each(|number| stack.remove(span(number)));
        assert_eq!((stack.innermost(0).map(Span::number), stack.depth()), (None, 0));
    }

    #[test]
    fn a_text_is_cut_at_a_letter() {
        let mut start = Start(String::new());
        assert!(write!(start, "{}", "ü".repeat(40)).is_err());
        assert_eq!(start.0.len(), MOST_BYTES);
        let mut odd = Start(String::new());
        assert!(write!(odd, "x{}", "ü".repeat(40)).is_err());
        assert_eq!(odd.0.len(), MOST_BYTES - 1);
    }
}

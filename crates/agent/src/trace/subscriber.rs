//! Our own subscriber, for a program that has none: it wants tokio's spans and nothing else.

use super::{Span, clone_span, close, enter, event, exit, is_ours, new_span};
use crate::session::Session;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::{Interest, Subscriber};
use tracing_core::{Event, LevelFilter, Metadata};

pub(crate) struct Lean(pub(crate) &'static Session);

impl Subscriber for Lean {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::always() } else { Interest::never() }
    }
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata)
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        Id::from_u64(new_span(self.0, attributes).0)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, seen: &Event<'_>) {
        event(seen, |id| Some(Span(id)));
    }
    fn enter(&self, id: &Id) {
        enter(Span(id.into_u64()));
    }
    fn exit(&self, id: &Id) {
        exit(Span(id.into_u64()));
    }
    fn clone_span(&self, id: &Id) -> Id {
        clone_span(Span(id.into_u64()));
        id.clone()
    }
    fn try_close(&self, id: Id) -> bool {
        close(Span(id.into_u64()))
    }
}

//! Our own subscriber, for a program that has none: it wants tokio's spans and the program's own, and no event of the
//! program's.

use super::{Span, clone_span, close, enter, event, exit, is_ours, new_span, user_spans};
use crate::session::Session;
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::subscriber::{Interest, Subscriber};
use tracing_core::{Event, LevelFilter, Metadata};

pub(crate) struct Lean(pub(crate) &'static Session);

impl Subscriber for Lean {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) || user_spans::is_recorded(self.0, metadata)
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let span = match is_ours(attributes.metadata()) {
            true => new_span(self.0, attributes),
            false => {
                let parent = attributes.parent().map(|parent| Span(parent.into_u64()));
                user_spans::new_span(self.0, attributes, parent)
            }
        };
        Id::from_u64(span.0)
    }
    fn record(&self, id: &Id, values: &Record<'_>) {
        user_spans::record(self.0, Span(id.into_u64()), values);
    }
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
    fn current_span(&self) -> Current {
        user_spans::current().map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }
    fn try_close(&self, id: Id) -> bool {
        close(Span(id.into_u64()))
    }
}

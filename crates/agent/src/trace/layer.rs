//! The same reading as a layer, for a program with a `tracing-subscriber` registry of its own.

use super::{Span, close, enter, event, exit, is_ours, new_span, user_spans};
use crate::session::{self, Session};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// See [`crate::layer`].
#[derive(Debug)]
pub struct AgentLayer(pub(crate) ());

/// Our packed span, kept in the registry's extensions.
struct Packed(Span);

fn session() -> Option<&'static Session> {
    session::get()
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for AgentLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(session) = session() else { return };
        let Some(registered) = context.span(id) else { return };
        let span = if is_ours(attributes.metadata()) {
            new_span(session, attributes)
        } else if user_spans::is_recorded(session, attributes.metadata()) {
            let parent = attributes.parent().and_then(|parent| packed(parent, &context));
            user_spans::new_span(session, attributes, parent)
        } else {
            return;
        };
        registered.extensions_mut().insert(Packed(span));
    }
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let (Some(session), Some(span)) = (session(), packed(id, &context)) {
            user_spans::record(session, span, values);
        }
    }
    fn on_event(&self, seen: &Event<'_>, context: Context<'_, S>) {
        if is_ours(seen.metadata()) && session().is_some() {
            // The registry numbers its spans itself.
            let task_of = |id: u64| (id > 0).then(|| packed(&Id::from_u64(id), &context)).flatten();
            event(seen, task_of);
        }
    }
    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = packed(id, &context) {
            enter(span);
        }
    }
    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = packed(id, &context) {
            exit(span);
        }
    }
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        // The registry counts handles itself: for us there is one, and it is gone.
        if let Some(span) = packed(&id, &context) {
            close(span);
        }
    }
}

fn packed<S: Subscriber + for<'span> LookupSpan<'span>>(id: &Id, context: &Context<'_, S>) -> Option<Span> {
    context.span(id)?.extensions().get::<Packed>().map(|packed| packed.0)
}

//! What is said a moment before the event it belongs to: the name of a task that is about to be spawned, and the
//! program's spans at the beginning of a wait that may become long.

#[cfg(feature = "tracing")]
use crate::trace::user_spans::Live;
use pollscope_recording::TaskId;
#[cfg(feature = "tracing")]
use pollscope_recording::{Event, InSpans, Nanos, WaitId};
use std::collections::HashMap;
#[cfg(feature = "tracing")]
use std::sync::Arc;

/// Names kept of tasks that nobody spawned yet. There are more only in runtimes whose spawns nobody tells.
const MOST_NAMES: usize = 1024;
/// Waits whose spans are kept.
#[cfg(feature = "tracing")]
const MOST_WAITS: usize = 16_384;

#[derive(Default)]
pub(super) struct SaidAside {
    names: HashMap<TaskId, Box<str>>,
    #[cfg(feature = "tracing")]
    waits: HashMap<WaitId, (Nanos, TaskId, Arc<Live>)>,
}

impl SaidAside {
    pub(super) fn named(&mut self, task: TaskId, name: Box<str>) {
        if self.names.len() >= MOST_NAMES {
            self.names.clear();
        }
        self.names.insert(task, name);
    }

    /// The name of a task that is spawned now.
    pub(super) fn name(&mut self, task: TaskId) -> Option<Box<str>> {
        self.names.remove(&task)
    }
}

#[cfg(feature = "tracing")]
impl SaidAside {
    /// A task was in `spans`: told at once, or kept for a wait that begins.
    pub(super) fn in_spans(&mut self, at: Nanos, task: TaskId, wait: WaitId, spans: Arc<Live>) -> Option<Event> {
        if wait == 0 {
            return Some(InSpans { at, task, spans: spans.family() }.into());
        }
        if self.waits.len() < MOST_WAITS {
            // A wait that goes on while its future is polled again began only once.
            self.waits.entry(wait).or_insert((at, task, spans));
        }
        None
    }

    pub(super) fn wait_ended(&mut self, wait: WaitId) {
        self.waits.remove(&wait);
    }

    /// What belongs beside the stack of a wait that has become long.
    pub(super) fn beside(&mut self, event: &Event) -> Option<Event> {
        let Event::WaitStack(stack) = event else { return None };
        let (at, task, spans) = self.waits.get(&stack.wait)?;
        Some(InSpans { at: *at, task: *task, spans: spans.family() }.into())
    }
}

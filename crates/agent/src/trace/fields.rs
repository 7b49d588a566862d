//! The fields of tokio's spans and events.

use super::names::intern;
use crate::raw::StaticPlace;
use std::fmt::Debug;
use tracing_core::field::{Field, Visit};

/// The fields of tokio's spans and events, by the names tokio gives them.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) task: u64,
    pub(super) name: Option<Box<str>>,
    pub(super) kind: &'static str,
    pub(super) concrete_type: &'static str,
    pub(super) internal: bool,
    pub(super) file: Option<&'static str>,
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) source: &'static str,
    pub(super) operation: &'static str,
    pub(super) ready: Option<bool>,
    pub(super) locked: Option<bool>,
    pub(super) write_locked: Option<bool>,
    pub(super) readers: Option<u64>,
    pub(super) readers_operation: &'static str,
    pub(super) permits: Option<u64>,
    pub(super) permits_requested: Option<u64>,
    pub(super) permits_obtained: Option<u64>,
    pub(super) permits_operation: &'static str,
    /// Of a timer: milliseconds until it fires.
    pub(super) duration: Option<u64>,
}

impl Fields {
    pub(super) fn place(&self) -> Option<StaticPlace> {
        Some(StaticPlace { file: self.file?, line: self.line as u32, column: self.column as u32 })
    }
}

/// A name as it is shown; the program may make one of anything.
fn shortened(name: &dyn Debug) -> Box<str> {
    const MOST_BYTES: usize = 128;
    let name = format!("{name:?}");
    name[..name.floor_char_boundary(MOST_BYTES)].into()
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "task.id" => self.task = value,
            "loc.line" => self.line = value,
            "loc.col" => self.column = value,
            "current_readers" => self.readers = Some(value),
            "duration" => self.duration = Some(value),
            "permits" => self.permits = Some(value),
            "permits_requested" => self.permits_requested = Some(value),
            "permits_obtained" => self.permits_obtained = Some(value),
            _ => {}
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        // A literal in tokio's source is an `i32`.
        if let Ok(value) = u64::try_from(value) {
            self.record_u64(field, value);
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
            "permits.op" => self.permits_operation = intern(value),
            _ => {}
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "kind" => self.kind = intern(&format!("{value:?}")),
            "task.name" => self.name = Some(shortened(value)).filter(|name| !name.is_empty()),
            _ => {}
        }
    }
}

/// What is done with a waker.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WakerOperation {
    Clone,
    Drop,
    Wake,
    WakeByRef,
    #[default]
    Other,
}

/// The fields of an event about a waker.
#[derive(Default)]
pub(super) struct WakerFields {
    pub(super) task: u64,
    pub(super) operation: WakerOperation,
}

impl Visit for WakerFields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "task.id" {
            self.task = value;
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "op" {
            self.operation = match value {
                "waker.clone" => WakerOperation::Clone,
                "waker.drop" => WakerOperation::Drop,
                "waker.wake" => WakerOperation::Wake,
                "waker.wake_by_ref" => WakerOperation::WakeByRef,
                _ => WakerOperation::Other,
            };
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

//! Fields by name: the wire carries indices into the metadata of a callsite.

use console_api::field::{Name, Value as FieldValue};
use console_api::register_metadata::NewMetadata;
use console_api::{Attribute, Field, Metadata, RegisterMetadata};
use prost_types::{Duration, Timestamp};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The metadata that was told so far.
#[derive(Default)]
pub(super) struct Names(HashMap<u64, Metadata>);

impl Names {
    pub(super) fn learn(&mut self, new: Option<&RegisterMetadata>) {
        for NewMetadata { id, metadata } in new.into_iter().flat_map(|new| &new.metadata) {
            if let (Some(id), Some(metadata)) = (id, metadata) {
                self.0.insert(id.id, metadata.clone());
            }
        }
    }

    pub(super) fn fields(&self, fields: &[Field]) -> Map<String, Value> {
        fields.iter().filter_map(|field| Some((self.name(field)?, value(field)))).collect()
    }

    /// By name, with the unit behind it where there is one.
    pub(super) fn attributes(&self, attributes: &[Attribute]) -> Map<String, Value> {
        let fields = attributes.iter().filter_map(|attribute| {
            let field = attribute.field.as_ref()?;
            let unit = attribute.unit.as_deref().map_or(String::new(), |unit| format!("_{unit}"));
            Some((format!("{}{unit}", self.name(field)?), value(field)))
        });
        fields.collect()
    }

    fn name(&self, field: &Field) -> Option<String> {
        match field.name.as_ref()? {
            Name::StrName(name) => Some(name.clone()),
            Name::NameIdx(index) => {
                let metadata = self.0.get(&field.metadata_id?.id)?;
                metadata.field_names.get(usize::try_from(*index).ok()?).cloned()
            }
        }
    }
}

fn value(field: &Field) -> Value {
    match &field.value {
        Some(FieldValue::DebugVal(text) | FieldValue::StrVal(text)) => text.as_str().into(),
        Some(FieldValue::U64Val(number)) => (*number).into(),
        Some(FieldValue::I64Val(number)) => (*number).into(),
        Some(FieldValue::BoolVal(flag)) => (*flag).into(),
        None => Value::Null,
    }
}

/// Nanoseconds since 1970.
pub(super) fn at(time: &Timestamp) -> u64 {
    whole(time.seconds, time.nanos)
}

pub(super) fn nanos(duration: Option<&Duration>) -> u64 {
    duration.map_or(0, |duration| whole(duration.seconds, duration.nanos))
}

/// Foreign numbers: what is negative or too large is cut to what a time can be.
fn whole(seconds: i64, nanos: i32) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(nanos).unwrap_or(0))
}

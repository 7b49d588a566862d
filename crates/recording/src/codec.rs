//! Events to frames and back. The schema of each event is made from the list in `event.rs`, so the two cannot differ.

use std::collections::HashMap;
use std::io::{self, Write};

use dial9_trace_format::decoder::{RawEvent, StringPool};
use dial9_trace_format::encoder::{Encoder, Schema};
use dial9_trace_format::schema::FieldDef;
use dial9_trace_format::types::{FieldType, FieldValue, FieldValueRef};

use crate::event::{self, Event, Nanos, POLL_BUCKETS, Place, ResourceId, Span, TaskId, Text, WaitId};

/// No stack worth reading has more frames.
const MAX_FRAMES: usize = 4096;
/// Longer texts are cut: no name or path needs more, and one text must not fill a segment.
const MAX_TEXT: usize = 64 * 1024;

/// A type a field of an event may have.
trait Field: Sized {
    fn define(name: &str, into: &mut Vec<FieldDef>);
    fn put<W: Write>(&self, encoder: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()>;
    /// `None` if the field is missing or of another type.
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<Self>;
    fn missing() -> Self;
}

/// The texts of a segment, shared: the same few names stand in almost every event.
#[derive(Default)]
pub(crate) struct Texts(HashMap<u32, Text>);

impl Texts {
    fn get(&mut self, id: u32, text: &str) -> Text {
        // The same number can mean another text after a second header in the file.
        match self.0.get(&id) {
            Some(known) if **known == *text => known.clone(),
            _ => {
                let new = Text::from(text);
                self.0.insert(id, new.clone());
                new
            }
        }
    }
}

struct Row<'a, 'd, 'f> {
    fields: &'f [FieldValueRef<'d>],
    defs: &'f [FieldDef],
    strings: &'f StringPool,
    stacks: &'f dial9_trace_format::decoder::StackPool,
    texts: &'a mut Texts,
    next: usize,
    missing: Option<&'static str>,
}

impl<'d, 'f> Row<'_, 'd, 'f> {
    /// The field `name` + `suffix`. Fields come in the order they were written, so the next one is tried first.
    fn find(&mut self, name: &str, suffix: &str) -> Option<&'f FieldValueRef<'d>> {
        let same = |def: &FieldDef| def.name().strip_prefix(name) == Some(suffix);
        let index = match self.defs.get(self.next) {
            Some(def) if same(def) => self.next,
            _ => self.defs.iter().position(same)?,
        };
        self.next = index + 1;
        self.fields.get(index)
    }

    fn number(&mut self, name: &str, suffix: &str) -> Option<u64> {
        match self.find(name, suffix)? {
            FieldValueRef::Varint(value) => Some(*value),
            _ => None,
        }
    }

    fn text(&mut self, name: &str, suffix: &str) -> Option<Text> {
        match self.find(name, suffix)? {
            FieldValueRef::PooledString(id) => {
                let text = self.strings.get(*id)?;
                Some(self.texts.get(id.raw_id(), text))
            }
            FieldValueRef::String(text) => Some(Text::from(*text)),
            _ => None,
        }
    }

    fn take<T: Field>(&mut self, name: &'static str) -> T {
        T::get(name, self).unwrap_or_else(|| {
            self.missing = Some(name);
            T::missing()
        })
    }
}

fn put_text<W: Write>(text: &str, encoder: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    into.push(FieldValue::PooledString(encoder.intern_string(text)?));
    Ok(())
}

impl Field for u64 {
    fn define(name: &str, into: &mut Vec<FieldDef>) {
        into.push(FieldDef::new(name, FieldType::Varint));
    }
    fn put<W: Write>(&self, _: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
        into.push(FieldValue::Varint(*self));
        Ok(())
    }
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<u64> {
        row.number(name, "")
    }
    fn missing() -> u64 {
        0
    }
}

impl Field for bool {
    fn define(name: &str, into: &mut Vec<FieldDef>) {
        into.push(FieldDef::new(name, FieldType::Bool));
    }
    fn put<W: Write>(&self, _: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
        into.push(FieldValue::Bool(*self));
        Ok(())
    }
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<bool> {
        match row.find(name, "")? {
            FieldValueRef::Bool(value) => Some(*value),
            _ => None,
        }
    }
    fn missing() -> bool {
        false
    }
}

impl Field for Text {
    fn define(name: &str, into: &mut Vec<FieldDef>) {
        into.push(FieldDef::new(name, FieldType::PooledString));
    }
    fn put<W: Write>(&self, encoder: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
        put_text(self, encoder, into)
    }
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<Text> {
        row.text(name, "")
    }
    fn missing() -> Text {
        Text::from("")
    }
}

impl Field for Place {
    fn define(name: &str, into: &mut Vec<FieldDef>) {
        into.push(FieldDef::new(format!("{name}.file"), FieldType::PooledString));
        into.push(FieldDef::new(format!("{name}.line"), FieldType::Varint));
        into.push(FieldDef::new(format!("{name}.column"), FieldType::Varint));
    }
    fn put<W: Write>(&self, encoder: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
        put_text(&self.file, encoder, into)?;
        into.push(FieldValue::Varint(self.line.into()));
        into.push(FieldValue::Varint(self.column.into()));
        Ok(())
    }
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<Place> {
        Some(Place {
            file: row.text(name, ".file")?,
            line: row.number(name, ".line")?.try_into().ok()?,
            column: row.number(name, ".column")?.try_into().ok()?,
        })
    }
    fn missing() -> Place {
        Place::default()
    }
}

impl Field for Vec<u64> {
    fn define(name: &str, into: &mut Vec<FieldDef>) {
        into.push(FieldDef::new(name, FieldType::StackFrames));
    }
    fn put<W: Write>(&self, _: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
        into.push(FieldValue::StackFrames(self[..self.len().min(MAX_FRAMES)].to_vec().into()));
        Ok(())
    }
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<Vec<u64>> {
        match row.find(name, "")? {
            FieldValueRef::StackFrames(frames) => Some(frames.iter().collect()),
            FieldValueRef::PooledStackFrames(id) => row.stacks.get(*id).map(<[u64]>::to_vec),
            _ => None,
        }
    }
    fn missing() -> Vec<u64> {
        Vec::new()
    }
}

/// Mostly zeros and small numbers: a byte each rather than four.
impl Field for [u32; POLL_BUCKETS] {
    fn define(name: &str, into: &mut Vec<FieldDef>) {
        into.push(FieldDef::new(name, FieldType::Bytes));
    }
    fn put<W: Write>(&self, _: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(POLL_BUCKETS);
        for value in *self {
            put_number(value, &mut bytes);
        }
        into.push(FieldValue::Bytes(bytes));
        Ok(())
    }
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<[u32; POLL_BUCKETS]> {
        let FieldValueRef::Bytes(bytes) = row.find(name, "")? else {
            return None;
        };
        let mut bytes = bytes.iter();
        let mut buckets = [0; POLL_BUCKETS];
        for bucket in &mut buckets {
            *bucket = get_number(&mut bytes)?;
        }
        Some(buckets)
    }
    fn missing() -> [u32; POLL_BUCKETS] {
        [0; POLL_BUCKETS]
    }
}

/// Numbers and texts one after the other: how many spans; of each its name, how many fields, their names and values.
impl Field for Vec<Span> {
    fn define(name: &str, into: &mut Vec<FieldDef>) {
        into.push(FieldDef::new(name, FieldType::Bytes));
    }
    fn put<W: Write>(&self, _: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let spans = &self[..self.len().min(MAX_FRAMES)];
        put_number(spans.len() as u32, &mut bytes);
        for span in spans {
            put_bytes(&span.name, &mut bytes);
            let fields = &span.fields[..span.fields.len().min(MAX_FRAMES)];
            put_number(fields.len() as u32, &mut bytes);
            for (name, value) in fields {
                put_bytes(name, &mut bytes);
                put_bytes(value, &mut bytes);
            }
        }
        into.push(FieldValue::Bytes(bytes));
        Ok(())
    }
    fn get(name: &str, row: &mut Row<'_, '_, '_>) -> Option<Vec<Span>> {
        let FieldValueRef::Bytes(bytes) = row.find(name, "")? else {
            return None;
        };
        let mut bytes = bytes.iter();
        // Counts of a damaged file may be any; each thing counted takes a byte at least.
        let mut spans = Vec::new();
        for _ in 0..get_number(&mut bytes)? {
            let (name, mut fields) = (get_bytes(&mut bytes)?, Vec::new());
            for _ in 0..get_number(&mut bytes)? {
                fields.push((get_bytes(&mut bytes)?, get_bytes(&mut bytes)?));
            }
            spans.push(Span { name, fields });
        }
        Some(spans)
    }
    fn missing() -> Vec<Span> {
        Vec::new()
    }
}

fn put_number(mut value: u32, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn get_number(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value.try_into().ok()
}

fn put_bytes(text: &str, into: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    put_number(text.len() as u32, into);
    into.extend_from_slice(text.as_bytes());
}

fn get_bytes(bytes: &mut std::slice::Iter<'_, u8>) -> Option<Text> {
    let length = get_number(bytes)? as usize;
    let (text, rest) = bytes.as_slice().split_at_checked(length)?;
    *bytes = rest.iter();
    std::str::from_utf8(text).ok().map(Text::from)
}

/// What a frame turned out to be.
pub(crate) enum Decoded {
    /// An event; with the name of a field that was missing or of the wrong type, if any.
    Event(Event, Option<&'static str>),
    /// An event this version has no word for.
    Newer,
}

macro_rules! codec {
    ($($name:ident { $($field:ident : $ty:ty,)* })*) => {
        enum Kind { $($name,)* }

        /// One schema for each event, in the order of the list.
        pub(crate) fn schemas() -> Vec<Schema> {
            vec![$({
                #[allow(unused_mut, reason = "an event may have no field but its time")]
                let mut defs = Vec::new();
                $(<$ty as Field>::define(stringify!($field), &mut defs);)*
                Schema::new(stringify!($name), defs)
            },)*]
        }

        /// Writes one event; `values` is only there to be used again.
        pub(crate) fn encode<W: Write>(
            event: &Event,
            encoder: &mut Encoder<W>,
            schemas: &[Schema],
            values: &mut Vec<FieldValue>,
        ) -> io::Result<()> {
            values.clear();
            match event {
                $(Event::$name(event) => {
                    $(event.$field.put(encoder, values)?;)*
                    encoder.write_event(&schemas[Kind::$name as usize], event.at, values)
                })*
            }
        }

        /// Reads one event.
        pub(crate) fn decode(raw: &RawEvent<'_, '_>, texts: &mut Texts) -> Decoded {
            let mut row = Row {
                fields: raw.fields,
                defs: raw.schema.fields(),
                strings: raw.string_pool,
                stacks: raw.stack_pool,
                texts,
                next: 0,
                missing: None,
            };
            let event = match raw.name {
                $(stringify!($name) => Event::$name(event::$name {
                    at: raw.timestamp_ns,
                    $($field: row.take(stringify!($field)),)*
                }),)*
                _ => return Decoded::Newer,
            };
            Decoded::Event(event, row.missing)
        }
    };
}
for_each_event!(codec);

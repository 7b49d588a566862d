//! Events to frames and back. The schema of each event is made from the list in `event.rs`, so the two cannot differ.

use std::io::{self, Write};
use std::sync::LazyLock;

use dial9_trace_format::encoder::{Encoder, Schema};
use dial9_trace_format::schema::{FieldDef, SchemaEntry};
use dial9_trace_format::types::{FieldType, FieldValue, FieldValueRef};

use crate::event::{self, Event, Nanos, POLL_BUCKETS, Place, ResourceId, Span, TaskId, Text, WaitId};
use crate::frames::{Layout, Pools};

/// No stack worth reading has more frames.
const MAX_FRAMES: usize = 4096;
/// Longer texts are cut: no name or path needs more, and one text must not fill a segment.
const MAX_TEXT: usize = 64 * 1024;

/// A type a field of an event may have.
trait Field: Sized {
    fn define(name: &str, into: &mut Vec<FieldDef>);
    fn put<W: Write>(&self, encoder: &mut Encoder<W>, into: &mut Vec<FieldValue>) -> io::Result<()>;
    /// Reads what `put` wrote. `None` if anything is wrong with it.
    fn read(payload: &mut Payload<'_>) -> Option<Self>;
    /// The same among values of any layout: `None` if the field is missing or of another type.
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<Self>;
    fn missing() -> Self;
}

/// The bytes of an event that are still to be read.
struct Payload<'a> {
    rest: &'a [u8],
    pools: &'a Pools,
}

impl<'a> Payload<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let byte = self.byte()?;
        let mut number = u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some(number);
        }
        for shift in (7..70).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    #[inline]
    fn long(&mut self) -> Option<u32> {
        let (&bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_le_bytes(bytes))
    }

    #[inline]
    fn text(&mut self) -> Option<Text> {
        let id = self.long()?;
        self.pools.text(id).cloned()
    }

    /// So many pieces of `width` bytes as is said before them.
    fn pieces(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = (self.long()? as usize).checked_mul(width)?;
        let (pieces, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(pieces)
    }
}

/// The values of an event, to be found by name.
struct Row<'a, 'd> {
    values: &'a [FieldValueRef<'d>],
    defs: &'a [FieldDef],
    pools: &'a Pools,
    next: usize,
    missing: Option<&'static str>,
}

impl<'a, 'd> Row<'a, 'd> {
    /// The field `name` + `suffix`. Fields come in the order they were written, so the next one is tried first.
    fn find(&mut self, name: &str, suffix: &str) -> Option<&'a FieldValueRef<'d>> {
        let same = |def: &FieldDef| def.name().strip_prefix(name) == Some(suffix);
        let index = match self.defs.get(self.next) {
            Some(def) if same(def) => self.next,
            _ => self.defs.iter().position(same)?,
        };
        self.next = index + 1;
        self.values.get(index)
    }

    fn number(&mut self, name: &str, suffix: &str) -> Option<u64> {
        match self.find(name, suffix)? {
            FieldValueRef::Varint(value) => Some(*value),
            _ => None,
        }
    }

    fn text(&mut self, name: &str, suffix: &str) -> Option<Text> {
        match self.find(name, suffix)? {
            FieldValueRef::PooledString(id) => self.pools.text(id.raw_id()).cloned(),
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
    #[inline]
    fn read(payload: &mut Payload<'_>) -> Option<u64> {
        payload.number()
    }
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<u64> {
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
    #[inline]
    fn read(payload: &mut Payload<'_>) -> Option<bool> {
        payload.byte().map(|byte| byte != 0)
    }
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<bool> {
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
    #[inline]
    fn read(payload: &mut Payload<'_>) -> Option<Text> {
        payload.text()
    }
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<Text> {
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
    #[inline]
    fn read(payload: &mut Payload<'_>) -> Option<Place> {
        Some(Place {
            file: payload.text()?,
            line: payload.number()?.try_into().ok()?,
            column: payload.number()?.try_into().ok()?,
        })
    }
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<Place> {
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
    fn read(payload: &mut Payload<'_>) -> Option<Vec<u64>> {
        let frames = payload.pieces(size_of::<u64>())?.as_chunks().0;
        Some(frames.iter().copied().map(u64::from_le_bytes).collect())
    }
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<Vec<u64>> {
        match row.find(name, "")? {
            FieldValueRef::StackFrames(frames) => Some(frames.iter().collect()),
            FieldValueRef::PooledStackFrames(id) => row.pools.stack(id.raw_id()).map(<[u64]>::to_vec),
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
    fn read(payload: &mut Payload<'_>) -> Option<[u32; POLL_BUCKETS]> {
        get_buckets(payload.pieces(1)?)
    }
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<[u32; POLL_BUCKETS]> {
        let FieldValueRef::Bytes(bytes) = row.find(name, "")? else {
            return None;
        };
        get_buckets(bytes)
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
    fn read(payload: &mut Payload<'_>) -> Option<Vec<Span>> {
        get_spans(payload.pieces(1)?)
    }
    fn get(name: &str, row: &mut Row<'_, '_>) -> Option<Vec<Span>> {
        let FieldValueRef::Bytes(bytes) = row.find(name, "")? else {
            return None;
        };
        get_spans(bytes)
    }
    fn missing() -> Vec<Span> {
        Vec::new()
    }
}

fn get_buckets(bytes: &[u8]) -> Option<[u32; POLL_BUCKETS]> {
    let mut bytes = bytes.iter();
    let mut buckets = [0; POLL_BUCKETS];
    for bucket in &mut buckets {
        *bucket = get_number(&mut bytes)?;
    }
    Some(buckets)
}

fn get_spans(bytes: &[u8]) -> Option<Vec<Span>> {
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
        /// The events by name.
        #[derive(Debug, Clone, Copy)]
        pub(crate) enum Kind { $($name,)* }

        /// The name and the fields of each event, in the order of the list.
        fn definitions() -> Vec<(Kind, SchemaEntry)> {
            vec![$({
                #[allow(unused_mut, reason = "an event may have no field but its time")]
                let mut defs = Vec::new();
                $(<$ty as Field>::define(stringify!($field), &mut defs);)*
                (Kind::$name, SchemaEntry::new(stringify!($name), defs))
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

        /// Reads one event as `encode` wrote it, hands it over, and says how many bytes are left. `None` if anything is
        /// wrong with it.
        #[inline]
        pub(crate) fn read(
            kind: Kind,
            at: Nanos,
            bytes: &[u8],
            pools: &Pools,
            each: &mut dyn FnMut(Event),
        ) -> Option<usize> {
            let mut payload = Payload { rest: bytes, pools };
            match kind {
                $(Kind::$name => {
                    $(let $field = <$ty as Field>::read(&mut payload)?;)*
                    each(Event::$name(event::$name { at, $($field,)* }));
                })*
            }
            Some(payload.rest.len())
        }

        /// Makes an event of the values of any layout.
        pub(crate) fn gather(layout: &Layout, at: Nanos, values: &[FieldValueRef<'_>], pools: &Pools) -> Decoded {
            let defs = layout.schema.fields();
            let mut row = Row { values, defs, pools, next: 0, missing: None };
            let event = match layout.kind {
                $(Some(Kind::$name) => Event::$name(event::$name {
                    at,
                    $($field: row.take(stringify!($field)),)*
                }),)*
                None => return Decoded::Newer,
            };
            Decoded::Event(event, row.missing)
        }
    };
}
for_each_event!(codec);

/// One schema for each event, in the order of the list.
pub(crate) fn schemas() -> Vec<Schema> {
    definitions().iter().map(|(_, entry)| Schema::new(entry.name(), entry.fields().to_vec())).collect()
}

/// The event of this name, if there is one, and whether it is laid out as this version writes it.
pub(crate) fn recognize(schema: &SchemaEntry) -> (Option<Kind>, bool) {
    static KNOWN: LazyLock<Vec<(Kind, SchemaEntry)>> = LazyLock::new(definitions);
    match KNOWN.iter().find(|(_, known)| known.name() == schema.name()) {
        Some((kind, known)) => (Some(*kind), known == schema),
        None => (None, false),
    }
}

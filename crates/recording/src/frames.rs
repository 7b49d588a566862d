//! The frames of a segment: what its events are laid out like, the texts and stacks they share, and their times.
//!
//! The format is dial9's. Its own decoder hands over each event as a list of values to be found by name; here a layout
//! is compared with what this version writes once, when it comes, and its events are read straight from the bytes. Any
//! other layout is read value by value.

use std::collections::HashMap;

use dial9_trace_format::schema::{FieldDef, SchemaEntry};
use dial9_trace_format::types::{FieldType, FieldValueRef};

use crate::codec::{self, Decoded, Kind};
use crate::event::{Event, Nanos, Text};

/// What every segment begins with; a version follows.
pub(crate) const MAGIC: &[u8] = b"TRC\0";
const HEADER_BYTES: usize = MAGIC.len() + 1;
/// Texts of a segment are numbered from 0; what a damaged one names beyond this is looked up more slowly.
const DENSE: u32 = 1 << 16;

const SCHEMA: u8 = 1;
const EVENT: u8 = 2;
const TEXTS: u8 = 3;
const STACKS: u8 = 4;
const TIME: u8 = 5;
const ANNOTATIONS: u8 = 6;

/// What stands in a segment up to where it was read.
#[derive(Default)]
pub(crate) struct Frames {
    /// By the number that events bear.
    layouts: Vec<Option<Box<Layout>>>,
    pools: Pools,
    /// Time of the latest event.
    time: Nanos,
}

/// How the events of one number are laid out.
pub(crate) struct Layout {
    pub(crate) schema: SchemaEntry,
    timed: bool,
    /// The event of its name; `None` if this version has no word for it.
    pub(crate) kind: Option<Kind>,
    /// The same, if it is laid out as this version writes it.
    straight: Option<Kind>,
}

/// What events of a segment share.
#[derive(Default)]
pub(crate) struct Pools {
    texts: Vec<Option<Text>>,
    far_texts: HashMap<u32, Text>,
    stacks: HashMap<u32, Vec<u64>>,
}

impl Pools {
    pub(crate) fn text(&self, id: u32) -> Option<&Text> {
        match self.texts.get(id as usize) {
            Some(text) => text.as_ref(),
            None => self.far_texts.get(&id),
        }
    }

    pub(crate) fn stack(&self, id: u32) -> Option<&[u64]> {
        self.stacks.get(&id).map(Vec::as_slice)
    }

    fn add_text(&mut self, id: u32, text: &str) {
        if id >= DENSE {
            self.far_texts.insert(id, text.into());
            return;
        }
        let index = id as usize;
        if index >= self.texts.len() {
            self.texts.resize(index + 1, None);
        }
        if let Some(place) = self.texts.get_mut(index) {
            *place = Some(text.into());
        }
    }
}

/// Why a frame could not be read, and where, counted from its start. With more bytes it may be another matter.
pub(crate) struct Broken {
    pub(crate) at: usize,
    pub(crate) what: String,
}

/// A frame that was read.
pub(crate) struct Frame<'f> {
    pub(crate) bytes: usize,
    /// Whether it is an event.
    pub(crate) event: bool,
    /// Of an event that could not be taken as it is: its schema and the field that is missing; no field, if this version
    /// has no word for it.
    pub(crate) odd: Option<(&'f SchemaEntry, Option<&'static str>)>,
}

impl Frames {
    /// The length of the header that a segment has to begin with.
    pub(crate) fn header(bytes: &[u8]) -> Option<usize> {
        (bytes.len() >= HEADER_BYTES && bytes.starts_with(MAGIC)).then_some(HEADER_BYTES)
    }

    /// Reads the first frame of `bytes` if it is an event as this version writes it: hands the event over and says how
    /// long its frame is. What `None` means, `read` tells.
    #[inline]
    pub(crate) fn straight(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event)) -> Option<usize> {
        let (&[EVENT, low, high, a, b, c], rest) = bytes.split_first_chunk()? else { return None };
        let layout = self.layouts.get(usize::from(u16::from_le_bytes([low, high])))?.as_ref()?;
        let kind = layout.straight?;
        let time = self.time.checked_add(u32::from_le_bytes([a, b, c, 0]).into())?;
        let left = codec::read(kind, time, rest, &self.pools, each)?;
        self.time = time;
        Some(bytes.len() - left)
    }

    /// Reads the first frame of `bytes`, whatever it is, and hands over its event, if it is one. After an error nothing
    /// has changed.
    pub(crate) fn read(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event)) -> Result<Frame<'_>, Broken> {
        match bytes.first() {
            Some(&EVENT) => self.event(bytes, each),
            _ => self.other(bytes).map(|bytes| Frame { bytes, odd: None, event: false }),
        }
    }

    /// Reads an event value by value, so that what is odd about it can be told.
    fn event(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event)) -> Result<Frame<'_>, Broken> {
        let broken = |at: usize, what: &str| Broken { at, what: what.to_owned() };
        let Some(&[low, high]) = bytes.get(1..3) else { return Err(broken(0, "truncated event frame")) };
        let number = u16::from_le_bytes([low, high]);
        let Some(Some(layout)) = self.layouts.get(usize::from(number)) else {
            return Err(broken(0, &format!("unknown type_id WireTypeId({number})")));
        };
        let (mut at, mut time) = (3, self.time);
        if layout.timed {
            let Some(&[a, b, c]) = bytes.get(3..6) else { return Err(broken(3, "truncated timestamp delta")) };
            let passed = u32::from_le_bytes([a, b, c, 0]);
            let Some(sum) = time.checked_add(passed.into()) else { return Err(broken(0, "impossible time")) };
            (at, time) = (6, sum);
        }
        let mut values = Vec::new();
        for field in layout.schema.fields() {
            at = value(field.field_type(), bytes, at, &mut values).map_err(|(at, what)| broken(at, what))?;
        }
        self.time = time;
        let odd = match codec::gather(layout, time, &values, &self.pools) {
            Decoded::Event(event, missing) => {
                each(event);
                missing.map(|field| (&layout.schema, Some(field)))
            }
            Decoded::Newer => Some((&layout.schema, None)),
        };
        Ok(Frame { bytes: at, odd, event: true })
    }

    fn other(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let tag = bytes.first().copied().unwrap_or_default();
        let mut cursor = Cursor { bytes, at: 1 };
        let read = match tag {
            SCHEMA => match cursor.layout() {
                Some((number, layout)) => return self.add_layout(number, layout, cursor.at),
                None => None,
            },
            TEXTS => cursor.pool(1).map(|entries| {
                for (id, text) in entries {
                    if let Ok(text) = std::str::from_utf8(text) {
                        self.pools.add_text(id, text);
                    }
                }
            }),
            STACKS => cursor.pool(8).map(|entries| {
                for (id, frames) in entries {
                    let frames = frames.as_chunks().0.iter().copied().map(u64::from_le_bytes);
                    self.pools.stacks.insert(id, frames.collect());
                }
            }),
            TIME => cursor.array().map(|time| self.time = u64::from_le_bytes(time)),
            ANNOTATIONS => cursor.annotations(),
            // A second header begins anew.
            _ if Frames::header(bytes).is_some() => {
                *self = Frames::default();
                cursor.at = HEADER_BYTES;
                Some(())
            }
            _ => None,
        };
        if tag == TIME && read.is_none() {
            return Err(Broken { at: 0, what: "truncated timestamp reset".to_owned() });
        }
        match read {
            Some(()) => Ok(cursor.at),
            None => Err(Broken { at: 0, what: format!("failed to decode frame with tag 0x{tag:02x}") }),
        }
    }

    fn add_layout(&mut self, number: u16, layout: Layout, at: usize) -> Result<usize, Broken> {
        let index = usize::from(number);
        if index >= self.layouts.len() {
            self.layouts.resize_with(index + 1, || None);
        }
        if let Some(place) = self.layouts.get_mut(index) {
            if place.as_ref().is_some_and(|known| known.schema != layout.schema) {
                let what = format!("type_id WireTypeId({number}) already registered with different schema");
                return Err(Broken { at, what });
            }
            *place = Some(Box::new(layout));
        }
        Ok(at)
    }
}

/// Reads the value at `at` and says where the next one is; or where it breaks off, and how.
fn value<'a>(
    kind: FieldType,
    bytes: &'a [u8],
    mut at: usize,
    values: &mut Vec<FieldValueRef<'a>>,
) -> Result<usize, (usize, &'static str)> {
    let mut what = "truncated field value";
    if kind.is_optional() {
        let given = *bytes.get(at).ok_or((at, "truncated optional field prefix"))?;
        at += 1;
        if given == 0 {
            values.push(FieldValueRef::None);
            return Ok(at);
        }
        what = "truncated optional field value";
    }
    let (value, length) = FieldValueRef::decode(kind.inner(), bytes, at).ok_or((at, what))?;
    values.push(value);
    Ok(at + length)
}

/// Reads what a frame consists of.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn long(&mut self) -> Option<usize> {
        self.array().map(u32::from_le_bytes).map(|long| long as usize)
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = self.short()?;
        std::str::from_utf8(self.take(length.into())?).ok()
    }

    fn layout(&mut self) -> Option<(u16, Layout)> {
        let (number, name) = (self.short()?, self.name()?);
        let [timed] = self.array()?;
        let mut fields = Vec::new();
        for _ in 0..self.short()? {
            let name = self.name()?;
            let [tag] = self.array()?;
            fields.push(FieldDef::new(name, FieldType::from_tag(tag)?));
        }
        let schema = SchemaEntry::new(name, fields);
        let timed = timed != 0;
        let (kind, current) = codec::recognize(&schema);
        let straight = kind.filter(|_| timed && current);
        Some((number, Layout { schema, timed, kind, straight }))
    }

    /// Numbers, and what they stand for: so many pieces of `width` bytes.
    fn pool(&mut self, width: usize) -> Option<Vec<(u32, &'a [u8])>> {
        let mut entries = Vec::new();
        for _ in 0..self.long()? {
            let id = u32::from_le_bytes(self.array()?);
            let length = self.long()?.checked_mul(width)?;
            entries.push((id, self.take(length)?));
        }
        Some(entries)
    }

    /// What is said about fields means nothing here.
    fn annotations(&mut self) -> Option<()> {
        let (_, length) = FieldValueRef::decode(FieldType::Varint, self.bytes, self.at)?;
        self.at += length;
        for _ in 0..self.short()? {
            self.short()?;
            self.name()?;
            let length = self.long()?;
            std::str::from_utf8(self.take(length)?).ok()?;
        }
        Some(())
    }
}

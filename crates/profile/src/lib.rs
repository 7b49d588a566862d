//! CPU profiles in the format of pprof: `profile.proto`, gzipped.
//!
//! Two sides need it and never see each other: the sampler inside the observed program, which knows addresses only, and
//! the tool, which adds functions and lines. The messages are written out here since the crates that hold them either
//! compile the `.proto` with a code generator or bring an older prost; a test decodes real bytes field by field.

mod messages;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
pub use messages::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use prost::Message;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};

/// Larger than any profile of ours, smaller than what a gzip bomb needs.
const MOST_BYTES: u64 = 1 << 30;

/// Why bytes are no profile.
#[derive(Debug)]
pub enum Unreadable {
    /// Not gzip, or cut off.
    Packed(io::Error),
    /// Not the message.
    Message(prost::DecodeError),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Packed(error) => write!(f, "it is not whole gzip: {error}"),
            Unreadable::Message(error) => write!(f, "it is not a pprof profile: {error}"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl Profile {
    /// Reads the bytes of a `.pb.gz` file.
    ///
    /// # Errors
    ///
    /// If they are not gzip, cut off, or not a profile.
    pub fn read(bytes: &[u8]) -> Result<Profile, Unreadable> {
        let mut plain = Vec::new();
        GzDecoder::new(bytes).take(MOST_BYTES).read_to_end(&mut plain).map_err(Unreadable::Packed)?;
        Profile::decode(&*plain).map_err(Unreadable::Message)
    }

    /// The bytes of a `.pb.gz` file.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to memory does not fail.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&self.encode_to_vec())?;
        packed.finish()
    }

    /// The text at `index`; empty if there is none.
    pub fn text(&self, index: i64) -> &str {
        usize::try_from(index).ok().and_then(|index| self.string_table.get(index)).map_or("", String::as_str)
    }
}

/// The string table of a profile under way: each text once, the empty one first, as the format demands.
#[derive(Debug)]
pub struct Texts {
    all: Vec<String>,
    known: HashMap<String, i64>,
}

impl Texts {
    /// Goes on with the table of a profile, which may be empty.
    pub fn of(table: Vec<String>) -> Texts {
        let all = if table.is_empty() { vec![String::new()] } else { table };
        let known = (0..).zip(&all).map(|(at, text)| (text.clone(), at)).collect();
        Texts { all, known }
    }

    /// The index of `text`.
    pub fn index(&mut self, text: &str) -> i64 {
        if let Some(at) = self.known.get(text) {
            return *at;
        }
        let at = i64::try_from(self.all.len()).unwrap_or(i64::MAX);
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), at);
        at
    }

    /// The table, to go into [`Profile::string_table`].
    pub fn table(self) -> Vec<String> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut texts = Texts::of(Vec::new());
        let kind = ValueType { r#type: texts.index("cpu"), unit: texts.index("nanoseconds") };
        let profile = Profile {
            sample_type: vec![kind],
            sample: vec![Sample { location_id: vec![1], value: vec![10_101_010], label: Vec::new() }],
            location: vec![Location { id: 1, address: 0x1234, ..Location::default() }],
            string_table: texts.table(),
            period: 10_101_010,
            ..Profile::default()
        };
        let back = Profile::read(&profile.bytes().unwrap()).unwrap();
        assert_eq!(back, profile);
        assert_eq!((back.text(1), back.text(2), back.text(99), back.text(-1)), ("cpu", "nanoseconds", "", ""));
    }

    /// The numbers and kinds of the fields, against bytes written by hand from profile.proto.
    #[test]
    fn the_fields_are_those_of_the_format() {
        let wire: &[u8] = &[
            0x0a, 4, 0x08, 1, 0x10, 2, // sample_type {type 1, unit 2}
            0x12, 5, 0x0a, 1, 7, 0x10, 3, // sample {location_id packed [7], value unpacked 3}
            0x1a, 6, 0x08, 1, 0x10, 16, 0x18, 32, // mapping {id, memory_start, memory_limit}
            0x22, 10, 0x08, 7, 0x10, 1, 0x18, 20, 0x22, 2, 0x08,
            9, // location {id, mapping_id, address, line {function}}
            0x2a, 4, 0x08, 9, 0x10, 1, // function {id, name}
            0x32, 0, 0x32, 1, b'a', // string_table
            0x48, 5, 0x50, 6, 0x60, 8, // time_nanos, duration_nanos, period
        ];
        let profile = Profile::decode(wire).unwrap();
        assert_eq!(profile.sample_type, [ValueType { r#type: 1, unit: 2 }]);
        assert_eq!((&profile.sample[0].location_id[..], &profile.sample[0].value[..]), (&[7][..], &[3][..]));
        assert_eq!((profile.mapping[0].memory_start, profile.mapping[0].memory_limit), (16, 32));
        assert_eq!((profile.location[0].address, profile.location[0].line[0].function_id), (20, 9));
        assert_eq!((profile.function[0].name, profile.text(1)), (1, "a"));
        assert_eq!((profile.time_nanos, profile.duration_nanos, profile.period), (5, 6, 8));
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(matches!(Profile::read(b"dear reader"), Err(Unreadable::Packed(_))));
        let whole = Profile { time_nanos: 5, ..Profile::default() }.bytes().unwrap();
        assert!(Profile::read(&whole[..whole.len() - 4]).is_err());
    }
}

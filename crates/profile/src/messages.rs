//! The messages of `profile.proto`, as far as CPU profiles use them. Texts are indices into the string table, 0 for
//! none; ids start at 1, 0 stands for none.

use prost::Message;

/// A whole profile.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What the values of a sample count, in order.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// The stacks and how often they were seen.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// The files that were mapped as code; the program itself first.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// The addresses that samples name.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// The functions that locations name.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// Every text, the empty one first.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// When it began, nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// How long it took.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What the period counts.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// How much of it lies between two samples.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Remarks for people.
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
}

/// A quantity and its unit.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ValueType {
    /// What is counted.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// In which unit.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// One stack.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Its locations, innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// One value for each [`Profile::sample_type`].
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// What tells it from others with the same stack.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A key with a text or a number.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Label {
    /// What it says.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// A text.
    #[prost(int64, tag = "2")]
    pub str: i64,
    /// Or a number.
    #[prost(int64, tag = "3")]
    pub num: i64,
}

/// A file mapped as code.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Mapping {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// First address.
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    /// One past the last address.
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    /// Where in the file the first address lies.
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    /// Its path.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// Its build id in hex.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Whether the locations in it name functions.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// Whether the functions name files.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// Whether the locations name lines.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// Whether they name inlined functions.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// One address.
#[derive(Clone, PartialEq, Message)]
pub struct Location {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The file it lies in.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// The address; for callers one that lies inside the call.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// The functions there, inlined ones first.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Line {
    /// The function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// From 1.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Function {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name for people.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Its name for linkers.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// Its file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
    /// Its first line.
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}

//! Files to events, whatever has happened to the files.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::event::Event;
use crate::frames::{Frames, MAGIC};
use crate::segment::{self, MAX_SEGMENT_BYTES};

/// Bytes that are unpacked at a time: few enough to be read while the processor still has them at hand.
const CHUNK: usize = 64 * 1024;

/// What is wrong with a piece of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The segment breaks off or makes no sense from here on; everything before it was read.
    Torn,
    /// Events of a newer version of pollscope, left out.
    Newer,
    /// Events without some of their fields, read with empty ones.
    Missing,
    /// The file could not be read at all.
    Unreadable,
    /// Segments that are not there: the oldest went to keep the disk budget, or files were lost. What still holds is
    /// said again after the gap.
    Gone,
}

/// A part of a recording that could not be read as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment.
    pub segment: u64,
    /// Where in the (uncompressed) segment it was first seen.
    pub at_byte: u64,
    /// What sort of damage.
    pub kind: DamageKind,
    /// The same in a few words.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DamageKind::Gone | DamageKind::Unreadable => write!(f, "segment {} {}", self.segment, self.what),
            _ => write!(f, "segment {} at byte {}: {}", self.segment, self.at_byte, self.what),
        }
    }
}

/// Why a path could not be opened as a recording.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing is there.
    DoesNotExist(PathBuf),
    /// Something else is there.
    NotARecording(PathBuf),
    /// A recording without a single byte.
    Empty(PathBuf),
    /// It is there but the system does not let us read it.
    Unreadable(PathBuf, io::Error),
    /// The folder holds several recordings.
    Several(PathBuf, Vec<PathBuf>),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::DoesNotExist(path) => {
                write!(f, "{} does not exist; give the folder `pollscope record` wrote", path.display())
            }
            OpenError::NotARecording(path) => {
                write!(f, "{} is not a recording; give a folder with `.pollscope` files in it", path.display())
            }
            OpenError::Empty(path) => {
                write!(f, "{} is an empty recording; record again and let the program run longer", path.display())
            }
            OpenError::Unreadable(path, error) => {
                write!(f, "{} cannot be read ({error}); check its permissions and its disk", path.display())
            }
            OpenError::Several(path, found) => {
                let first = found.first().map(|path| path.display().to_string()).unwrap_or_default();
                write!(f, "{} holds {} recordings; give one of them, such as {first}", path.display(), found.len())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Unreadable(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The folders with segments in them among `path`, `path/recording`, and the folders directly in these two.
pub fn find_recordings(path: &Path) -> Vec<PathBuf> {
    let below = path.join("recording");
    let mut candidates = vec![path.to_owned(), below.clone()];
    for folder in [path, &below] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut children: Vec<_> = entries.map(|entry| entry.path()).filter(|child| *child != below).collect();
        children.sort();
        candidates.append(&mut children);
    }
    candidates.retain(|folder| segment::list(folder).is_ok_and(|segments| !segments.is_empty()));
    candidates
}

/// A recording that was found; its events are read anew from the files each time.
#[derive(Debug, Clone)]
pub struct Recording {
    dir: PathBuf,
}

impl Recording {
    /// Opens the recording at `path`: its folder, or a folder that holds exactly one (see [`find_recordings`]).
    pub fn open(path: &Path) -> Result<Recording, OpenError> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::DoesNotExist(path.to_owned()));
            }
            Err(error) => return Err(OpenError::Unreadable(path.to_owned(), error)),
        };
        if !metadata.is_dir() {
            return Err(OpenError::NotARecording(path.to_owned()));
        }
        std::fs::read_dir(path).map_err(|error| OpenError::Unreadable(path.to_owned(), error))?;
        let mut found = find_recordings(path);
        // A folder that is a recording itself is meant, whatever else lies in it.
        if found.first().is_some_and(|first| first == path) {
            found.truncate(1);
        }
        match (found.pop(), found.is_empty()) {
            (Some(dir), true) => Recording { dir }.checked(),
            (Some(last), false) => {
                found.push(last);
                Err(OpenError::Several(path.to_owned(), found))
            }
            (None, _) => Err(OpenError::NotARecording(path.to_owned())),
        }
    }

    /// The folder its segments are in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Hands over every event that can be read, in the order of writing, and returns what could not. Facts that are
    /// still true come again at the start of each segment.
    pub fn for_each(&self, mut each: impl FnMut(Event)) -> Vec<Damage> {
        let unreadable = |segment, error: io::Error| Damage {
            segment,
            at_byte: 0,
            kind: DamageKind::Unreadable,
            what: format!("cannot be read: {error}"),
        };
        let segments = match segment::list(&self.dir) {
            Ok(segments) => segments,
            Err(error) => return vec![unreadable(0, error)],
        };
        let mut damages = Vec::new();
        let mut next = 0;
        for &number in segments.keys() {
            if number > next {
                damages.push(gone(next, number));
            }
            next = number.saturating_add(1);
            match load(&self.dir, number) {
                Ok(mut segment) => damages.append(&mut decode(number, &mut segment, &mut 0, &mut each)),
                Err(error) => damages.push(unreadable(number, error)),
            }
        }
        damages
    }

    /// Looks at the first bytes: at least one segment must be one.
    fn checked(self) -> Result<Recording, OpenError> {
        let list = segment::list(&self.dir).map_err(|error| OpenError::Unreadable(self.dir.clone(), error))?;
        let (mut empty, mut failed) = (true, None);
        for &number in list.keys() {
            let sealed =
                File::open(segment::sealed_path(&self.dir, number)).map(|file| begin(MultiGzDecoder::new(file)));
            let plain = File::open(segment::plain_path(&self.dir, number)).map(begin);
            for start in [sealed, plain] {
                match start {
                    Ok(Ok(start)) if start.starts_with(MAGIC) => return Ok(self),
                    Ok(Ok(start)) => empty &= start.is_empty(),
                    Ok(Err(_)) => empty = false,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(match failed {
            Some(error) => OpenError::Unreadable(self.dir, error),
            None if empty => OpenError::Empty(self.dir),
            None => OpenError::NotARecording(self.dir),
        })
    }
}

/// The segments from `from` up to `to` are not there.
fn gone(from: u64, to: u64) -> Damage {
    let (count, first) = (to - from, from == 0);
    let what = match (count, first) {
        (1, true) => "is gone, probably to keep the disk budget: nothing is known of the time before the next".into(),
        (1, false) => "is missing: what happened in it is not known".into(),
        (_, true) => {
            format!(
                "and the {} after it are gone, probably to keep the disk budget: nothing is known of that time",
                count - 1
            )
        }
        (_, false) => format!("and the {} after it are missing: what happened in them is not known", count - 1),
    };
    Damage { segment: from, at_byte: 0, kind: DamageKind::Gone, what }
}

fn begin(from: impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    from.take(MAGIC.len() as u64).read_to_end(&mut start).map(|_| start)
}

/// The bytes of a segment, as far as they have come, and what went wrong on the way to them.
pub(crate) struct Bytes<'a> {
    from: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    /// Those in the buffer that are still to be read.
    start: usize,
    end: usize,
    /// Bytes that came before those in the buffer.
    before: u64,
    over: bool,
    damage: Option<String>,
}

impl<'a> Bytes<'a> {
    fn new(from: impl Read + 'a) -> Bytes<'a> {
        let from = Box::new(from.take(MAX_SEGMENT_BYTES + 1));
        Bytes { from, buffer: Vec::new(), start: 0, end: 0, before: 0, over: false, damage: None }
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn position(&self) -> u64 {
        self.before + self.start as u64
    }

    fn total(&self) -> u64 {
        self.before + self.end as u64
    }

    /// Waits for more of them; false if there are no more, or not one can be read.
    fn more(&mut self) -> bool {
        if self.over {
            return false;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.before += self.start as u64;
        (self.start, self.end) = (0, self.end - self.start);
        // A frame may be longer than a chunk; one of a damaged segment may seem as long as all of it.
        let wanted = CHUNK.max(2 * self.end);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        while let Some(room) = self.buffer.get_mut(self.end..).filter(|room| !room.is_empty()) {
            match self.from.read(room) {
                Ok(0) => self.over = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.damage = Some(format!("is incomplete: {error}"));
                    self.over = true;
                }
            }
            if self.over {
                break;
            }
        }
        if self.total() > MAX_SEGMENT_BYTES {
            self.damage = Some("is larger than 1 GiB; the rest is left out".into());
        }
        true
    }
}

/// Opens a segment. Where both files exist, sealing was interrupted: the sealed one counts if it is whole.
pub(crate) fn load(dir: &Path, number: u64) -> io::Result<Bytes<'static>> {
    let sealed = || File::open(segment::sealed_path(dir, number)).map(|file| Bytes::new(MultiGzDecoder::new(file)));
    let first = sealed();
    match (first, File::open(segment::plain_path(dir, number))) {
        (Ok(mut first), Ok(plain)) => {
            while first.more() {
                first.start = first.end;
            }
            if first.damage.is_none() { sealed() } else { Ok(Bytes::new(plain)) }
        }
        (Ok(first), Err(_)) => Ok(first),
        (Err(_), Ok(plain)) => Ok(Bytes::new(plain)),
        // It may have been sealed between the two looks.
        (Err(_), Err(_)) => sealed(),
    }
}

/// Reads one segment from memory.
#[doc(hidden)]
pub fn read_segment(bytes: &[u8], mut each: impl FnMut(Event)) -> Vec<Damage> {
    decode(0, &mut Bytes::new(bytes), &mut 0, &mut each)
}

/// Decodes a segment but for the first `seen` events, and brings `seen` up to date.
pub(crate) fn decode(
    segment: u64,
    bytes: &mut Bytes<'_>,
    seen: &mut usize,
    each: &mut dyn FnMut(Event),
) -> Vec<Damage> {
    let damage = |at_byte, kind, what| Damage { segment, at_byte, kind, what };
    bytes.more();
    let Some(header) = Frames::header(bytes.rest()) else {
        let what = if bytes.total() == 0 { "is empty" } else { "does not begin like a segment" };
        return vec![damage(0, DamageKind::Torn, bytes.damage.clone().unwrap_or_else(|| what.into()))];
    };
    bytes.start = header;
    let mut frames = Frames::default();
    let mut odd = BTreeMap::<(String, Option<&'static str>), u64>::new();
    let mut index = 0;
    let mut torn = None;
    loop {
        let rest = bytes.rest();
        if rest.is_empty() {
            if bytes.more() { continue } else { break }
        }
        let skip = index < *seen;
        let each: &mut dyn FnMut(Event) = if skip { &mut |_| {} } else { each };
        if let Some(length) = frames.straight(rest, each) {
            index += 1;
            bytes.start += length;
            continue;
        }
        match frames.read(rest, each) {
            Ok(frame) => {
                bytes.start += frame.bytes;
                index += usize::from(frame.event);
                if let Some((schema, field)) = frame.odd.filter(|_| !skip) {
                    *odd.entry((schema.name().to_owned(), field)).or_default() += 1;
                }
            }
            // Perhaps only its end has not come yet.
            Err(broken) => {
                if !bytes.more() {
                    torn = Some((bytes.position() + broken.at as u64, broken.what));
                    break;
                }
            }
        }
    }
    *seen = index.max(*seen);
    let mut damages: Vec<_> = odd
        .into_iter()
        .map(|((name, missing), count)| match missing {
            Some(field) => damage(0, DamageKind::Missing, format!("{count} `{name}` without a usable `{field}`")),
            None => damage(0, DamageKind::Newer, format!("{count} `{name}` of a newer pollscope left out")),
        })
        .collect();
    if let Some((at_byte, what)) = torn {
        damages.push(damage(at_byte, DamageKind::Torn, what));
    }
    if let Some(what) = &bytes.damage {
        damages.push(damage(bytes.total(), DamageKind::Torn, what.clone()));
    }
    damages
}

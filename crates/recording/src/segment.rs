//! The names of a recording's files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Nothing we write comes near this; a file that unpacks to more is an attack or a mistake.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// Which files one segment has. Both exist for a moment while it is sealed, and after a crash in that moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Size of the growing file, if there is one.
    pub(crate) plain: Option<u64>,
    /// Size of the sealed file, if there is one.
    pub(crate) sealed: Option<u64>,
}

impl Files {
    pub(crate) fn bytes(self) -> u64 {
        self.plain.unwrap_or(0) + self.sealed.unwrap_or(0)
    }
}

pub(crate) fn plain_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.pollscope"))
}

pub(crate) fn sealed_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.pollscope.gz"))
}

/// The number in a segment's file name, and whether it is a sealed one.
pub(crate) fn parse_name(name: &str) -> Option<(u64, bool)> {
    let (stem, sealed) = match name.strip_suffix(".pollscope.gz") {
        Some(stem) => (stem, true),
        None => (name.strip_suffix(".pollscope")?, false),
    };
    let digits = stem.len() >= 6 && stem.bytes().all(|byte| byte.is_ascii_digit());
    Some((stem.parse().ok().filter(|_| digits)?, sealed))
}

/// All segments in `dir`, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<BTreeMap<u64, Files>> {
    let mut found = BTreeMap::<u64, Files>::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Some((number, sealed)) = entry.file_name().to_str().and_then(parse_name) else {
            continue;
        };
        // A file may go between the listing and the look: it was just sealed, or was over budget.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            continue;
        }
        let files = found.entry(number).or_default();
        *if sealed { &mut files.sealed } else { &mut files.plain } = Some(metadata.len());
    }
    Ok(found)
}

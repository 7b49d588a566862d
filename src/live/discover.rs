//! Which recordings there are, and which of them are under way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A recording that was written to this recently is under way: an agent writes once a second at least.
const RECENT: Duration = Duration::from_secs(20);

/// The recordings that were written to of late: `folder` itself, the folders in it, and the runs in it.
///
/// # Errors
/// If `folder` cannot be read; what cannot be read in it is left out, since folders come and go.
pub(super) fn under_way(folder: &Path, wall: SystemTime) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    let recording = |folder: &Path| folders(&folder.join("recording")).unwrap_or_default();
    found.extend(recording(folder));
    for child in folders(folder)? {
        found.extend(recording(&child));
        found.push(child);
    }
    let recent = |written: SystemTime| wall.duration_since(written).is_ok_and(|age| age > RECENT);
    found.retain(|folder| written(folder).is_some_and(|written| !recent(written)));
    found.sort();
    Ok(found)
}

/// The name a recording's service goes by: the run's folder if it is in one. Its program's name else.
pub(super) fn run_folder(recording: &Path) -> Option<String> {
    let parent = recording.parent().filter(|parent| parent.ends_with("recording"))?;
    let run = std::path::absolute(parent.parent()?).ok()?;
    Some(run.file_name()?.to_string_lossy().into_owned())
}

/// Bytes of its segments.
pub(super) fn size(recording: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(recording)? {
        bytes += entry?.metadata().map_or(0, |file| file.len());
    }
    Ok(bytes)
}

/// When one of its segments was last written to; `None` if it has none.
fn written(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let segment = |name: &str| name.ends_with(".pollscope") || name.ends_with(".pollscope.gz");
    let segments = entries.filter(|entry| entry.file_name().to_str().is_some_and(segment));
    segments.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.flatten();
    Ok(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect())
}

//! Files that are whole at any time.

use std::fs;
use std::path::Path;

/// Replaces the file `name` by `bytes` in one step: whoever reads it, or kills us, finds the old one or the new one.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    let (draft, place) = (dir.join(format!(".{name}")), dir.join(name));
    fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &place)).map_err(|error| {
        let _ = fs::remove_file(&draft);
        format!("{} cannot be written: {error}", place.display())
    })
}

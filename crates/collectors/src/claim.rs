//! One process a folder: children inherit the environment, and would write into the same files.

use std::fs;
use std::path::Path;

const NAME: &str = "collectors.pid";

/// Makes the folder ours, as long as we live.
pub(crate) fn claim(dir: &Path) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("{} cannot be written: {error}", dir.display());
    fs::create_dir_all(dir).map_err(cannot)?;
    let path = dir.join(NAME);
    if let Ok(owner) = fs::read_to_string(&path)
        && let Ok(owner) = owner.trim().parse::<i32>()
        && u32::try_from(owner).ok() != Some(std::process::id())
        && alive(owner)
    {
        return Err(format!("process {owner} collects into {} already", dir.display()));
    }
    fs::write(&path, std::process::id().to_string()).map_err(cannot)
}

/// Gives it free.
pub(crate) fn release(dir: &Path) {
    // A file that stays is no harm: its process will be gone.
    let _ = fs::remove_file(dir.join(NAME));
}

fn alive(process: i32) -> bool {
    // SAFETY: signal 0 only asks whether the process exists.
    unsafe { libc::kill(process, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_by_one_living_process() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(NAME), "2000000000").unwrap();
        claim(place.path()).unwrap();
        claim(place.path()).unwrap();
        // Process 1 lives always, though it may not be ours to signal; our parent is.
        let parent = std::os::unix::process::parent_id();
        fs::write(place.path().join(NAME), parent.to_string()).unwrap();
        assert!(claim(place.path()).unwrap_err().contains("already"));
        release(place.path());
        claim(place.path()).unwrap();
    }
}

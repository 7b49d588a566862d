//! `pollscope diagnose`: a recording on disk to a verdict.

use super::options::DiagnoseOptions;
use super::{Failure, verdict};
use pollscope_recording::find_recordings;

pub(crate) fn diagnose(options: &DiagnoseOptions) -> Result<u8, Failure> {
    let path = &options.path;
    if !path.exists() {
        return Err(Failure::new(format!("there is no recording {}", path.display())));
    }
    let Some((recording, remark)) = verdict::choose(find_recordings(path), None) else {
        return Err(Failure::new(format!("{} holds no recording of pollscope", path.display())));
    };
    let mut diagnosis = verdict::of_recording(&recording)?;
    diagnosis.notes.extend(remark);
    Ok(verdict::show(&diagnosis, &path.display().to_string(), options.verdict))
}

//! `pollscope report`: a run's folder, or a recording, to one HTML file.

use super::options::ReportOptions;
use super::{Failure, HEALTHY, page, terminal, verdict};
use pollscope::detect::Diagnosis;
use pollscope::model::Series;
use pollscope_recording::find_recordings;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) fn report(options: &ReportOptions) -> Result<u8, Failure> {
    let path = &options.path;
    if !path.exists() {
        return Err(Failure::new(format!("there is no recording {}", path.display())));
    }
    let found = find_recordings(path);
    let alone = found.first().is_some_and(|first| first == path);
    let kept = kept(path)?;
    let (diagnosis, series) = match (verdict::choose(found, kept.as_ref().map(pid)), kept) {
        // What a run concluded stands: its binary may have been rebuilt since, and the recording names no line.
        (Some((recording, _)), Some(kept)) => (kept, Some(verdict::read(&recording)?.1)),
        (None, Some(kept)) => (kept, None),
        (Some((recording, remark)), None) => {
            let (mut diagnosis, series) = verdict::read(&recording)?;
            diagnosis.notes.extend(remark);
            (diagnosis, Some(series))
        }
        (None, None) => {
            return Err(Failure::new(format!("{} holds no recording of pollscope", path.display())));
        }
    };
    let out = match &options.out {
        Some(out) => out.clone(),
        None if alone => beside(path)?,
        None => path.join(page::NAME),
    };
    write(&out, path, &diagnosis, series.as_ref())?;
    terminal::result(&format!("{}\n", out.display()));
    if options.open {
        open(&out)?;
    }
    Ok(HEALTHY)
}

/// The diagnosis a run left in its folder.
fn kept(folder: &Path) -> Result<Option<Diagnosis>, Failure> {
    let path = folder.join("diagnosis.json");
    if !path.is_file() {
        return Ok(None);
    }
    let cannot = |error: &dyn std::fmt::Display| Failure::cannot(format_args!("read {}", path.display()), error);
    let text = fs::read_to_string(&path).map_err(|error| cannot(&error))?;
    serde_json::from_str(&text).map(Some).map_err(|error| cannot(&error))
}

fn pid(diagnosis: &Diagnosis) -> u32 {
    u32::try_from(diagnosis.program.pid).unwrap_or(0)
}

/// The folder of a recording holds segments and nothing else: its report goes beside it, under its name.
fn beside(recording: &Path) -> Result<PathBuf, Failure> {
    let path = fs::canonicalize(recording)
        .map_err(|error| Failure::cannot(format_args!("find {}", recording.display()), error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!("{name}.html")))
}

fn write(out: &Path, folder: &Path, diagnosis: &Diagnosis, series: Option<&Series>) -> Result<(), Failure> {
    page::write(out, folder, &folder.display().to_string(), diagnosis, series)
}

/// Hands the file to the desktop, and does not wait for what it does with it.
fn open(file: &Path) -> Result<(), Failure> {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started =
        Command::new(opener).arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let shown = file.display();
    started.map(drop).map_err(|error| Failure::new(format!("{opener} cannot be started to open {shown}: {error}")))
}

//! From a recording on disk to a diagnosis, and from a diagnosis to what the user sees and the exit status.

use super::options::{Level, VerdictFormat, VerdictOptions};
use super::{FINDINGS, Failure, HEALTHY, rules, terminal};
use pollscope::detect::{Diagnosis, Severity, Verdict, Watched};
use pollscope::model::Series;
use pollscope::report;
use pollscope::symbols::Symbols;
use pollscope_recording::Recording;
use std::fs;
use std::path::{Path, PathBuf};

/// Reads the recording at `path` whole and diagnoses it; what is damaged is said in the notes.
pub(crate) fn of_recording(path: &Path) -> Result<Diagnosis, Failure> {
    read(path).map(|(diagnosis, _)| diagnosis)
}

/// The same, with what happened when.
pub(crate) fn read(path: &Path) -> Result<(Diagnosis, Series), Failure> {
    let recording = Recording::open(path).map_err(|error| Failure::new(error.to_string()))?;
    let mut watched = Watched::by(rules::current());
    let mut series = Series::default();
    let damages = recording.for_each(|event| {
        series.feed(&event);
        watched.feed(&event);
    });
    series.finish();
    let mut diagnosis = watched.diagnose(&mut Symbols::new());
    diagnosis.notes.extend(damages.iter().map(ToString::to_string));
    diagnosis.observer.bytes = size(path);
    Ok((diagnosis, series))
}

/// The stacks of a recording's polls that were caught asleep, folded: nanoseconds by stack, outermost function first.
#[cfg(all(feature = "lab", feature = "collect"))]
pub(crate) fn off_cpu(path: &Path) -> Result<String, Failure> {
    let recording = Recording::open(path).map_err(|error| Failure::new(error.to_string()))?;
    let mut model = pollscope::model::Model::default();
    recording.for_each(|event| model.feed(&event));
    Ok(pollscope::collect::folded_sleep(&model))
}

/// Of several recordings, the one of process `pid`, else the largest; with a remark if there was a choice.
pub(crate) fn choose(mut found: Vec<PathBuf>, pid: Option<u32>) -> Option<(PathBuf, Option<String>)> {
    found.sort_by_key(|path| size(path));
    let own = pid.and_then(|pid| {
        let mark = format!("-{pid}-");
        found.iter().position(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&mark)))
    });
    let others = found.len().checked_sub(1)?;
    let chosen = found.swap_remove(own.unwrap_or(others));
    let name = chosen.file_name().unwrap_or_default().to_string_lossy();
    let remark = (others > 0).then(|| {
        let (processes, verb) = if others == 1 { ("process was", "it") } else { ("processes were", "them") };
        format!("{others} more {processes} recorded; this is {name}, diagnose the folders beside it to see {verb}")
    });
    Some((chosen, remark))
}

/// Writes the diagnosis to stdout, and says the exit status it deserves.
pub(crate) fn show(diagnosis: &Diagnosis, folder: &str, options: VerdictOptions) -> u8 {
    let page = Path::new(folder).join("report.html");
    let page = page.is_file().then(|| page.display().to_string());
    let screen = report::text::Screen { columns: terminal::columns(), folder, page: page.as_deref() };
    terminal::result(&match options.format {
        VerdictFormat::Text => report::text::verdict(diagnosis, &screen),
        VerdictFormat::Json => report::json::diagnosis(diagnosis),
        VerdictFormat::Dot => report::dot::diagnosis(diagnosis),
    });
    status(diagnosis, options)
}

fn status(diagnosis: &Diagnosis, options: VerdictOptions) -> u8 {
    let least = match options.fail_on {
        Level::Info => Severity::Info,
        Level::Warning => Severity::Warning,
        Level::Critical => Severity::Critical,
    };
    let found = diagnosis.findings.iter().any(|finding| finding.severity >= least);
    let unsure = matches!(diagnosis.verdict, Verdict::Environment | Verdict::Unknown);
    if found || (unsure && options.strict) { FINDINGS } else { HEALTHY }
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return fs::metadata(folder).map_or(0, |file| file.len());
    };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

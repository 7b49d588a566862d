//! What the HTML report needs from the disk: source code, flame graphs, metrics. The page itself is `report`'s work.

use super::Failure;
use pollscope::detect::{Diagnosis, Location};
use pollscope::model::Series;
use pollscope::report::html::{Excerpt, Excerpts, Metrics, Page, Picture, page, places};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The report's name in the folder of a run.
pub(crate) const NAME: &str = "report.html";
/// Lines of source shown before and after one.
const AROUND: u32 = 6;
/// Larger source files are no source files.
const MOST_SOURCE: u64 = 4 << 20;
/// Larger pictures would make the page unusable.
const MOST_PICTURE: u64 = 8 << 20;
/// Most rows of metrics kept; of more, every second, fourth, ... one.
const MOST_ROWS: usize = 4000;
/// Bytes a row of metrics may have.
const LONGEST_ROW: u64 = 1 << 20;
/// Flame graphs the collectors leave, and what they show.
const PICTURES: [(&str, &str); 2] =
    [("flame.svg", "Where the program's own tracing spans spend their time"), ("cpu.svg", "Where the CPU time goes")];

/// Writes the report on a run to `out`. `folder` holds the evidence, `shown` is how the user writes it.
pub(crate) fn write(
    out: &Path,
    folder: &Path,
    shown: &str,
    diagnosis: &Diagnosis,
    series: Option<&Series>,
) -> Result<(), Failure> {
    let excerpts = excerpts(diagnosis, series);
    let pictures: Vec<_> =
        PICTURES.iter().filter_map(|(name, title)| picture(&folder.join(name), name, title)).collect();
    let metrics = metrics(&folder.join("metrics.jsonl"));
    let html = page(&Page {
        diagnosis,
        series,
        excerpts: &excerpts,
        pictures: &pictures,
        metrics: metrics.as_ref(),
        folder: shown,
    });
    fs::write(out, html).map_err(|error| Failure::cannot(format_args!("write {}", out.display()), error))
}

fn picture(path: &Path, name: &str, title: &str) -> Option<Picture> {
    path.is_file().then(|| Picture { name: name.to_owned(), title: title.to_owned(), svg: read(path, MOST_PICTURE) })
}

/// The rows of a file of metrics, thinned out if it is long; they may be a month's.
fn metrics(path: &Path) -> Option<Metrics> {
    let mut file = path.is_file().then(|| File::open(path).ok()).flatten().map(BufReader::new)?;
    let mut metrics = Metrics { rows: Vec::new(), every: 1 };
    for number in 0_usize.. {
        let mut row = Vec::new();
        match file.by_ref().take(LONGEST_ROW).read_until(b'\n', &mut row) {
            Ok(read) if read > 0 => {}
            _ => break,
        }
        if metrics.rows.len() >= MOST_ROWS {
            let mut index = 0;
            metrics.rows.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            metrics.every *= 2;
        }
        if number.is_multiple_of(metrics.every) {
            metrics.rows.push(String::from_utf8_lossy(&row).into_owned());
        }
    }
    Some(metrics)
}

/// The bytes of an ordinary file, or why there are none.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    // A recording may name anything; a device or a pipe would never end.
    let facts = fs::metadata(path).map_err(|error| error.to_string())?;
    if !facts.is_file() {
        return Err("it is no ordinary file".to_owned());
    }
    if facts.len() > most {
        return Err(format!("it is larger than {} MiB", most >> 20));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn excerpts(diagnosis: &Diagnosis, series: Option<&Series>) -> Excerpts {
    let roots = roots(series);
    let started = series.map(|series| UNIX_EPOCH + Duration::from_nanos(series.wall_ns));
    let excerpt = |at: &Location| excerpt(at, &roots, started).unwrap_or_else(Excerpt::Missing);
    places(diagnosis).into_iter().map(|at| ((at.file.clone(), at.line), excerpt(at))).collect()
}

/// Where a path of a recording may begin: here, or above the executable (`target/release/...` of its workspace).
fn roots(series: Option<&Series>) -> Vec<PathBuf> {
    let exe = series.map(|series| PathBuf::from(&series.exe)).unwrap_or_default();
    let above = exe.ancestors().skip(1).filter(|folder| folder.is_absolute()).map(Path::to_owned);
    std::iter::once(PathBuf::new()).chain(above).collect()
}

fn excerpt(at: &Location, roots: &[PathBuf], started: Option<SystemTime>) -> Result<Excerpt, String> {
    // The report is made to be shown to others, and the place comes from the recording: no other file gets in.
    if Path::new(&at.file).extension().is_none_or(|extension| extension != "rs") {
        return Err("it is no Rust file".to_owned());
    }
    let path = roots.iter().map(|root| root.join(&at.file)).find(|path| path.is_file());
    let path = path.ok_or("the file was not found here or above the executable; run from the workspace to have it")?;
    let bytes = read(&path, MOST_SOURCE)?;
    let text = String::from_utf8_lossy(&bytes);
    let first = at.line.saturating_sub(AROUND).max(1);
    let lines: Vec<String> =
        text.lines().skip(first as usize - 1).take(2 * AROUND as usize + 1).map(str::to_owned).collect();
    if u32::try_from(lines.len()).unwrap_or(0) <= at.line.saturating_sub(first) || at.line == 0 {
        return Err(format!("{} has no such line any more", path.display()));
    }
    let written = fs::metadata(&path).and_then(|facts| facts.modified()).ok();
    let changed = matches!((written, started), (Some(written), Some(started)) if written > started);
    Ok(Excerpt::Lines { first, lines, changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &Path, line: u32) -> Location {
        Location { file: file.display().to_string(), line, ..Location::default() }
    }

    #[test]
    fn only_source_files_are_read() {
        let place = tempfile::tempdir().unwrap();
        let secret = place.path().join("secret.txt");
        let source = place.path().join("main.rs");
        fs::write(&secret, "one\n").unwrap();
        fs::write(&source, "one\ntwo\nthree\n").unwrap();
        let roots = roots(None);
        assert!(excerpt(&at(&secret, 1), &roots, None).is_err());
        assert!(excerpt(&at(Path::new("/dev/zero"), 1), &roots, None).is_err());
        assert!(excerpt(&at(&source, 4), &roots, None).is_err(), "no such line");
        assert!(excerpt(&at(&source, 0), &roots, None).is_err(), "no such line");
        let lines = ["one", "two", "three"].map(str::to_owned).to_vec();
        let started = Some(SystemTime::now() + Duration::from_secs(60));
        assert_eq!(
            excerpt(&at(&source, 3), &roots, started),
            Ok(Excerpt::Lines { first: 1, lines: lines.clone(), changed: false })
        );
        assert_eq!(
            excerpt(&at(&source, 1), &roots, Some(UNIX_EPOCH)),
            Ok(Excerpt::Lines { first: 1, lines, changed: true })
        );
    }

    #[test]
    fn a_long_file_of_metrics_is_thinned_out_evenly() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        let rows: String = (0..10_000).map(|n| format!("{n}\n")).collect();
        fs::write(&path, rows).unwrap();
        let metrics = metrics(&path).unwrap();
        assert_eq!(metrics.every, 4);
        let expected: Vec<String> = (0..10_000).step_by(4).map(|n| format!("{n}\n")).collect();
        assert_eq!(metrics.rows, expected);
    }

    #[test]
    fn sources_are_found_above_the_executable() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("src")).unwrap();
        fs::write(place.path().join("src/main.rs"), "fn main() {}\n").unwrap();
        let exe = place.path().join("target/debug/shop").display().to_string();
        let mut series = Series::default();
        series.exe = exe;
        assert!(excerpt(&at(Path::new("src/main.rs"), 1), &roots(Some(&series)), None).is_ok());
        assert!(
            excerpt(&at(Path::new("src/main.rs"), 1), &roots(None), None).is_ok() == Path::new("src/main.rs").exists()
        );
    }
}

//! How fast a recording is read and diagnosed, and with how much memory: a recording of level `full` is made, and then one
//! of twice its length; each is read in processes of their own, on one thread.
//!
//! ```text
//! cargo bench --bench analysis -- [--events MILLIONS] [--folder DIR]
//! ```
//!
//! Compared are dial9's decoder of the container, our reader alone, reader with model and diagnosis (what `pollscope
//! diagnose` does), and dial9's reader, `TraceReader`, on the very same files: the container is its own.

#[path = "../measure/mod.rs"]
mod measure;
mod recording;

use dial9_tokio_telemetry::telemetry::analysis::TraceReader;
use dial9_trace_format::decoder::Decoder;
use flate2::read::MultiGzDecoder;
use measure::arguments::{named, number};
use pollscope::detect::Watched;
use pollscope::model::Series;
use pollscope::symbols::Symbols;
use pollscope_recording::Recording;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const CHILD: &str = "--child";

/// One way to read a recording.
struct Contender {
    name: &'static str,
    what: &'static str,
    /// Reads it, and says how many events it saw.
    run: fn(&Path) -> Result<u64, String>,
}

const CONTENDERS: [Contender; 4] = [
    Contender {
        name: "container",
        what: "gzip and the frames by dial9's decoder, no event made of them",
        run: container,
    },
    Contender { name: "read", what: "our reader alone", run: read },
    Contender { name: "diagnose", what: "reader, model, series and all detectors", run: diagnosed },
    Contender {
        name: "dial9",
        what: "dial9's TraceReader on each segment: every event as its own type, all kept",
        run: dial9,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let done = match arguments.as_slice() {
        [child, contender, folder] if child == CHILD => one(contender, Path::new(folder)),
        _ => compare(&arguments),
    };
    match done {
        Ok(text) => {
            tell(&text);
            ExitCode::SUCCESS
        }
        Err(why) => {
            complain(&why);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn tell(text: &str) {
    println!("{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "a mistake in the options is told where it was made")]
fn complain(why: &str) {
    eprintln!("analysis: {why}");
}

fn open(folder: &Path) -> Result<Recording, String> {
    Recording::open(folder).map_err(|error| error.to_string())
}

fn read(folder: &Path) -> Result<u64, String> {
    let mut events = 0;
    open(folder)?.for_each(|event| {
        std::hint::black_box(&event);
        events += 1;
    });
    Ok(events)
}

fn diagnosed(folder: &Path) -> Result<u64, String> {
    let (mut watched, mut series, mut events) = (Watched::default(), Series::default(), 0);
    open(folder)?.for_each(|event| {
        series.feed(&event);
        watched.feed(&event);
        events += 1;
    });
    series.finish();
    let diagnosis = watched.diagnose(&mut Symbols::new());
    std::hint::black_box((&series, &diagnosis));
    Ok(events)
}

fn container(folder: &Path) -> Result<u64, String> {
    let mut events = 0;
    for file in std::fs::read_dir(folder).map_err(|error| error.to_string())?.flatten() {
        let path = file.path();
        let told = |error: String| format!("{}: {error}", path.display());
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(|error| told(error.to_string()))?;
        MultiGzDecoder::new(file).read_to_end(&mut bytes).map_err(|error| told(error.to_string()))?;
        let mut decoder = Decoder::new(&bytes).ok_or_else(|| told("does not begin like a segment".to_owned()))?;
        let frames = decoder.try_for_each_event::<()>(|frame| {
            std::hint::black_box(&frame);
            events += 1;
            Ok(())
        });
        frames.map_err(|_| told("breaks off".to_owned()))?;
    }
    Ok(events)
}

fn dial9(folder: &Path) -> Result<u64, String> {
    let mut events = 0;
    for file in std::fs::read_dir(folder).map_err(|error| error.to_string())?.flatten() {
        let path = file.path();
        let trace =
            TraceReader::new(&path.to_string_lossy()).map_err(|error| format!("{}: {error}", path.display()))?;
        events += trace.all_events.len() as u64;
    }
    Ok(events)
}

/// The work of a child: events, nanoseconds of CPU, and the most memory it ever had, in KiB.
fn one(contender: &str, folder: &Path) -> Result<String, String> {
    let contender = named(&CONTENDERS, |one| one.name, "contender", contender)?;
    let before = measure::process::process_cpu();
    let events = (contender.run)(folder)?;
    let took = measure::process::process_cpu() - before;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    Ok(format!("{events} {took} {}", peak.trim().trim_end_matches(" kB")))
}

fn compare(arguments: &[String]) -> Result<String, String> {
    let (mut millions, mut folder) = (4.0_f64, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{argument} is no option, or lacks its value"))?;
        match argument.as_str() {
            "--events" => millions = number(argument, value)?,
            "--folder" => folder = Some(PathBuf::from(value)),
            _ => return Err(format!("{argument} is no option; see the head of benches/analysis/main.rs")),
        }
    }
    if !(0.001..=10_000.0).contains(&millions) {
        return Err("--events takes millions, from 0.001 to 10000".to_owned());
    }
    let temporary = match folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let temporary = temporary.map_err(|error| format!("cannot make a folder: {error}"))?;
    let mut text = format!(
        "{:<10} {:>12} {:>10} {:>14} {:>12} {:>12}\n",
        "", "events", "on disk", "events/s", "CPU", "peak memory"
    );
    for length in [1, 2] {
        let wanted = (millions * 1e6) as u64 * length;
        let folder = temporary.path().join(format!("length-{length}"));
        let since = Instant::now();
        recording::make(&folder, wanted).map_err(|error| format!("cannot make a recording: {error}"))?;
        let made = since.elapsed();
        let bytes = measure::process::bytes_in(&folder);
        for contender in &CONTENDERS {
            let [events, nanos, peak] = child(contender, &folder)?;
            let _ = writeln!(
                text,
                "{:<10} {events:>12} {:>7.1} MB {:>14.0} {:>10.2} s {:>9.1} MB",
                contender.name,
                bytes as f64 / 1e6,
                events as f64 / (nanos as f64 / 1e9),
                nanos as f64 / 1e9,
                peak as f64 / 1024.0,
            );
        }
        let _ =
            writeln!(text, "  made in {:.1} s, {:.2} bytes an event", made.as_secs_f64(), bytes as f64 / wanted as f64);
    }
    for contender in &CONTENDERS {
        let _ = writeln!(text, "{}: {}", contender.name, contender.what);
    }
    Ok(text)
}

fn child(contender: &Contender, folder: &Path) -> Result<[u64; 3], String> {
    let told = |what: &str| format!("{}: {what}", contender.name);
    let program = std::env::current_exe().map_err(|error| told(&error.to_string()))?;
    let mut command = Command::new(program);
    command.args([CHILD, contender.name]).arg(folder).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| told(&error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    words.try_into().map_err(|_| told(&format!("{}, and it said {text:?}", output.status)))
}

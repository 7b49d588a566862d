//! One observed program from its start to its diagnosis: what `run` and `record` have in common.

use super::child::{Program, sad_end};
use super::folder::Folder;
use super::follow::Live;
use super::interrupt::listen;
use super::options::Collectors;
use super::terminal::Progress;
use super::{Failure, page, terminal, verdict};
use pollscope::detect::Diagnosis;
use pollscope::model::Series;
use pollscope::report;
use pollscope_recording::find_recordings;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the program is looked after.
const TICK: Duration = Duration::from_millis(25);

/// How a program is observed.
pub(crate) struct Plan<'a> {
    /// Its name, for the progress bar.
    pub(crate) name: &'a str,
    /// How long it is expected to run, if known.
    pub(crate) expected: Option<Duration>,
    /// When it is stopped.
    pub(crate) limit: Option<Duration>,
    /// Whether reaching the limit is worth a remark.
    pub(crate) should_end: bool,
    /// Whether findings are told while it runs.
    pub(crate) tell: bool,
    /// What the user should know beside the diagnosis.
    pub(crate) notes: Vec<String>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) diagnosis: Diagnosis,
    /// What the charts are drawn from.
    series: Series,
    /// How long the program ran.
    pub(crate) took: Duration,
    /// Whether it had to be stopped.
    pub(crate) stopped: bool,
    /// Whether the user had enough.
    pub(crate) interrupted: bool,
}

impl Outcome {
    /// Writes the HTML report of what lies in `folder` by now. The verdict stands without it.
    fn draw(&self, folder: &Folder) {
        let (page, shown) = (folder.report(), folder.shown());
        if let Err(failure) = page::write(&page, folder.path(), &shown, &self.diagnosis, Some(&self.series)) {
            terminal::note(&format!("pollscope: {failure}"));
        }
    }
}

/// Runs `command` with its agent awake, until it ends, its time is over or the user interrupts; then diagnoses what
/// was recorded and writes `diagnosis.json`.
pub(crate) fn observe(mut command: Command, folder: &Folder, plan: Plan<'_>) -> Result<Outcome, Failure> {
    let interrupted = listen()?;
    let recordings = folder.recording();
    command.env("POLLSCOPE", &recordings);
    // The verdict comes from a pass that nothing else disturbs.
    command.env_remove("POLLSCOPE_COLLECT");
    let started = Instant::now();
    let mut program = Program::start(command, &folder.log())?;
    let end = watch(&mut program, &recordings, &interrupted, &plan);
    let took = started.elapsed();

    let Some((recording, remark)) = verdict::choose(find_recordings(&recordings), Some(program.pid())) else {
        let end = end.note.map(|end| format!("{end}, and ")).unwrap_or_default();
        return Err(Failure::new(format!(
            "{end}nothing was recorded: the program must link pollscope-agent (`#[pollscope_agent::main]`) and be built \
             with RUSTFLAGS=\"--cfg tokio_unstable\"; its output is in {}/program.log",
            folder.shown()
        )));
    };
    let (mut diagnosis, series) = verdict::read(&recording)?;
    diagnosis.notes.extend(remark);
    diagnosis.notes.extend(plan.notes);
    diagnosis.notes.extend(end.note);
    let path = folder.diagnosis();
    fs::write(&path, report::json::diagnosis(&diagnosis))
        .map_err(|error| Failure::cannot(format_args!("write {}", path.display()), error))?;
    let outcome =
        Outcome { diagnosis, series, took, stopped: end.stopped, interrupted: interrupted.load(Ordering::Relaxed) };
    outcome.draw(folder);
    Ok(outcome)
}

/// The pass of the classic collectors, after the verdict.
pub(crate) fn second_pass(
    command: Command,
    folder: &Folder,
    wanted: &Collectors,
    name: &str,
    (outcome, limit): (&Outcome, Duration),
) -> Result<(), Failure> {
    if wanted.is_empty() || outcome.interrupted {
        return Ok(());
    }
    #[cfg(feature = "collect")]
    {
        super::collect::pass(command, folder, wanted, name, limit);
        outcome.draw(folder);
        Ok(())
    }
    #[cfg(not(feature = "collect"))]
    {
        let _ = (command, folder, name, limit);
        Err(Failure::new("this build cannot collect; install pollscope with its `collect` feature"))
    }
}

/// How the program came to its end.
struct End {
    /// What is worth knowing about it.
    note: Option<String>,
    stopped: bool,
}

/// Returns once the program has ended or was stopped.
fn watch(program: &mut Program, recordings: &Path, interrupted: &AtomicBool, plan: &Plan<'_>) -> End {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let progress = Progress::new(&format!("observing {}", plan.name), plan.expected.map(millis));
    let mut live = Live::new(recordings, program.pid(), plan.tell);
    let started = Instant::now();
    loop {
        if let Some(status) = program.ended() {
            return End { note: sad_end(status), stopped: false };
        }
        if interrupted.load(Ordering::Relaxed) {
            let signal = program.stop(SIGINT);
            let note = format!("the recording was interrupted; the program was ended with {signal}");
            return End { note: Some(note), stopped: true };
        }
        // One that should have ended and is stuck needs no more patience.
        let hopeless = plan.should_end && live.is_stuck();
        let limit = if hopeless { plan.expected.or(plan.limit) } else { plan.limit };
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            let signal = program.stop(SIGTERM);
            let seconds = started.elapsed().as_secs();
            let note = match plan.should_end {
                true => format!("the program did not end by itself and was stopped after {seconds} s with {signal}"),
                false => format!("the program was stopped after {seconds} s with {signal}, as asked"),
            };
            return End { note: Some(note), stopped: true };
        }
        live.tick(&progress);
        progress.at(millis(started.elapsed()));
        std::thread::sleep(TICK);
    }
}

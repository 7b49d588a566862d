//! Runs in processes of their own, as a user would start them, several at a time if asked.

use super::super::options::Flavor;
use super::super::{Failure, child};
use pollscope::detect::{Diagnosis, Location, Severity};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use std::{env, fs, thread};

/// One run to be made.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// The row it counts for.
    pub(super) row: usize,
    pub(super) scenario: &'static str,
    pub(super) cured: bool,
    /// None for what the scenario's source says.
    pub(super) flavor: Option<Flavor>,
    /// Busy processes beside it.
    pub(super) load: u32,
}

impl Run {
    /// The name of its folder.
    fn name(&self, index: usize) -> String {
        let flavor = self.flavor.map(|flavor| format!("-{flavor}")).unwrap_or_default();
        let cured = if self.cured { "-cured" } else { "" };
        format!("{}{cured}{flavor}-load{}-{index}", self.scenario, self.load)
    }
}

/// What came of one.
#[derive(Default)]
pub(super) struct Outcome {
    /// The findings of at least `warning`.
    pub(super) findings: Vec<Seen>,
    /// Why there is no verdict that counts.
    pub(super) failure: Option<String>,
    /// From start to verdict.
    pub(super) seconds: f64,
}

/// What is compared of a finding.
pub(super) struct Seen {
    pub(super) kind: String,
    pub(super) at: Option<Location>,
    pub(super) amplifiers: Vec<String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            // Without line tables.
            Some(at) if at.line == 0 => write!(f, "{} at {}", self.kind, at.function.as_deref().unwrap_or("?")),
            Some(at) => write!(f, "{} at {}:{}", self.kind, at.file, at.line),
            None => f.write_str(&self.kind),
        }
    }
}

/// Makes all of `runs`, `jobs` at a time; the outcomes come in the order of the runs.
/// `done` says whether the folder of a run can go.
pub(super) fn make(
    runs: &[Run],
    jobs: usize,
    place: &Scratch,
    done: impl Fn(&Run, &Outcome) -> bool + Sync,
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = runs.get(index) else { return };
            let started = Instant::now();
            let folder = place.path.join(run.name(index));
            let outcome = one(run, &folder);
            let outcome = outcome.unwrap_or_else(|failure| Outcome::failed(failure.to_string()));
            let outcome = Outcome { seconds: started.elapsed().as_secs_f64(), ..outcome };
            if done(run, &outcome) {
                let _ = fs::remove_dir_all(folder);
            }
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(work);
        }
        work();
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn one(run: &Run, folder: &Path) -> Result<Outcome, Failure> {
    let mut command = own_command()?;
    command.args(["run", run.scenario, "--format", "json", "--collect", "none", "--out"]).arg(folder);
    if run.cured {
        command.arg("--cured");
    }
    if let Some(flavor) = run.flavor {
        command.arg("--flavor").arg(flavor.to_string());
    }
    let output = command.output().map_err(|error| Failure::cannot(format_args!("run {}", run.scenario), error))?;
    let Ok(diagnosis) = serde_json::from_slice::<Diagnosis>(&output.stdout) else {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("the run ended without a diagnosis");
        return Ok(Outcome::failed(last.to_owned()));
    };
    Ok(Outcome::of(diagnosis, run.flavor))
}

impl Outcome {
    fn failed(why: String) -> Outcome {
        Outcome { failure: Some(why), ..Outcome::default() }
    }

    fn of(diagnosis: Diagnosis, asked: Option<Flavor>) -> Outcome {
        // A scenario that builds its runtime by hand does not heed the wish: then its row would lie.
        if let Some(asked) = asked
            && !diagnosis.program.runtimes.iter().any(|runtime| asked.is(&runtime.flavor, runtime.workers))
        {
            return Outcome::failed(format!("no runtime of the flavor {asked} was seen"));
        }
        let harmful = diagnosis.findings.into_iter().filter(|finding| finding.severity >= Severity::Warning);
        let seen =
            harmful.map(|finding| Seen { kind: finding.kind, at: finding.culprit.at, amplifiers: finding.amplifiers });
        Outcome { findings: seen.collect(), ..Outcome::default() }
    }
}

fn own_command() -> Result<Command, Failure> {
    let mut command = Command::new(child::own_binary()?);
    command.stdin(Stdio::null());
    Ok(command)
}

/// A process that keeps a core busy as long as this value lives.
pub(super) struct Neighbor(Child);

impl Neighbor {
    pub(super) fn start() -> Result<Neighbor, Failure> {
        let mut command = own_command()?;
        command.arg("__spin");
        child::die_with_us(&mut command);
        command.spawn().map(Neighbor).map_err(|error| Failure::cannot("start a busy neighbor", error))
    }
}

impl Drop for Neighbor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for the runs, gone when this value is unless it was asked for.
pub(super) struct Scratch {
    path: PathBuf,
    stays: bool,
}

impl Scratch {
    pub(super) fn new(kept: Option<&Path>) -> Result<Scratch, Failure> {
        let own = || env::temp_dir().join(format!("pollscope-eval-{}", std::process::id()));
        let path = kept.map_or_else(own, Path::to_path_buf);
        fs::create_dir_all(&path).map_err(|error| Failure::cannot(format_args!("write {}", path.display()), error))?;
        Ok(Scratch { path, stays: kept.is_some() })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.stays {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

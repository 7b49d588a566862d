//! `pollscope exercise check`: the learner's diagnosis and the learner's fix.

use super::answer::{Answer, Grade, Mark};
use super::build::{Built, build};
use super::content::{self, Exercise, Fault};
use super::progress::{Progress, Steps};
use super::project::{MAIN, Project, sources};
use super::work::Work;
use super::{debrief, place};
use crate::commands::folder::Folder;
use crate::commands::interrupt::listen;
use crate::commands::learn::CheckOptions;
use crate::commands::observe::{Outcome, Plan, observe};
use crate::commands::{FINDINGS, Failure, HEALTHY, terminal};
use pollscope::detect::{Finding, Severity, Verdict};
use pollscope::report::hanging;
use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a service works in a check.
const SECONDS: u64 = 3;
/// How much longer it may take to end.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a program that is only a little slow is looked at.
const LOOKS: u32 = 3;
/// The complaint about a finding that is no warning.
const HURTS_LESS: &str = "the fault is still there, though it hurts less";

pub(super) fn check(options: &CheckOptions) -> Result<u8, Failure> {
    let exercise = content::find(&options.name)?;
    let mut progress = Progress::load()?;
    let folder = folder(&exercise, options.dir.as_deref(), &progress)?;
    let shipped = Project::shipped(&exercise)?;
    let grade = Answer::read(&folder, options)?.grade(&exercise, &shipped)?;
    let before = progress.of(&exercise.name);
    let steps = progress.change(&exercise.name, |steps| {
        if exercise.faults.len() > 1 && grade.right() {
            steps.named.insert(grade.fault);
        }
        steps.diagnosed |= grade.right() && (exercise.faults.len() < 2 || steps.named.len() == exercise.faults.len());
    })?;
    terminal::result(&format!("Diagnosis: {}\n", told(&grade, &before, &steps, &exercise)));
    let complaints = match learners(&exercise, &folder)? {
        Ok(code) => judge(&exercise, &code)?,
        // Who says that the program is not to blame has nothing to mend.
        Err(_) if exercise.innocent() && steps.diagnosed => Vec::new(),
        Err(complaint) => vec![complaint],
    };
    let fixed = complaints.is_empty();
    let steps = progress.change(&exercise.name, |steps| steps.fixed = fixed)?;
    let mut text = String::new();
    if fixed && exercise.innocent() {
        text.push_str("Fix: none is needed; the program is as it was shipped.\n");
    } else if fixed {
        text.push_str("Fix: it holds. No fault was found, and the work is done.\n");
    } else {
        text.push_str("Fix: not yet.\n");
        let mut told = HashSet::new();
        for complaint in complaints.iter().filter(|complaint| told.insert(*complaint)) {
            text.push_str(&hanging("  - ", complaint, terminal::prose_columns()));
        }
    }
    match (fixed, steps.diagnosed) {
        (true, true) => text.push_str(&debrief::debrief(&exercise)?),
        (true, false) => {
            let _ = writeln!(
                text,
                "\nWhat was it? Say so to see the debrief:\n  \
                 pollscope exercise check {} --kind KIND --at {MAIN}:LINE --task FUNCTION",
                exercise.name
            );
        }
        (false, _) => {
            let _ = writeln!(text, "\nStuck? pollscope exercise hint {}", exercise.name);
        }
    }
    terminal::result(&text);
    Ok(if steps.solved() && fixed { HEALTHY } else { FINDINGS })
}

/// The learner's folder.
pub(super) fn folder(exercise: &Exercise, said: Option<&Path>, progress: &Progress) -> Result<PathBuf, Failure> {
    let steps = progress.of(&exercise.name);
    let folder = match (said, steps.dir) {
        (Some(folder), _) => place::absolute(folder)?,
        (None, Some(folder)) => folder,
        (None, None) => {
            let name = &exercise.name;
            return Err(Failure::new(format!("{name} is not started; `pollscope exercise start {name}` lays it out")));
        }
    };
    if !folder.join(MAIN).is_file() {
        return Err(Failure::new(format!(
            "{} holds no {MAIN}; say where the exercise lies with --dir, or start it anew",
            folder.display()
        )));
    }
    Ok(folder)
}

fn told(grade: &Grade, before: &Steps, now: &Steps, exercise: &Exercise) -> String {
    // How many there are is told to whoever has named one.
    let named = match (now.named.len(), exercise.faults.len()) {
        (0, _) => String::new(),
        (some, all) if some < all => format!(" {some} of {all} faults named."),
        (_, all) => format!(" All {all} faults are named."),
    };
    if !grade.given() {
        return format!("{}{named}", if before.diagnosed { "right, as said before." } else { "not given yet." });
    }
    let word = |mark| match mark {
        Mark::Right => "right",
        Mark::Wrong => "not right",
        Mark::Open => "not given",
    };
    format!("kind {}, line {}, task {}.{named}", word(grade.kind), word(grade.at), word(grade.task))
}

/// The learner's program with everything else as it was shipped; or why there is none.
pub(super) fn learners(exercise: &Exercise, folder: &Path) -> Result<Result<Project, String>, Failure> {
    let mut code = Project::code(exercise, exercise.scenario.fault_source)?;
    for file in sources(folder)? {
        if file.starts_with("src/workload") || file == Path::new("src/workload.rs") {
            continue;
        }
        let text = fs::read_to_string(folder.join(&file));
        let text =
            text.map_err(|error| Failure::cannot(format_args!("read {}", folder.join(&file).display()), error))?;
        if file == Path::new(MAIN) && text == code.text(MAIN) {
            return Ok(Err("src/main.rs is as it was shipped".to_owned()));
        }
        code.put(&file, text);
    }
    Ok(Ok(code))
}

/// How many blocking threads a program of ours has at most, if its attribute says so.
pub(super) fn blocking_threads(main: &str) -> Option<u64> {
    let (_, bound) = main.split_once("max_blocking_threads = ")?;
    bound.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What is still to be done, each as one sentence; nothing if the program is mended.
pub(super) fn judge(exercise: &Exercise, code: &Project) -> Result<Vec<String>, Failure> {
    let mine = match built(exercise, code, "yours")? {
        Built::Program(program) => program,
        Built::Refused(said) => {
            terminal::note(said.trim_end());
            return Ok(vec!["it does not build; the compiler's words are above".to_owned()]);
        }
    };
    let (mut outcome, mut work, mut complaints) = match settled(exercise, &mine) {
        Ok(run) => run,
        // Half a check says nothing of the program.
        Err(failure) if listen()?.load(Ordering::Relaxed) => return Err(failure),
        // Nothing was recorded, or nothing could be read: the program's doing.
        Err(failure) => return Ok(vec![failure.to_string()]),
    };
    if !complaints.is_empty() {
        return Ok(complaints);
    }
    // Where the program is not to blame, it is its own twin.
    let scenario = exercise.scenario;
    let source = if exercise.innocent() { scenario.fault_source } else { scenario.cure_source };
    let cure = Project::solved(exercise, source)?;
    let bound = blocking_threads(Project::code(exercise, scenario.fault_source)?.text(MAIN));
    let Built::Program(twin) = built(exercise, &cure, "mended")? else {
        return Err(Failure::new(format!(
            "the mended program of {} does not build; this is our fault, not yours",
            exercise.name
        )));
    };
    for look in 1..=LOOKS {
        let (mended, theirs) = run(exercise, &twin, "mended")?;
        if theirs.figures().is_none_or(|figures| !figures.conserved) {
            complaints = vec!["the machine is too busy to compare with the mended program; try again".to_owned()];
            continue;
        }
        complaints = work.complaints(&theirs, bound);
        // A decoy may be of the same kind, and is in both.
        let left = |fault: &Fault| of_kind(fault, &outcome, Severity::Info) > of_kind(fault, &mended, Severity::Info);
        if exercise.faults.iter().any(left) {
            complaints.push(HURTS_LESS.to_owned());
        }
        // What is in the mended program too may be long enough to be told in one run and not in another.
        let faint = complaints == [HURTS_LESS];
        // What a crowded machine hides may be there all the same.
        let unsure = complaints.is_empty() && outcome.diagnosis.verdict == Verdict::Environment;
        if unsure {
            complaints.push("the machine is too busy to be sure; try again".to_owned());
        }
        if look == LOOKS || exercise.innocent() || !(unsure || faint || work.only_slow(&theirs, bound)) {
            break;
        }
        // A neighbor may have had the machine for a while: measure both again.
        (outcome, work, complaints) = settled(exercise, &mine)?;
        if !complaints.is_empty() {
            break;
        }
    }
    if let Some(figures) = work.figures().filter(|_| complaints.is_empty()) {
        let (requests, p50, p99) = (figures.requests, figures.p50_ms, figures.p99_ms);
        terminal::note(&format!(
            "{requests} requests in {SECONDS} s, half of them within {p50:.2} ms, 99 % within {p99:.2} ms"
        ));
    }
    Ok(complaints)
}

/// A program that builds, at work.
pub(super) fn observed(exercise: &Exercise, code: &Project) -> Result<(Outcome, Work), Failure> {
    match built(exercise, code, "yours")? {
        Built::Program(program) => run(exercise, &program, "yours"),
        Built::Refused(said) => Err(Failure::new(format!("{} does not build: {said}", exercise.name))),
    }
}

/// Puts a program's files where they are built, and builds them.
fn built(exercise: &Exercise, code: &Project, role: &str) -> Result<Built, Failure> {
    let folder = place::cache()?.join(&exercise.name).join(role);
    let name = format!("{}-{role}", exercise.name);
    let mut code = code.clone();
    code.rename(exercise, &name);
    code.replace(&folder)?;
    build(&folder, &place::target()?, &name)
}

/// Lets a program work for a while, recorded.
fn run(exercise: &Exercise, program: &Path, role: &str) -> Result<(Outcome, Work), Failure> {
    let folder = Folder::claim(&place::cache()?.join(&exercise.name).join(format!("{role}-run")))?;
    let mut command = Command::new(program);
    command.env("SERVICE_SECONDS", SECONDS.to_string()).env("POLLSCOPE_TRACE", "1");
    let expected = Duration::from_secs(SECONDS);
    let plan = Plan {
        name: if role == "yours" { "your program" } else { "the mended program" },
        expected: Some(expected),
        limit: Some(expected + PATIENCE),
        should_end: true,
        tell: false,
        notes: Vec::new(),
    };
    let outcome = observe(command, &folder, plan)?;
    if outcome.interrupted {
        return Err(Failure::new("the check was interrupted"));
    }
    let work = Work::read(folder.path(), &outcome.diagnosis)?;
    Ok((outcome, work))
}

/// Runs the learner's program, and what the diagnosis has against it. Where that is new and the program came to its
/// end, it must be there each time: on a crowded machine whoever has a lock may be kept from going on.
fn settled(exercise: &Exercise, program: &Path) -> Result<(Outcome, Work, Vec<String>), Failure> {
    let (mut outcome, mut work) = run(exercise, program, "yours")?;
    for _ in 1..LOOKS {
        if faults(exercise, &outcome).is_empty() || outcome.stopped || still_there(exercise, &outcome) {
            break;
        }
        (outcome, work) = run(exercise, program, "yours")?;
    }
    let complaints = faults(exercise, &outcome);
    Ok((outcome, work, complaints))
}

/// How many findings there are of the kind that is looked for, of at least some severity.
fn of_kind(fault: &Fault, outcome: &Outcome, least: Severity) -> usize {
    let found = |finding: &&Finding| finding.kind == fault.kind && finding.severity >= least;
    outcome.diagnosis.findings.iter().filter(found).count()
}

/// Whether a fault is found that is looked for.
fn still_there(exercise: &Exercise, outcome: &Outcome) -> bool {
    exercise.faults.iter().any(|fault| of_kind(fault, outcome, Severity::Warning) > 0)
}

/// What the diagnosis has against a program. The faults that are looked for are not named here.
fn faults(exercise: &Exercise, outcome: &Outcome) -> Vec<String> {
    let diagnosis = &outcome.diagnosis;
    let left = exercise.faults.iter().filter(|fault| of_kind(fault, outcome, Severity::Warning) > 0);
    let still = if exercise.faults.len() > 1 { "a fault is still there" } else { "the fault is still there" };
    let mut complaints = vec![still.to_owned(); left.count()];
    let others = diagnosis.findings.iter().filter(|finding| !exercise.is_about(&finding.kind));
    for finding in others.filter(|finding| finding.severity >= Severity::Warning) {
        let at = finding.culprit.at.as_ref().map(|at| format!(" at {}:{}", at.file, at.line)).unwrap_or_default();
        complaints.push(format!("there is a new fault: {}{at}: {}", finding.kind, finding.title));
    }
    if diagnosis.verdict == Verdict::Unknown {
        complaints.push("too little was seen to say anything; has the agent been left out?".to_owned());
    }
    if complaints.is_empty() && outcome.stopped {
        complaints.push("the program did not come to its end by itself".to_owned());
    }
    complaints
}

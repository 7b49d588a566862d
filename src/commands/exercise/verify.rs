//! `pollscope exercise verify`: are the exercises fit to be solved?

use super::check::{blocking_threads, judge, observed};
use super::content::{self, Exercise};
use super::hint::hints;
use super::project::{MAIN, Project, WORKLOAD};
use crate::commands::{FINDINGS, Failure, HEALTHY, terminal};
use pollscope::detect::Verdict;
use std::collections::HashSet;

/// How many times the work a program must do that is freed from its surroundings.
const RELIEF: f64 = 1.3;
/// Every file an exercise may have.
const FILES: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    ".gitignore",
    "README.md",
    "TICKET.md",
    "answer.toml",
    MAIN,
    WORKLOAD,
    "src/workload/figures.rs",
    "src/workload/resolver.rs",
];

pub(super) fn verify(names: &[String], quick: bool) -> Result<u8, Failure> {
    let exercises = match names {
        [] => content::all()?,
        names => names.iter().map(|name| content::find(name)).collect::<Result<_, _>>()?,
    };
    let mut sound = true;
    for exercise in &exercises {
        let mut wrong = read(exercise)?;
        if !quick {
            wrong.extend(run(exercise)?);
        }
        sound &= wrong.is_empty();
        let name = &exercise.name;
        terminal::result(&if wrong.is_empty() { format!("{name}: sound\n") } else { String::new() });
        wrong.iter().for_each(|wrong| terminal::result(&format!("{name}: {wrong}\n")));
    }
    Ok(if sound { HEALTHY } else { FINDINGS })
}

/// What is wrong with what a learner reads.
fn read(exercise: &Exercise) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    let shipped = Project::shipped(exercise)?;
    for (file, _) in shipped.files().filter(|(file, _)| !FILES.contains(file)) {
        wrong.push(format!("{file} is a stray file"));
    }
    let (main, workload) = (shipped.text(MAIN), shipped.text(WORKLOAD));
    for pattern in exercise.faults.iter().flat_map(|fault| &fault.patterns) {
        if main.matches(pattern.as_str()).count() != 1 {
            wrong.push(format!("the learner's {MAIN} does not hold `{pattern}` once"));
        }
    }
    for task in exercise.faults.iter().flat_map(|fault| &fault.tasks) {
        let named = format!("fn {task}(");
        if !main.contains(&named) && !workload.contains(&named) && task != "main" {
            wrong.push(format!("there is no function `{task}`, whose task is to blame"));
        }
    }
    if main.contains("max_blocking_threads") && blocking_threads(main).is_none() {
        wrong.push(format!("{MAIN} does not say plainly how many blocking threads there are"));
    }
    let kinds = exercise.faults.iter().map(|fault| fault.kind.as_str());
    let telling: Vec<_> = kinds.chain([exercise.kind.as_str(), exercise.scenario.name]).collect();
    let telling: Vec<_> = telling.iter().flat_map(|word| [(*word).to_owned(), word.replace('-', " ")]).collect();
    let hints = hints(exercise)?;
    // The last step of the hints may say everything.
    let told = shipped
        .files()
        .filter(|(file, _)| *file != "Cargo.lock")
        .chain(hints.iter().take(3).map(|hint| ("hint", hint.as_str())));
    let lines: Vec<_> = culprits(exercise, main);
    for (place, text) in told.chain([("name", exercise.name.as_str())]) {
        let text = text.to_lowercase();
        for word in telling.iter().filter(|word| text.contains(word.as_str())) {
            wrong.push(format!("{place} says `{word}`"));
        }
        for line in lines.iter().filter(|line| text.contains(&format!("main.rs:{line}"))) {
            wrong.push(format!("{place} names line {line}"));
        }
    }
    if hints.iter().collect::<HashSet<_>>().len() != 4 || hints.iter().any(String::is_empty) {
        wrong.push("there are not four hints".to_owned());
    }
    if exercise.lied.is_empty() || exercise.lesson.is_empty() {
        wrong.push("the debrief has a hole".to_owned());
    }
    for before in &exercise.after {
        if before == &exercise.name || content::find(before).is_err() {
            wrong.push(format!("it comes after `{before}`, which is no other exercise"));
        }
    }
    let cure = Project::code(exercise, exercise.scenario.cure_source)?;
    // Where the program is not to blame, its surroundings are what is mended.
    let (mended, kept) = if exercise.innocent() { (WORKLOAD, MAIN) } else { (MAIN, WORKLOAD) };
    if below_uses(cure.text(kept)) != below_uses(shipped.text(kept)) {
        wrong.push(format!("{kept} of the fault and of the cure differ"));
    }
    if cure.text(mended) == shipped.text(mended) {
        wrong.push("the cure changes nothing".to_owned());
    }
    if exercise.faults.len() > 1 && exercise.first_try.is_none() {
        wrong.push("nothing shows that one fault alone is no fix".to_owned());
    }
    Ok(wrong)
}

/// A file without its first items, which name what it uses.
fn below_uses(text: &str) -> &str {
    text.rfind("\nuse ").map_or(text, |at| &text[at + 1..]).split_once('\n').map_or("", |(_, rest)| rest)
}

fn culprits(exercise: &Exercise, main: &str) -> Vec<usize> {
    let patterns = exercise.faults.iter().flat_map(|fault| &fault.patterns);
    let blamed = |line: &str| patterns.clone().any(|pattern| line.contains(pattern.trim()));
    (1..).zip(main.lines()).filter(|(_, line)| blamed(line)).map(|(number, _)| number).collect()
}

/// What is wrong with how it runs: as shipped and with the first remedy it must not pass, and with the cure it must.
fn run(exercise: &Exercise) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    if exercise.innocent() {
        return surroundings(exercise);
    }
    let complaints = judge(exercise, &Project::code(exercise, exercise.scenario.fault_source)?)?;
    let found = complaints.iter().filter(|complaint| complaint.contains("still there")).count();
    if found != exercise.faults.len() {
        wrong.push(format!("as shipped, {found} of {} faults are found: {complaints:?}", exercise.faults.len()));
    }
    // The learner's files meet the workload as it was shipped with the fault.
    let with = |source: &str| judge(exercise, &Project::solved(exercise, source)?);
    if let Some((source, expected)) = &exercise.first_try {
        let complaints = with(source)?;
        if !complaints.iter().any(|complaint| complaint.contains(expected.as_str())) {
            wrong.push(format!("of the first try it is not said `{expected}`, but {complaints:?}"));
        }
    }
    wrong.extend(
        with(exercise.scenario.cure_source)?.into_iter().map(|complaint| format!("with the cure, {complaint}")),
    );
    Ok(wrong)
}

/// What is wrong with an exercise whose program is not to blame: nothing must be found in it, but that the machine is
/// to blame; and it must do more work where nothing is wrong with its surroundings.
fn surroundings(exercise: &Exercise) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    let scenario = exercise.scenario;
    let (outcome, shipped) = observed(exercise, &Project::code(exercise, scenario.fault_source)?)?;
    let diagnosis = &outcome.diagnosis;
    if diagnosis.verdict != Verdict::Environment {
        let findings: Vec<_> = diagnosis.findings.iter().map(|finding| &finding.title).collect();
        wrong.push(format!("as shipped, the verdict is {:?}: {findings:?}", diagnosis.verdict));
    }
    let (_, free) = observed(exercise, &Project::code(exercise, scenario.cure_source)?)?;
    match (shipped.figures(), free.figures()) {
        (Some(shipped), Some(free)) if shipped.conserved && free.conserved => {
            let (before, after) = (shipped.requests, free.requests);
            if after as f64 <= before as f64 * RELIEF {
                wrong.push(format!("as shipped {before} requests are done, and {after} with the cure: no great harm"));
            }
        }
        _ => wrong.push("its books are not even".to_owned()),
    }
    Ok(wrong)
}

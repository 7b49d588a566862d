//! `pollscope exercise verify`: are the exercises fit to be solved?

use super::check::judge;
use super::content::{self, Exercise};
use super::hint::hints;
use super::project::{MAIN, Project, WORKLOAD};
use crate::commands::{FINDINGS, Failure, HEALTHY, terminal};
use std::collections::HashSet;

/// Every file an exercise may have.
const FILES: [&str; 10] = [
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
    for pattern in &exercise.patterns {
        if main.matches(pattern.as_str()).count() != 1 {
            wrong.push(format!("the learner's {MAIN} does not hold `{pattern}` once"));
        }
    }
    for task in &exercise.tasks {
        let named = format!("fn {task}(");
        if !main.contains(&named) && !workload.contains(&named) && task != "main" {
            wrong.push(format!("there is no function `{task}`, whose task is to blame"));
        }
    }
    let telling = [exercise.kind.as_str(), exercise.scenario.name];
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
    if cure.text(WORKLOAD).split("use super::*").nth(1) != workload.split("use super::*").nth(1) {
        wrong.push("the workloads of the fault and of the cure differ".to_owned());
    }
    Ok(wrong)
}

fn culprits(exercise: &Exercise, main: &str) -> Vec<usize> {
    let blamed = |line: &str| exercise.patterns.iter().any(|pattern| line.contains(pattern.trim()));
    (1..).zip(main.lines()).filter(|(_, line)| blamed(line)).map(|(number, _)| number).collect()
}

/// What is wrong with how it runs: as shipped it must not pass, and with the cure it must.
fn run(exercise: &Exercise) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    let fault = Project::code(exercise, exercise.scenario.fault_source)?;
    if !judge(exercise, &fault)?.iter().any(|complaint| complaint.contains("still there")) {
        wrong.push("its fault is not found as shipped".to_owned());
    }
    // The learner's cure meets the workload as it was shipped with the fault.
    let cure = Project::code(exercise, exercise.scenario.cure_source)?;
    let mut solved = fault;
    solved.put(MAIN.as_ref(), cure.text(MAIN).to_owned());
    wrong.extend(judge(exercise, &solved)?.into_iter().map(|complaint| format!("with the cure, {complaint}")));
    Ok(wrong)
}

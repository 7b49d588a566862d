//! The exercises: scenarios under another name, told by their symptom.

use crate::commands::Failure;
use crate::commands::nearest::nearest;
use pollscope_scenarios::Scenario;
use serde::Deserialize;

/// What a scenario's manifest says to learners.
#[derive(Debug, Deserialize)]
struct Page {
    title: String,
    kind: String,
    ticket: String,
    difficulty: u8,
    hints: [String; 4],
    lesson: String,
    truth: Option<Truth>,
    exercise: Option<Table>,
}

#[derive(Debug, Deserialize)]
struct Truth {
    kind: String,
    culprit: Option<Place>,
    #[serde(default)]
    culprits: Vec<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    pattern: String,
}

/// `[exercise]` of a manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The exercise's own name, which gives nothing away.
    name: String,
    /// Names of exercises to solve before.
    after: Vec<String>,
    /// Functions whose task is to blame; naming one of them is right.
    tasks: Vec<String>,
    /// Items of the program that are its clients and what it depends on, beside `run`.
    workload: Vec<String>,
    /// Which tool would have misled, and why.
    lied: String,
}

/// One exercise.
#[derive(Debug)]
pub(super) struct Exercise {
    pub(super) scenario: &'static Scenario,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) ticket: String,
    pub(super) difficulty: u8,
    pub(super) hints: [String; 4],
    pub(super) lesson: String,
    pub(super) lied: String,
    pub(super) after: Vec<String>,
    pub(super) workload: Vec<String>,
    /// The kind of finding it deserves.
    pub(super) kind: String,
    /// Kinds that are right as an answer: the finding's, and the amplifier the scenario is about.
    pub(super) kinds: Vec<String>,
    /// Pieces of the lines to blame.
    pub(super) patterns: Vec<String>,
    pub(super) tasks: Vec<String>,
}

/// Every exercise, the easy ones first.
pub(super) fn all() -> Result<Vec<Exercise>, Failure> {
    let mut exercises = Vec::new();
    for scenario in pollscope_scenarios::all() {
        exercises.extend(read(scenario)?);
    }
    exercises.sort_by_key(|exercise| exercise.difficulty);
    Ok(exercises)
}

/// The exercise of a scenario, if there is one.
fn read(scenario: &'static Scenario) -> Result<Option<Exercise>, Failure> {
    let page: Page = toml::from_str(scenario.manifest)
        .map_err(|error| Failure::cannot(format_args!("read the manifest of {}", scenario.name), error))?;
    let (Some(table), Some(truth)) = (page.exercise, page.truth) else {
        return Ok(None);
    };
    let mut kinds = vec![truth.kind.clone(), page.kind];
    kinds.dedup();
    let patterns = truth.culprit.into_iter().chain(truth.culprits).map(|place| place.pattern).collect();
    Ok(Some(Exercise {
        scenario,
        name: table.name,
        title: page.title,
        ticket: page.ticket,
        difficulty: page.difficulty,
        hints: page.hints,
        lesson: page.lesson,
        lied: table.lied,
        after: table.after,
        workload: table.workload,
        kind: truth.kind,
        kinds,
        patterns,
        tasks: table.tasks,
    }))
}

/// The exercise called `name`; a wrong name is answered with the nearest one.
pub(super) fn find(name: &str) -> Result<Exercise, Failure> {
    let mut all = all()?;
    if let Some(at) = all.iter().position(|exercise| exercise.name == name) {
        return Ok(all.swap_remove(at));
    }
    let near = nearest(name, all.iter().map(|exercise| exercise.name.as_str()), 1);
    Err(Failure::new(match near.first() {
        Some(near) => format!("there is no exercise `{name}`; did you mean `{near}`?"),
        None => format!("there is no exercise `{name}`; `pollscope exercise list` names them"),
    }))
}

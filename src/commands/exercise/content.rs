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
    #[serde(default)]
    tasks: Vec<String>,
    /// Pieces of further lines that are right to blame, beside those a diagnosis may name.
    #[serde(default)]
    also: Vec<String>,
    /// What is wrong, where that is not the one fault of `[truth]`; nothing if the program is not to blame.
    faults: Option<Vec<Fault>>,
    /// Items of the program that are its clients and what it depends on, beside `run`.
    workload: Vec<String>,
    /// Which tool would have misled, and why.
    lied: String,
    /// What the check says of a first remedy that does not hold.
    first_try: Option<String>,
}

/// Something to be named and mended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// The kind of finding it deserves.
    pub(super) kind: String,
    /// The amplifier that the exercise is about, which is right as an answer too.
    #[serde(skip)]
    pub(super) amplifier: Option<String>,
    /// Pieces of the lines to blame.
    pub(super) patterns: Vec<String>,
    /// Functions whose task is to blame; naming one of them is right.
    pub(super) tasks: Vec<String>,
}

/// One exercise.
#[derive(Debug)]
pub(super) struct Exercise {
    pub(super) scenario: &'static Scenario,
    /// A remedy that does not hold, and what the check says of it.
    pub(super) first_try: Option<(&'static str, String)>,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) ticket: String,
    pub(super) difficulty: u8,
    pub(super) hints: [String; 4],
    pub(super) lesson: String,
    pub(super) lied: String,
    pub(super) after: Vec<String>,
    pub(super) workload: Vec<String>,
    /// What the manifest calls it.
    pub(super) kind: String,
    /// What is wrong; nothing if the program is not to blame.
    pub(super) faults: Vec<Fault>,
}

impl Exercise {
    /// Whether there is nothing to mend in the program.
    pub(super) fn innocent(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether a finding of this kind is what the exercise is about.
    pub(super) fn is_about(&self, kind: &str) -> bool {
        self.faults.iter().any(|fault| fault.kind == kind)
    }
}

/// Every exercise, the easy ones first.
pub(super) fn all() -> Result<Vec<Exercise>, Failure> {
    let mut exercises = Vec::new();
    for scenario in pollscope_scenarios::all() {
        exercises.extend(read(scenario, None)?);
    }
    for lesson in pollscope_scenarios::lessons() {
        exercises.extend(read(&lesson.scenario, lesson.first_try_source)?);
    }
    exercises.sort_by_key(|exercise| exercise.difficulty);
    Ok(exercises)
}

/// The exercise of a scenario, if there is one.
fn read(scenario: &'static Scenario, first_try: Option<&'static str>) -> Result<Option<Exercise>, Failure> {
    let page: Page = toml::from_str(scenario.manifest)
        .map_err(|error| Failure::cannot(format_args!("read the manifest of {}", scenario.name), error))?;
    let Some(table) = page.exercise else {
        return Ok(None);
    };
    let faults = match (table.faults, page.truth) {
        (Some(faults), _) => faults,
        (None, Some(truth)) => {
            let lines = truth.culprit.into_iter().chain(truth.culprits).map(|place| place.pattern);
            vec![Fault {
                amplifier: Some(page.kind.clone()).filter(|kind| *kind != truth.kind),
                kind: truth.kind,
                patterns: lines.chain(table.also).collect(),
                tasks: table.tasks,
            }]
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(Exercise {
        scenario,
        first_try: first_try.zip(table.first_try),
        name: table.name,
        title: page.title,
        ticket: page.ticket,
        difficulty: page.difficulty,
        hints: page.hints,
        lesson: page.lesson,
        lied: table.lied,
        after: table.after,
        workload: table.workload,
        kind: page.kind,
        faults,
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

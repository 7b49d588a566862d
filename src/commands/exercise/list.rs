//! `pollscope exercise list`: what there is, what comes before what, and how far the learner is.

use super::content::{self, Exercise};
use super::place;
use super::progress::Progress;
use crate::commands::options::Format;
use crate::commands::{Failure, HEALTHY, terminal};
use pollscope::report::hanging;
use serde_json::json;
use std::fmt::Write;

pub(super) fn list(format: Format) -> Result<u8, Failure> {
    let exercises = content::all()?;
    let progress = Progress::load()?;
    let text = match format {
        Format::Json => {
            let entries: Vec<_> = exercises.iter().map(|exercise| entry(exercise, &progress)).collect();
            format!("{:#}\n", json!(entries))
        }
        Format::Text => table(&exercises, &progress)?,
    };
    terminal::result(&text);
    Ok(HEALTHY)
}

fn entry(exercise: &Exercise, progress: &Progress) -> serde_json::Value {
    let steps = progress.of(&exercise.name);
    // What is behind it stays behind it until it is solved.
    let scenario = steps.solved().then_some(exercise.scenario.name);
    json!({
        "name": exercise.name,
        "title": exercise.title,
        "difficulty": exercise.difficulty,
        "after": exercise.after,
        "ready": ready(exercise, progress),
        "state": steps.state(),
        "hints": steps.hints,
        "scenario": scenario,
    })
}

/// Whether everything that comes before is solved.
fn ready(exercise: &Exercise, progress: &Progress) -> bool {
    exercise.after.iter().all(|name| progress.of(name).solved())
}

fn table(exercises: &[Exercise], progress: &Progress) -> Result<String, Failure> {
    let mut rows = Vec::new();
    // Those without a predecessor begin a branch; the others stand below what they follow.
    for root in exercises.iter().filter(|exercise| exercise.after.is_empty()) {
        branch(root, exercises, 0, &mut rows);
    }
    let width = rows.iter().map(|(depth, exercise)| depth * 2 + exercise.name.len()).max().unwrap_or(0);
    let solved = exercises.iter().filter(|exercise| progress.of(&exercise.name).solved()).count();
    let mut text = format!("{:width$}  LEVEL  STATE      TITLE\n", "EXERCISE");
    for (depth, exercise) in &rows {
        let steps = progress.of(&exercise.name);
        let name = format!("{:1$}{2}", "", depth * 2, exercise.name);
        let state = if steps.state() == "open" && !ready(exercise, progress) { "later" } else { steps.state() };
        let first = format!("{name:width$}  {:>5}  {state:9}  ", exercise.difficulty);
        text.push_str(&hanging(&first, &exercise.title, terminal::prose_columns()));
    }
    let _ = write!(text, "\n{solved} of {} solved; kept in {}\n", exercises.len(), place::progress()?.display());
    if let Some((_, next)) =
        rows.iter().find(|(_, exercise)| !progress.of(&exercise.name).solved() && ready(exercise, progress))
    {
        let step = if progress.of(&next.name).dir.is_some() { "check" } else { "start" };
        let _ = writeln!(text, "Next: pollscope exercise {step} {}", next.name);
    }
    Ok(text)
}

/// `root` and what follows it, each with its depth. What follows several stands below the first of them.
fn branch<'a>(root: &'a Exercise, all: &'a [Exercise], depth: usize, rows: &mut Vec<(usize, &'a Exercise)>) {
    rows.push((depth, root));
    for next in all.iter().filter(|exercise| exercise.after.first() == Some(&root.name)) {
        branch(next, all, depth + 1, rows);
    }
}

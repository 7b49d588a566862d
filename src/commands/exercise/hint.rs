//! `pollscope exercise hint`: one step further with every call.

use super::content::{self, Exercise};
use super::progress::Progress;
use super::project::recording;
use crate::commands::{Failure, HEALTHY, terminal};
use pollscope::report::hanging;

/// What the four steps are about.
const STEPS: [&str; 4] = ["signal", "tool", "place", "repair"];

pub(super) fn hint(name: &str) -> Result<u8, Failure> {
    let exercise = content::find(name)?;
    let mut progress = Progress::load()?;
    let steps = progress.change(name, |steps| steps.hints = (steps.hints + 1).min(4))?;
    let mut text = String::new();
    for (at, hint) in (1..=steps.hints).zip(hints(&exercise)?) {
        let first = format!("{at} of 4, the {}: ", STEPS[usize::from(at) - 1]);
        text.push_str(&hanging(&first, &hint, terminal::prose_columns()));
    }
    terminal::result(&text);
    Ok(HEALTHY)
}

/// The hints of an exercise. Where a scenario would be run, the learner records the program at hand.
pub(super) fn hints(exercise: &Exercise) -> Result<[String; 4], Failure> {
    let record = recording(exercise)?;
    let own = format!("pollscope run {}", exercise.scenario.name);
    Ok(exercise.hints.each_ref().map(|hint| hint.replace(&own, &record)))
}

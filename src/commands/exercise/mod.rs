//! `pollscope exercise`: learn by debugging. A scenario as a program of the learner's own, with a ticket instead of a name.

mod answer;
mod build;
mod check;
mod content;
mod debrief;
mod hint;
mod list;
mod place;
mod progress;
mod project;
mod split;
mod start;
mod verify;
mod watch;
mod work;

use super::Failure;
use super::learn::{ExerciseCommand, ExerciseOptions};

pub(crate) fn exercise(options: &ExerciseOptions) -> Result<u8, Failure> {
    match &options.command {
        ExerciseCommand::List { format } => list::list(*format),
        ExerciseCommand::Start { name, dir } => start::start(name, dir.as_deref()),
        ExerciseCommand::Hint { name } => hint::hint(name),
        ExerciseCommand::Watch(options) => watch::watch(options),
        ExerciseCommand::Check(options) => check::check(options),
        ExerciseCommand::Verify { names, quick } => verify::verify(names, *quick),
    }
}

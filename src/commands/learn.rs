//! What a learner may say.

use super::options::Format;
use clap::{Args, Subcommand};
use std::path::PathBuf;

pub(crate) const EXERCISE_EXAMPLES: &str = "\
Examples:
  pollscope exercise list                      what there is to solve, and how far you are
  pollscope exercise start slow-quotes         a small faulty service and its ticket, in a folder of that name
  pollscope exercise hint slow-quotes          one step further: signal, tool, place, repair
  pollscope exercise check slow-quotes --kind KIND --at src/main.rs:LINE --task FUNCTION

What you have solved is kept in $XDG_DATA_HOME/pollscope/progress.toml (POLLSCOPE_PROGRESS names another file).
What is compiled is kept in $XDG_CACHE_HOME/pollscope/exercises (POLLSCOPE_EXERCISES names another folder).";

#[derive(Debug, Args)]
pub(crate) struct ExerciseOptions {
    #[command(subcommand)]
    pub(crate) command: ExerciseCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExerciseCommand {
    /// List the exercises, what comes before what, and how far you are
    List {
        /// How to write the list
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Lay out a small faulty service with its ticket
    Start {
        /// An exercise of `pollscope exercise list`
        name: String,
        /// Where to [default: a new folder NAME]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Show one hint more: signal, tool, place, repair
    Hint {
        /// An exercise of `pollscope exercise list`
        name: String,
    },
    /// Check again whenever you save; ends when it is solved
    Watch(CheckOptions),
    /// Grade your diagnosis, and your fix apart from it
    Check(CheckOptions),
    /// Check the exercises themselves: unsolved as shipped, solved by the cure, and nothing given away
    #[command(hide = true)]
    Verify {
        /// Exercises of `pollscope exercise list` [default: all]
        names: Vec<String>,
        /// Read them only; build and run nothing
        #[arg(long)]
        quick: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CheckOptions {
    /// An exercise of `pollscope exercise list`
    pub(crate) name: String,
    /// Where it lies [default: where `start` laid it]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// What kind of fault it is; `pollscope explain` lists them. Replaces the `kind` of answer.toml
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// The line to blame, in the program as it was laid out. Replaces the `at` of answer.toml
    #[arg(long, value_name = "FILE:LINE")]
    pub(crate) at: Option<String>,
    /// The function whose task is to blame, or the line that spawns it. Replaces the `task` of answer.toml
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) task: Option<String>,
}

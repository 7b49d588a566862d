//! What a learner may say.

use super::options::Format;
use clap::{Args, Subcommand, ValueEnum};
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

pub(crate) const CONSOLE_EXAMPLES: &str = "\
Examples:
  pollscope console lock-cycle                 then, in another terminal: tokio-console
  pollscope console busy-poll --cured          the same service without the fault, to compare
  pollscope console lock-cycle --address 127.0.0.1:7000";

pub(crate) const FLAME_EXAMPLES: &str = "\
Examples:
  pollscope flame cpu-bound-poll               where the CPU time goes
  pollscope flame blocking-call --kind off-cpu where polls sleep that should not
  pollscope flame blocking-call --kind span --diff cured";

#[derive(Debug, Args)]
pub(crate) struct ConsoleOptions {
    /// A scenario of `pollscope list`
    pub(crate) name: String,
    /// Run the twin without the fault
    #[arg(long)]
    pub(crate) cured: bool,
    /// Where tokio-console finds it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6669")]
    pub(crate) address: std::net::SocketAddr,
    /// End after so many seconds [default: with Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
}

/// What a flame graph is drawn of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlameKind {
    /// Time inside the program's tracing spans
    Span,
    /// CPU time by function
    Cpu,
    /// Time that long polls spent asleep
    OffCpu,
}

/// What a run is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Twin {
    /// The same service without the fault
    Cured,
}

#[derive(Debug, Args)]
pub(crate) struct FlameOptions {
    /// A scenario of `pollscope list`
    pub(crate) name: String,
    /// What to draw
    #[arg(long, value_enum, default_value_t = FlameKind::Cpu)]
    pub(crate) kind: FlameKind,
    /// Show what is more and what is less than there
    #[arg(long, value_enum)]
    pub(crate) diff: Option<Twin>,
    /// How long the service works
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Folder for the drawing [default: pollscope-out/NAME-flame]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

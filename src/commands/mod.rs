//! From the arguments to the floors below. The only place that prints, starts programs or decides an exit status.

#[cfg(feature = "collect")]
mod attach;
mod child;
#[cfg(feature = "collect")]
mod collect;
#[cfg(all(feature = "lab", feature = "collect"))]
mod console;
mod diagnose;
#[cfg(feature = "lab")]
mod eval;
#[cfg(feature = "lab")]
mod exercise;
mod explain;
mod failure;
#[cfg(all(feature = "lab", feature = "collect"))]
mod flame;
mod folder;
mod follow;
mod interrupt;
mod learn;
#[cfg(feature = "lab")]
mod list;
mod nearest;
mod observe;
mod options;
mod page;
#[cfg(feature = "otlp")]
mod push;
mod record;
mod report;
#[cfg(feature = "lab")]
mod rerun;
mod rules;
#[cfg(feature = "lab")]
mod run;
#[cfg(feature = "lab")]
mod scenario;
mod serve;
mod terminal;
mod verdict;
mod watch;

use clap::Parser;
use failure::Failure;
use options::{Command, Options};
use std::process::ExitCode;

/// Nothing to report.
pub(crate) const HEALTHY: u8 = 0;
/// Findings of at least the asked severity.
pub(crate) const FINDINGS: u8 = 1;
/// The command could not do its work.
pub(crate) const COULD_NOT: u8 = 2;

/// Reads the arguments, runs the command, and turns its outcome into an exit status.
pub(crate) fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // clap prints help on stdout and mistakes on stderr by itself.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { COULD_NOT } else { HEALTHY });
        }
    };
    let nearest = options.command.judges_strangers();
    let ruled = rules::load(options.config.as_deref(), nearest);
    ExitCode::from(match ruled.and_then(|()| dispatch(options.command)) {
        Ok(status) => status,
        Err(failure) => {
            terminal::note(&format!("pollscope: {failure}"));
            COULD_NOT
        }
    })
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Record(options) => record::record(&options),
        #[cfg(feature = "collect")]
        Command::Attach(options) => attach::attach(&options),
        #[cfg(not(feature = "collect"))]
        Command::Attach(_) => {
            Err(Failure::new("this build cannot attach; install pollscope with its `collect` feature"))
        }
        Command::Diagnose(options) => diagnose::diagnose(&options),
        Command::Report(options) => report::report(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::Watch(options) => watch::watch(&options),
        #[cfg(feature = "lab")]
        Command::List(options) => list::list(&options),
        #[cfg(feature = "lab")]
        Command::Run(options) => run::run(&options),
        #[cfg(feature = "lab")]
        Command::Eval(options) => eval::eval(&options),
        #[cfg(feature = "lab")]
        Command::Exercise(options) => exercise::exercise(&options),
        #[cfg(all(feature = "lab", feature = "collect"))]
        Command::Console(options) => console::console(&options),
        #[cfg(all(feature = "lab", feature = "collect"))]
        Command::Flame(options) => flame::flame(&options),
        #[cfg(all(feature = "lab", not(feature = "collect")))]
        Command::Console(_) | Command::Flame(_) => {
            Err(Failure::new("this build cannot collect; install pollscope with its `collect` feature"))
        }
        #[cfg(feature = "lab")]
        Command::Scenario { name, cured, flavor } => run::become_scenario(&name, cured, flavor),
        #[cfg(feature = "lab")]
        Command::Spin => run::spin(),
        #[cfg(not(feature = "lab"))]
        Command::List(_)
        | Command::Run(_)
        | Command::Eval(_)
        | Command::Exercise(_)
        | Command::Console(_)
        | Command::Flame(_)
        | Command::Scenario { .. }
        | Command::Spin => {
            Err(Failure::new("this build holds no scenarios; install pollscope with its `lab` feature to have them"))
        }
    }
}

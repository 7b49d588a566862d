//! `pollscope run`: a scenario as a child process, recorded and diagnosed.

use super::child::own_binary;
use super::folder::Folder;
use super::observe::{Plan, observe, second_pass};
use super::options::{Flavor, RunOptions};
use super::rerun::rerun;
use super::{Failure, HEALTHY, scenario, verdict};
use pollscope_scenarios::{Scenario, override_flavor};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How much longer than asked a scenario may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long it works each time it is started again.
const SESSION: u64 = 60;

pub(crate) fn run(options: &RunOptions) -> Result<u8, Failure> {
    let scenario = scenario::find(&options.name)?;
    let name = if options.cured { format!("{}-cured", scenario.name) } else { scenario.name.to_owned() };
    let out = options.out.clone().unwrap_or_else(|| Path::new("pollscope-out").join(&name));
    let folder = Folder::claim(&out)?;
    let own = own_binary()?;
    let seconds = options.seconds.unwrap_or(if options.looped { SESSION } else { 3 });
    let command = || {
        let mut command = child(&own, scenario, options.cured, seconds);
        if let Some(flavor) = options.flavor {
            command.arg("--flavor").arg(flavor.to_string());
        }
        command
    };
    let expected = Duration::from_secs(seconds);
    if options.looped {
        return rerun(command, &folder, expected + PATIENCE, options.metrics.as_deref());
    }
    let plan = Plan {
        name: &name,
        expected: Some(expected),
        limit: Some(expected + PATIENCE),
        should_end: true,
        tell: true,
        notes: Vec::new(),
    };
    let outcome = observe(command(), &folder, plan)?;
    let status = verdict::show(&outcome.diagnosis, &folder.shown(), options.verdict);
    // What had to be stopped will have to be again.
    let limit = if outcome.stopped { outcome.took } else { expected + PATIENCE };
    second_pass(command(), &folder, &options.collect, &name, (&outcome, limit))?;
    Ok(status)
}

/// The command that makes a child of ours `scenario`, or its twin, for so many seconds.
#[cfg(feature = "collect")]
pub(crate) fn own_scenario(scenario: &Scenario, cured: bool, seconds: u64) -> Result<Command, Failure> {
    own_binary().map(|own| child(&own, scenario, cured, seconds))
}

fn child(own: &Path, scenario: &Scenario, cured: bool, seconds: u64) -> Command {
    let mut command = Command::new(own);
    command.args(["__scenario", scenario.name]).env("SERVICE_SECONDS", seconds.to_string());
    // No scenario installs a tracing subscriber of its own.
    command.env("POLLSCOPE_TRACE", "1");
    if cured {
        command.arg("--cured");
    }
    command
}

/// The child: this process is the scenario from here on.
pub(crate) fn become_scenario(name: &str, cured: bool, flavor: Option<Flavor>) -> Result<u8, Failure> {
    let scenario = scenario::find(name)?;
    match flavor {
        Some(Flavor::CurrentThread) => override_flavor(pollscope_scenarios::Flavor::CurrentThread),
        Some(Flavor::Workers(workers)) => override_flavor(pollscope_scenarios::Flavor::MultiThread(workers)),
        None => {}
    }
    if cured {
        (scenario.cure)()
    } else {
        (scenario.fault)()
    }
    Ok(HEALTHY)
}

/// A busy neighbor: burns a core until it is killed.
pub(crate) fn spin() -> Result<u8, Failure> {
    loop {
        std::hint::spin_loop();
    }
}

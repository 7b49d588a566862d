//! What looking costs: every observer on the same work, each in a process of its own, several rounds.
//!
//! ```text
//! cargo bench --bench overhead -- [--rounds N] [--millis N] [--quick] [--workload NAMES] [--contender NAMES] [--json FILE]
//! ```
//!
//! NAMES is one name or several with commas; `--quick` is a look of two minutes. docs/cost.md says what is measured and
//! how to read it.
//!
//! A round runs every contender on every workload, beginning with another contender each time, so that a busy minute of
//! the machine hits all of them alike. Ratios are taken within a round, against `bare`.
//!
//! `bare` is tokio as this workspace builds it: with `--cfg tokio_unstable` and its feature `tracing`, and nobody
//! listening. What these cost by themselves is in all contenders.

mod contenders;
mod goals;
#[path = "../measure/mod.rs"]
mod measure;
mod memory;
mod rounds;
mod served;
mod spawner;
mod table;
mod timed;
mod workloads;

use contenders::CONTENDERS;
use measure::arguments::{named, number};
use measure::process::process_cpu;
use rounds::Plan;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use workloads::WORKLOADS;

/// The argument that makes a process of this program a contender.
const CHILD: &str = "--child";
/// The argument that makes it the one who asks a server.
const LOAD: &str = "--load";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [child, contender, workload, millis, folder] if child == CHILD => {
            measured(contender, workload, millis, Path::new(folder))
        }
        [load, protocol, address, millis] if load == LOAD => {
            number("--millis", millis).and_then(|millis| served::ask(protocol, address, Duration::from_millis(millis)))
        }
        _ => options(&arguments).and_then(|(plan, json)| compare(&plan, json)),
    };
    match done {
        Ok(text) => {
            tell(&text);
            ExitCode::SUCCESS
        }
        Err(why) => {
            complain(&why);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn tell(text: &str) {
    println!("{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "progress and mistakes go where they disturb no figure")]
fn complain(why: &str) {
    eprintln!("overhead: {why}");
}

/// The work of a child: one contender, one workload, a line for each figure.
fn measured(contender: &str, workload: &str, millis: &str, folder: &Path) -> Result<String, String> {
    let contender = named(&CONTENDERS, |one| one.name, "contender", contender)?;
    let workload = named(&WORKLOADS, |one| one.name, "workload", workload)?;
    let lasting = Duration::from_millis(number("--millis", millis)?);
    let mut measured = (contender.run)(workload, lasting, folder);
    // What `main` did after the work, to end the observer, is the observer's.
    let aside = process_cpu().saturating_sub(measured.own_cpu);
    if measured.operations > 0 {
        measured.figures.push(("aside", aside as f64 / measured.operations as f64));
    }
    Ok(measured.lines())
}

fn compare(plan: &Plan, json: Option<PathBuf>) -> Result<String, String> {
    let rows = rounds::run(plan)?;
    if let Some(file) = json {
        std::fs::write(&file, table::json(&rows))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(table::text(&rows) + &goals::text(&rows))
}

fn options(arguments: &[String]) -> Result<(Plan, Option<PathBuf>), String> {
    let mut plan = Plan {
        contenders: CONTENDERS.iter().collect(),
        workloads: WORKLOADS.iter().collect(),
        rounds: 7,
        lasting: Duration::from_millis(200),
    };
    let mut json = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // What cargo says to every benchmark.
            "--bench" => continue,
            "--quick" => {
                (plan.rounds, plan.lasting) = (2, Duration::from_millis(60));
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or_else(|| format!("{argument} is no option, or lacks its value"))?;
        match argument.as_str() {
            "--rounds" => plan.rounds = number(argument, value)?,
            "--millis" => plan.lasting = Duration::from_millis(number(argument, value)?),
            "--workload" => {
                let wanted = value.split(',').map(|name| named(&WORKLOADS, |one| one.name, "workload", name));
                plan.workloads = wanted.collect::<Result<_, _>>()?;
            }
            "--contender" => {
                let wanted = value.split(',').map(|name| named(&CONTENDERS, |one| one.name, "contender", name));
                let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
                // Ratios need what they are taken to.
                plan.contenders = vec![&CONTENDERS[0]];
                plan.contenders.extend(wanted.into_iter().filter(|one| one.name != CONTENDERS[0].name));
            }
            "--json" => json = Some(PathBuf::from(value)),
            _ => return Err(format!("{argument} is no option; see the head of benches/overhead/main.rs")),
        }
    }
    if plan.rounds == 0 || plan.lasting.is_zero() {
        return Err("--rounds and --millis take a number from 1".to_owned());
    }
    Ok((plan, json))
}

//! What observing costs an operation on a lock: contenders × workloads, each in a process of its own, several rounds.
//!
//! ```text
//! cargo bench --bench locks -- [--rounds N] [--millis N] [--workload NAME] [--contender NAME] [--json FILE]
//! ```
//!
//! A round runs every contender on every workload, beginning with another contender each time, so that a busy minute of
//! the machine hits all of them alike. Ratios are taken within a round, against `bare`.
//!
//! `bare` is tokio as this workspace builds it: with its `tracing` feature, and nobody listening. The feature is in all
//! contenders, so what it costs by itself is not in the ratios.

mod contenders;
#[path = "../measure/mod.rs"]
mod measure;
mod rounds;
mod table;
mod workloads;

use contenders::{CONTENDERS, Contender};
use measure::arguments::{named, number};
use rounds::Plan;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use workloads::WORKLOADS;

/// The argument that makes a process of this program a contender.
const CHILD: &str = "--child";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [child, contender, workload, millis] if child == CHILD => measured(contender, workload, millis),
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

#[expect(clippy::print_stderr, reason = "a mistake in the options is told where it was made")]
fn complain(why: &str) {
    eprintln!("locks: {why}");
}

/// The work of a child: one contender, one workload, one line with nanoseconds an operation.
fn measured(contender: &str, workload: &str, millis: &str) -> Result<String, String> {
    let contender = named(&CONTENDERS, |one| one.name, "contender", contender)?;
    let workload = named(&WORKLOADS, |one| one.name, "workload", workload)?;
    let lasting = Duration::from_millis(number("--millis", millis)?);
    Ok(format!("{:.3}", (contender.run)(workload, lasting)))
}

fn compare(plan: &Plan, json: Option<PathBuf>) -> Result<String, String> {
    let rows = rounds::run(plan)?;
    if let Some(file) = json {
        std::fs::write(&file, table::json(&rows))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(table::text(&rows))
}

fn options(arguments: &[String]) -> Result<(Plan, Option<PathBuf>), String> {
    let mut plan = Plan {
        contenders: CONTENDERS.iter().collect(),
        workloads: WORKLOADS.iter().collect(),
        rounds: 9,
        lasting: Duration::from_millis(200),
    };
    let mut json = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        // What cargo says to every benchmark.
        if argument == "--bench" {
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{argument} is no option, or lacks its value"))?;
        match argument.as_str() {
            "--rounds" => plan.rounds = number(argument, value)?,
            "--millis" => plan.lasting = Duration::from_millis(number(argument, value)?),
            "--workload" => plan.workloads = vec![named(&WORKLOADS, |one| one.name, "workload", value)?],
            "--contender" => {
                // Ratios need what they are taken to.
                plan.contenders.retain(|one: &&Contender| one.name == CONTENDERS[0].name);
                let wanted = named(&CONTENDERS, |one| one.name, "contender", value)?;
                if wanted.name != CONTENDERS[0].name {
                    plan.contenders.push(wanted);
                }
            }
            "--json" => json = Some(PathBuf::from(value)),
            _ => return Err(format!("{argument} is no option; see the head of benches/locks/main.rs")),
        }
    }
    if plan.rounds == 0 || plan.lasting.is_zero() {
        return Err("--rounds and --millis take a number from 1".to_owned());
    }
    Ok((plan, json))
}

//! `pollscope eval`: the yardstick. Every scenario must be named, every twin met with silence, on every runtime and
//! under every load that is asked for.

mod runs;
mod truth;

use super::options::{EvalOptions, Flavor, Format};
use super::terminal::{self, Progress};
use super::{FINDINGS, Failure, HEALTHY, scenario};
use pollscope_scenarios::Scenario;
use runs::{Neighbor, Outcome, Run, Scratch};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use truth::{Score, Truth};

/// How this binary was built, and so the scenarios in it.
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// A scenario on a runtime; without a truth, a program without fault.
type Case = (&'static Scenario, Option<Truth>, Option<Flavor>);

pub(crate) fn eval(options: &EvalOptions) -> Result<u8, Failure> {
    let cases = cases(options)?;
    let place = Scratch::new(options.keep.as_deref())?;
    let each: Vec<_> = (0..options.repeat).flat_map(|_| [false, true]).collect();
    let progress = Progress::new("evaluating", Some((cases.len() * each.len() * options.load.len()) as u64));
    let done = AtomicU64::new(0);
    let tell = |run: &Run, outcome: &Outcome| {
        progress.say(&format!("{}{}", run.scenario, if run.cured { " (cured)" } else { "" }));
        progress.at(done.fetch_add(1, Ordering::Relaxed) + 1);
        let mut score = Score::default();
        score.judge(cases[run.row].1.as_ref(), run.cured, outcome);
        score.perfect()
    };
    // By case, then by load, whatever the order of the runs.
    let mut scores: Vec<Vec<Score>> = cases.iter().map(|_| Vec::new()).collect();
    for &load in &options.load {
        let _neighbors = (0..load).map(|_| Neighbor::start()).collect::<Result<Vec<_>, _>>()?;
        let plan = cases.iter().enumerate().flat_map(|(row, (scenario, _, flavor))| {
            each.iter().map(move |&cured| Run { row, scenario: scenario.name, cured, flavor: *flavor, load })
        });
        let plan: Vec<Run> = plan.collect();
        for ((scenario, _, flavor), scores) in cases.iter().zip(&mut scores) {
            let flavor = flavor.map_or_else(|| "own".to_owned(), |flavor| flavor.to_string());
            scores.push(Score { name: scenario.name.to_owned(), flavor, build: BUILD, load, ..Score::default() });
        }
        for (run, outcome) in plan.iter().zip(runs::make(&plan, options.jobs, &place, tell)) {
            if let Some(score) = scores[run.row].last_mut() {
                score.judge(cases[run.row].1.as_ref(), run.cured, &outcome);
            }
        }
    }
    drop(progress);
    let mut scores: Vec<Score> = scores.into_iter().flatten().collect();
    for score in &mut scores {
        score.seconds_to_verdict /= f64::from(options.repeat);
    }
    terminal::result(&match options.format {
        Format::Text => table(&scores),
        Format::Json => {
            let json = serde_json::to_string_pretty(&scores).map_err(|error| Failure::cannot("write JSON", error))?;
            format!("{json}\n")
        }
    });
    Ok(if scores.iter().all(Score::perfect) { HEALTHY } else { FINDINGS })
}

/// What is to be run; where a scenario's truth does not hold it is left out, which is told.
fn cases(options: &EvalOptions) -> Result<Vec<Case>, Failure> {
    let mut chosen: Vec<&Scenario> = options.names.iter().map(|name| scenario::find(name)).collect::<Result<_, _>>()?;
    if chosen.is_empty() {
        chosen = pollscope_scenarios::healthy().iter().chain(pollscope_scenarios::all()).collect();
    }
    let mut flavors: Vec<_> = options.flavor.iter().copied().map(Some).collect();
    if flavors.is_empty() {
        flavors.push(None);
    }
    let mut cases = Vec::new();
    for scenario in chosen {
        for &flavor in &flavors {
            let truth = Truth::of(scenario)?;
            let elsewhere = truth.as_ref().filter(|truth| !truth.holds_on(flavor)).map(Truth::flavors);
            if let (Some(holds), Some(flavor)) = (elsewhere, flavor) {
                let name = scenario.name;
                terminal::note(&format!("{name} is left out on {flavor}: its truth holds on {holds} only"));
            } else {
                cases.push((scenario, truth, flavor));
            }
        }
    }
    if cases.is_empty() {
        return Err(Failure::new("nothing is left to evaluate; choose other scenarios or flavors"));
    }
    Ok(cases)
}

fn table(scores: &[Score]) -> String {
    let width =
        |of: fn(&Score) -> &str, head: &str| scores.iter().map(|s| of(s).len()).max().unwrap_or(0).max(head.len());
    let (name, flavor) = (width(|s| &s.name, "SCENARIO"), width(|s| &s.flavor, "FLAVOR"));
    let mut text = format!(
        "{:name$}  {:flavor$}  LOAD  FOUND  MISSED  WRONG LINE  EXTRA  FALSE ALARMS  TIME TO VERDICT\n",
        "SCENARIO", "FLAVOR"
    );
    for s in scores {
        let found = if s.runs == 0 { "-".to_owned() } else { format!("{}/{}", s.found, s.runs) };
        let _ = writeln!(
            text,
            "{:name$}  {:flavor$}  {:>4}  {found:>5}  {:>6}  {:>10}  {:>5}  {:>12}  {:>13.1} s",
            s.name, s.flavor, s.load, s.missed, s.wrong_line, s.extra, s.false_alarms, s.seconds_to_verdict
        );
    }
    for (score, remark) in scores.iter().flat_map(|score| score.remarks.iter().map(move |remark| (score, remark))) {
        let _ = writeln!(text, "{} on {}, load {}: {remark}", score.name, score.flavor, score.load);
    }
    text
}

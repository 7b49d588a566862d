//! `pollscope eval`: the yardstick. Every scenario must be named, every twin met with silence.

use super::options::{EvalOptions, Format};
use super::scenario::{self, Manifest};
use super::terminal::Progress;
use super::{FINDINGS, Failure, HEALTHY, terminal};
use pollscope::detect::{Diagnosis, Finding, Severity};
use pollscope_scenarios::Scenario;
use serde::Serialize;
use std::env;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What must be found in a scenario.
struct Truth {
    kind: String,
    /// File and line of each culprit; naming one of them is right.
    culprits: Vec<(String, u32)>,
    /// What must be named as having made it worse.
    amplifiers: Vec<String>,
}

/// How one scenario and its twin fared.
#[derive(Debug, Default, Serialize)]
struct Score {
    name: String,
    runs: u32,
    found: u32,
    missed: u32,
    wrong_line: u32,
    /// Right in kind and line, but without an amplifier the truth lists.
    unamplified: u32,
    /// Other findings of at least `warning` in the faulty runs.
    extra: u32,
    /// Findings of at least `warning` in the cured runs.
    false_alarms: u32,
    /// From start to verdict, faulty runs, mean.
    seconds_to_verdict: f64,
    remarks: Vec<String>,
}

pub(crate) fn eval(options: &EvalOptions) -> Result<u8, Failure> {
    let mut chosen: Vec<&Scenario> = options.names.iter().map(|name| scenario::find(name)).collect::<Result<_, _>>()?;
    if chosen.is_empty() {
        chosen = pollscope_scenarios::healthy().iter().chain(pollscope_scenarios::all()).collect();
    }
    let _neighbors = (0..options.load).map(|_| Neighbor::start()).collect::<Result<Vec<_>, _>>()?;
    let place = Scratch::new()?;
    let runs = chosen.len() as u64 * u64::from(options.repeat) * 2;
    let progress = Progress::new("evaluating", Some(runs));
    let (mut scores, mut done) = (Vec::new(), 0);
    for scenario in chosen {
        let truth = truth(scenario)?;
        let mut score = Score { name: scenario.name.to_owned(), ..Score::default() };
        for _ in 0..options.repeat {
            for cured in [false, true] {
                progress.say(&format!("{}{}", scenario.name, if cured { " (cured)" } else { "" }));
                let started = Instant::now();
                let diagnosis = run(scenario.name, cured, &place);
                judge(&mut score, truth.as_ref(), cured, diagnosis, started.elapsed().as_secs_f64());
                done += 1;
                progress.at(done);
            }
        }
        score.seconds_to_verdict /= f64::from(options.repeat);
        scores.push(score);
    }
    drop(progress);
    terminal::result(&match options.format {
        Format::Text => table(&scores),
        Format::Json => {
            let json = serde_json::to_string_pretty(&scores).map_err(|error| Failure::cannot("write JSON", error))?;
            format!("{json}\n")
        }
    });
    let perfect = scores.iter().all(|s| s.missed + s.wrong_line + s.unamplified + s.extra + s.false_alarms == 0);
    Ok(if perfect { HEALTHY } else { FINDINGS })
}

fn judge(score: &mut Score, truth: Option<&Truth>, cured: bool, diagnosis: Result<Diagnosis, Failure>, seconds: f64) {
    let harmful = |diagnosis: Diagnosis| -> Vec<Finding> {
        diagnosis.findings.into_iter().filter(|finding| finding.severity >= Severity::Warning).collect()
    };
    let (findings, failure) = match diagnosis {
        Ok(diagnosis) => (harmful(diagnosis), None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    if let Some(failure) = &failure {
        score.remarks.push(failure.to_string());
    }
    let Some(truth) = truth.filter(|_| !cured) else {
        // A twin that could not be run is no silence either.
        score.false_alarms += count(findings.len()) + u32::from(failure.is_some());
        score.remarks.extend(findings.iter().map(|finding| format!("false alarm: {}", described(finding))));
        return;
    };
    score.runs += 1;
    score.seconds_to_verdict += seconds;
    let (right_kind, others): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.kind == truth.kind);
    let right: Vec<_> = right_kind.iter().filter(|finding| truth.names(finding)).collect();
    if right.iter().any(|finding| truth.amplifiers.iter().all(|one| finding.amplifiers.contains(one))) {
        score.found += 1;
    } else if let Some(finding) = right.first() {
        score.unamplified += 1;
        let (wanted, named) = (truth.amplifiers.join(", "), finding.amplifiers.join(", "));
        score.remarks.push(format!("amplifiers: expected {wanted}, named {named}"));
    } else if right_kind.is_empty() {
        score.missed += 1;
    } else {
        score.wrong_line += 1;
        score.remarks.extend(right_kind.iter().map(|finding| format!("wrong line: {}", described(finding))));
    }
    score.extra += count(others.len() + right_kind.len().saturating_sub(1));
    score.remarks.extend(others.iter().map(|finding| format!("extra: {}", described(finding))));
}

impl Truth {
    fn names(&self, finding: &Finding) -> bool {
        finding.culprit.at.as_ref().is_some_and(|at| {
            self.culprits.iter().any(|(file, line)| at.file.ends_with(file.as_str()) && at.line == *line)
        })
    }
}

/// The truth of a scenario: the lines its manifest's patterns match, each exactly once. Of a program without fault there
/// is nothing to find.
fn truth(scenario: &Scenario) -> Result<Option<Truth>, Failure> {
    let wrong = |what: &str| Failure::new(format!("the manifest of {} {what}", scenario.name));
    let manifest = Manifest::of(scenario)?;
    if manifest.text("kind") == "none" {
        return Ok(None);
    }
    let table = manifest.truth().ok_or_else(|| wrong("has no [truth]"))?;
    let kind = table.get("kind").and_then(|kind| kind.as_str()).ok_or_else(|| wrong("names no kind in [truth]"))?;
    let several = table.get("culprits").and_then(|list| list.as_array()).into_iter().flatten();
    let mut culprits = Vec::new();
    for culprit in table.get("culprit").into_iter().chain(several) {
        let pattern = culprit.get("pattern").and_then(|pattern| pattern.as_str());
        let pattern = pattern.ok_or_else(|| wrong("has a culprit without a pattern"))?;
        let mut lines = (1..).zip(scenario.fault_source.lines()).filter(|(_, line)| line.contains(pattern));
        match (lines.next(), lines.next()) {
            (Some((line, _)), None) => culprits.push((scenario.fault_path.to_owned(), line)),
            _ => {
                return Err(wrong(&format!("has the pattern `{pattern}`, which does not match exactly one line")));
            }
        }
    }
    let amplifiers = table.get("amplifiers").and_then(|list| list.as_array()).into_iter().flatten();
    let amplifiers = amplifiers.filter_map(|one| one.as_str()).map(str::to_owned).collect();
    Ok(Some(Truth { kind: kind.to_owned(), culprits, amplifiers }))
}

/// One run in a process of its own, as a user would do it.
fn run(name: &str, cured: bool, place: &Scratch) -> Result<Diagnosis, Failure> {
    let mut command = own_command()?;
    command.args(["run", name, "--format", "json", "--collect", "none", "--out"]).arg(place.0.join("run"));
    if cured {
        command.arg("--cured");
    }
    let output = command.output().map_err(|error| Failure::cannot(format_args!("run {name}"), error))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        Failure::new(said.trim().lines().last().unwrap_or("the run ended without a diagnosis").to_owned())
    })
}

fn own_command() -> Result<Command, Failure> {
    let own = env::current_exe().map_err(|error| Failure::cannot("find the pollscope binary", error))?;
    Ok(Command::new(own))
}

fn table(scores: &[Score]) -> String {
    let width = scores.iter().map(|score| score.name.len()).max().unwrap_or(0).max("SCENARIO".len());
    let mut text = format!("{:width$}  FOUND  MISSED  WRONG LINE  EXTRA  FALSE ALARMS  TIME TO VERDICT\n", "SCENARIO");
    for s in scores {
        let found = if s.runs == 0 { "-".to_owned() } else { format!("{}/{}", s.found, s.runs) };
        let _ = writeln!(
            text,
            "{:width$}  {found:>5}  {:>6}  {:>10}  {:>5}  {:>12}  {:>13.1} s",
            s.name, s.missed, s.wrong_line, s.extra, s.false_alarms, s.seconds_to_verdict
        );
    }
    for (score, remark) in scores.iter().flat_map(|score| score.remarks.iter().map(move |remark| (score, remark))) {
        let _ = writeln!(text, "{}: {remark}", score.name);
    }
    text
}

fn described(finding: &Finding) -> String {
    match &finding.culprit.at {
        Some(at) => format!("{} at {}:{}", finding.kind, at.file, at.line),
        None => finding.kind.clone(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A process that keeps a core busy as long as this value lives.
struct Neighbor(Child);

impl Neighbor {
    fn start() -> Result<Neighbor, Failure> {
        let mut command = own_command()?;
        command.arg("__spin").stdin(Stdio::null());
        super::child::die_with_us(&mut command);
        command.spawn().map(Neighbor).map_err(|error| Failure::cannot("start a busy neighbor", error))
    }
}

impl Drop for Neighbor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for the runs, gone when this value is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, Failure> {
        let path = env::temp_dir().join(format!("pollscope-eval-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::cannot(format_args!("write {}", path.display()), error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

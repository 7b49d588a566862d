//! From the model to findings: one illness, one file.
//!
//! Everything here is a pure function of the model and may be called again and again while a program runs.

#[cfg(test)]
mod beside;
mod blocking_pool;
mod busy_poll;
mod diagnosis;
mod idle;
mod lock_order_inversion;
#[cfg(test)]
mod lookalikes;
mod place;
mod rules;
mod stalls;
mod swallowed_panic;
#[cfg(test)]
mod tests;
mod waits;
mod watched;

pub use diagnosis::*;
pub use rules::{Rules, RulesError};
pub use watched::Watched;

use crate::model::Model;
use crate::symbols::Symbols;

/// Every threshold of every detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// CPU or blocked time from which an open poll is a fault. Below it lies ordinary work.
    pub stall_ns: u64,
    /// Harm from which a finding is a warning: what a person or a deadline begins to notice.
    pub warning_ns: u64,
    /// Harm from which a finding is critical.
    pub critical_ns: u64,
    /// A poll still open after this long is critical whoever it hurt.
    pub stuck_ns: u64,
    /// A long poll that hurt nobody is still told from here on.
    pub info_ns: u64,
    /// A long poll of which no stack was taken is only information if it computed or was blocked for less.
    pub stackless_ns: u64,
    /// Run delay of long polls, in all, from which the machine is to blame.
    pub crowded_ns: u64,
    /// How long closures must have waited for a thread of the blocking pool that others keep.
    pub queued_ns: u64,
    /// How long all waits of a cycle must have lasted without progress.
    pub deadlock_ns: u64,
    /// A timer that fires no sooner than this frees nobody yet: until then, its task is as stuck as without one.
    pub escape_ns: u64,
    /// Progress this soon after a wait began still belongs to the step that began it.
    pub slack_ns: u64,
    /// How long a task must have been polled without pause to be called busy-polling.
    pub spin_ns: u64,
    /// Polls a second from which it is, of the time that its thread was not kept off the CPU. A timer makes a thousand at
    /// most; a task that waits for sockets is no faster than they are, and seldom wakes itself.
    pub spin_rate: u64,
    /// A task that nobody polled for this long is idle.
    pub idle_ns: u64,
    /// How long nothing in a program may move before it is said to stand still.
    pub standstill_ns: u64,
    /// How long the end of a program may take.
    pub shutdown_ns: u64,
    /// How long a program must go on after a panic for it to count as unnoticed.
    pub unnoticed_ns: u64,
    /// Most victims named in one finding.
    pub victims: usize,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            stall_ns: 20_000_000,
            warning_ns: 20_000_000,
            critical_ns: 100_000_000,
            stuck_ns: 1_000_000_000,
            info_ns: 50_000_000,
            stackless_ns: 100_000_000,
            crowded_ns: 100_000_000,
            queued_ns: 200_000_000,
            deadlock_ns: 1_000_000_000,
            escape_ns: 1_000_000_000,
            slack_ns: 50_000_000,
            spin_ns: 1_000_000_000,
            spin_rate: 10_000,
            idle_ns: 1_000_000_000,
            standstill_ns: 1_500_000_000,
            shutdown_ns: 1_000_000_000,
            unnoticed_ns: 500_000_000,
            victims: 10,
        }
    }
}

/// What one detector says.
struct Outcome {
    check: Check,
    findings: Vec<Finding>,
}

impl Outcome {
    fn new(kind: &str, answer: Answer, why: impl Into<String>) -> Outcome {
        Outcome { check: Check { kind: kind.to_owned(), answer, why: why.into() }, findings: Vec::new() }
    }
}

/// Why nothing can be said about the polls of tasks, where that is so.
fn unseen(model: &Model) -> Option<&'static str> {
    if !model.sees_tasks() {
        Some("the polls of tasks cannot be seen in this program")
    } else if model.polls_seen() == 0 {
        Some("no poll was seen")
    } else {
        None
    }
}

/// Concludes what is wrong, from what is known so far. What was wrong and is over again, only [`Watched`] knows.
pub fn diagnose(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Diagnosis {
    diagnose_by(model, symbols, thresholds, &Rules::default())
}

/// The same, by the rules of a user.
pub fn diagnose_by(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds, rules: &Rules) -> Diagnosis {
    diagnose_with(model, &waits::Past::default(), symbols, thresholds, rules)
}

fn diagnose_with(
    model: &Model,
    past: &waits::Past,
    symbols: &mut Symbols,
    thresholds: &Thresholds,
    rules: &Rules,
) -> Diagnosis {
    for module in &model.modules {
        symbols.add_module(module);
    }
    let (environment, mut outcomes) = stalls::detect(model, symbols, thresholds, rules.calls());
    let machine = environment.answer == Answer::Found;
    outcomes.push(swallowed_panic::detect(model, symbols, thresholds));
    outcomes.push(busy_poll::detect(model, symbols, thresholds));
    outcomes.push(blocking_pool::detect(model, symbols, thresholds));
    let waits = waits::detect(model, past, symbols, thresholds);
    let stuck: Vec<Finding> = waits.iter().flat_map(|outcome| outcome.findings.clone()).collect();
    outcomes.extend(waits);
    outcomes.push(lock_order_inversion::detect(model, symbols, thresholds, &stuck));
    // Who waits in a cycle explains why others wait for nothing.
    let idle::Told { groups, outcomes: told, standstill } = idle::detect(model, symbols, thresholds, !stuck.is_empty());
    outcomes.extend(told);
    let mut checks = vec![environment];
    let mut findings = Vec::new();
    for outcome in outcomes {
        checks.push(outcome.check);
        findings.extend(outcome.findings);
    }
    let accepted = rules.accept(&mut findings);
    findings.sort_by(|a, b| {
        (b.severity, b.confidence)
            .cmp(&(a.severity, a.confidence))
            .then(b.occurrences.worst_ms.total_cmp(&a.occurrences.worst_ms))
    });
    let spins = |check: &Check| check.kind == busy_poll::KIND && check.answer == Answer::CannotTell;
    let undecided = waits::undecided(model, thresholds)
        || stalls::undecided(model, &findings)
        || (model.has_source("console") && unseen(model).is_none() && checks.iter().any(spins));
    let verdict = if findings.iter().any(|finding| finding.severity >= Severity::Warning) {
        Verdict::Findings
    } else if machine {
        Verdict::Environment
    } else if unseen(model).is_none() && !undecided && standstill.is_none() {
        Verdict::Healthy
    } else {
        Verdict::Unknown
    };
    let mut notes = symbols.notes();
    notes.extend(accepted);
    notes.extend(standstill.filter(|_| verdict == Verdict::Unknown).map(|still| still.words(model.last_at)));
    if model.dropped > 0 {
        let full = if model.has_source("console") { "the program's buffer for the console" } else { "a ring" };
        notes.push(format!("{} events were lost because {full} was full: counts are too low", model.dropped));
    }
    if model.not_kept > 0 {
        notes.push(format!("{} long polls, late starts and late timers were counted but not kept", model.not_kept));
    }
    Diagnosis {
        schema: SCHEMA.to_owned(),
        verdict,
        program: program(model),
        checks,
        findings,
        idle: groups,
        not_observable: model.not_observable.iter().cloned().collect(),
        observer: observer(model),
        notes,
    }
}

/// What a finding may name as having made it worse.
pub const AMPLIFIERS: [&str; 2] = ["driver-held", "single-thread-starved"];

/// Every kind that is looked for.
pub fn kinds() -> Vec<String> {
    // Each detector answers, also where there is nothing to see.
    let nothing = diagnose(&Model::default(), &mut Symbols::new(), &Thresholds::default());
    nothing.checks.into_iter().map(|check| check.kind).collect()
}

fn program(model: &Model) -> Program {
    let process = model.process.clone().unwrap_or_default();
    let runtimes = model.runtimes.values();
    Program {
        name: process.program,
        pid: process.pid,
        build_id: process.build_id,
        started_at: if process.wall_ns == 0 { String::new() } else { rfc3339(process.wall_ns) },
        seconds: model.observed_ns() as f64 / 1e9,
        tokio: process.tokio,
        runtimes: runtimes.map(|one| RuntimeRef { flavor: one.flavor.clone(), workers: one.workers }).collect(),
    }
}

fn observer(model: &Model) -> Observer {
    let process = model.process.clone().unwrap_or_default();
    Observer {
        sources: process.sources,
        level: process.level,
        collectors: Vec::new(),
        dropped_events: model.dropped,
        events: model.events,
        polls: model.polls_seen(),
        bytes: 0,
        agent_cpu_ms: ms(model.agent_cpu_ns),
    }
}

fn ms(nanos: u64) -> f64 {
    // Microseconds are as fine as anybody reads.
    (nanos as f64 / 1e3).round() / 1e3
}

fn read_more(kind: &str) -> String {
    format!("pollscope explain {kind}")
}

/// Civil date from days since 1970, after Howard Hinnant's `civil_from_days`.
fn rfc3339(wall_ns: u64) -> String {
    let seconds = wall_ns / 1_000_000_000;
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let millis = wall_ns / 1_000_000 % 1000;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

//! `blocking-pool-exhausted`: all threads of the blocking pool are taken, and what needs one waits.
//!
//! The pool serves in the order of asking, so from when each closure was spawned and ended follows when it began: who
//! kept the threads, and who waited for one. A batch that waits for its own kind is a queue that works; the fault is that
//! others wait behind it, or that those who keep the threads wait for those who have none.

use std::collections::{BTreeMap, BTreeSet};

use pollscope_recording::{Nanos, Place, TaskId};

use super::place::{self, Blame};
use super::stalls::{Calls, When};
use super::{
    Answer, Confidence, Culprit, Evidence, Finding, Location, Occurrences, Outcome, Severity, Stretch, Thresholds,
    Victim, ms, read_more,
};
use crate::model::{FullPool, Model, PoolLook, TaskFacts};
use crate::symbols::Symbols;

const KIND: &str = "blocking-pool-exhausted";

/// A closure of the pool.
struct Closure<'a> {
    task: TaskId,
    facts: &'a TaskFacts,
    /// When it got a thread; `None` if it has none yet.
    began: Option<Nanos>,
}

impl Closure<'_> {
    /// For how long it has waited for a thread, up to `now`.
    fn waited(&self, now: Nanos) -> Nanos {
        let until = self.began.or(self.facts.ended).unwrap_or(now);
        until.saturating_sub(self.facts.begun)
    }

    /// For how much of a time it had a thread.
    fn kept(&self, from: Nanos, to: Nanos) -> Nanos {
        let Some(began) = self.began else { return 0 };
        self.facts.ended.unwrap_or(Nanos::MAX).min(to).saturating_sub(began.max(from))
    }
}

/// A stretch in which a pool was full, judged.
struct Judged<'a> {
    full: &'a FullPool,
    end: Nanos,
    /// Where those that kept the threads were spawned.
    hog: Option<&'a TaskFacts>,
    /// All that keep the threads wait for closures that have none.
    nested: bool,
    /// What most of the threads did.
    blame: Blame,
    /// Who waited behind others, worst first; with how long.
    victims: Vec<(TaskId, Nanos)>,
    /// No closure is told of, so nobody knows who waited.
    unknown: bool,
}

pub(super) fn detect(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Outcome {
    let long = |full: &&FullPool| full.end.unwrap_or(model.last_at).saturating_sub(full.since) >= thresholds.queued_ns;
    let mut groups: BTreeMap<(bool, Option<Location>), Vec<Judged<'_>>> = BTreeMap::new();
    let mut closures = BTreeMap::new();
    for full in model.full_pools.iter().filter(long) {
        let closures = closures.entry(full.runtime).or_insert_with(|| closures_of(model, full.runtime));
        let judged = judge(model, symbols, full, closures, thresholds);
        groups.entry((judged.nested, judged.at())).or_default().push(judged);
    }
    let findings: Vec<Finding> = groups.values().filter_map(|group| finding(model, group, thresholds)).collect();
    let mut outcome = if !findings.is_empty() {
        Outcome::new(KIND, Answer::Found, "closures waited for a thread of a blocking pool that was full")
    } else if let Some(why) = super::unseen(model) {
        Outcome::new(KIND, Answer::CannotTell, why)
    } else if !model.has_source("hooks") {
        Outcome::new(KIND, Answer::CannotTell, "the blocking pool is counted only with tokio's hooks")
    } else {
        Outcome::new(KIND, Answer::Clear, "no closure waited for long for a thread that others kept")
    };
    outcome.findings = findings;
    outcome
}

/// The closures of a runtime's pool, in the order in which they were served.
fn closures_of<'a>(model: &'a Model, runtime: u64) -> Vec<Closure<'a>> {
    let only = model.runtimes.len() <= 1;
    let threads = model.full_pools.iter().filter(|full| full.runtime == runtime).map(|full| full.threads).max();
    let threads = threads.unwrap_or(1).max(1) as usize;
    let mut tasks: Vec<_> = model.tasks.iter().filter(|(_, task)| task.kind == "blocking").collect();
    tasks.retain(|(_, task)| task.runtime == runtime || (only && task.runtime == 0));
    tasks.sort_by_key(|(id, task)| (task.begun, **id));
    // Ends of those that have a thread.
    let mut running: BTreeSet<(Nanos, TaskId)> = BTreeSet::new();
    let mut served = 0;
    let serve = |(&task, facts): (&TaskId, &'a TaskFacts)| {
        // Nobody is served before those that asked earlier.
        served = served.max(facts.begun);
        while running.first().is_some_and(|(end, _)| *end <= served) {
            running.pop_first();
        }
        if running.len() >= threads {
            let (end, _) = running.pop_first().unwrap_or_default();
            served = served.max(end);
        }
        let began = (served < Nanos::MAX).then_some(served);
        running.insert((facts.ended.unwrap_or(Nanos::MAX).max(served), task));
        Closure { task, facts, began }
    };
    tasks.into_iter().map(serve).collect()
}

fn judge<'a>(
    model: &'a Model,
    symbols: &mut Symbols,
    full: &'a FullPool,
    closures: &[Closure<'a>],
    thresholds: &Thresholds,
) -> Judged<'a> {
    let end = full.end.unwrap_or(model.last_at);
    let mut kept: BTreeMap<&Location, (Nanos, &TaskFacts)> = BTreeMap::new();
    let places: Vec<Option<Location>> = closures.iter().map(|one| place::location(&one.facts.spawned)).collect();
    for (closure, place) in closures.iter().zip(&places) {
        if let Some(place) = place {
            let sum = &mut kept.entry(place).or_insert((0, closure.facts)).0;
            *sum = sum.saturating_add(closure.kept(full.since, end));
        }
    }
    let hog = kept.iter().max_by_key(|(_, (sum, _))| *sum).map(|(place, (_, facts))| ((*place).clone(), *facts));
    let waited_now = |one: &Closure<'_>| {
        let until = one.began.or(one.facts.ended).unwrap_or(end);
        one.facts.begun < end && until > full.since
    };
    let behind = closures
        .iter()
        .zip(&places)
        .filter(|(one, place)| waited_now(one) && hog.as_ref().is_some_and(|(hog, _)| place.as_ref() != Some(hog)));
    let mut victims: Vec<_> = behind.map(|(one, _)| (one.task, one.waited(model.last_at))).collect();
    victims.sort_by_key(|&(task, waited)| (std::cmp::Reverse(waited), task));

    // The latest look at each thread.
    let latest: BTreeMap<u64, &PoolLook> = full.looks.iter().map(|look| (look.tid, look)).collect();
    let stacks: Vec<_> = latest.values().filter(|look| !look.stack.is_empty()).collect();
    let frames: Vec<_> = stacks.iter().map(|look| symbols.stack(&look.stack)).collect();
    let blames: Vec<Blame> = frames.iter().map(|frames| place::blame(frames)).collect();
    let votes = |at: &Option<Location>| blames.iter().filter(|other| other.at == *at).count();
    let blame = blames.iter().max_by_key(|blame| (blame.at.is_some(), votes(&blame.at))).cloned().unwrap_or_default();

    let waits = |frames: &[crate::symbols::Frame]| {
        let known = Calls::built_in().known(frames, &[], When::Blocked);
        known.is_some_and(|known| ["block-on-in-async", "thread-wait-in-task"].contains(&known.class.kind.as_str()))
    };
    let stuck = full.end.is_none() && end.saturating_sub(full.since) >= thresholds.deadlock_ns;
    let (running, waiting): (Vec<_>, Vec<_>) =
        closures.iter().filter(|one| one.facts.ended.is_none()).partition(|one| one.began.is_some());
    let waits_for: BTreeSet<TaskId> = waiting.iter().map(|one| one.facts.parent).collect();
    let nested = stuck
        && !running.is_empty()
        && running.iter().all(|one| waits_for.contains(&one.task))
        && !frames.is_empty()
        && frames.iter().all(|frames| waits(frames));
    if nested {
        victims = waiting.iter().map(|one| (one.task, one.waited(model.last_at))).collect();
    }
    let hog = hog.map(|(_, facts)| facts);
    Judged { full, end, hog, nested, blame, victims, unknown: closures.is_empty() }
}

impl Judged<'_> {
    /// The line to change: where those were spawned that keep the threads; of those that wait for each other, where they
    /// do.
    fn at(&self) -> Option<Location> {
        let spawned = self.hog.and_then(|facts| own(&facts.spawned));
        match self.nested {
            true => self.blame.at.clone().or(spawned),
            false => spawned.or_else(|| self.blame.at.clone()),
        }
    }

    fn length(&self) -> Nanos {
        self.end.saturating_sub(self.full.since)
    }

    fn harm(&self) -> Nanos {
        self.victims.first().map_or(0, |(_, waited)| *waited)
    }
}

/// A place of the program's own: `tokio::fs` spawns closures too.
fn own(spawned: &Place) -> Option<Location> {
    let library = ["/registry/src/", "/git/checkouts/", "/rustc/"].iter().any(|mark| spawned.file.contains(mark));
    place::location(spawned).filter(|_| !library)
}

fn finding(model: &Model, group: &[Judged<'_>], thresholds: &Thresholds) -> Option<Finding> {
    let worst = group.iter().max_by_key(|one| (one.harm(), one.length()))?;
    let (harm, length) = (worst.harm(), worst.length());
    let severity = if worst.nested || harm >= thresholds.stuck_ns {
        Severity::Critical
    } else if harm >= thresholds.queued_ns || (worst.unknown && length >= thresholds.stuck_ns) {
        Severity::Warning
    } else if length >= thresholds.stuck_ns {
        Severity::Info
    } else {
        return None;
    };
    let at = worst.at();
    let spot = place::line(at.as_ref());
    let call = worst.blame.call.as_deref();
    let threads = worst.full.threads;
    let title = if worst.nested {
        let call = call.map_or_else(|| "a wait".to_owned(), |call| format!("`{call}`"));
        format!("{call} at {spot} keeps all {threads} threads of the blocking pool waiting for closures that need one")
    } else {
        format!(
            "closures of {spot} kept all {threads} threads of the blocking pool, and others waited for {:.0} ms",
            ms(harm)
        )
    };
    let figure = |what: &str, value: f64, unit: &str| Evidence {
        what: what.to_owned(),
        value,
        unit: unit.to_owned(),
        at: Some(Stretch {
            from_ns: worst.full.since,
            to_ns: worst.end,
            track: format!("runtime {}", worst.full.runtime),
        }),
    };
    let mut evidence = vec![
        figure("all threads of the pool were taken for", ms(length), "ms"),
        figure("threads of the pool", threads as f64, "threads"),
        figure("closures that waited for one, at most", worst.full.queued as f64, "closures"),
    ];
    if harm > 0 {
        evidence.push(figure("longest wait for a thread behind them", ms(harm), "ms"));
    }
    if let (Some(call), Some(doing), false) = (call, &worst.blame.at, worst.nested) {
        let what = format!("threads were in `{call}` at {}", place::line(Some(doing)));
        evidence.push(figure(&what, worst.full.looks.len() as f64, "looks"));
    }
    let victims = worst.victims.iter().take(thresholds.victims).map(|&(closure, waited)| {
        let asked = model.tasks.get(&closure).map(|facts| facts.parent).filter(|parent| *parent != 0);
        Victim {
            task: Some(place::task(model, asked.unwrap_or(closure))),
            harm: "waited for a thread of the blocking pool".into(),
            value: ms(waited),
            unit: "ms".into(),
        }
    });
    let repair = if worst.nested {
        format!(
            "Do not wait at {spot}: return from the closure and await the next one in async code, or do both in one              closure. A closure that waits for another keeps the thread that one needs."
        )
    } else {
        format!(
            "Keep the closures of {spot} off the pool: what waits for messages or never ends belongs into a task that              awaits, or on a thread of its own (`std::thread::spawn`); for long work put a `Semaphore` of fewer permits              than threads in front. `tokio::fs`, name lookups and all of `spawn_blocking` share these threads."
        )
    };
    Some(Finding {
        kind: KIND.to_owned(),
        severity,
        confidence: match (worst.unknown, &at) {
            (true, _) => Confidence::Possible,
            (false, Some(_)) if worst.nested => Confidence::Proven,
            _ => Confidence::Likely,
        },
        title,
        culprit: Culprit {
            task: None,
            at,
            call: worst.blame.call.clone(),
            stack: worst.blame.stack.clone(),
            spans: Vec::new(),
        },
        occurrences: Occurrences {
            count: group.len() as u64,
            total_ms: ms(group.iter().map(Judged::length).sum()),
            worst_ms: ms(length),
            first_ns: group.iter().map(|one| one.full.since).min().unwrap_or(0),
            last_ns: group.iter().map(|one| one.end).max().unwrap_or(0),
        },
        amplifiers: Vec::new(),
        evidence,
        victims: victims.collect(),
        graph: None,
        repair,
        read_more: read_more(KIND),
    })
}

#[cfg(test)]
mod tests {
    use pollscope_recording::{PoolFull, PoolThread, Task, TaskEnd};

    use super::super::tests::{MS, alive, answer, place, program, symbols, text};
    use super::super::{Diagnosis, diagnose};
    use super::*;

    /// A closure spawned at `line` of the program by task `parent`, from when to when it was known.
    fn closure(model: &mut Model, task: TaskId, line: u32, parent: TaskId, begun: Nanos) {
        let (kind, name, spawned) = (text("blocking"), text(""), place(line));
        model.feed(&Task { at: begun, task, runtime: 1, kind, name, spawned, parent }.into());
    }

    fn full(model: &mut Model, at: Nanos, threads: u64, queued: u64, over: bool) {
        model.feed(&PoolFull { at, runtime: 1, since: 100 * MS, threads, queued, over }.into());
    }

    fn look(model: &mut Model, at: Nanos, tid: u64, stack: &[u64]) {
        let (state, stack) = (u64::from(b'S'), stack.to_vec());
        model.feed(&PoolThread { at, runtime: 1, tid, since: 100 * MS, state, stack }.into());
    }

    fn diagnosed(mut model: Model, until: Nanos) -> Diagnosis {
        alive(&mut model, until);
        let known = [
            (1, "std::sys::sync::condvar::futex::Condvar::wait", "std", 1),
            (2, "svc::listen", "svc", 70),
            (3, "tokio::runtime::handle::Handle::block_on", "tokio", 1),
            (4, "svc::import", "svc", 80),
            (5, "std::thread::sleep", "std", 1),
        ];
        diagnose(&model, &mut symbols(&known), &Thresholds::default())
    }

    /// Two threads, kept by two closures from 100 ms to 900 ms while one of another line waits.
    fn kept(others: u32) -> Diagnosis {
        let mut model = program("hooks,tracing,watchdog");
        closure(&mut model, 21, 50, 1, 90 * MS);
        closure(&mut model, 22, 50, 2, 95 * MS);
        closure(&mut model, 23, others, 3, 100 * MS);
        full(&mut model, 200 * MS, 2, 1, false);
        look(&mut model, 200 * MS, 31, &[1, 2]);
        look(&mut model, 200 * MS, 32, &[1, 2]);
        [21, 22].into_iter().for_each(|task| model.feed(&TaskEnd { at: 900 * MS, task }.into()));
        full(&mut model, 910 * MS, 0, 0, true);
        model.feed(&TaskEnd { at: 920 * MS, task: 23 }.into());
        diagnosed(model, 2000 * MS)
    }

    #[test]
    fn who_keeps_the_threads_is_named_and_who_waits_behind() {
        let found = kept(60);
        let finding = &found.findings[0];
        assert_eq!((finding.kind.as_str(), finding.severity), (KIND, Severity::Warning));
        assert_eq!(finding.culprit.at.as_ref().map(|at| at.line), Some(50));
        assert_eq!(finding.victims[0].task.as_ref().map(|task| task.id), Some(3));
        assert!((finding.victims[0].value - 800.0).abs() < 1.0, "{:?}", finding.victims);
    }

    #[test]
    fn a_batch_that_waits_for_its_own_kind_is_no_fault() {
        let found = kept(50);
        assert!(found.findings.is_empty(), "{:?}", found.findings);
        assert_eq!(answer(&found, KIND), Some(Answer::Clear));
    }

    /// Two closures that have threads wait since 100 ms; two more were spawned by `parents`.
    fn waiting(parents: [TaskId; 2], stack: &[u64]) -> Diagnosis {
        let mut model = program("hooks,tracing,watchdog");
        closure(&mut model, 21, 50, 1, 90 * MS);
        closure(&mut model, 22, 50, 2, 90 * MS);
        closure(&mut model, 23, 80, parents[0], 100 * MS);
        closure(&mut model, 24, 80, parents[1], 100 * MS);
        full(&mut model, 200 * MS, 2, 2, false);
        [31, 32].into_iter().for_each(|tid| look(&mut model, 200 * MS, tid, stack));
        diagnosed(model, 2500 * MS)
    }

    #[test]
    fn closures_that_wait_for_closures_are_told_from_long_ones() {
        let nested = waiting([21, 22], &[1, 3, 4]);
        let finding = &nested.findings[0];
        assert_eq!((finding.severity, finding.confidence), (Severity::Critical, Confidence::Proven));
        assert_eq!(finding.culprit.at.as_ref().map(|at| at.line), Some(80));
        assert!(finding.title.contains("waiting for closures"), "{}", finding.title);
        // One of the two will go on; and who sleeps waits for nobody.
        for long in [waiting([21, 1], &[1, 3, 4]), waiting([21, 22], &[5, 4])] {
            assert!(!long.findings[0].title.contains("waiting for closures"), "{}", long.findings[0].title);
            assert_eq!(long.findings[0].culprit.at.as_ref().map(|at| at.line), Some(50));
        }
    }

    #[test]
    fn without_tracing_the_stacks_tell_the_line() {
        let told = |until| {
            let mut model = program("hooks,watchdog");
            full(&mut model, 200 * MS, 2, 2, false);
            look(&mut model, 200 * MS, 31, &[1, 2]);
            diagnosed(model, until)
        };
        let found = told(1500 * MS);
        assert_eq!(
            (found.findings[0].severity, found.findings[0].confidence),
            (Severity::Warning, Confidence::Possible)
        );
        assert_eq!(found.findings[0].culprit.at.as_ref().map(|at| at.line), Some(70));
        assert!(told(900 * MS).findings.is_empty());
    }
}

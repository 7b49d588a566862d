//! `busy-poll`: a task that polls itself in a loop instead of waiting for a wake.
//!
//! Seen: a task polled very often, for long, in polls too short to do work, and at the moments looked at it was the
//! task itself that asked for its next poll. A busy consumer is woken by others and only hands its waker out; a task
//! that yields between pieces of work has long polls; one that yields because tokio's budget for ready operations ran
//! out has done a hundred of them first, and its stack says so.

use std::collections::BTreeMap;

use pollscope_recording::TaskId;

use super::place::{self, Blame};
use super::{
    Answer, Confidence, Culprit, Evidence, Finding, Location, Occurrences, Outcome, Severity, Stretch, Thresholds, ms,
};
use crate::model::{Model, SpinFacts, WakeLook};
use crate::symbols::{self, Symbols};

pub(super) const KIND: &str = "busy-poll";
/// Polls below `2^(9 + TINY_BUCKETS)` ns, 16 µs, are too short for work worth a poll, also in debug builds.
const TINY_BUCKETS: usize = 5;
/// Looks from which it is told who wakes a task.
const LOOKS: usize = 3;

/// How a task asked for its own next poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// `wake_by_ref` or `wake` on its own waker.
    Wake,
    /// `tokio::task::yield_now`.
    Yield,
}

/// One task that polls itself.
struct Spinner<'a> {
    task: TaskId,
    spin: &'a SpinFacts,
    how: How,
    blame: Blame,
    direct: bool,
    /// Looks that met it asking.
    asked: usize,
}

pub(super) fn detect(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Outcome {
    let mut groups: BTreeMap<(How, Option<Location>), Vec<Spinner<'_>>> = BTreeMap::new();
    let mut unclear = None;
    for (&task, spin) in &model.spins {
        if !tiny(spin) {
            continue;
        }
        // A task that is polled was woken: looks that met no wake at all were blind.
        if spin.looks.iter().all(|look| look.own + look.others + look.outside == 0) {
            let alone = spin.lasted_ns >= thresholds.spin_ns && rate(spin) >= thresholds.spin_rate as f64;
            unclear = unclear.or(alone.then_some((task, rate(spin))));
        } else if let Some(spinner) = judge(symbols, task, spin) {
            // Many tasks may spin at one line; each alone is slower for it.
            groups.entry((spinner.how, spinner.blame.at.clone())).or_default().push(spinner);
        }
    }
    let findings: Vec<Finding> = groups.values().filter_map(|group| finding(model, thresholds, group)).collect();
    let mut outcome = if !findings.is_empty() {
        Outcome::new(KIND, Answer::Found, format!("tasks poll themselves in a loop at {} place(s)", findings.len()))
    } else if let Some((task, rate)) = unclear {
        let why = format!(
            "{} is polled {rate:.0} times a second in tiny polls, but who wakes it was not seen: that needs the tracing \
             source",
            place::task_label(model, task),
        );
        Outcome::new(KIND, Answer::CannotTell, why)
    } else if let Some(why) = super::unseen(model) {
        Outcome::new(KIND, Answer::CannotTell, why)
    } else {
        Outcome::new(KIND, Answer::Clear, "no task asked for its own next poll again and again")
    };
    outcome.findings = findings;
    outcome
}

/// Whether nearly all polls were too short for work worth a poll.
fn tiny(spin: &SpinFacts) -> bool {
    let tiny: u64 = spin.histogram.iter().take(TINY_BUCKETS).sum();
    tiny as f64 >= 0.9 * spin.polls as f64
}

/// Polls a second, while it was polled often.
fn rate(spin: &SpinFacts) -> f64 {
    spin.polls as f64 * 1e9 / spin.lasted_ns.max(1) as f64
}

fn judge<'a>(symbols: &mut Symbols, task: TaskId, spin: &'a SpinFacts) -> Option<Spinner<'a>> {
    let (polls, own) = spin.looks.iter().fold((0, 0), |(polls, own), look| (polls + look.polls, own + look.own));
    let others: u64 = spin.looks.iter().map(|look| look.others).sum();
    // Nearly every poll must be of its own asking, and hardly any of another task's.
    if own < polls / 2 || others > polls / 4 {
        return None;
    }
    let mut seen: BTreeMap<(How, Option<Location>), (usize, Blame, bool)> = BTreeMap::new();
    for look in &spin.looks {
        if let Some((how, blame, direct)) = asked(symbols, look) {
            seen.entry((how, blame.at.clone())).or_insert((0, blame, direct)).0 += 1;
        }
    }
    // A look that met the task waiting tells against it; one that came too late for a stack tells nothing.
    let looked = spin.looks.iter().filter(|look| !look.stack.is_empty() || look.own * 2 < look.polls).count();
    let asked: usize = seen.values().map(|(count, ..)| count).sum();
    let ((how, _), (_, blame, direct)) = seen.into_iter().max_by_key(|(_, (count, ..))| *count)?;
    (asked * 4 >= looked * 3).then_some(Spinner { task, spin, how, blame, direct, asked })
}

/// The finding about all tasks that spin at one line.
fn finding(model: &Model, thresholds: &Thresholds, group: &[Spinner<'_>]) -> Option<Finding> {
    let worst = group.iter().max_by_key(|spinner| spinner.spin.polls)?;
    let sum = |each: fn(&Spinner<'_>) -> u64| group.iter().map(each).sum::<u64>();
    let (polls, lasted) = (sum(|one| one.spin.polls), sum(|one| one.spin.lasted_ns));
    let looks: usize = group.iter().map(|spinner| spinner.asked).sum();
    let per_second: f64 = group.iter().map(|spinner| rate(spinner.spin)).sum();
    if lasted < thresholds.spin_ns || per_second < thresholds.spin_rate as f64 || looks < LOOKS {
        return None;
    }
    let (at, direct) = (&worst.blame.at, worst.direct);
    let spot = place::line(at.as_ref());
    let title = match worst.how {
        How::Wake => format!("{spot} wakes its own task and so polls it {per_second:.0} times a second"),
        How::Yield => format!("{spot} yields in a loop and so polls its task {per_second:.0} times a second"),
    };
    let repair = match worst.how {
        How::Wake => format!(
            "Do not wake the task at {spot}: keep the waker (`cx.waker().clone()`) with what the future waits for, and \
             let whoever changes that wake it. `tokio::sync::Notify` or a channel does this already."
        ),
        How::Yield => format!(
            "Wait for the event instead of asking again and again at {spot}: `tokio::sync::Notify`, `watch` or a \
             oneshot channel wakes the task when there is something to see. `yield_now` only lets others run first."
        ),
    };
    let first = group.iter().map(|one| one.spin.first).min().unwrap_or(0);
    let last = group.iter().map(|one| one.spin.last).max().unwrap_or(0);
    let stretch = || Some(Stretch { from_ns: first, to_ns: last, track: format!("task {}", worst.task) });
    let figure = |what: &str, value: f64, unit: &str| Evidence {
        what: what.to_owned(),
        value: value.round(),
        unit: unit.to_owned(),
        at: stretch(),
    };
    let busy = worst.spin.busy_ns as f64 / worst.spin.lasted_ns.max(1) as f64 * 100.0;
    let mut evidence = vec![
        figure("polls a second", per_second, "polls"),
        figure("of the time inside the polls of one task, scheduling not counted", busy, "%"),
        figure("looks that met a task asking for its own next poll here", looks as f64, "looks"),
    ];
    if group.len() > 1 {
        evidence.push(figure("tasks that spin here", group.len() as f64, "tasks"));
    }
    Some(Finding {
        kind: KIND.to_owned(),
        // It burns a core; where only a library did it, that may be the library's way of being fair.
        severity: if direct { Severity::Warning } else { Severity::Info },
        confidence: match (direct, at.is_some()) {
            (true, true) => Confidence::Proven,
            (true, false) => Confidence::Likely,
            _ => Confidence::Possible,
        },
        title,
        culprit: Culprit {
            task: Some(place::task(model, worst.task)),
            at: at.clone(),
            call: Some(match worst.how {
                How::Wake => "core::task::Waker::wake_by_ref".to_owned(),
                How::Yield => "tokio::task::yield_now".to_owned(),
            }),
            stack: worst.blame.stack.clone(),
            spans: place::spans(model, worst.task, 0, u64::MAX),
        },
        occurrences: Occurrences { count: polls, total_ms: ms(lasted), worst_ms: 0.0, first_ns: first, last_ns: last },
        amplifiers: Vec::new(),
        evidence,
        victims: Vec::new(),
        graph: None,
        repair,
        read_more: super::read_more(KIND),
    })
}

/// How the task asked for its next poll, and whether its own code did; `None` if the stack shows it waiting.
fn asked(symbols: &mut Symbols, look: &WakeLook) -> Option<(How, Blame, bool)> {
    if look.stack.is_empty() {
        return None;
    }
    let frames = symbols.stack(&look.stack);
    let user = frames.iter().position(|frame| !frame.library).unwrap_or(frames.len());
    let called = frames.get(..user).unwrap_or_default();
    let any = |mark: &str| called.iter().any(|frame| frame.function.contains(mark));
    // tokio makes a task yield that has had many ready operations in one poll: it moves.
    if any("tokio::task::coop") || any("tokio::coop") {
        return None;
    }
    let blame = place::blame(&frames);
    let direct = called.iter().all(runtime);
    if any("yield_now") {
        return Some((How::Yield, blame, direct));
    }
    look.woke.then_some((How::Wake, blame, direct))
}

/// Whether a frame below the program's own is the runtime's, and no other library's.
fn runtime(frame: &symbols::Frame) -> bool {
    let name = frame.krate.as_deref().unwrap_or("");
    frame.function.starts_with("0x")
        || name.is_empty()
        || ["std", "core", "alloc", "tokio", "tracing", "tracing-core", "tracing_core"].contains(&name)
}

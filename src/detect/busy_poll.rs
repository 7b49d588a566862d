//! `busy-poll`: a task that polls itself in a loop instead of waiting for a wake.
//!
//! Seen: a task polled very often, for long, in polls too short to do work, and at the moments looked at it was the
//! task itself that asked for its next poll. A busy consumer is woken by others and only hands its waker out; a task
//! that yields between pieces of work has long polls; one that yields because tokio's budget for ready operations ran
//! out has done a hundred of them first, and its stack says so.
//!
//! Where the kernel kept the task's thread off the CPU, the program's work leaves little of the rest, so the task is polled
//! often for moments only. Such moments tell a second if the task was met asking for its next poll all the while. Without
//! them nothing is told: a few items with a yield after each look the same on a thread that never gets to their end.

use std::collections::BTreeMap;

use pollscope_recording::{Nanos, SELF_WAKES_COPIED, TaskId};

use super::place::{self, Blame};
use super::{
    Answer, Confidence, Culprit, Evidence, Finding, Location, Occurrences, Outcome, Severity, Stretch, Thresholds, ms,
};
use crate::model::{Model, SpinFacts, WakeLook};
use crate::symbols::{self, Symbols};

pub(super) const KIND: &str = "busy-poll";
/// Looks from which it is told who wakes a task.
const LOOKS: usize = 3;
/// The same where the kernel kept its thread off the CPU: how often it is polled tells nothing there.
const CROWDED_LOOKS: usize = 6;
/// And how long, in all, it must have been polled often beside.
const MOMENTS: Nanos = 200_000_000;
/// And the part of the time that these looks must make up: one divided by this.
const CROWDED_SHARE: Nanos = 6;

/// Why it cannot be told of a task that is polled often.
const BLIND: &str = "who wakes it was not seen: that needs the tracing source";
const LINELESS: &str =
    "whether it waits or yields was not seen: that needs line tables (`debug = \"line-tables-only\"`)";

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
    crowded: Crowded,
}

/// Looks in windows in which the kernel kept the task's thread off the CPU: those that met it asking, and in which it asked
/// for each of its polls; and the others.
#[derive(Debug, Clone, Copy, Default)]
struct Crowded {
    looks: usize,
    /// Those that met it waiting, or woken by others.
    against: usize,
    /// Those in whose windows most of its polls were long enough for work.
    long: usize,
    lasted: Nanos,
    first: Nanos,
    last: Nanos,
}

impl Crowded {
    fn look(look: &WakeLook, asked: bool) -> Crowded {
        let nearly_all = |count: u64| count * 10 >= look.polls * 9;
        // Only the last it did in a window tells what it does for the rest of it.
        let Some(tiny) = look.kept_off.filter(|_| look.own <= SELF_WAKES_COPIED) else { return Crowded::default() };
        // Counted from poll to poll, one may fall into the window beside.
        if !nearly_all(look.own + 1) || look.others * 10 > look.polls || !(asked || look.stack.is_empty()) {
            return Crowded { against: 1, ..Crowded::default() };
        }
        // Some polls are longer than they are alone, since others use the caches meanwhile.
        if tiny * 2 < look.polls {
            return Crowded { long: 1, ..Crowded::default() };
        }
        if !asked {
            return Crowded::default();
        }
        let lasted = look.at.saturating_sub(look.from);
        Crowded { looks: 1, lasted, first: look.from, last: look.at, ..Crowded::default() }
    }

    /// Whether it was met asking again and again, for long enough, and seldom otherwise.
    fn never_waited(&self, thresholds: &Thresholds) -> bool {
        self.looks >= CROWDED_LOOKS
            && self.looks >= 3 * self.against
            && self.looks >= 2 * self.long
            && self.last.saturating_sub(self.first) >= thresholds.spin_ns
            && self.lasted >= self.last.saturating_sub(self.first) / CROWDED_SHARE
    }

    fn and(self, other: Crowded) -> Crowded {
        Crowded {
            looks: self.looks + other.looks,
            against: self.against + other.against,
            long: self.long + other.long,
            lasted: self.lasted + other.lasted,
            first: [self, other].iter().filter(|one| one.looks > 0).map(|one| one.first).min().unwrap_or(0),
            last: self.last.max(other.last),
        }
    }
}

pub(super) fn detect(model: &Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Outcome {
    let mut groups: BTreeMap<(How, Option<Location>), Vec<Spinner<'_>>> = BTreeMap::new();
    let mut unclear = None;
    for (&task, spin) in &model.spins {
        if !tiny(spin) {
            continue;
        }
        let often = spin.lasted_ns >= thresholds.spin_ns && rate_alone(spin) >= thresholds.spin_rate as f64;
        // A task that is polled was woken: looks that met no wake at all were blind.
        if spin.looks.iter().all(|look| look.own + look.others + look.outside == 0) {
            unclear = unclear.or(often.then_some((task, rate(spin), BLIND)));
        } else if let Some(spinner) = judge(symbols, task, spin) {
            // Many tasks may spin at one line; each alone is slower for it.
            groups.entry((spinner.how, spinner.blame.at.clone())).or_default().push(spinner);
        } else if often && wakes_itself(spin) && lineless(symbols, spin) {
            unclear = unclear.or(Some((task, rate(spin), LINELESS)));
        }
    }
    let findings: Vec<Finding> = groups.values().filter_map(|group| finding(model, thresholds, group)).collect();
    let mut outcome = if !findings.is_empty() {
        Outcome::new(KIND, Answer::Found, format!("tasks poll themselves in a loop at {} place(s)", findings.len()))
    } else if let Some((task, rate, but)) = unclear {
        let who = place::task_label(model, task);
        let why = format!("{who} is polled {rate:.0} times a second in tiny polls, but {but}");
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
    spin.tiny as f64 >= 0.9 * spin.polls as f64
}

/// Polls a second while it was polled often, by the clock.
fn rate(spin: &SpinFacts) -> f64 {
    spin.polls as f64 * 1e9 / spin.lasted_ns.max(1) as f64
}

/// The same by the time that its thread was not kept off the CPU: what it would come to with nobody beside the program.
fn rate_alone(spin: &SpinFacts) -> f64 {
    spin.polls as f64 * 1e9 / spin.given_ns.max(1) as f64
}

/// Whether nearly every poll was of its own asking, and hardly any of another task's.
fn wakes_itself(spin: &SpinFacts) -> bool {
    let (polls, own) = spin.looks.iter().fold((0, 0), |(polls, own), look| (polls + look.polls, own + look.own));
    let others: u64 = spin.looks.iter().map(|look| look.others).sum();
    own >= polls / 2 && others <= polls / 4
}

/// Whether no stack has lines but the standard library's, which brings its own: what was inlined is not in them.
fn lineless(symbols: &mut Symbols, spin: &SpinFacts) -> bool {
    let own = |frame: &symbols::Frame| !matches!(frame.krate.as_deref(), Some("std" | "core" | "alloc"));
    let mut stacks = spin.looks.iter().filter(|look| !look.stack.is_empty()).peekable();
    let seen = stacks.peek().is_some();
    seen && stacks.all(|look| !symbols.stack(&look.stack).iter().any(|frame| own(frame) && frame.line.is_some()))
}

fn judge<'a>(symbols: &mut Symbols, task: TaskId, spin: &'a SpinFacts) -> Option<Spinner<'a>> {
    if !wakes_itself(spin) {
        return None;
    }
    let mut seen: BTreeMap<(How, Option<Location>), (usize, Blame, bool)> = BTreeMap::new();
    let mut crowded = Crowded::default();
    for look in &spin.looks {
        let asked = asked(symbols, look);
        crowded = crowded.and(Crowded::look(look, asked.is_some()));
        if let Some((how, blame, direct)) = asked {
            seen.entry((how, blame.at.clone())).or_insert((0, blame, direct)).0 += 1;
        }
    }
    // A look that met the task waiting tells against it; one that came too late for a stack tells nothing.
    let looked = spin.looks.iter().filter(|look| !look.stack.is_empty() || look.own * 2 < look.polls).count();
    let asked: usize = seen.values().map(|(count, ..)| count).sum();
    let ((how, _), (_, blame, direct)) = seen.into_iter().max_by_key(|(_, (count, ..))| *count)?;
    (asked * 4 >= looked * 3).then_some(Spinner { task, spin, how, blame, direct, asked, crowded })
}

/// The finding about all tasks that spin at one line.
fn finding(model: &Model, thresholds: &Thresholds, group: &[Spinner<'_>]) -> Option<Finding> {
    let worst = group.iter().max_by_key(|spinner| spinner.spin.polls)?;
    let sum = |each: fn(&Spinner<'_>) -> u64| group.iter().map(each).sum::<u64>();
    let (polls, lasted) = (sum(|one| one.spin.polls), sum(|one| one.spin.lasted_ns));
    let looks: usize = group.iter().map(|spinner| spinner.asked).sum();
    let [per_second, alone] = [rate, rate_alone].map(|of| group.iter().map(|one| of(one.spin)).sum::<f64>());
    let first = group.iter().map(|one| one.spin.first).min().unwrap_or(0);
    let last = group.iter().map(|one| one.spin.last).max().unwrap_or(0);
    let often = lasted >= thresholds.spin_ns && looks >= LOOKS;
    let crowded = group.iter().map(|one| one.crowded).fold(Crowded::default(), Crowded::and);
    let so_alone = lasted >= MOMENTS && crowded.never_waited(thresholds);
    if alone < thresholds.spin_rate as f64 || !(often || so_alone) {
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
    if !often {
        let kept_off = "looks where others had the CPU for most of the time, and each poll was of its own asking";
        evidence.push(figure(kept_off, crowded.looks as f64, "looks"));
    }
    if alone > per_second * 1.1 {
        evidence.insert(1, figure("polls a second of the time that others left it the CPU", alone, "polls"));
    }
    if group.len() > 1 {
        evidence.push(figure("tasks that spin here", group.len() as f64, "tasks"));
    }
    Some(Finding {
        kind: KIND.to_owned(),
        // It burns a core; where only a library did it, that may be the library's way of being fair.
        severity: if direct { Severity::Warning } else { Severity::Info },
        confidence: match (direct, at.is_some() && often) {
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

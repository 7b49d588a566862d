//! Polls that were open for too long: what each was doing, and which of them are one fault.

use std::collections::BTreeMap;

use super::place::{self, Blame};
use super::{Confidence, Culprit, Evidence, Finding, Location, Occurrences, Severity, Stretch, Thresholds, ms};
use super::{amplifiers, sync_guard_across_await, victims};
use crate::model::{Model, Stall};
use crate::symbols::Symbols;

/// What kept a poll open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Blocked,
    /// Blocked on a lock that no running code can be holding.
    Guard,
    /// The same inside a `watch` channel.
    Borrow,
    Cpu,
    /// Long, and nothing else is known of it.
    Unseen,
    /// In the panic hook, which prints a backtrace: the panic is the fault, not the poll.
    Panic,
    /// The kernel ran others: the machine's fault.
    Machine,
    /// It had handed its worker off, or was below the threshold.
    Innocent,
}

/// One open poll, judged.
pub(super) struct Judged<'a> {
    pub(super) stall: &'a Stall,
    pub(super) end: u64,
    pub(super) cause: Cause,
    /// Scaled from what was observed to the whole poll.
    pub(super) cpu_ns: u64,
    pub(super) blocked_ns: u64,
    pub(super) delay_ns: u64,
    pub(super) blame: Blame,
}

/// Judges every stall. The environment is subtracted, never taken as an excuse: a poll is guilty if its own CPU or
/// blocked time alone reaches the threshold.
pub(super) fn judge<'a>(model: &'a Model, symbols: &mut Symbols, thresholds: &Thresholds) -> Vec<Judged<'a>> {
    let mut polls = model.stalls.values().map(|stall| judge_one(model, stall, symbols, thresholds)).collect::<Vec<_>>();
    sync_guard_across_await::mark(&mut polls, thresholds);
    polls
}

fn judge_one<'a>(model: &Model, stall: &'a Stall, symbols: &mut Symbols, thresholds: &Thresholds) -> Judged<'a> {
    let end = model.end_of(stall);
    let whole = end - stall.since;
    let window = stall.measured.saturating_sub(stall.observed);
    // With a window of nothing the times are zero too; a sleeping thread's first sample then decides.
    let (cpu, delay) = (stall.cpu_ns.min(window), stall.run_delay_ns.min(window.saturating_sub(stall.cpu_ns)));
    // Where the kernel does not tell run delay, throttling looks like a wait. But a thread that waits is not ready.
    let ready = !stall.samples.is_empty() && stall.samples.iter().all(|sample| sample.state == u64::from(b'R'));
    let delay = match delay {
        0 if ready => model.throttled_between(stall.since, end).min(window - cpu),
        told => told,
    };
    let scale = |part: u64| (part as f64 / window.max(1) as f64 * whole as f64) as u64;
    let (cpu_ns, delay_ns, blocked_ns) = if window == 0 {
        let running = stall.samples.iter().any(|sample| sample.state == u64::from(b'R'));
        if running { (whole, 0, 0) } else { (0, 0, whole) }
    } else {
        (scale(cpu), scale(delay), scale(window - cpu - delay))
    };
    let blames: Vec<Blame> = stall
        .samples
        .iter()
        .filter(|one| !one.stack.is_empty())
        .map(|one| place::blame(&symbols.stack(&one.stack)))
        .collect();
    // A panic is told from its start, so a poll of which most came after one was in the hook, also if no stack shows it.
    let mut panics = model.panics.iter().filter(|panic| panic.task == stall.task && panic.at >= stall.since);
    let panic = panics.find(|panic| panic.at <= end && end - panic.at >= whole / 2);
    let blame = match panic {
        Some(panic) if blames.is_empty() => place::blame(&symbols.stack(&panic.stack)),
        _ => majority(&blames),
    };
    // A `spawn_blocking` body may block as long as it likes.
    let pool = model.tasks.get(&stall.task).is_some_and(|task| task.kind == "blocking");
    // Its thread was never looked at.
    let unseen = window == 0 && stall.samples.iter().all(|one| one.state == 0 && one.stack.is_empty());
    let cause = if pool || blames.iter().any(|blame| blame.handed_off) {
        Cause::Innocent
    } else if unseen && whole >= thresholds.stall_ns {
        Cause::Unseen
    } else if (blame.panicking || panic.is_some()) && cpu_ns + blocked_ns >= thresholds.stall_ns {
        Cause::Panic
    } else if cpu_ns >= thresholds.stall_ns || blocked_ns >= thresholds.stall_ns {
        if cpu_ns >= blocked_ns { Cause::Cpu } else { Cause::Blocked }
    } else if delay_ns >= thresholds.stall_ns {
        Cause::Machine
    } else {
        Cause::Innocent
    };
    Judged { stall, end, cause, cpu_ns, blocked_ns, delay_ns, blame }
}

/// The stack whose culprit was seen most often: a busy poll is sampled in many places.
fn majority(blames: &[Blame]) -> Blame {
    let votes = |at: &Option<Location>| blames.iter().filter(|other| other.at == *at).count();
    let best = blames.iter().max_by_key(|blame| (blame.at.is_some(), votes(&blame.at)));
    best.cloned().unwrap_or_default()
}

/// How a kind of fault is put into words.
pub(super) struct Words {
    pub(super) kind: &'static str,
    pub(super) cause: Cause,
    /// Place, call, worst duration in ms.
    pub(super) title: fn(&str, Option<&str>, f64) -> String,
    pub(super) repair: fn(&str, Option<&str>) -> String,
}

/// The findings of one cause: one for each culprit line.
pub(super) fn findings(model: &Model, polls: &[Judged<'_>], words: &Words, thresholds: &Thresholds) -> Vec<Finding> {
    let groups = groups(model, polls, words.cause);
    groups.iter().filter_map(|group| finding(model, polls, group, words, thresholds)).collect()
}

/// The polls of one cause, those of one root together.
pub(super) fn groups<'p, 'm>(model: &Model, polls: &'p [Judged<'m>], cause: Cause) -> Vec<Vec<&'p Judged<'m>>> {
    let mut groups: BTreeMap<(String, u64), Vec<&Judged<'_>>> = BTreeMap::new();
    let of_locks = matches!(cause, Cause::Guard | Cause::Borrow);
    let is_one = sync_guard_across_await::is_one_lock;
    for poll in polls.iter().filter(|poll| poll.cause == cause) {
        // Without a line, polls of one spawn place are still one fault; one lock may be wanted at many lines.
        let key = match &poll.blame.at {
            _ if of_locks && poll.stall.futex != 0 && poll.blame.lock.is_some_and(|lock| lock.std) => {
                let known = groups.keys().find(|(kind, futex)| kind == "lock" && is_one(*futex, poll.stall.futex));
                ("lock".to_owned(), known.map_or(poll.stall.futex, |(_, futex)| *futex))
            }
            // parking_lot's threads sleep at places of their own: which of several channels it is cannot be told.
            _ if cause == Cause::Borrow => ("channel".to_owned(), 0),
            Some(at) => (format!("{}:{}", at.file, at.line), 0),
            None => match model.tasks.get(&poll.stall.task).and_then(|task| place::location(&task.spawned)) {
                Some(at) => (format!("?{}:{}", at.file, at.line), 0),
                None => ("?".to_owned(), poll.stall.task),
            },
        };
        groups.entry(key).or_default().push(poll);
    }
    groups.into_values().collect()
}

pub(super) fn finding(
    model: &Model,
    all: &[Judged<'_>],
    group: &[&Judged<'_>],
    words: &Words,
    thresholds: &Thresholds,
) -> Option<Finding> {
    let length = |poll: &Judged<'_>| poll.end - poll.stall.since;
    let worst = group.iter().copied().max_by_key(|poll| length(poll))?;
    let (victims, harm) = victims::of(model, group, thresholds);
    let open = group.iter().any(|poll| poll.stall.end.is_none() && length(poll) > thresholds.stuck_ns);
    let severity = if open || harm >= thresholds.critical_ns {
        Severity::Critical
    } else if harm >= thresholds.warning_ns {
        Severity::Warning
    } else if length(worst) >= thresholds.info_ns {
        Severity::Info
    } else {
        return None;
    };
    let blame = &worst.blame;
    let at = blame.at.as_ref();
    let spot = match at {
        Some(at) => place::line(Some(at)),
        None => place::task_label(model, worst.stall.task),
    };
    let track = format!("thread {}", worst.stall.tid);
    let stretch = || Some(Stretch { from_ns: worst.stall.since, to_ns: worst.end, track: track.clone() });
    let figure =
        |what: &str, value: u64| Evidence { what: what.to_owned(), value: ms(value), unit: "ms".into(), at: stretch() };
    let mut evidence = vec![figure("longest poll", length(worst))];
    if worst.cause != Cause::Unseen {
        evidence.push(figure("of it on the CPU", worst.cpu_ns));
        evidence.push(figure("of it blocked in the kernel", worst.blocked_ns));
        evidence.push(figure("of it ready, but the kernel ran others", worst.delay_ns));
        let throttled = model.throttled_between(worst.stall.since, worst.end).min(worst.delay_ns);
        if throttled > 0 {
            evidence.push(figure("of that because the CPU quota throttled the program, at most", throttled));
        }
    }
    if harm > 0 {
        evidence.push(figure("worst delay of others meanwhile", harm));
    }
    Some(Finding {
        kind: words.kind.to_owned(),
        severity,
        confidence: if at.is_some() { Confidence::Proven } else { Confidence::Likely },
        title: (words.title)(&spot, blame.call.as_deref(), ms(length(worst))),
        culprit: Culprit {
            task: Some(place::task(model, worst.stall.task)),
            at: at.cloned(),
            call: blame.call.clone(),
            stack: blame.stack.clone(),
            spans: place::spans(model, worst.stall.task, worst.stall.since, worst.end),
        },
        occurrences: Occurrences {
            count: group.len() as u64,
            total_ms: ms(group.iter().map(|poll| length(poll)).sum()),
            worst_ms: ms(length(worst)),
            first_ns: group.iter().map(|poll| poll.stall.since).min().unwrap_or(0),
            last_ns: group.iter().map(|poll| poll.end).max().unwrap_or(0),
        },
        amplifiers: if harm > 0 { amplifiers::of(model, all, group) } else { Vec::new() },
        evidence,
        victims,
        graph: None,
        repair: (words.repair)(&spot, blame.call.as_deref()),
        read_more: super::read_more(words.kind),
    })
}

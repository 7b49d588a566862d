//! From judged polls to findings: one for each root cause, with how often and how long.

use std::collections::BTreeMap;

use super::super::{
    Answer, Confidence, Culprit, Evidence, Finding, Occurrences, Severity, Stretch, place, read_more, unseen,
};
use super::kinds::Kind;
use super::{
    Judged, Model, Outcome, Thresholds, amplifiers, kinds, ms, sync_guard_across_await, sync_lock_contention, victims,
};

/// What one kind of stall came to.
pub(super) fn outcome(model: &Model, polls: &[Judged<'_>], kind: &Kind, thresholds: &Thresholds) -> Outcome {
    let groups = groups(model, polls, kind.id);
    let findings: Vec<Finding> = groups
        .iter()
        .filter_map(|group| {
            let finding = finding(model, polls, group, kind, thresholds)?;
            Some((kind.more)(model, polls, group, finding))
        })
        .collect();
    let mut outcome = if !findings.is_empty() {
        Outcome::new(kind.id, Answer::Found, format!("long polls at {} place(s)", findings.len()))
    } else if let Some(why) = unseen(model) {
        Outcome::new(kind.id, Answer::CannotTell, why)
    } else if kind.id != kinds::UNSEEN && !model.has_source("watchdog") {
        let why = "the watchdog did not run, so nothing is known about polls while they are open";
        Outcome::new(kind.id, Answer::CannotTell, why)
    } else {
        Outcome::new(kind.id, Answer::Clear, format!("{} in {} polls", kind.clear, model.polls_seen()))
    };
    outcome.findings = findings;
    outcome
}

/// The polls of one kind, those of one root together.
fn groups<'p, 'm>(model: &Model, polls: &'p [Judged<'m>], kind: &str) -> Vec<Vec<&'p Judged<'m>>> {
    let mut groups: BTreeMap<(String, u64), Vec<&Judged<'_>>> = BTreeMap::new();
    for poll in polls.iter().filter(|poll| poll.is(kind)) {
        // Without a line, polls of one spawn place are still one fault; one lock may be wanted at many lines.
        let key = match &poll.blame.at {
            // Whoever logs waits for the same writer, at however many lines.
            _ if kind == kinds::LOGGING => ("log".to_owned(), 0),
            _ if sync_guard_across_await::by_lock(poll) => {
                let is_one = sync_guard_across_await::is_one_lock;
                let known = groups.keys().find(|(kind, futex)| kind == "lock" && is_one(*futex, poll.stall.futex));
                ("lock".to_owned(), known.map_or(poll.stall.futex, |(_, futex)| *futex))
            }
            // parking_lot's threads sleep at places of their own: which of several channels it is cannot be told.
            _ if kind == kinds::BORROW => ("channel".to_owned(), 0),
            Some(at) => (place::line(Some(at)), 0),
            None => match model.tasks.get(&poll.stall.task).and_then(|task| place::location(&task.spawned)) {
                Some(at) => (format!("?{}:{}", at.file, at.line), 0),
                None => ("?".to_owned(), poll.stall.task),
            },
        };
        groups.entry(key).or_default().push(poll);
    }
    groups.into_values().collect()
}

fn finding(
    model: &Model,
    all: &[Judged<'_>],
    group: &[&Judged<'_>],
    kind: &Kind,
    thresholds: &Thresholds,
) -> Option<Finding> {
    // Of those that log, who writes is more telling than who waits for the writer.
    let first = |poll: &Judged<'_>| kind.id == kinds::LOGGING && poll.stall.futex == 0;
    let worst = group.iter().copied().max_by_key(|poll| (first(poll), poll.length()))?;
    let (victims, harm) = victims::of(model, group, thresholds);
    let open = group.iter().any(|poll| poll.stall.end.is_none() && poll.length() > thresholds.stuck_ns);
    // The watchdog looks at each poll several times before it is that long. If it took no stack, the thread waited often
    // and shortly, or for the observer itself, and there is no line to name. Where the thread was kept off the CPU, so
    // was the watchdog: only the poll's own time counts.
    let glimpsed = kind.id != kinds::UNSEEN
        && group.iter().all(|poll| poll.cpu_ns + poll.blocked_ns < thresholds.stackless_ns)
        && group.iter().all(|poll| poll.blame.stack.is_empty());
    let severity = if glimpsed {
        Severity::Info
    } else if open || harm >= thresholds.critical_ns {
        Severity::Critical
    } else if harm >= thresholds.warning_ns {
        Severity::Warning
    } else if worst.length() >= thresholds.info_ns {
        Severity::Info
    } else {
        return None;
    };
    let at = worst.blame.at.as_ref();
    let spot = match at {
        Some(at) => place::line(Some(at)),
        None => place::task_label(model, worst.stall.task),
    };
    let track = format!("thread {}", worst.stall.tid);
    let stretch = || Some(Stretch { from_ns: worst.stall.since, to_ns: worst.end, track: track.clone() });
    let figure =
        |what: &str, value: u64| Evidence { what: what.to_owned(), value: ms(value), unit: "ms".into(), at: stretch() };
    let mut evidence = vec![figure("longest poll", worst.length())];
    if kind.id != kinds::UNSEEN {
        evidence.push(figure("of it on the CPU", worst.cpu_ns));
        evidence.push(figure("of it blocked in the kernel", worst.blocked_ns));
        evidence.push(figure("of it ready, but the kernel ran others", worst.delay_ns));
    }
    let throttled = model.throttled_between(worst.stall.since, worst.end).min(worst.delay_ns);
    if throttled > 0 {
        evidence.push(figure("of that because the CPU quota throttled the program, at most", throttled));
    }
    if harm > 0 {
        evidence.push(figure("worst delay of others meanwhile", harm));
    }
    evidence.extend(sync_lock_contention::behind(all, group));
    Some(Finding {
        kind: kind.id.to_owned(),
        severity,
        confidence: if at.is_some_and(|at| at.line > 0) { Confidence::Proven } else { Confidence::Likely },
        title: (kind.title)(&spot, worst.blame.call.as_deref(), ms(worst.length())),
        culprit: Culprit {
            task: Some(place::task(model, worst.stall.task)),
            at: at.cloned(),
            call: worst.blame.call.clone(),
            stack: worst.blame.stack.clone(),
            spans: place::spans(model, worst.stall.task, worst.stall.since, worst.end),
        },
        occurrences: Occurrences {
            count: group.len() as u64,
            total_ms: ms(group.iter().map(|poll| poll.length()).sum()),
            worst_ms: ms(worst.length()),
            first_ns: group.iter().map(|poll| poll.stall.since).min().unwrap_or(0),
            last_ns: group.iter().map(|poll| poll.end).max().unwrap_or(0),
        },
        amplifiers: if harm > 0 { amplifiers::of(model, all, group) } else { Vec::new() },
        evidence,
        victims,
        graph: None,
        repair: repair(kind, worst, &spot),
        read_more: read_more(kind.id),
    })
}

/// What the call's class says to do, else the kind; and why.
fn repair(kind: &Kind, worst: &Judged<'_>, spot: &str) -> String {
    let instead = worst.class.as_ref().filter(|class| class.kind == kind.id && !class.instead.is_empty());
    match instead {
        Some(class) => format!("At {spot}, {}. {}", class.instead, kind.why),
        _ => format!("{} {}", (kind.repair)(spot, worst.blame.call.as_deref()), kind.why),
    }
}

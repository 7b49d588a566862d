//! `sync-guard-across-await`: a thread that waits for a lock which no running code can be holding.
//!
//! A lock that is held is held by a poll that runs, by a thread outside of polls, or by a future that is suspended with
//! the guard inside. A wait for a lock is this fault if it does not end, no other poll was open for long meanwhile, except
//! those that wait for the same lock, and the polls of other threads that ended meanwhile do not add up to half of the
//! wait. A wait that ends may as well have been for a thread outside of polls, which is not seen; it stays contention.
//! Plain contention (the lock is handed on from one running poll to the next) fails the last test, a holder that
//! blocks or computes under the lock the one before: both stay the long polls they are.

use std::collections::BTreeSet;

use pollscope_recording::TaskId;

use super::super::{Confidence, Edge, EdgeType, Evidence, Finding, Graph, Node, NodeType, Stretch, place};
use super::kinds::{BORROW, CONTENTION, GUARD};
use super::{Cause, Judged, Lock, Model, Thresholds, ms};

/// The futexes of one lock of std's: an `RwLock` has two words, one for its readers and one for its writers.
const WORD: u64 = 4;

/// Whether two threads wait at futexes of one lock.
pub(super) fn is_one_lock(one: u64, other: u64) -> bool {
    one != 0 && other != 0 && one.abs_diff(other) <= WORD
}

/// Turns waits for a lock that nobody running can hold from contention into this kind, or that of a `watch` channel.
pub(super) fn mark(polls: &mut [Judged<'_>], thresholds: &Thresholds) {
    let guards: Vec<usize> = (0..polls.len()).filter(|&index| is_guard(polls, index, thresholds)).collect();
    let locks: BTreeSet<u64> = guards.iter().map(|&index| polls[index].stall.futex).filter(|&lock| lock != 0).collect();
    let cause = |poll: &Judged<'_>| Cause::Kind(if poll.watch { BORROW } else { GUARD });
    guards.into_iter().for_each(|index| polls[index].cause = cause(&polls[index]));
    // Earlier waits for the same lock that came to an end are of the same making.
    let borrowed = polls.iter().any(|poll| poll.is(BORROW));
    let same = |poll: &Judged<'_>| match poll.lock() {
        Some(Lock::Std) => locks.iter().any(|&lock| is_one_lock(lock, poll.stall.futex)),
        Some(Lock::Other) => poll.watch && borrowed,
        None => false,
    };
    let earlier = polls.iter_mut().filter(|poll| poll.is(CONTENTION) && same(poll));
    earlier.for_each(|poll| poll.cause = cause(poll));
}

fn is_guard(polls: &[Judged<'_>], index: usize, thresholds: &Thresholds) -> bool {
    let poll = &polls[index];
    if poll.stall.end.is_some() || poll.end - poll.stall.since < thresholds.stuck_ns {
        return false;
    }
    let Some(lock) = poll.lock().filter(|_| poll.is(CONTENTION)) else { return false };
    let (from, to) = (poll.stall.since, poll.end);
    let half = ((to - from) / 2).max(1);
    let meanwhile = polls.iter().filter(|other| {
        other.stall.tid != poll.stall.tid && other.end.min(to).saturating_sub(other.stall.since.max(from)) >= half
    });
    // Whoever waits for the same lock does not hold it; whoever waits for another one may.
    let same = |other: &Judged<'_>| match other.lock() {
        Some(Lock::Std) if lock == Lock::Std => is_one_lock(poll.stall.futex, other.stall.futex),
        // The addresses tell nothing here; whoever waits for a channel of this kind holds none.
        Some(_) if poll.watch && other.watch => true,
        Some(theirs) => theirs == lock && other.watch == poll.watch && other.blame.at == poll.blame.at,
        None => false,
    };
    meanwhile.into_iter().all(same) && poll.stall.others_ns < half
}

/// Whether a poll waits for a lock that is known by its address, at whatever line.
pub(super) fn by_lock(poll: &Judged<'_>) -> bool {
    let of_locks = [GUARD, BORROW, CONTENTION].iter().any(|kind| poll.is(kind));
    of_locks && poll.stall.futex != 0 && poll.lock() == Some(Lock::Std)
}

/// What else is known: who waits, and who can have the guard.
pub(super) fn more(model: &Model, all: &[Judged<'_>], group: &[&Judged<'_>], mut finding: Finding) -> Finding {
    let Some(worst) = group.iter().copied().max_by_key(|poll| poll.length()) else { return finding };
    let threads: BTreeSet<u64> = group.iter().map(|poll| poll.stall.tid).collect();
    let pool = closures(model, worst);
    let track =
        || Stretch { from_ns: worst.stall.since, to_ns: worst.end, track: format!("thread {}", worst.stall.tid) };
    finding.evidence = vec![
        figure("longest wait for the lock", ms(worst.length()), "ms", Some(track())),
        figure("polls of other threads meanwhile", ms(worst.stall.others_ns), "ms", None),
        figure("threads that waited for it", threads.len() as f64, "threads", None),
    ];
    if pool > 0 {
        let what = "closures on the blocking pool meanwhile, of which one might hold it too";
        finding.evidence.push(figure(what, pool as f64, "closures", None));
    }
    // Threads that are not tokio's are not seen, so the holder is an inference, never a fact.
    finding.confidence = if pool > 0 { Confidence::Possible } else { Confidence::Likely };
    let stays = group.iter().all(|poll| poll.lock() == Some(Lock::Std) || poll.watch);
    let holder = holder(model, all, worst).filter(|_| stays);
    if let Some(holder) = holder {
        finding.title += &format!("; the guard likely lives in {}", place::task_label(model, holder));
        finding.repair += &format!(
            " Such a guard cannot move to another thread, so no spawned task can keep it: of the futures alive \
             only {} can.",
            place::task_label(model, holder)
        );
    }
    finding.graph = Some(graph(model, group, holder));
    finding
}

fn figure(what: &str, value: f64, unit: &str, at: Option<Stretch>) -> Evidence {
    Evidence { what: what.to_owned(), value, unit: unit.to_owned(), at }
}

/// Closures on the blocking pool that were alive all the while.
fn closures(model: &Model, poll: &Judged<'_>) -> usize {
    let alive = |ended: Option<u64>| ended.is_none_or(|ended| ended >= poll.end);
    let blocking = model.tasks.values().filter(|task| task.kind == "blocking" && alive(task.ended));
    blocking.filter(|task| task.begun <= poll.stall.since).count()
}

/// The one suspended future that can keep a guard which cannot be sent: a root future or a task of a `LocalSet`.
fn holder(model: &Model, all: &[Judged<'_>], worst: &Judged<'_>) -> Option<TaskId> {
    let busy: BTreeSet<TaskId> = all
        .iter()
        .filter(|poll| poll.stall.since <= worst.end && poll.end >= worst.stall.since)
        .map(|poll| poll.stall.task)
        .collect();
    let able = |kind: &str| kind == "root" || kind == "local";
    let mut futures = model
        .tasks
        .iter()
        .filter(|(id, task)| able(&task.kind) && task.ended.is_none_or(|ended| ended > worst.end) && !busy.contains(id))
        .map(|(&id, _)| id);
    futures.next().filter(|_| futures.next().is_none())
}

fn graph(model: &Model, group: &[&Judged<'_>], holder: Option<TaskId>) -> Graph {
    let mut graph = Graph::default();
    let spot = group.first().map(|poll| place::line(poll.blame.at.as_ref())).unwrap_or_default();
    let lock = "lock".to_owned();
    let node = |id: TaskId| Node {
        id: format!("t{id}"),
        kind: NodeType::Task,
        label: place::task_label(model, id),
        at: model.tasks.get(&id).and_then(|task| place::location(&task.spawned)),
    };
    graph.nodes.push(Node {
        id: lock.clone(),
        kind: NodeType::Resource,
        label: format!("the lock taken at {spot}"),
        at: group.first().and_then(|poll| poll.blame.at.clone()),
    });
    // Those that still wait, or else everyone that did.
    let open: Vec<_> = group.iter().filter(|poll| poll.stall.end.is_none()).collect();
    let waiting = if open.is_empty() { group.iter().collect() } else { open };
    let mut seen = BTreeSet::new();
    for poll in waiting.into_iter().filter(|poll| seen.insert(poll.stall.task)).take(16) {
        graph.nodes.push(node(poll.stall.task));
        let (from, to) = (format!("t{}", poll.stall.task), lock.clone());
        let (kind, at) = (EdgeType::WaitsFor, poll.blame.at.clone());
        graph.edges.push(Edge { from, to, kind, at, confidence: Confidence::Proven });
    }
    if let Some(holder) = holder {
        graph.nodes.push(node(holder));
        let (from, to) = (format!("t{holder}"), lock);
        graph.edges.push(Edge { from, to, kind: EdgeType::Holds, at: None, confidence: Confidence::Likely });
    }
    graph
}

//! In which order tasks take locks: what a task holds while it takes another lock. Kept for what is held at the moment,
//! and for a bounded number of pairs of locks; most tasks hold one lock at a time and are done with a look-up.
//!
//! A pair is told when the first of its locks is given back by the very task that took it: a guard that was sent to
//! another task meanwhile was not held by the one that took the second lock.

use super::current_task;
use crate::moment;
use crate::raw::{Copied, HeldLock, TakenLock, What};
use crate::slots::Slot;
use pollscope_recording::{Nanos, ResourceId, TaskId};
use rustc_hash::FxHashMap;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Most locks of one task looked at, and most taken under one of them: more only come together where guards are sent
/// to other tasks.
const MOST_HELD: usize = 8;
/// Most pairs of living locks remembered.
const MOST_PAIRS: usize = 4096;
/// New pairs are told at this pace, with this many ahead: their stacks cost some tens of microseconds each.
const PAIR_EVERY: Nanos = 20_000_000;
const PAIRS_AHEAD: Nanos = 1024 * PAIR_EVERY;
/// A known pair is told so often, half of it for other tasks than the last, and then now and then.
const MOST_TELLINGS: u8 = 8;
const AGAIN: Nanos = 1_000_000_000;
/// The stack of who takes a lock while it holds none is copied at this pace, since nobody knows what will follow.
const SAMPLE_EVERY: Nanos = 20_000_000;
const SAMPLES_AHEAD: Nanos = 32 * SAMPLE_EVERY;
/// Most such stacks kept at a time.
const MOST_STACKS: usize = 1024;

const SHARDS: usize = 64;

type Held = FxHashMap<TaskId, Vec<HeldLock>>;

static HELD: [Mutex<Option<Held>>; SHARDS] = [const { Mutex::new(None) }; SHARDS];
/// A shard was needed while somebody else had it: what is said there to be held may have been given back.
static MISSED: [AtomicBool; SHARDS] = [const { AtomicBool::new(false) }; SHARDS];
static PAIRS: Mutex<Option<Pairs>> = Mutex::new(None);
/// A bit for each lock that was ever in a pair: most never are, and then nobody need look when they are dropped.
static PAIRED: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];
static SAMPLED: [AtomicU64; SHARDS] = [const { AtomicU64::new(0) }; SHARDS];

thread_local! {
    /// The lock that an operation on this thread has just become ready for: what is taken without one was only tried,
    /// and keeps nobody waiting.
    static READY: Cell<ResourceId> = const { Cell::new(0) };
}

/// A lock and how it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Use(ResourceId, bool);

/// One order: what is held, what is taken, what else is held.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Pair {
    held: Use,
    taken: Use,
    others: Vec<Use>,
}

struct Told {
    times: u8,
    task: TaskId,
    at: Nanos,
    whole: bool,
}

#[derive(Default)]
struct Pairs {
    told: FxHashMap<Pair, Told>,
    /// The pairs each lock is in, so that they go when it does.
    of: FxHashMap<ResourceId, Vec<Pair>>,
    paid_until: Nanos,
}

/// What a pair is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worth {
    Nothing,
    Telling,
    Stacks,
}

impl Pairs {
    /// `whole` says whether the place where the first lock was taken is known.
    fn worth(&mut self, pair: &Pair, task: TaskId, now: Nanos, whole: bool) -> Worth {
        if let Some(told) = self.told.get_mut(pair) {
            let better = whole && !told.whole;
            let due = now.saturating_sub(told.at) >= AGAIN;
            if !better
                && !due
                && (told.times >= MOST_TELLINGS || (told.task == task && told.times >= MOST_TELLINGS / 2))
            {
                return Worth::Nothing;
            }
            (told.times, told.task, told.at) = (told.times.saturating_add(1), task, now);
            told.whole |= whole;
            return if better { Worth::Stacks } else { Worth::Telling };
        }
        let ahead = self.paid_until.saturating_sub(now);
        if self.told.len() >= MOST_PAIRS || ahead >= PAIRS_AHEAD {
            return Worth::Nothing;
        }
        self.paid_until = self.paid_until.max(now) + PAIR_EVERY;
        self.told.insert(pair.clone(), Told { times: 1, task, at: now, whole });
        let others = pair.others.iter().map(|one| one.0);
        for resource in others.chain([pair.held.0, pair.taken.0]) {
            let (bits, bit) = paired(resource);
            bits.fetch_or(bit, Ordering::Relaxed);
            self.of.entry(resource).or_default().push(pair.clone());
        }
        Worth::Stacks
    }

    fn dropped(&mut self, resource: ResourceId) {
        for pair in self.of.remove(&resource).unwrap_or_default() {
            self.told.remove(&pair);
            let others = pair.others.iter().map(|one| one.0);
            for other in others.chain([pair.held.0, pair.taken.0]).filter(|other| *other != resource) {
                if let Some(pairs) = self.of.get_mut(&other) {
                    pairs.retain(|known| *known != pair);
                    if pairs.is_empty() {
                        self.of.remove(&other);
                    }
                }
            }
        }
    }
}

/// What the tasks of a shard hold; None if somebody else has it at the moment.
fn with_held<T>(task: TaskId, body: impl FnOnce(&mut Held) -> T) -> Option<T> {
    let (shard, missed) = (&HELD[task as usize % SHARDS], &MISSED[task as usize % SHARDS]);
    let Some(mut held) = moment::lock(shard) else {
        missed.store(true, Ordering::Release);
        return None;
    };
    let held = held.get_or_insert_default();
    // An order that was not is worse than one unknown.
    if missed.load(Ordering::Relaxed) && missed.swap(false, Ordering::Acquire) {
        held.clear();
    }
    Some(body(held))
}

fn with_pairs<T>(body: impl FnOnce(&mut Pairs) -> T) -> Option<T> {
    moment::lock(&PAIRS).map(|mut pairs| body(pairs.get_or_insert_default()))
}

fn paired(resource: ResourceId) -> (&'static AtomicU64, u64) {
    let hash = resource.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    (&PAIRED[hash as usize / 64], 1 << (hash % 64))
}

/// An operation on a lock became ready on this thread.
pub(super) fn ready(resource: ResourceId) {
    READY.set(resource);
}

/// The current task took a lock, or the only permit of a semaphore.
pub(super) fn taken(slot: &Slot, resource: ResourceId, shared: bool, now: Nanos) {
    let waited = READY.take() == resource;
    let task = current_task();
    if task == 0 {
        return;
    }
    let held = with_held(task, |held| {
        let held = held.get(&task).into_iter().flatten();
        held.map(|held| (Use(held.resource, held.shared), held.stack.is_some())).collect()
    });
    let Some(held): Option<Vec<(Use, bool)>> = held else { return };
    let pairs = if waited && !held.is_empty() { worthy(&held, Use(resource, shared), task, now) } else { Vec::new() };
    let wanted = pairs.iter().any(|(.., worth)| *worth == Worth::Stacks) || is_sampled(resource, now);
    let bounds = slot.bounds.as_ref().filter(|_| wanted);
    let stack = bounds.and_then(Copied::here).map(Arc::new);
    with_held(task, |all| {
        let held = all.entry(task).or_default();
        for (first, others, worth) in pairs {
            let found = held.iter_mut().rev().find(|held| (held.resource, held.shared) == (first.0, first.1));
            let Some(first) = found.filter(|first| first.taken.len() < MOST_HELD) else { continue };
            let stack = stack.clone().filter(|_| worth == Worth::Stacks);
            let (read, alone): (Vec<Use>, Vec<Use>) = others.into_iter().partition(|one| one.1);
            let [beside, beside_shared] = [alone, read].map(|uses| uses.iter().map(|one| one.0).collect());
            first.taken.push(TakenLock { resource, shared, at: now, beside, beside_shared, stack });
        }
        if !shared {
            // Held already? Then its guard was sent away, and has come back by another way.
            held.retain(|held| held.resource != resource);
        }
        if held.len() < MOST_HELD {
            held.push(HeldLock { resource, shared, since: now, stack, taken: Vec::new() });
        }
    });
}

/// The pairs this taking makes with what is held, those that are worth telling.
fn worthy(held: &[(Use, bool)], taken: Use, task: TaskId, now: Nanos) -> Vec<(Use, Vec<Use>, Worth)> {
    if held.iter().any(|(held, _)| held.0 == taken.0) {
        return Vec::new();
    }
    with_pairs(|pairs| {
        let pair = |&(first, whole): &(Use, bool)| {
            let mut others: Vec<Use> = held.iter().map(|(one, _)| *one).filter(|one| *one != first).collect();
            others.sort_unstable();
            others.dedup();
            let pair = Pair { held: first, taken, others };
            let worth = pairs.worth(&pair, task, now, whole);
            (worth != Worth::Nothing).then_some((first, pair.others, worth))
        };
        held.iter().filter_map(pair).collect()
    })
    .unwrap_or_default()
}

/// The current task gave it back; false if it is not known to have had it.
pub(super) fn released(slot: &Slot, resource: ResourceId, now: Nanos) -> bool {
    let task = current_task();
    let lock = with_held(task, |all| {
        let held = all.get_mut(&task)?;
        let index = held.iter().rposition(|held| held.resource == resource)?;
        let mut lock = held.remove(index);
        // What outlives it is of another future of this task, as far as can be told: one that `join!` polls beside it.
        lock.taken.retain(|taken| held.iter().all(|held| held.resource != taken.resource));
        if held.is_empty() {
            all.remove(&task);
        }
        Some(lock)
    });
    // Unseen is not unknown.
    let Some(lock) = lock else { return true };
    let known = lock.is_some();
    if let Some(held) = lock.filter(|lock| !lock.taken.is_empty()) {
        slot.note(now, What::Orders { task, held: Box::new(held) });
    }
    known
}

/// A lock was dropped: nothing can be learned of it any more. Its number comes never again, so what is missed here only
/// stays in memory, and pairs are bounded.
pub(super) fn dropped(resource: ResourceId) {
    let (bits, bit) = paired(resource);
    if bits.load(Ordering::Relaxed) & bit != 0 {
        with_pairs(|pairs| pairs.dropped(resource));
    }
}

/// A task ended: what it never gave back it does not hold any longer.
pub(crate) fn ended(task: TaskId) {
    with_held(task, |held| held.remove(&task));
}

/// Whether the stack of who takes this lock is to be copied although it holds no other.
fn is_sampled(resource: ResourceId, now: Nanos) -> bool {
    let entry = &SAMPLED[resource as usize % SHARDS];
    let used = entry.load(Ordering::Relaxed);
    if used.saturating_sub(now) >= SAMPLES_AHEAD || Copied::count() >= MOST_STACKS {
        return false;
    }
    let next = used.max(now) + SAMPLE_EVERY;
    entry.compare_exchange(used, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

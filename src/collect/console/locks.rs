//! Who holds what, as far as a console is told.
//!
//! It is told how each operation went and, with each update, what state a lock is in; not who gave what back. So whoever
//! took something may still have it, until the lock was seen free or changed hands. Holders are told where that leaves
//! no choice: of a `Mutex` the last who took it; of an `RwLock` its readers, if there are as many as it counts, or if all
//! who may be one wait for the lock themselves; of a `Semaphore` everybody who may be one, since the diagnosis asks that
//! all of them are stuck, unless one of them has ended or the number of permits was never seen. Otherwise nobody is named.

use super::names::{Names, at};
use console_api::instrument::Update;
use console_api::resources::Resource;
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos, Place, ResourceId, TaskId};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What tokio calls the part of an operation that asks a semaphore.
const PART: &str = "Acquire::new";
/// A wait of this age is worth a word about who might hold what it is for.
const LONG: Nanos = 1_000_000_000;

/// A lock, semaphore, channel, or something else to wait for.
#[derive(Default)]
struct Lock {
    kind: String,
    made: Place,
    created: Nanos,
    attributes: Map<String, Value>,
    /// The most permits ever seen free.
    most: u64,
    /// Who took it, and was not seen to have given it back.
    takers: BTreeMap<TaskId, Taking>,
    /// Whether a task ended that was one of them: what it took may be lost, or with somebody else.
    lost: bool,
    /// The holders that were told.
    told: BTreeMap<TaskId, Taking>,
    /// Whether it was told, because somebody waits.
    contended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Taking {
    at: Nanos,
    permits: u64,
    write: bool,
    /// The guard can be sent to another task.
    owned: bool,
}

/// An operation under way.
#[derive(Default)]
struct Operation {
    resource: u64,
    whole: Option<u64>,
    source: String,
    task: TaskId,
    created: Nanos,
    polled: bool,
    ended: Option<Nanos>,
    requested: u64,
    obtained: u64,
    /// When its part was over: then it has what it asked for, or was given up.
    part_ended: Option<Nanos>,
    taken: bool,
    told: bool,
    told_granted: bool,
}

impl Operation {
    fn granted(&self) -> bool {
        self.requested > 0 && self.obtained >= self.requested
    }
}

#[derive(Default)]
pub(super) struct Locks {
    locks: HashMap<u64, Lock>,
    operations: BTreeMap<u64, Operation>,
    /// Operations that ended with the update before: what is told on attaching is told once more with the next update.
    gone: BTreeSet<u64>,
}

impl Locks {
    /// Takes in an update. `task` gives the id of a task, `ended` those that are over by now.
    pub(super) fn update(
        &mut self,
        update: &Update,
        names: &Names,
        task: impl Fn(u64) -> TaskId,
        ended: &BTreeSet<TaskId>,
        events: &mut Vec<Event>,
    ) {
        let now = update.now.as_ref().map_or(0, at);
        self.resources(update, names, now, events);
        let touched = self.operations(update, names, task);
        self.parts(&touched);
        self.takings(&touched);
        if !ended.is_empty() {
            for lock in self.locks.values_mut() {
                let before = lock.takers.len();
                lock.takers.retain(|task, _| !ended.contains(task));
                lock.lost |= lock.takers.len() < before;
            }
        }
        self.waits(now, events);
        self.holders(now, events);
        self.gone = self.operations.iter().filter(|(_, one)| one.ended.is_some()).map(|(&id, _)| id).collect();
        self.operations.retain(|_, operation| operation.ended.is_none());
    }

    fn resources(&mut self, update: &Update, names: &Names, now: Nanos, events: &mut Vec<Event>) {
        let Some(update) = &update.resource_update else { return };
        for new in &update.new_resources {
            // A part of a lock is waited for through the lock.
            if let Some(id) = new.id.filter(|_| !new.is_internal || new.parent_resource_id.is_none()) {
                let lock = || Lock { kind: kind(new), made: place(new), ..Lock::default() };
                self.locks.entry(id.id).or_insert_with(lock);
            }
        }
        for (id, stats) in &update.stats_update {
            let Some(lock) = self.locks.get_mut(id) else { continue };
            lock.created = stats.created_at.as_ref().map_or(now, at);
            lock.attributes = names.attributes(&stats.attributes);
            let most = lock.most.max(lock.number("permits").unwrap_or(0));
            if lock.contended && most != lock.most {
                lock.most = most;
                events.push(lock.event(*id));
            }
            lock.most = most;
            if lock.is_free() {
                lock.takers.clear();
                lock.lost = false;
            }
            if let Some(dropped) = &stats.dropped_at {
                if lock.contended {
                    events.push(words::ResourceEnd { at: at(dropped), resource: *id }.into());
                }
                self.locks.remove(id);
            }
        }
    }

    /// Learns how operations went; returns those that something was said of.
    fn operations(&mut self, update: &Update, names: &Names, task: impl Fn(u64) -> TaskId) -> Vec<u64> {
        let Some(update) = &update.async_op_update else { return Vec::new() };
        for new in &update.new_async_ops {
            let (Some(id), Some(resource)) = (new.id, new.resource_id) else { continue };
            let operation = Operation {
                resource: resource.id,
                whole: new.parent_async_op_id.map(|whole| whole.id),
                source: new.source.clone(),
                ..Operation::default()
            };
            if !self.gone.contains(&id.id) {
                self.operations.entry(id.id).or_insert(operation);
            }
        }
        let mut touched = Vec::new();
        for (id, stats) in &update.stats_update {
            let Some(operation) = self.operations.get_mut(id) else { continue };
            let attributes = names.attributes(&stats.attributes);
            let number = |name: &str| attributes.get(name).and_then(Value::as_u64).unwrap_or(0);
            operation.task = stats.task_id.map_or(0, |id| task(id.id));
            operation.created = stats.created_at.as_ref().map_or(0, at);
            operation.ended = stats.dropped_at.as_ref().map(at);
            operation.polled = stats.poll_stats.as_ref().is_some_and(|polls| polls.polls > 0);
            // Those of the part are told again of the whole by some operations; the part's own word is enough.
            if operation.whole.is_none() {
                operation.requested = operation.requested.max(number("permits_requested"));
                operation.obtained = operation.obtained.max(number("permits_obtained"));
            } else {
                (operation.requested, operation.obtained) = (number("permits_requested"), number("permits_obtained"));
            }
            touched.push(*id);
        }
        touched
    }

    /// What the parts say goes to the operations they are part of.
    fn parts(&mut self, touched: &[u64]) {
        for id in touched {
            let Some(part) = self.operations.get(id).filter(|part| part.source == PART) else { continue };
            let said = (part.requested, part.obtained, part.ended);
            let whole = part.whole.unwrap_or(*id);
            if let Some(whole) = self.operations.get_mut(&whole) {
                (whole.requested, whole.obtained, whole.part_ended) = said;
            }
        }
    }

    fn takings(&mut self, touched: &[u64]) {
        let mut takings = Vec::new();
        let wholes: BTreeSet<u64> =
            touched.iter().map(|id| self.operations.get(id).and_then(|part| part.whole).unwrap_or(*id)).collect();
        for id in wholes {
            let Some(operation) = self.operations.get_mut(&id).filter(|one| !one.taken && one.granted()) else {
                continue;
            };
            let Some(at) = operation.part_ended else { continue };
            operation.taken = true;
            let (write, owned) = (operation.source.contains("write"), operation.source.contains("owned"));
            let taking = Taking { at, permits: operation.requested, write, owned };
            takings.push((taking, operation.resource, operation.task));
        }
        takings.sort_by_key(|(taking, ..)| taking.at);
        for (taking, resource, task) in takings.into_iter().filter(|(_, _, task)| *task != 0) {
            if let Some(lock) = self.locks.get_mut(&resource) {
                lock.take(task, taking);
            }
        }
    }

    /// Tells who began to wait, and whose wait is over.
    fn waits(&mut self, now: Nanos, events: &mut Vec<Event>) {
        for (&wait, operation) in &mut self.operations {
            if let Some(at) = operation.ended.filter(|_| operation.told) {
                events.push(words::WaitEnd { at, wait, ready: operation.taken || operation.requested == 0 }.into());
            } else if operation.told && operation.taken {
                operation.told = false;
                events.push(words::WaitEnd { at: now, wait, ready: true }.into());
            }
        }
        let waits = |operation: &Operation| {
            let over = operation.ended.is_some() || operation.taken;
            operation.whole.is_none() && operation.polled && operation.task != 0 && !over
        };
        let mut followed = BTreeSet::new();
        // What may end by itself matters for those only that also wait for a lock.
        for for_locks in [true, false] {
            for (&wait, operation) in self.operations.iter_mut().filter(|(_, one)| waits(one)) {
                let Some(lock) = self.locks.get_mut(&operation.resource).filter(|lock| lock.is_lock() == for_locks)
                else {
                    continue;
                };
                if for_locks {
                    followed.insert(operation.task);
                } else if !followed.contains(&operation.task) {
                    continue;
                }
                let (resource, task) = (operation.resource, operation.task);
                if !std::mem::replace(&mut lock.contended, true) {
                    events.push(lock.event(resource));
                }
                if !std::mem::replace(&mut operation.told, true) {
                    let name = if lock.kind == "Channel" { "mpsc::Sender::send" } else { &operation.source };
                    let (at, operation) = (operation.created, name.into());
                    events.push(words::Wait { at, wait, resource, task, operation, until: 0 }.into());
                }
                if operation.granted() && !std::mem::replace(&mut operation.told_granted, true) {
                    events.push(words::Granted { at: now, wait }.into());
                }
            }
        }
    }

    /// Tells where holders changed.
    fn holders(&mut self, now: Nanos, events: &mut Vec<Event>) {
        let waiting = self.waiting();
        for (&resource, lock) in self.locks.iter_mut().filter(|(_, lock)| lock.contended) {
            let holders = lock.holders(waiting.get(&resource)).unwrap_or_default();
            if holders == lock.told {
                continue;
            }
            for (&task, taking) in &lock.told {
                events.push(words::Released { at: now, resource, task, permits: taking.permits }.into());
            }
            for (&task, taking) in &holders {
                let (at, permits, owned) = (taking.at, taking.permits, taking.owned);
                events.push(words::Acquired { at, resource, task, permits, owned }.into());
            }
            lock.told = holders;
        }
    }

    /// Who waits for what, and since when.
    fn waiting(&self) -> HashMap<u64, BTreeMap<TaskId, Nanos>> {
        let mut waiting: HashMap<u64, BTreeMap<TaskId, Nanos>> = HashMap::new();
        for operation in self.operations.values().filter(|one| one.told && one.ended.is_none()) {
            waiting.entry(operation.resource).or_default().insert(operation.task, operation.created);
        }
        waiting
    }

    /// One sentence on each lock that is waited for for long and whose holders are not certain.
    pub(super) fn uncertain(&self, now: Nanos) -> Vec<String> {
        let mut sentences = Vec::new();
        for (resource, waiting) in self.waiting() {
            let Some(lock) = self.locks.get(&resource) else { continue };
            let long = waiting.values().filter(|since| now.saturating_sub(**since) >= LONG).count();
            if long == 0 || !lock.is_lock() {
                continue;
            }
            let made = match lock.made.line {
                0 => String::new(),
                line => format!(" made at {}:{line}", lock.made.file),
            };
            let who = format!("{long} task(s) wait for the {}{made}", lock.kind);
            let takers = lock.takers.len();
            match lock.kind.as_str() {
                "Channel" => {
                    sentences.push(format!("who receives from a channel: {long} task(s) wait to send into one"))
                }
                "Semaphore" => sentences.push(format!(
                    "who holds permits: {who}; {takers} living task(s) took some, and who gave them back is not told"
                )),
                _ if lock.holders(Some(&waiting)).is_none() => sentences.push(format!(
                    "who holds a lock: {who}, and any of {takers} living task(s) may be the one that has it"
                )),
                _ => {}
            }
        }
        sentences.sort();
        sentences
    }
}

impl Lock {
    fn is_lock(&self) -> bool {
        matches!(self.kind.as_str(), "Mutex" | "RwLock" | "Semaphore" | "Channel")
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.attributes.get(name).and_then(Value::as_u64)
    }

    fn is(&self, name: &str) -> Option<bool> {
        self.attributes.get(name).and_then(Value::as_bool)
    }

    /// Whether nobody has any of it.
    fn is_free(&self) -> bool {
        match self.kind.as_str() {
            "Mutex" => self.is("locked") == Some(false),
            "RwLock" => self.is("write_locked") == Some(false) && self.number("current_readers") == Some(0),
            "Semaphore" => self.most > 0 && self.number("permits") == Some(self.most),
            _ => false,
        }
    }

    fn take(&mut self, task: TaskId, taking: Taking) {
        // What only one can have was given back by the one before.
        let alone = self.kind == "Mutex" || (self.kind == "RwLock" && taking.write);
        self.takers.retain(|_, earlier| !(alone || (self.kind == "RwLock" && earlier.write)));
        self.takers.insert(task, taking);
    }

    /// Who holds it; `None` if that is not certain enough.
    fn holders(&self, waiting: Option<&BTreeMap<TaskId, Nanos>>) -> Option<BTreeMap<TaskId, Taking>> {
        let nobody = Some(BTreeMap::new());
        let all = || Some(self.takers.clone());
        match self.kind.as_str() {
            "Mutex" if self.is("locked") == Some(false) => nobody,
            "Mutex" => all().filter(|takers| takers.len() == 1),
            "RwLock" if self.is("write_locked") == Some(true) => {
                all().filter(|takers| takers.len() == 1 && takers.values().all(|taking| taking.write))
            }
            "RwLock" => {
                let readers = usize::try_from(self.number("current_readers")?).ok()?;
                let stuck = |task| waiting.is_some_and(|waiting| waiting.contains_key(task));
                match self.takers.len() {
                    _ if readers == 0 => nobody,
                    takers if takers == readers => all(),
                    takers if takers > readers && self.takers.keys().all(stuck) => all(),
                    _ => None,
                }
            }
            // The books must balance, so how many permits there are has to be known.
            "Semaphore" if self.most == 0 || self.lost => None,
            "Semaphore" => all().filter(|takers| takers.values().all(|taking| !taking.owned)),
            _ => nobody,
        }
    }

    fn event(&self, resource: ResourceId) -> Event {
        words::Resource {
            at: self.created,
            resource,
            parent: 0,
            kind: self.kind.as_str().into(),
            made: self.made.clone(),
            permits: self.most,
            returned: false,
            stranger: 0,
        }
        .into()
    }
}

fn kind(resource: &Resource) -> String {
    // What is internal is made inside what it belongs to; only a channel's semaphore belongs to nothing that is told.
    if resource.is_internal && resource.concrete_type == "Semaphore" {
        "Channel".to_owned()
    } else {
        resource.concrete_type.clone()
    }
}

fn place(resource: &Resource) -> Place {
    super::events::place(resource.location.as_ref())
}

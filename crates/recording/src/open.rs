//! What is still true: the facts a segment must start with so that it can be read alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::*;
use crate::open_tasks::OpenTasks;

/// More takings of one resource are not kept: permits that are forgotten on purpose never come back.
const MAX_ACQUIRED: usize = 4096;
/// Moments of one task whose spans are kept: what it waits for, and the poll it is in.
const MAX_MOMENTS: usize = 4;

/// Follows a stream of events and keeps those that still hold.
#[derive(Debug, Default, Clone)]
pub struct OpenFacts {
    process: Option<Process>,
    modules: BTreeMap<u64, Module>,
    runtimes: BTreeMap<u64, Runtime>,
    threads: BTreeMap<u64, Thread>,
    tasks: OpenTasks,
    resources: BTreeMap<ResourceId, Resource>,
    acquired: BTreeMap<ResourceId, VecDeque<Acquired>>,
    /// Of channels, which nobody holds: who received last.
    receivers: BTreeMap<ResourceId, Released>,
    hold_stacks: BTreeMap<(ResourceId, TaskId), HoldStack>,
    books: BTreeMap<ResourceId, Books>,
    waits: BTreeMap<WaitId, OpenWait>,
    waits_of: BTreeSet<(TaskId, WaitId)>,
    stalls: Vec<Stall>,
    futexes: Vec<FutexWait>,
    idle: BTreeMap<TaskId, Vec<Idle>>,
    foreign: Option<Foreign>,
    spans: BTreeMap<(TaskId, Nanos), InSpans>,
    memory: Option<Memory>,
    pools: BTreeMap<u64, BlockingPool>,
    full_pools: BTreeMap<u64, PoolFull>,
    pool_threads: BTreeMap<(u64, u64), PoolThread>,
    not_observable: Vec<NotObservable>,
    cost: Option<Cost>,
}

#[derive(Debug, Clone)]
struct OpenWait {
    wait: Wait,
    stack: Option<WaitStack>,
    granted: Option<Granted>,
    idle: Option<WaitIdle>,
}

impl OpenFacts {
    /// Takes in one event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Process(event) => self.process = Some(event.clone()),
            Event::Module(event) => drop(self.modules.insert(event.start, event.clone())),
            Event::Runtime(event) => drop(self.runtimes.insert(event.runtime, event.clone())),
            Event::Thread(event) => drop(self.threads.insert(event.tid, event.clone())),
            Event::ThreadEnd(event) => {
                self.threads.remove(&event.tid);
            }
            Event::Task(event) => self.tasks.insert(event),
            Event::TaskEnd(event) => self.task_end(event.task),
            Event::Poll(event) => self.stalls.retain(|open| open.task != event.task || event.at < open.since),
            Event::Stall(event) => {
                self.stalls.retain(|open| !same_poll(open, event.task, event.tid, event.since));
                self.stalls.push(event.clone());
            }
            Event::FutexWait(event) => {
                let stalls = &self.stalls;
                let open = |futex: &FutexWait| stalls.iter().any(|stall| stall.tid == futex.tid);
                self.futexes.retain(|known| known.tid != event.tid && open(known));
                self.futexes.push(event.clone());
            }
            // What happened is told once; only what still holds is told again.
            Event::RunDelay(_)
            | Event::SelfWakes(_)
            | Event::Awaited(_)
            | Event::Panic(_)
            | Event::PanicEnd(_)
            | Event::LockOrder(_) => {}
            Event::StallEnd(event) => {
                self.stalls.retain(|open| !same_poll(open, event.task, event.tid, event.since));
            }
            Event::Resource(event) => drop(self.resources.insert(event.resource, event.clone())),
            Event::ResourceEnd(event) => {
                self.resources.remove(&event.resource);
                self.acquired.remove(&event.resource);
                self.receivers.remove(&event.resource);
                let of_it = (event.resource, 0)..=(event.resource, TaskId::MAX);
                while let Some((&key, _)) = self.hold_stacks.range(of_it.clone()).next() {
                    self.hold_stacks.remove(&key);
                }
                self.books.remove(&event.resource);
            }
            Event::Books(event) => drop(self.books.insert(event.resource, event.clone())),
            Event::Acquired(event) => {
                let holders = self.acquired.entry(event.resource).or_default();
                if holders.len() == MAX_ACQUIRED {
                    holders.pop_front();
                }
                holders.push_back(event.clone());
            }
            Event::Released(event) => self.released(event),
            Event::Wait(event) => {
                self.waits.insert(event.wait, OpenWait { wait: event.clone(), stack: None, granted: None, idle: None });
                self.waits_of.insert((event.task, event.wait));
            }
            Event::WaitStack(event) => {
                if let Some(open) = self.waits.get_mut(&event.wait) {
                    open.stack = Some(event.clone());
                }
            }
            Event::Granted(event) => {
                if let Some(open) = self.waits.get_mut(&event.wait) {
                    open.granted = Some(event.clone());
                }
            }
            Event::WaitIdle(event) => {
                if let Some(open) = self.waits.get_mut(&event.wait) {
                    open.idle = Some(event.clone()).filter(|event| event.idle);
                }
            }
            Event::HoldStack(event) => drop(self.hold_stacks.insert((event.resource, event.task), event.clone())),
            Event::WaitEnd(event) => {
                if let Some(open) = self.waits.remove(&event.wait) {
                    self.waits_of.remove(&(open.wait.task, open.wait.wait));
                }
            }
            Event::Idle(event) => {
                let known = self.idle.entry(event.task).or_default();
                // Where it last registered holds as long as nothing newer is known.
                known.retain(|one| one.since == event.since || (event.registered == 0 && one.registered > 0));
                known.push(event.clone());
            }
            Event::Foreign(event) => self.foreign = Some(event.clone()),
            Event::Cost(event) => self.cost = Some(event.clone()),
            Event::NotObservable(event) => {
                if self.not_observable.iter().all(|known| known.what != event.what) {
                    self.not_observable.push(event.clone());
                }
            }
            Event::InSpans(event) => {
                self.spans.insert((event.task, event.at), event.clone());
                let moments = self.spans.range((event.task, 0)..=(event.task, Nanos::MAX));
                if moments.clone().count() > MAX_MOMENTS
                    && let Some((&oldest, _)) = moments.clone().next()
                {
                    self.spans.remove(&oldest);
                }
            }
            Event::Memory(event) => self.memory = Some(event.clone()),
            Event::BlockingPool(event) => drop(self.pools.insert(event.runtime, event.clone())),
            Event::PoolFull(event) if event.over => {
                self.full_pools.remove(&event.runtime);
                self.pool_threads.retain(|(runtime, _), _| *runtime != event.runtime);
            }
            Event::PoolFull(event) => drop(self.full_pools.insert(event.runtime, event.clone())),
            Event::PoolThread(event) => {
                drop(self.pool_threads.insert((event.runtime, event.tid), event.clone()));
            }
            Event::Throttled(_) => {}
            Event::Polls(_) | Event::Delay(_) | Event::Beats(_) | Event::LateBeat(_) | Event::End(_) => {}
        }
    }

    /// The facts that hold, in an order in which each can be understood from those before it. `segment` is the number
    /// of the segment they are going to start.
    pub fn for_each(&self, segment: u64, mut each: impl FnMut(Event)) {
        if let Some(process) = &self.process {
            each(Process { segment, ..process.clone() }.into());
        }
        self.modules.values().for_each(|fact| each(fact.clone().into()));
        self.runtimes.values().for_each(|fact| each(fact.clone().into()));
        self.threads.values().for_each(|fact| each(fact.clone().into()));
        self.tasks.for_each(|fact| each(fact.into()));
        self.resources.values().for_each(|fact| each(fact.clone().into()));
        self.books.values().for_each(|fact| each(fact.clone().into()));
        self.acquired.values().flatten().for_each(|fact| each(fact.clone().into()));
        self.hold_stacks.values().for_each(|fact| each(fact.clone().into()));
        self.receivers.values().for_each(|fact| each(fact.clone().into()));
        for open in self.waits.values() {
            each(open.wait.clone().into());
            open.stack.iter().for_each(|fact| each(fact.clone().into()));
            open.granted.iter().for_each(|fact| each(fact.clone().into()));
            open.idle.iter().for_each(|fact| each(fact.clone().into()));
        }
        self.stalls.iter().for_each(|fact| each(fact.clone().into()));
        self.spans.values().for_each(|fact| each(fact.clone().into()));
        let open = |one: &&FutexWait| self.stalls.iter().any(|stall| same_poll(stall, one.task, one.tid, one.since));
        self.futexes.iter().filter(open).for_each(|fact| each(fact.clone().into()));
        self.idle.values().flatten().for_each(|fact| each(fact.clone().into()));
        self.foreign.iter().for_each(|fact| each(fact.clone().into()));
        self.memory.iter().for_each(|fact| each(fact.clone().into()));
        self.pools.values().for_each(|fact| each(fact.clone().into()));
        self.full_pools.values().for_each(|fact| each(fact.clone().into()));
        self.pool_threads.values().for_each(|fact| each(fact.clone().into()));
        self.not_observable.iter().for_each(|fact| each(fact.clone().into()));
        self.cost.iter().for_each(|fact| each(fact.clone().into()));
    }

    fn task_end(&mut self, task: TaskId) {
        self.tasks.remove(task);
        self.idle.remove(&task);
        self.stalls.retain(|open| open.task != task);
        while let Some((&moment, _)) = self.spans.range((task, 0)..=(task, Nanos::MAX)).next() {
            self.spans.remove(&moment);
        }
        // Its waits ended with it, even if the ring was too full to say so.
        while let Some(&(_, wait)) = self.waits_of.range((task, 0)..=(task, WaitId::MAX)).next() {
            self.waits_of.remove(&(task, wait));
            self.waits.remove(&wait);
        }
    }

    /// Takes permits from those this task took, the oldest first; and if it took none (a guard can be sent to another
    /// task) from those of anyone.
    fn released(&mut self, released: &Released) {
        if self.resources.get(&released.resource).is_some_and(|resource| &*resource.kind == "Channel") {
            self.receivers.insert(released.resource, released.clone());
            return;
        }
        let Some(holders) = self.acquired.get_mut(&released.resource) else {
            return;
        };
        let mut left = released.permits;
        while left > 0 {
            let own = holders.iter().position(|held| held.task == released.task);
            let Some(index) = own.or((!holders.is_empty()).then_some(0)) else {
                break;
            };
            let held = &mut holders[index];
            if held.permits > left {
                held.permits -= left;
                break;
            }
            left -= held.permits;
            if let Some(gone) = holders.remove(index)
                && holders.iter().all(|held| held.task != gone.task)
            {
                self.hold_stacks.remove(&(gone.resource, gone.task));
            }
        }
        if holders.is_empty() {
            self.acquired.remove(&released.resource);
        }
    }
}

fn same_poll(open: &Stall, task: TaskId, tid: u64, since: Nanos) -> bool {
    (open.task, open.tid, open.since) == (task, tid, since)
}

//! How each event changes the model.

use std::borrow::Cow;

use pollscope_recording::{Event, Nanos, Polls, ResourceId, TaskId};

use super::{
    DelayFacts, Held, KEPT, KEPT_DEAD_TASKS, KEPT_RECENT, KEPT_SAMPLES, LateBeatFacts, Model, PAUSE, ProcessFacts,
    RECENT, ResourceFacts, RuntimeFacts, Sample, Stall, ThreadFacts,
};

impl Model {
    /// Takes in one event.
    pub fn feed(&mut self, event: &Event) {
        let at = event.at();
        if self.events == 0 || at < self.first_at {
            self.first_at = at;
        }
        if self.events > 0 && at.saturating_sub(self.last_at) >= PAUSE && self.pauses.len() < KEPT {
            self.pauses.push((self.last_at, at));
        }
        self.events += 1;
        self.last_at = self.last_at.max(at);
        match event {
            Event::Process(process) => {
                // Every segment begins with one; only the first tells when the program began.
                self.process.get_or_insert_with(|| ProcessFacts {
                    program: process.program.to_string(),
                    pid: process.pid,
                    build_id: process.build_id.to_string(),
                    wall_ns: process.wall_ns,
                    tokio: process.tokio.to_string(),
                    sources: split(&process.sources),
                    level: process.level.to_string(),
                });
                if let Some(facts) = &mut self.process {
                    facts.sources = split(&process.sources);
                }
            }
            Event::Module(module) => {
                if !self.modules.iter().any(|known| known.start == module.start && known.path == module.path) {
                    self.modules.push(module.clone());
                }
            }
            Event::Runtime(runtime) => {
                let facts = RuntimeFacts {
                    flavor: runtime.flavor.to_string(),
                    workers: runtime.workers,
                    timers: runtime.timers,
                };
                self.runtimes.insert(runtime.runtime, facts);
            }
            Event::Thread(thread) => {
                let facts = ThreadFacts {
                    runtime: thread.runtime,
                    name: thread.name.to_string(),
                    role: thread.role.to_string(),
                };
                self.threads.insert(thread.tid, facts);
            }
            Event::Task(task) => {
                // Said again at the start of each segment, with the time of its spawn.
                let facts = self.tasks.entry(task.task);
                facts.begun = at;
                facts.runtime = task.runtime;
                facts.kind = task_kind(&task.kind);
                facts.name = task.name.to_string();
                facts.spawned = task.spawned.clone();
                facts.parent = task.parent;
            }
            Event::TaskEnd(end) => self.end_task(end.task, at),
            Event::Polls(polls) => {
                self.beside(polls);
                self.often(polls);
                self.polls += polls.polls;
                self.busy_ns += polls.busy_ns;
                if polls.polls > 0 {
                    // The polls lie somewhere in the window: its start is all that is certain. Its end would show a
                    // task that began to wait in the middle of it as moving on.
                    let facts = self.tasks.entry(polls.task);
                    facts.progress = facts.progress.max(polls.from);
                    facts.polled_by = facts.polled_by.max(at);
                }
            }
            Event::Poll(poll) => {
                // Its start, as above: what it came to wait for, it came to wait for later.
                let facts = self.tasks.entry(poll.task);
                facts.progress = facts.progress.max(at);
                facts.polled_by = facts.polled_by.max(at.saturating_add(poll.duration_ns));
            }
            Event::Delay(delay) => {
                let facts = DelayFacts { at, task: delay.task, tid: delay.tid, delay_ns: delay.delay_ns };
                keep(&mut self.delays, facts, &mut self.not_kept);
            }
            Event::Stall(stall) => {
                let Some(facts) = self.stall(stall.task, stall.tid, stall.since) else { return };
                facts.observed = stall.observed;
                facts.measured = at;
                facts.cpu_ns = stall.cpu_ns;
                facts.run_delay_ns = stall.run_delay_ns;
                if facts.samples.len() < KEPT_SAMPLES {
                    let (state, syscall, stack) = (stall.state, stall.syscall, stall.stack.clone());
                    facts.samples.push(Sample { at, state, syscall, stack });
                }
            }
            Event::FutexWait(wait) => {
                let Some(facts) = self.stall(wait.task, wait.tid, wait.since) else { return };
                facts.futex = wait.address;
            }
            Event::StallEnd(end) => {
                let Some(facts) = self.stall(end.task, end.tid, end.since) else { return };
                facts.observed = end.observed;
                facts.measured = at;
                facts.cpu_ns = end.cpu_ns;
                facts.run_delay_ns = end.run_delay_ns;
                facts.end = Some(at);
            }
            Event::Beats(beats) => self.beats += beats.count,
            Event::LateBeat(beat) => {
                let facts = LateBeatFacts { at, runtime: beat.runtime, due: beat.due, late_ns: beat.late_ns };
                // One beat may be told more than once while it is pending: the last word holds.
                match self.late_beats.last_mut() {
                    Some(last) if last.runtime == facts.runtime && last.due == facts.due => *last = facts,
                    _ => keep(&mut self.late_beats, facts, &mut self.not_kept),
                }
            }
            _ => self.feed_waits(event),
        }
    }

    fn feed_waits(&mut self, event: &Event) {
        let at = event.at();
        match event {
            Event::Resource(resource) => {
                // Told again when it is known better; what other events tell of it still holds.
                let known = self.resources.remove(&resource.resource).unwrap_or_default();
                let facts = ResourceFacts {
                    kind: resource.kind.to_string(),
                    parent: resource.parent,
                    made: resource.made.clone(),
                    permits: resource.permits,
                    returned: resource.returned,
                    stranger: resource.stranger,
                    ..known
                };
                self.resources.insert(resource.resource, facts);
            }
            Event::ResourceEnd(end) => {
                self.resources.remove(&end.resource);
                self.holders.remove(&end.resource);
                let of_it = (end.resource, 0)..=(end.resource, TaskId::MAX);
                while let Some((&key, _)) = self.hold_stacks.range(of_it.clone()).next() {
                    self.hold_stacks.remove(&key);
                }
                self.orders.forget(end.resource);
            }
            Event::Acquired(taken) => {
                let held = self.holders.entry(taken.resource).or_default().entry(taken.task).or_default();
                // Said again at the start of each segment, with its own time: the same fact, not one more permit.
                if held.permits == 0 {
                    let (permits, owned) = (taken.permits.max(1), taken.owned);
                    *held = Held { permits, takings: 1, since: at, last: at, owned };
                } else if at > held.last {
                    *held = Held {
                        permits: held.permits + taken.permits.max(1),
                        takings: held.takings + 1,
                        last: at,
                        owned: held.owned || taken.owned,
                        ..*held
                    };
                }
            }
            Event::Books(books) => {
                let facts = self.resources.entry(books.resource).or_default();
                (facts.balanced, facts.stays) = (books.balanced, books.stays);
            }
            Event::Released(given) => self.released(given.resource, given.task, given.permits.max(1)),
            Event::Wait(wait) => {
                let since = self.waits.get(wait.wait).map_or(at, |known| known.since.min(at));
                let facts = self.waits.begin(wait.wait, wait.task);
                facts.resource = wait.resource;
                facts.operation = wait.operation.to_string();
                facts.until = wait.until;
                facts.since = since;
            }
            Event::HoldStack(held) => {
                self.hold_stacks.insert((held.resource, held.task), held.stack.clone());
            }
            Event::WaitStack(wait) => self.waits.change(wait.wait, |facts| facts.stack.clone_from(&wait.stack)),
            Event::WaitIdle(wait) => self.waits.change(wait.wait, |facts| facts.idle = wait.idle),
            Event::Granted(granted) => self.waits.change(granted.wait, |facts| facts.granted = Some(at)),
            Event::WaitEnd(end) => {
                if let Some(wait) = self.waits.remove(end.wait) {
                    self.progress(wait.task, at);
                }
            }
            Event::Cost(cost) => {
                self.agent_cpu_ns = cost.agent_cpu_ns;
                self.dropped = cost.dropped;
                self.polls_by_cost = cost.polls;
            }
            Event::NotObservable(not) => {
                self.not_observable.insert(not.what.to_string());
            }
            Event::End(end) => self.ended = Some(end.why.to_string()),
            Event::ThreadEnd(end) => drop(self.run_delays.remove(&end.tid)),
            _ => self.feed_rare(event),
        }
    }

    fn released(&mut self, resource: ResourceId, task: TaskId, permits: u64) {
        let facts = self.resources.entry(resource).or_default();
        if facts.kind == "Channel" {
            facts.receiver = Some(task);
            return;
        }
        let Some(holders) = self.holders.get_mut(&resource) else { return };
        // A guard may be dropped by another task than took it; then the one who has held it longest lets go.
        let owner = if holders.contains_key(&task) {
            facts.returned = true;
            task
        } else {
            facts.stranger = task;
            holders.iter().min_by_key(|(_, held)| held.since).map_or(task, |(&owner, _)| owner)
        };
        if let Some(held) = holders.get_mut(&owner) {
            held.permits = held.permits.saturating_sub(permits);
            held.takings = held.takings.saturating_sub(1).max(u64::from(held.permits > 0));
            if held.permits == 0 {
                holders.remove(&owner);
                self.hold_stacks.remove(&(resource, owner));
            }
        }
    }

    fn progress(&mut self, task: TaskId, at: Nanos) {
        let facts = self.tasks.entry(task);
        facts.progress = facts.progress.max(at);
    }

    fn end_task(&mut self, task: TaskId, at: Nanos) {
        self.waits.end_task(task);
        self.idle.remove(&task);
        let Some(facts) = self.tasks.get_mut(task) else { return };
        if facts.ended.replace(at).is_none() {
            self.dead_tasks += 1;
        }
        if self.dead_tasks > KEPT_DEAD_TASKS {
            // The dead are dropped half at a time, so that a service spawning for days pays for it rarely.
            self.dead_tasks -= self.tasks.drop_ended(KEPT_DEAD_TASKS / 2);
        }
    }

    fn stall(&mut self, task: TaskId, tid: u64, since: Nanos) -> Option<&mut Stall> {
        let key = (task, tid, since);
        if !self.stalls.contains_key(&key) && self.stalls.len() >= KEPT {
            self.not_kept += 1;
            return None;
        }
        if !self.stalls.contains_key(&key) && self.recent_stalls.len() < KEPT_RECENT {
            self.recent_stalls.push(key);
        }
        Some(self.stalls.entry(key).or_insert_with(|| Stall { task, tid, since, ..Stall::default() }))
    }

    /// Adds a window of polls to the stalls on other threads that it overlaps with.
    fn beside(&mut self, polls: &Polls) {
        let (from, to) = (polls.from, polls.at);
        let stalls = &mut self.stalls;
        self.recent_stalls.retain(|key| {
            let Some(stall) = stalls.get_mut(key) else { return false };
            let end = stall.end.unwrap_or(to);
            let overlap = end.min(to).saturating_sub(stall.since.max(from));
            if stall.tid != polls.tid && overlap > 0 {
                // Where in the window the polls lay is not known: they are spread over it evenly.
                let share = overlap as f64 / to.saturating_sub(from).max(1) as f64;
                stall.others_ns += (polls.busy_ns as f64 * share) as u64;
            }
            end.saturating_add(RECENT) > from
        });
    }
}

fn keep<T>(list: &mut Vec<T>, one: T, not_kept: &mut u64) {
    if list.len() < KEPT { list.push(one) } else { *not_kept += 1 }
}

/// One of a few words, of which a million tasks need no copies.
fn task_kind(kind: &str) -> Cow<'static, str> {
    const KINDS: [&str; 4] = ["task", "local", "blocking", "root"];
    let known = KINDS.into_iter().find(|known| *known == kind);
    known.map_or_else(|| kind.to_owned().into(), Cow::Borrowed)
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

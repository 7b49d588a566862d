//! What a console is told, in the words of a recording, as far as they are true of it: then the same diagnosis serves.
//!
//! Times are nanoseconds since 1970, as the observed program tells them.

use super::locks::Locks;
use super::names::{Names, at, nanos};
use console_api::Location;
use console_api::instrument::Update;
use console_api::tasks::{Stats, Task};
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos, POLL_BUCKETS, Place, TaskId, poll_bucket};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A poll of this length is told by itself.
const LONG: Nanos = 20_000_000;
/// Most tasks named in the notes.
const NAMED: usize = 5;

/// What nothing on the wire tells, of whatever program.
const UNSEEN: [&str; 4] = [
    "the lines where tasks wait, and stacks: console-subscriber has neither; places of spawning and of making are named \
     instead",
    "timeouts: which task waits for a timer is not told, so a wait may end by one",
    "what a long poll does (it sleeps, computes, or has handed its worker off), and long polls before the last of a task",
    "panics, late starts, late timers, and who gave back what was taken",
];

/// A task that is alive, or ended with the last update.
#[derive(Default)]
struct Known {
    id: TaskId,
    /// None for the threads of the runtime itself.
    kind: Option<&'static str>,
    spawned: Place,
    polls: u64,
    busy: Nanos,
    /// Up to when its polls were told.
    told: Nanos,
    /// Start of the poll that is open.
    open: Option<Nanos>,
    /// Start of the poll that was told to be long and not to have ended, and when it was last seen open.
    long: Option<(Nanos, Nanos)>,
    /// Since when no waker of it is left, while it is not about to be polled.
    lost: Option<Nanos>,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Translator {
    names: Names,
    tasks: BTreeMap<u64, Known>,
    /// Tasks that ended with the update before: what is told on attaching is told once more with the next update.
    gone: BTreeSet<u64>,
    locks: Locks,
    attached: Option<Nanos>,
    now: Nanos,
    /// When the oldest task that is known was made.
    oldest: Nanos,
    polls: u64,
    dropped: u64,
}

impl Translator {
    /// What an update says.
    pub(super) fn update(&mut self, update: &Update) -> Vec<Event> {
        let mut events = Vec::new();
        self.gone = self.tasks.iter().filter(|(_, task)| task.ended).map(|(&id, _)| id).collect();
        self.tasks.retain(|_, task| !task.ended);
        self.now = update.now.as_ref().map_or(self.now, at).max(self.now);
        self.names.learn(update.new_metadata.as_ref());
        if self.attached.is_none() {
            (self.attached, self.oldest) = (Some(self.now), self.now);
            events.push(process(self.now));
        }
        self.tasks(update, &mut events);
        let ids: HashMap<u64, TaskId> = self.tasks.iter().map(|(&id, task)| (id, task.id)).collect();
        let ended: BTreeSet<TaskId> = self.tasks.values().filter(|task| task.ended).map(|task| task.id).collect();
        let id = |task| ids.get(&task).copied().unwrap_or(0);
        self.locks.update(update, &self.names, id, &ended, &mut events);
        let dropped = [
            update.task_update.as_ref().map(|update| update.dropped_events),
            update.resource_update.as_ref().map(|update| update.dropped_events),
            update.async_op_update.as_ref().map(|update| update.dropped_events),
        ];
        self.dropped += dropped.into_iter().flatten().sum::<u64>();
        // Also the proof that the program was alive.
        events.push(words::Cost { at: self.now, agent_cpu_ns: 0, dropped: self.dropped, polls: self.polls }.into());
        events
    }

    fn tasks(&mut self, update: &Update, events: &mut Vec<Event>) {
        let Some(update) = &update.task_update else { return };
        for new in &update.new_tasks {
            let Some(id) = new.id.map(|id| id.id) else { continue };
            if self.tasks.contains_key(&id) || self.gone.contains(&id) {
                continue;
            }
            let created = update.stats_update.get(&id).and_then(|stats| stats.created_at.as_ref()).map_or(self.now, at);
            let (task, name) = self.known(id, new);
            self.oldest = self.oldest.min(created);
            let task = Known { told: created, ..task };
            if let Some(kind) = task.kind {
                let (kind, spawned) = (kind.into(), task.spawned.clone());
                let (task, name) = (task.id, name.into());
                events.push(words::Task { at: created, task, runtime: 0, kind, name, spawned, parent: 0 }.into());
            }
            self.tasks.insert(id, task);
        }
        for (id, stats) in &update.stats_update {
            let Some(task) = self.tasks.get_mut(id).filter(|task| task.kind.is_some()) else { continue };
            self.polls += stats.poll_stats.map_or(0, |polls| polls.polls).saturating_sub(task.polls);
            task.polled(stats, self.now, events);
        }
        // Of a poll that stays open nothing more is said.
        for task in self.tasks.values_mut() {
            if let Some(since) = task.open.filter(|since| self.now.saturating_sub(*since) >= LONG) {
                task.long = Some((since, self.now));
                events.push(stall(task.id, since, self.now));
            }
        }
    }

    fn known(&self, id: u64, new: &Task) -> (Known, String) {
        let mut fields = self.names.fields(&new.fields);
        let mut text = |name: &str| fields.remove(name).and_then(|value| Some(value.as_str()?.to_owned()));
        let name = text("task.name").unwrap_or_default();
        let spawned = place(new.location.as_ref());
        let kind = match text("kind").as_deref() {
            // A worker thread is itself a blocking closure of tokio's: it is no task of the program.
            Some("blocking") if spawned.file.contains("/tokio-") && spawned.file.ends_with("worker.rs") => None,
            Some("blocking") => Some("blocking"),
            Some("local") => Some("local"),
            Some("block_on") => Some("root"),
            _ => Some("task"),
        };
        // tokio's own number where it is told; the console's counts something else.
        let id = fields.get("task.id").and_then(serde_json::Value::as_u64).unwrap_or(id);
        (Known { id, kind, spawned, ..Known::default() }, name)
    }

    /// How long the program has been heard.
    pub(super) fn heard(&self) -> Nanos {
        self.now.saturating_sub(self.attached.unwrap_or(self.now))
    }

    /// What can be said only at the end: what was not to be seen.
    pub(super) fn finish(&self) -> Vec<Event> {
        let mut sentences: Vec<String> = UNSEEN.iter().map(|&unseen| unseen.to_owned()).collect();
        let before = self.attached.unwrap_or(0).saturating_sub(self.oldest);
        if before >= 1_000_000_000 {
            sentences.push(format!(
                "what happened before pollscope was attached, {} s after the oldest task known was spawned: of that time \
                 only the operations are known that the program still remembered",
                before / 1_000_000_000
            ));
        }
        sentences.extend(self.locks.uncertain(self.now));
        sentences.into_iter().map(|what| words::NotObservable { at: self.now, what: what.into() }.into()).collect()
    }

    /// What is worth knowing beside the diagnosis: tasks that nothing will ever poll again.
    pub(super) fn notes(&self) -> Vec<String> {
        // A wake under way looks the same, but is soon over.
        let long = |since: Nanos| self.now.saturating_sub(since) >= 1_000_000_000;
        let lost: Vec<&Known> = self.tasks.values().filter(|task| task.lost.is_some_and(long) && !task.ended).collect();
        let more = lost.len().saturating_sub(NAMED);
        let note = |task: &&Known| {
            let (id, Place { file, line, .. }) = (task.id, &task.spawned);
            format!(
                "task {id} (spawned at {file}:{line}) is not finished, and no waker of it is left: nothing can wake it"
            )
        };
        let mut notes: Vec<String> = lost.iter().take(NAMED).map(note).collect();
        notes.extend((more > 0).then(|| format!("{more} more tasks have no waker left")));
        notes
    }
}

impl Known {
    fn polled(&mut self, stats: &Stats, now: Nanos, events: &mut Vec<Event>) {
        let task = self.id;
        let polls = stats.poll_stats.unwrap_or_default();
        let (started, ended) = (polls.last_poll_started.as_ref().map(at), polls.last_poll_ended.as_ref().map(at));
        let busy = nanos(polls.busy_time.as_ref());
        let (new, took) = (polls.polls.saturating_sub(self.polls), busy.saturating_sub(self.busy));
        let last = started.zip(ended).map(|(started, ended)| ended.saturating_sub(started)).unwrap_or(0);
        if new > 0 {
            // How its polls differed is not told; on the average they were so long.
            let mut histogram = [0; POLL_BUCKETS];
            histogram[poll_bucket(took / new)] = u32::try_from(new).unwrap_or(u32::MAX);
            let (from, max_ns) = (self.told, last.max(took / new));
            let polls = words::Polls { at: now, task, tid: 0, from, polls: new, busy_ns: took, max_ns, histogram };
            events.push(polls.into());
        }
        (self.polls, self.busy, self.told) = (polls.polls, busy, now);
        self.ended = stats.dropped_at.is_some();
        self.open = started.filter(|started| ended.is_none_or(|ended| ended < *started) && !self.ended);
        let over = |since, end| {
            let (cpu_ns, run_delay_ns) = (0, 0);
            words::StallEnd { at: end, task, tid: 0, since, cpu_ns, run_delay_ns, observed: end }.into()
        };
        let told = self.long.filter(|(since, _)| self.open != Some(*since));
        if let Some((since, seen)) = told {
            self.long = None;
            // Of a poll before the last it is known only that it lasted until it was seen.
            let end = ended.filter(|end| started == Some(since) && *end >= seen).unwrap_or(seen);
            events.push(over(since, end));
        }
        if let (Some(since), Some(end), None) = (started, ended, self.open) {
            events.push(words::Poll { at: since, task, tid: 0, duration_ns: last }.into());
            if last >= LONG && told.is_none_or(|(told, _)| told != since) {
                events.extend([stall(task, since, end), over(since, end)]);
            }
        }
        let woken = stats.last_wake.as_ref().map(at) > started;
        let alone = stats.waker_clones == stats.waker_drops && matches!(self.kind, Some("task" | "local"));
        let lost = alone && started.is_some() && self.open.is_none() && !woken;
        self.lost = lost.then(|| self.lost.unwrap_or(now));
        if let Some(dropped) = &stats.dropped_at {
            events.push(words::TaskEnd { at: at(dropped), task }.into());
        }
    }
}

fn process(at: Nanos) -> Event {
    words::Process {
        at,
        program: "".into(),
        exe: "".into(),
        pid: 0,
        build_id: "".into(),
        wall_ns: 0,
        tokio: "".into(),
        sources: "console".into(),
        level: "summary".into(),
        segment: 0,
    }
    .into()
}

/// A long poll of which nothing but its length is known.
fn stall(task: TaskId, since: Nanos, at: Nanos) -> Event {
    let (cpu_ns, run_delay_ns, state, syscall, stack) = (0, 0, 0, u64::MAX, Vec::new());
    words::Stall { at, task, tid: 0, since, observed: at, cpu_ns, run_delay_ns, state, syscall, stack }.into()
}

pub(super) fn place(location: Option<&Location>) -> Place {
    let Some(location) = location else { return Place::default() };
    let file = location.file.as_deref().unwrap_or_default().into();
    Place { file, line: location.line.unwrap_or(0), column: location.column.unwrap_or(0) }
}

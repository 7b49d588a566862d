//! What a console knows after all updates so far, and how it is written down.
//!
//! A console shows the present; a file is read afterwards. So what has ended stays, as far as there is room, and the
//! operations on resources, which the console itself throws away, are summed up.

use super::names::{Names, at, nanos};
use console_api::async_ops::{self, AsyncOp};
use console_api::instrument::Update;
use console_api::resources::{self, PollOp, Resource, resource};
use console_api::tasks::{self, DurationHistogram, Task, TaskDetails, task_details::PollTimesHistogram};
use console_api::{Location, PollStats};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use prost_types::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Resources, operations and sums kept of each kind: a timer makes one of each, and programs make many.
const MOST: usize = 20_000;

/// Things by the console's id, and how many more there were.
struct Kept<T> {
    all: BTreeMap<u64, T>,
    left_out: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept { all: BTreeMap::new(), left_out: 0 }
    }
}

impl<T> Kept<T> {
    fn add(&mut self, id: u64, thing: T) {
        if self.all.len() < MOST {
            self.all.insert(id, thing);
        } else {
            self.left_out += 1;
        }
    }
}

/// Operations of one kind by one task on one resource.
#[derive(Default)]
struct Ops {
    ready: u64,
    pending: u64,
    last_ready: bool,
    /// Larger is later: the console's operations bear no time.
    last: u64,
}

#[derive(Default)]
pub(super) struct State {
    now: u64,
    updates: u64,
    names: Names,
    tasks: Kept<(Task, tasks::Stats, Option<TaskDetails>)>,
    resources: Kept<(Resource, resources::Stats)>,
    async_ops: Kept<(AsyncOp, async_ops::Stats)>,
    poll_ops: BTreeMap<(u64, String, u64), Ops>,
    poll_ops_seen: u64,
    poll_ops_left_out: u64,
    /// Each update tells those since the last.
    dropped: [u64; 3],
}

impl State {
    /// Whether nothing was ever heard.
    pub(super) fn is_empty(&self) -> bool {
        self.updates == 0
    }

    /// Takes in an update; returns the ids of the tasks that are new.
    pub(super) fn update(&mut self, update: Update) -> Vec<u64> {
        self.updates += 1;
        self.now = update.now.as_ref().map_or(self.now, at);
        self.names.learn(update.new_metadata.as_ref());
        let mut fresh = Vec::new();
        if let Some(update) = update.task_update {
            self.dropped[0] += update.dropped_events;
            for task in update.new_tasks {
                let Some(id) = task.id.map(|id| id.id) else { continue };
                // What is told on connecting is told once more with the next update.
                if self.tasks.all.contains_key(&id) {
                    continue;
                }
                self.tasks.add(id, (task, tasks::Stats::default(), None));
                fresh.extend(self.tasks.all.contains_key(&id).then_some(id));
            }
            for (id, stats) in update.stats_update {
                self.tasks.all.entry(id).and_modify(|task| task.1 = stats);
            }
        }
        if let Some(update) = update.resource_update {
            self.dropped[1] += update.dropped_events;
            for resource in update.new_resources {
                let Some(id) = resource.id.map(|id| id.id) else { continue };
                self.resources.add(id, (resource, resources::Stats::default()));
            }
            for (id, stats) in update.stats_update {
                self.resources.all.entry(id).and_modify(|resource| resource.1 = stats);
            }
            for op in update.new_poll_ops {
                self.poll_op(op);
            }
        }
        if let Some(update) = update.async_op_update {
            self.dropped[2] += update.dropped_events;
            for op in update.new_async_ops {
                let Some(id) = op.id.map(|id| id.id) else { continue };
                self.async_ops.add(id, (op, async_ops::Stats::default()));
            }
            for (id, stats) in update.stats_update {
                self.async_ops.all.entry(id).and_modify(|op| op.1 = stats);
            }
        }
        fresh
    }

    fn poll_op(&mut self, op: PollOp) {
        self.poll_ops_seen += 1;
        let id = |id: Option<console_api::Id>| id.map_or(0, |id| id.id);
        let key = (id(op.resource_id), op.name, id(op.task_id));
        if self.poll_ops.len() >= MOST && !self.poll_ops.contains_key(&key) {
            self.poll_ops_left_out += 1;
            return;
        }
        let ops = self.poll_ops.entry(key).or_default();
        *(if op.is_ready { &mut ops.ready } else { &mut ops.pending }) += 1;
        (ops.last_ready, ops.last) = (op.is_ready, self.poll_ops_seen);
    }

    /// Takes in a task's histograms; true if the task has ended and no more will come.
    pub(super) fn details(&mut self, id: u64, details: &TaskDetails) -> bool {
        let Some((_, stats, known)) = self.tasks.all.get_mut(&id) else { return true };
        *known = Some(details.clone());
        stats.dropped_at.is_some()
    }

    /// The text of `console.json`.
    pub(super) fn json(&self) -> Value {
        let ops = self.poll_ops.iter().map(|((resource, name, task), ops)| {
            json!({
                "resource": resource, "op": name, "task": some(*task), "ready": ops.ready, "pending": ops.pending,
                "last_ready": ops.last_ready, "last_seen": ops.last,
            })
        });
        json!({
            "schema": "pollscope.console/1",
            "now_ns": self.now,
            "updates": self.updates,
            "tasks": self.tasks.all.iter().map(|(id, task)| self.task(*id, task)).collect::<Value>(),
            "resources": self.resources.all.iter().map(|(id, one)| self.resource(*id, one)).collect::<Value>(),
            "async_ops": self.async_ops.all.iter().map(|(id, one)| self.async_op(*id, one)).collect::<Value>(),
            "poll_ops": ops.collect::<Value>(),
            "dropped_events": {"tasks": self.dropped[0], "resources": self.dropped[1], "async_ops": self.dropped[2]},
            "left_out": {
                "tasks": self.tasks.left_out,
                "resources": self.resources.left_out,
                "async_ops": self.async_ops.left_out,
                "poll_ops": self.poll_ops_left_out,
            },
        })
    }

    fn task(&self, id: u64, (task, stats, details): &(Task, tasks::Stats, Option<TaskDetails>)) -> Value {
        let mut fields = self.names.fields(&task.fields);
        let polls = stats.poll_stats.unwrap_or_default();
        let (busy, scheduled) = (nanos(polls.busy_time.as_ref()), nanos(stats.scheduled_time.as_ref()));
        let (created, dropped) = (stats.created_at.as_ref().map(at), stats.dropped_at.as_ref().map(at));
        let total = dropped.unwrap_or(self.now).saturating_sub(created.unwrap_or(self.now));
        let poll_times = details.as_ref().and_then(|details| details.poll_times_histogram.as_ref());
        let poll_times = poll_times.and_then(|histogram| match histogram {
            PollTimesHistogram::Histogram(histogram) => times(histogram),
            PollTimesHistogram::LegacyHistogram(_) => None,
        });
        let scheduled_times = details.as_ref().and_then(|details| details.scheduled_times_histogram.as_ref());
        json!({
            "id": id,
            "task_id": fields.remove("task.id"),
            "name": fields.remove("task.name"),
            "kind": fields.remove("kind"),
            "location": task.location.as_ref().map(location),
            "fields": fields,
            "state": state(stats, &polls),
            "polls": polls.polls,
            "total_ns": total,
            "busy_ns": busy,
            "scheduled_ns": scheduled,
            "idle_ns": total.saturating_sub(busy + scheduled),
            "wakes": stats.wakes,
            "self_wakes": stats.self_wakes,
            "waker_clones": stats.waker_clones,
            "waker_drops": stats.waker_drops,
            "created_at_ns": created,
            "dropped_at_ns": dropped,
            "last_wake_ns": stats.last_wake.as_ref().map(at),
            "last_poll_started_ns": polls.last_poll_started.as_ref().map(at),
            "last_poll_ended_ns": polls.last_poll_ended.as_ref().map(at),
            "poll_times": poll_times,
            "scheduled_times": scheduled_times.and_then(times),
        })
    }

    fn resource(&self, id: u64, (resource, stats): &(Resource, resources::Stats)) -> Value {
        let kind = resource.kind.as_ref().and_then(|kind| kind.kind.as_ref()).map(|kind| match kind {
            resource::kind::Kind::Known(_) => "timer",
            resource::kind::Kind::Other(name) => name.as_str(),
        });
        json!({
            "id": id,
            "type": resource.concrete_type,
            "kind": kind,
            "location": resource.location.as_ref().map(location),
            "parent": resource.parent_resource_id.map(|id| id.id),
            "internal": resource.is_internal,
            "attributes": self.names.attributes(&stats.attributes),
            "created_at_ns": stats.created_at.as_ref().map(at),
            "dropped_at_ns": stats.dropped_at.as_ref().map(at),
        })
    }

    fn async_op(&self, id: u64, (op, stats): &(AsyncOp, async_ops::Stats)) -> Value {
        let polls = stats.poll_stats.unwrap_or_default();
        json!({
            "id": id,
            "source": op.source,
            "parent": op.parent_async_op_id.map(|id| id.id),
            "resource": op.resource_id.map(|id| id.id),
            "task": stats.task_id.map(|id| id.id),
            "polls": polls.polls,
            "busy_ns": nanos(polls.busy_time.as_ref()),
            "attributes": self.names.attributes(&stats.attributes),
            "created_at_ns": stats.created_at.as_ref().map(at),
            "dropped_at_ns": stats.dropped_at.as_ref().map(at),
        })
    }
}

/// As tokio-console sees it.
fn state(stats: &tasks::Stats, polls: &PollStats) -> &'static str {
    let later = |a: &Option<Timestamp>, b: &Option<Timestamp>| a.as_ref().map(at) > b.as_ref().map(at);
    if stats.dropped_at.is_some() {
        "completed"
    } else if later(&polls.last_poll_started, &polls.last_poll_ended) {
        "running"
    } else if later(&stats.last_wake, &polls.last_poll_started) {
        "scheduled"
    } else {
        "idle"
    }
}

fn some(id: u64) -> Option<u64> {
    (id != 0).then_some(id)
}

fn location(location: &Location) -> Value {
    json!({"file": location.file, "line": location.line, "column": location.column})
}

fn times(histogram: &DurationHistogram) -> Option<Value> {
    let read: Histogram<u64> = Deserializer::new().deserialize(&mut histogram.raw_histogram.as_slice()).ok()?;
    let percent = |percent| read.value_at_percentile(percent);
    Some(json!({
        "count": read.len(),
        "p50_ns": percent(50.0),
        "p90_ns": percent(90.0),
        "p99_ns": percent(99.0),
        "max_ns": histogram.highest_outlier.unwrap_or_else(|| read.max()),
        // Longer than the histogram reaches, so that percentiles are too low by them.
        "high_outliers": histogram.high_outliers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use console_api::field::{Name, Value as FieldValue};
    use console_api::{Field, Id, MetaId, Metadata, RegisterMetadata, register_metadata::NewMetadata};

    fn field(index: u64, value: FieldValue) -> Field {
        Field { metadata_id: Some(MetaId { id: 9 }), name: Some(Name::NameIdx(index)), value: Some(value) }
    }

    #[test]
    fn updates_add_up() {
        let field_names = ["task.id", "kind", "size.bytes"].map(str::to_owned).to_vec();
        let metadata = Metadata { field_names, ..Metadata::default() };
        let metadata = NewMetadata { id: Some(MetaId { id: 9 }), metadata: Some(metadata) };
        let task = Task {
            id: Some(Id { id: 1 }),
            fields: vec![field(0, FieldValue::U64Val(17)), field(1, FieldValue::DebugVal("task".into()))],
            location: Some(Location { file: Some("src/main.rs".into()), line: Some(7), ..Location::default() }),
            ..Task::default()
        };
        let at = |nanos| Some(Timestamp { seconds: 1, nanos });
        let polls = PollStats { polls: 3, last_poll_started: at(20), last_poll_ended: at(10), ..PollStats::default() };
        let stats = tasks::Stats { created_at: at(0), poll_stats: Some(polls), wakes: 2, ..tasks::Stats::default() };
        let op = |is_ready| PollOp {
            resource_id: Some(Id { id: 5 }),
            name: "lock".into(),
            task_id: Some(Id { id: 1 }),
            is_ready,
            ..PollOp::default()
        };
        let mut state = State::default();
        assert!(state.is_empty());
        let fresh = state.update(Update {
            now: at(100),
            new_metadata: Some(RegisterMetadata { metadata: vec![metadata] }),
            task_update: Some(tasks::TaskUpdate { new_tasks: vec![task], dropped_events: 4, ..Default::default() }),
            resource_update: Some(resources::ResourceUpdate {
                new_poll_ops: vec![op(false), op(true), op(false)],
                ..Default::default()
            }),
            ..Update::default()
        });
        assert_eq!(fresh, [1]);
        let stats_update = [(1, stats), (99, stats)].into();
        let later = tasks::TaskUpdate { stats_update, dropped_events: 4, ..Default::default() };
        assert!(state.update(Update { now: at(120), task_update: Some(later), ..Update::default() }).is_empty());
        let mut counts = Histogram::<u64>::new(2).unwrap();
        counts.record(1_000).unwrap();
        let mut raw_histogram = Vec::new();
        use hdrhistogram::serialization::{Serializer, V2Serializer};
        V2Serializer::new().serialize(&counts, &mut raw_histogram).unwrap();
        let histogram = DurationHistogram { raw_histogram, highest_outlier: Some(5_000), ..Default::default() };
        let details = TaskDetails {
            poll_times_histogram: Some(PollTimesHistogram::Histogram(histogram)),
            ..TaskDetails::default()
        };
        assert!(!state.details(1, &details), "it goes on");

        let json = state.json();
        let task = &json["tasks"][0];
        assert_eq!((&task["task_id"], &task["kind"], &task["state"]), (&json!(17), &json!("task"), &json!("running")));
        assert_eq!((&task["polls"], &task["total_ns"], &task["wakes"]), (&json!(3), &json!(120), &json!(2)));
        assert_eq!((&task["poll_times"]["count"], &task["poll_times"]["max_ns"]), (&json!(1), &json!(5000)));
        assert_eq!(task["location"], json!({"file": "src/main.rs", "line": 7, "column": null}));
        let op = &json["poll_ops"][0];
        assert_eq!((&op["ready"], &op["pending"], &op["last_ready"]), (&json!(1), &json!(2), &json!(false)));
        assert_eq!(json["dropped_events"]["tasks"], 8);
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let mut kept = Kept::default();
        (0..MOST as u64 + 3).for_each(|id| kept.add(id, ()));
        assert_eq!((kept.all.len(), kept.left_out), (MOST, 3));
    }
}

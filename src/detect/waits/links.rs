//! Who waits for whom among those who are stuck: the circles, and who stands behind them. Tasks lead to what they wait
//! for, and that to who keeps it from them, so that a thousand who wait for a thousand are two thousand ways and not a
//! million.

use std::collections::{BTreeMap, BTreeSet};

use pollscope_recording::{ResourceId, TaskId};

use super::graph::{WaitGraph, whole};
use super::parts::parts;

/// Who keeps what from others, among the tasks that are stuck.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Who holds a resource, and to whom the holder may have sent it.
    keepers: BTreeMap<ResourceId, Vec<TaskId>>,
    /// The same from the other side.
    kept: BTreeMap<TaskId, Vec<ResourceId>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Task(TaskId),
    Resource(ResourceId),
}

impl Links {
    pub(super) fn new(graph: &WaitGraph<'_>) -> Links {
        let mut links = Links::default();
        let waits = graph.stuck.iter().filter_map(|task| graph.waits.get(task)).flatten();
        let wanted: BTreeSet<ResourceId> = waits.map(|wait| whole(graph.model, wait.resource)).collect();
        for resource in wanted {
            let holders = graph.holders_of(resource).map(|(task, _)| task);
            let keepers = holders.flat_map(|task| graph.heirs(resource, task).into_iter().chain([task]));
            let keepers: BTreeSet<TaskId> = keepers.filter(|task| graph.stuck.contains(task)).collect();
            for &task in &keepers {
                links.kept.entry(task).or_default().push(resource);
            }
            links.keepers.insert(resource, keepers.into_iter().collect());
        }
        links
    }

    /// The sets of tasks that wait for each other.
    pub(super) fn cycles(&self, graph: &WaitGraph<'_>) -> Vec<BTreeSet<TaskId>> {
        let ways = |node| match node {
            Node::Task(task) => {
                let waits = graph.waits.get(&task).into_iter().flatten();
                waits.map(|wait| Node::Resource(whole(graph.model, wait.resource))).collect()
            }
            Node::Resource(resource) => {
                self.keepers.get(&resource).into_iter().flatten().copied().map(Node::Task).collect()
            }
        };
        // No task leads to a task and no resource to a resource: a part of two nodes is a circle, if only of one task.
        let circles = parts(self.kept.keys().copied().map(Node::Task), ways).into_iter().filter(|part| part.len() > 1);
        let tasks = |part: Vec<Node>| -> BTreeSet<TaskId> {
            part.into_iter().filter_map(|node| if let Node::Task(task) = node { Some(task) } else { None }).collect()
        };
        let mut cycles: Vec<BTreeSet<TaskId>> = circles.map(tasks).collect();
        cycles.sort_by_key(|cycle| cycle.first().copied());
        cycles
    }

    /// Who waits for these tasks, directly or through others, and is none of them.
    pub(super) fn behind(&self, graph: &WaitGraph<'_>, tasks: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        let mut behind = BTreeSet::new();
        let mut open: Vec<TaskId> = tasks.iter().copied().collect();
        let mut seen = BTreeSet::new();
        while let Some(task) = open.pop() {
            for &resource in self.kept.get(&task).into_iter().flatten() {
                if !seen.insert(resource) {
                    continue;
                }
                let waiting = graph.waiting_for(resource).map(|wait| wait.task);
                for task in waiting.filter(|task| graph.stuck.contains(task) && !tasks.contains(task)) {
                    if behind.insert(task) {
                        open.push(task);
                    }
                }
            }
        }
        behind
    }
}

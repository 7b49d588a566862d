//! The tasks that are alive, each in few bytes: a service may have a million of them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::event::{Nanos, Place, Task, TaskId, Text};

/// Room for fewer tasks than this is not given back.
const LEAST: usize = 1024;

/// What many tasks have in common.
type Origin = (u64, Text, Place);

#[derive(Debug, Clone, Copy)]
struct Alive {
    at: Nanos,
    parent: TaskId,
    /// The place of its [`Origin`] in the list of them.
    origin: u32,
    named: bool,
}

/// Ids of tasks are given out one after the other, so one multiplication spreads them.
#[derive(Debug, Default, Clone)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn finish(&self) -> u64 {
        // The table takes its place from the low bits, and the product has spread the high ones.
        self.0 ^ self.0 >> 32
    }
}

/// Keeps tasks until they end.
#[derive(Debug, Default, Clone)]
pub(crate) struct OpenTasks {
    tasks: HashMap<TaskId, Alive, BuildHasherDefault<Spread>>,
    /// Where tasks come from: as many as the program has lines that spawn.
    origins: Vec<Origin>,
    origin_of: HashMap<Origin, u32>,
    names: HashMap<TaskId, Text>,
}

impl OpenTasks {
    pub(crate) fn insert(&mut self, task: &Task) {
        let named = !task.name.is_empty();
        if named {
            self.names.insert(task.task, task.name.clone());
        }
        let origin = self.origin(task);
        self.tasks.insert(task.task, Alive { at: task.at, parent: task.parent, origin, named });
    }

    fn origin(&mut self, task: &Task) -> u32 {
        // Who spawns many tasks spawns them one after the other.
        let same =
            |(runtime, kind, spawned): &Origin| (*runtime, kind, spawned) == (task.runtime, &task.kind, &task.spawned);
        let last = self.origins.len().saturating_sub(4);
        if let Some(index) = self.origins[last..].iter().position(same) {
            return (last + index) as u32;
        }
        let origin = (task.runtime, task.kind.clone(), task.spawned.clone());
        *self.origin_of.entry(origin).or_insert_with_key(|origin| {
            self.origins.push(origin.clone());
            (self.origins.len() - 1) as u32
        })
    }

    pub(crate) fn remove(&mut self, task: TaskId) {
        let Some(gone) = self.tasks.remove(&task) else { return };
        if gone.named {
            self.names.remove(&task);
        }
        if self.tasks.capacity() > LEAST && self.tasks.len() < self.tasks.capacity() / 8 {
            self.tasks.shrink_to(LEAST.max(self.tasks.len() * 2));
            self.names.shrink_to(self.names.len() * 2);
        }
    }

    /// All of them, a parent before its children.
    pub(crate) fn for_each(&self, mut each: impl FnMut(Task)) {
        let mut ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        ids.sort_unstable();
        let nameless = Text::from("");
        for task in ids {
            let Some(Alive { at, parent, origin, named }) = self.tasks.get(&task).copied() else { continue };
            let Some((runtime, kind, spawned)) = self.origins.get(origin as usize).cloned() else { continue };
            let name = self.names.get(&task).filter(|_| named).unwrap_or(&nameless).clone();
            each(Task { at, task, runtime, kind, name, spawned, parent });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(task: TaskId, line: u32, name: &str) -> Task {
        let spawned = Place { file: "src/main.rs".into(), line, column: 5 };
        Task { at: task * 10, task, runtime: 1, kind: "task".into(), name: name.into(), spawned, parent: task / 2 }
    }

    #[test]
    fn tasks_come_out_as_they_went_in() {
        let mut open = OpenTasks::default();
        let tasks: Vec<Task> =
            (1..=5000).map(|id| task(id, id as u32 % 7, if id % 3 == 0 { "named" } else { "" })).collect();
        tasks.iter().rev().for_each(|task| open.insert(task));
        (1..=5000).filter(|id| id % 10 != 0).for_each(|id| open.remove(id));
        let mut left = Vec::new();
        open.for_each(|task| left.push(task));
        assert_eq!(left, tasks.into_iter().filter(|task| task.task % 10 == 0).collect::<Vec<_>>());
    }

    #[test]
    fn a_task_takes_few_bytes_and_gives_them_back() {
        assert!(size_of::<(TaskId, Alive)>() <= 32);
        let mut open = OpenTasks::default();
        for id in 1..=100_000 {
            open.insert(&task(id, 1, "named"));
        }
        assert_eq!((open.origins.len(), open.names.len()), (1, 100_000));
        for id in 1..=100_000 {
            open.remove(id);
        }
        assert!(open.tasks.capacity() <= 8 * LEAST && open.names.capacity() <= 8 * LEAST, "{}", open.tasks.capacity());
    }
}

//! Tasks that stand still: where, since when, and whether anything is left to wake them.

use pollscope_recording::{Event, Nanos, TaskId};

use super::Model;

/// Most stacks kept of one task.
const KEPT: usize = 8;
/// A poll may be counted this much after its end: in a window that began when it was over.
const SLACK: Nanos = 50_000_000;

/// What is known of a task that was idle for long.
#[derive(Debug, Clone, Default)]
pub struct IdleFacts {
    /// When the last poll known ended.
    pub since: Nanos,
    /// When it last handed out a waker; 0 if it was never seen to.
    pub registered: Nanos,
    /// Its wakers then, at most.
    pub wakers: u64,
    /// Whether it may have been woken since.
    pub woken: bool,
    /// Where it handed out its waker in that poll, innermost address first.
    pub stacks: Vec<Vec<u64>>,
}

impl IdleFacts {
    /// Its last poll handed out no waker, and none was left.
    pub fn forgotten(&self) -> bool {
        self.since > self.registered && self.wakers == 0 && !self.woken
    }
}

/// Threads that work for no runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForeignFacts {
    /// Those alive.
    pub threads: u64,
    /// Wakes of tasks by such threads.
    pub wakes: u64,
}

impl Model {
    pub(super) fn feed_idle(&mut self, event: &Event) {
        match event {
            Event::Idle(idle) => {
                let facts = self.idle.entry(idle.task).or_default();
                if idle.since > facts.since {
                    // What is only said to have no waker left awaits, as far as is known, where it last did.
                    if idle.registered > 0 {
                        facts.stacks.clear();
                        facts.registered = idle.registered;
                    }
                    facts.since = idle.since;
                }
                (facts.wakers, facts.woken) = (idle.wakers, idle.woken);
                if !idle.stack.is_empty() && facts.stacks.len() < KEPT && !facts.stacks.contains(&idle.stack) {
                    facts.stacks.push(idle.stack.clone());
                }
            }
            Event::Foreign(foreign) => {
                self.foreign = Some(ForeignFacts { threads: foreign.threads, wakes: foreign.wakes });
            }
            _ => {}
        }
    }

    /// Since when a task has not moved, if it was told to be idle; and whether it was polled since it was told where,
    /// so that the place may be an old one.
    pub fn idle_since(&self, task: TaskId) -> Option<(Nanos, bool)> {
        let facts = self.idle.get(&task)?;
        let progress = self.tasks.get(&task).map_or(0, |task| task.progress);
        let later = progress > facts.since.saturating_add(SLACK);
        Some((if later { progress } else { facts.since }, later))
    }
}

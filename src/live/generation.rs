//! What is diagnosed of a program that may run for months: its last minutes.
//!
//! Two models are fed. When the older one has lived long enough it goes, and the younger one, which has half a life
//! behind it, is diagnosed from then on. A new one begins with the facts that still hold, as a segment does.

use crate::model::Model;
use pollscope_recording::{Event, Nanos, OpenFacts};

/// How long a model lives; the younger one begins at half of it.
const LIFE: Nanos = 600_000_000_000;
/// How many notable things it may remember before that.
const MOST: usize = 8_000;
/// What a long poll, which brings stacks along, counts for.
const STALL_WEIGHT: usize = 4;

/// The two models, and what a third would begin with.
#[derive(Default)]
pub(super) struct Generations {
    older: Generation,
    younger: Option<Generation>,
    facts: OpenFacts,
}

#[derive(Default)]
struct Generation {
    model: Model,
    born: Nanos,
}

impl Generation {
    /// Whether it has lived through one part of `parts` of its life.
    fn past(&self, parts: usize) -> bool {
        let weight = self.model.stalls.len() * STALL_WEIGHT + self.model.delays.len() + self.model.late_beats.len();
        let age = self.model.last_at.saturating_sub(self.born);
        weight >= MOST / parts || age >= LIFE / parts as u64
    }
}

impl Generations {
    /// The model to diagnose.
    pub(super) fn model(&self) -> &Model {
        &self.older.model
    }

    /// Takes in one event.
    pub(super) fn feed(&mut self, event: &Event) {
        if self.older.model.events == 0 {
            self.older.born = event.at();
        }
        self.facts.note(event);
        self.older.model.feed(event);
        if let Some(younger) = &mut self.younger {
            younger.model.feed(event);
        }
    }

    /// To be called now and then: whether another model is to be diagnosed from here on.
    pub(super) fn turn(&mut self) -> bool {
        if self.younger.is_none() && self.older.past(2) {
            let mut model = Model::default();
            self.facts.for_each(0, |event| model.feed(&event));
            self.younger = Some(Generation { born: self.older.model.last_at, model });
        }
        if self.older.past(1)
            && let Some(younger) = self.younger.take()
        {
            self.older = younger;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollscope_recording::{Process, Wait};

    #[test]
    fn what_still_holds_outlives_the_model_that_saw_it_begin() {
        let mut generations = Generations::default();
        let texts = ["api", "/bin/api", "", "", "hooks", "summary"].map(Into::into);
        let [program, exe, build_id, tokio, sources, level] = texts;
        let process = Process { at: 1, program, exe, pid: 7, build_id, wall_ns: 1, tokio, sources, level, segment: 0 };
        generations.feed(&process.into());
        generations
            .feed(&Wait { at: 2, wait: 1, resource: 1, task: 1, operation: "Mutex::lock".into(), until: 0 }.into());
        let mut turns = 0;
        for late in 0..3 * MOST as u64 {
            let at = 10 + late * 20;
            generations.feed(&pollscope_recording::LateBeat { at, runtime: 1, due: at - 5, late_ns: 5 }.into());
            turns += usize::from(generations.turn());
            assert!(generations.model().late_beats.len() <= MOST);
        }
        assert!(turns >= 2, "{turns}");
        let model = generations.model();
        assert_eq!(model.waits.get(1).map(|wait| wait.since), Some(2));
        assert_eq!(model.process.as_ref().map(|process| process.pid), Some(7));
        assert!(model.late_beats.len() >= MOST / 2, "the younger one had half a life behind it");
    }
}

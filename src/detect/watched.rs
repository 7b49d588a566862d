//! A model that is looked at while it grows.

use pollscope_recording::Event;

use super::waits::Past;
use super::{Diagnosis, Rules, Thresholds, diagnose_with};
use crate::model::Model;
use crate::symbols::Symbols;

/// Most looks before one event: a damaged one may lie a century ahead.
const LOOKS: usize = 4;

/// A model, and what was seen of it on the way to where it is: a deadlock that a timeout has ended is in no model of
/// the end. The same events in the same order give the same diagnosis, live or from disk.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    model: Model,
    past: Past,
    thresholds: Thresholds,
    rules: Rules,
}

impl Watched {
    /// Nothing yet, to be judged by the rules of a user.
    pub fn by(rules: Rules) -> Watched {
        Watched { rules, ..Watched::default() }
    }

    /// Takes in one event.
    pub fn feed(&mut self, event: &Event) {
        // Where nothing happens, nothing is recorded for up to a second: what was so before this event was so until it.
        // A few looks see whatever there is to see in it.
        for _ in 0..LOOKS {
            let Some(due) = self.past.due(event.at()) else { break };
            self.model.last_at = self.model.last_at.max(due);
            self.past.look(&self.model, &self.thresholds);
        }
        self.past.before(&self.model, event, &self.thresholds);
        self.model.feed(event);
    }

    /// What is known so far.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Concludes what is wrong, from what is known so far.
    pub fn diagnose(&self, symbols: &mut Symbols) -> Diagnosis {
        diagnose_with(&self.model, &self.past, symbols, &self.thresholds, &self.rules)
    }
}

//! The clock of a workload: batches until the time is over, the first ones not counted.

use std::time::{Duration, Instant};

/// Not counted: caches, branch predictors and an observer's own start.
const WARM_UP: Duration = Duration::from_millis(30);
/// One look at the clock for so much work, at most.
const BATCH: Duration = Duration::from_millis(1);

/// Counts operations while time passes.
pub(crate) struct Clock {
    lasting: Duration,
    since: Instant,
    warm: bool,
    batch_since: Instant,
    batch: u64,
    operations: u64,
    /// With those that were not counted.
    all: u64,
    took: Duration,
}

impl Clock {
    pub(crate) fn start(lasting: Duration) -> Clock {
        let now = Instant::now();
        Clock {
            lasting,
            since: now,
            warm: false,
            batch_since: now,
            batch: 0,
            operations: 0,
            all: 0,
            took: Duration::ZERO,
        }
    }

    /// Called before each batch: whether there is to be one.
    pub(crate) fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        if self.batch == 0 {
            self.batch = 16;
            (self.since, self.batch_since) = (now, now);
            return true;
        }
        // A fast workload looks at the clock too often at first, a slow one ends in time.
        if now - self.batch_since < BATCH / 2 {
            self.batch *= 2;
        }
        self.batch_since = now;
        if !self.warm {
            if now - self.since >= WARM_UP {
                (self.warm, self.since, self.operations) = (true, now, 0);
            }
            return true;
        }
        self.took = now - self.since;
        self.took < self.lasting
    }

    /// Operations of the next batch, counted by this.
    pub(crate) fn batch(&mut self) -> u64 {
        self.also(self.batch);
        self.batch
    }

    /// Operations that others did meanwhile.
    pub(crate) fn also(&mut self, operations: u64) {
        self.operations += operations;
        self.all += operations;
    }

    pub(crate) fn nanos_each(&self) -> f64 {
        self.took.as_nanos() as f64 / self.operations.max(1) as f64
    }

    /// Operations done in all, the warm-up's too.
    pub(crate) fn all(&self) -> u64 {
        self.all
    }
}

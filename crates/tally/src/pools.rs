//! The blocking pools of all runtimes.

use std::collections::BTreeMap;

use pollscope_recording::{BlockingPool, Nanos, PoolFull};

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// Threads, idle ones, closures that wait; by runtime.
    pools: BTreeMap<u64, [u64; 3]>,
    /// Since when a pool is full, by runtime.
    full: BTreeMap<u64, Nanos>,
}

impl Pools {
    pub(crate) fn census(&mut self, pool: &BlockingPool) {
        self.pools.insert(pool.runtime, [pool.threads, pool.idle, pool.queued]);
    }

    pub(crate) fn full(&mut self, full: &PoolFull) {
        if full.over {
            self.full.remove(&full.runtime);
        } else {
            self.full.insert(full.runtime, full.since);
        }
    }

    /// The process ended.
    pub(crate) fn over(&mut self) {
        self.pools.clear();
        self.full.clear();
    }

    /// Threads, idle ones, closures that wait.
    pub(crate) fn sums(&self) -> [u64; 3] {
        let [mut threads, mut idle, mut queued] = [0; 3];
        for pool in self.pools.values() {
            threads += pool[0];
            idle += pool[1];
            queued += pool[2];
        }
        [threads, idle, queued]
    }

    /// For how long a pool has been full, of those that are the one that has been for longest.
    pub(crate) fn full_for(&self, now: Nanos) -> Nanos {
        self.full.values().min().map_or(0, |since| now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pools_of_all_runtimes_are_added_up() {
        let mut pools = Pools::default();
        for (at, runtime, queued) in [(1, 1, 5), (2, 2, 7), (3, 1, 0)] {
            pools.census(&BlockingPool { at, runtime, threads: 4, idle: 1, queued });
        }
        assert_eq!(pools.sums(), [8, 2, 7]);
        let full = |runtime, since, over| PoolFull { at: 90, runtime, since, threads: 4, queued: 2, over };
        pools.full(&full(1, 50, false));
        pools.full(&full(2, 30, false));
        assert_eq!(pools.full_for(100), 70);
        pools.full(&full(2, 30, true));
        assert_eq!(pools.full_for(100), 50);
        pools.over();
        assert_eq!((pools.sums(), pools.full_for(100)), ([0, 0, 0], 0));
    }
}

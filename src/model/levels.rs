//! A figure that stands until it changes, in buckets of time.

/// The highest value told in each bucket; where none was told, the one before still stands.
#[derive(Debug, Clone, Default)]
pub struct Level(Vec<Option<u64>>);

impl Level {
    pub(super) fn tell(&mut self, bucket: usize, value: u64) {
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, None);
        }
        if let Some(known) = self.0.get_mut(bucket) {
            *known = (*known).max(Some(value));
        }
    }

    /// Makes one bucket of each two neighbors.
    pub(super) fn merge(&mut self) {
        self.0 = self.0.chunks(2).map(|pair| pair.iter().copied().flatten().max()).collect();
    }

    /// Whether it was never told.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The highest value; 0 if there is none.
    pub fn peak(&self) -> u64 {
        self.0.iter().copied().flatten().max().unwrap_or(0)
    }

    /// The value in each of so many buckets; 0 before the first one.
    pub fn values(&self, count: usize) -> Vec<u64> {
        let mut stands = 0;
        let value = |bucket: usize| {
            stands = self.0.get(bucket).copied().flatten().unwrap_or(stands);
            stands
        };
        (0..count).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_until_the_next() {
        let mut level = Level::default();
        level.tell(1, 5);
        level.tell(1, 4);
        level.tell(4, 2);
        assert_eq!((level.values(6), level.peak()), (vec![0, 5, 5, 5, 2, 2], 5));
        level.merge();
        assert_eq!(level.values(3), [5, 5, 2]);
        assert!(Level::default().is_empty());
    }
}

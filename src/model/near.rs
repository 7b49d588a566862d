//! A map for numbers that count up, as ids do. Neighbors are used at about the same time, so they lie side by side: in a
//! table that scatters them, most of the time goes into waiting for memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// Neighbors that lie together: as many as there are bits in [`Page::taken`].
const NEIGHBORS: usize = 64;

/// Values by a number, and by what else tells one from another.
#[derive(Debug, Clone)]
pub(super) struct Near<K, V> {
    /// The hash has a random seed: whoever writes a recording does not know which numbers meet in it.
    pages: HashMap<(K, u64), Page<V>, foldhash::fast::RandomState>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Page<V> {
    taken: u64,
    values: Box<[V; NEIGHBORS]>,
}

impl<K, V> Default for Near<K, V> {
    fn default() -> Near<K, V> {
        Near { pages: HashMap::default(), len: 0 }
    }
}

impl<K: Hash + Eq, V: Copy + Default> Near<K, V> {
    #[inline]
    pub(super) fn get(&self, key: K, number: u64) -> Option<V> {
        let (page, place) = split(number);
        let page = self.pages.get(&(key, page))?;
        page.values.get(place).filter(|_| page.taken >> place & 1 == 1).copied()
    }

    /// What is there; or else `new`, and then it is there, if there may be one more.
    #[inline]
    pub(super) fn entry(&mut self, key: K, number: u64, new: V, most: usize) -> Option<&mut V> {
        let (page, place) = split(number);
        let page = match self.pages.entry((key, page)) {
            Entry::Occupied(page) => page.into_mut(),
            Entry::Vacant(_) if self.len >= most => return None,
            Entry::Vacant(page) => page.insert(Page { taken: 0, values: Box::new([V::default(); NEIGHBORS]) }),
        };
        let value = page.values.get_mut(place)?;
        if page.taken >> place & 1 == 0 {
            if self.len >= most {
                return None;
            }
            page.taken |= 1 << place;
            self.len += 1;
            *value = new;
        }
        Some(value)
    }

    pub(super) fn remove(&mut self, key: K, number: u64) -> Option<V> {
        let (page, place) = split(number);
        let key = (key, page);
        let page = self.pages.get_mut(&key)?;
        let value = page.values.get(place).filter(|_| page.taken >> place & 1 == 1).copied()?;
        page.taken &= !(1 << place);
        if page.taken == 0 {
            self.pages.remove(&key);
        }
        self.len -= 1;
        Some(value)
    }

    pub(super) fn clear(&mut self) {
        self.pages.clear();
        self.len = 0;
    }
}

/// The page of a number, and its place there.
fn split(number: u64) -> (u64, usize) {
    (number / NEIGHBORS as u64, (number % NEIGHBORS as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_does_what_a_tree_does() {
        const MOST: usize = 500;
        let (mut near, mut tree) = (Near::default(), BTreeMap::new());
        let mut random = 1_u64;
        for step in 0..100_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (key, number) = (random >> 40 & 3, (random >> 50 & 511) | (random >> 45 & 1) << 63);
            if random >> 33 & 3 == 0 {
                assert_eq!(near.remove(key, number), tree.remove(&(key, number)));
            } else if let Some(value) = near.entry(key, number, step, MOST) {
                let known = tree.entry((key, number)).or_insert(step);
                assert_eq!(value, known);
                (*value, *known) = (*value + 1, *known + 1);
            } else {
                assert!(tree.len() == MOST && !tree.contains_key(&(key, number)));
            }
            assert_eq!((near.len, near.get(key, number)), (tree.len(), tree.get(&(key, number)).copied()));
        }
        assert_eq!(tree.len(), MOST);
        near.clear();
        assert!(near.len == 0 && near.pages.is_empty());
    }
}

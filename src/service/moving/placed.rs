//! Keys that are known to be where they are to be used: nobody is asked about them again.
//!
//! Nothing brings a key back to where it was moved from while keys go one way, so that what is known
//! stays true until that way changes. It is known of the keys asked for most lately, by a hash of
//! 128 bits; the memory is bounded.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Keys of one generation; with two of them some 2 MiB in each worker.
const GENERATION: usize = 32 * 1024;

/// Two generations of keys.
#[derive(Debug, Default)]
pub(super) struct Placed {
    seeds: [RandomState; 2],
    young: HashSet<u128>,
    old: HashSet<u128>,
}

impl Placed {
    /// Whether it is known of a pool's key.
    pub(super) fn has(&self, pool: u16, key: &[u8]) -> bool {
        if self.young.is_empty() && self.old.is_empty() {
            return false;
        }
        let hash = self.hash(pool, key);
        self.young.contains(&hash) || self.old.contains(&hash)
    }

    /// It is known from now on.
    pub(super) fn add(&mut self, pool: u16, key: &[u8]) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(self.hash(pool, key));
    }

    /// Nothing is known any more.
    pub(super) fn clear(&mut self) {
        self.young = HashSet::new();
        self.old = HashSet::new();
    }

    fn hash(&self, pool: u16, key: &[u8]) -> u128 {
        let [high, low] = &self.seeds;
        let half = |seed: &RandomState| u128::from(seed.hash_one((pool, key)));
        half(high) << 64 | half(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_latest_and_no_more_than_it_may() {
        let mut placed = Placed::default();
        let key = |number: usize| number.to_be_bytes();
        for number in 0..5 * GENERATION {
            placed.add(1, &key(number));
            assert!(placed.has(1, &key(number.saturating_sub(GENERATION - 1))));
        }
        assert!(!placed.has(1, &key(0)) && !placed.has(2, &key(5 * GENERATION - 1)));
        assert!(placed.young.len() + placed.old.len() <= 2 * GENERATION);
        placed.clear();
        assert!(!placed.has(1, &key(5 * GENERATION - 1)));
    }
}

//! How often keys are asked for: a count-min sketch whose counts halve by and by.
//!
//! TinyLFU's (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy",
//! ACM ToS 2017): small counts, of which a key has four, the least of which is its own; they are
//! halved after so many requests, so that what was hot once is forgotten. All counts of a key stand
//! in one cache line, and the halving goes on a little with each count, so that no request pays for
//! all of it.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Counts in a cache line.
const LINE: usize = 64;
/// Counts of a key.
const ROWS: usize = 4;
/// Counts for each request after which all have been halved once. A key that is asked for once
/// must not be taken for one that others have counted for: with eight counts to a request, all four
/// of one key are taken by others in 2.5 of 100 cases.
const COUNTS_PER_REQUEST: u64 = 8;

/// The counts. Two threads may overwrite each other's: they are estimates anyway.
#[derive(Debug)]
pub(super) struct Sketch {
    counts: Box<[AtomicU8]>,
    /// Requests counted, in steps of [`LINE`] requests a thread.
    counted: AtomicU64,
    /// The line to be halved next.
    next: AtomicUsize,
}

impl Sketch {
    /// At least so many counts.
    pub(super) fn new(counts: usize) -> Self {
        let counts = counts.max(LINE).next_power_of_two();
        let counts = (0..counts).map(|_| AtomicU8::new(0)).collect();
        Self { counts, counted: AtomicU64::new(0), next: AtomicUsize::new(0) }
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.counts.len() as u64
    }

    fn places(&self, hash: u64) -> [usize; ROWS] {
        let line = (hash as usize >> 8) & (self.counts.len() / LINE - 1);
        let within = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let row = LINE / ROWS;
        std::array::from_fn(|at| line * LINE + at * row + (within as usize >> (at * 4) & (row - 1)))
    }

    /// Counts a request for a key; how many there have been lately, this one included.
    pub(super) fn count(&self, hash: u64) -> u8 {
        let places = self.places(hash);
        let counts = places.map(|at| self.counts[at].load(Ordering::Relaxed));
        let least = counts.into_iter().min().unwrap_or(0);
        // Conservative update: higher counts are others' already.
        for (at, count) in places.into_iter().zip(counts) {
            if count == least {
                self.counts[at].store(count.saturating_add(1), Ordering::Relaxed);
            }
        }
        self.age();
        least.saturating_add(1)
    }

    /// How often a key has been asked for lately.
    #[cfg(test)]
    pub(super) fn estimate(&self, hash: u64) -> u8 {
        let counts = self.places(hash).map(|at| self.counts[at].load(Ordering::Relaxed));
        counts.into_iter().min().unwrap_or(0)
    }

    /// Halves one line each time that as many requests have been counted as it is due after.
    fn age(&self) {
        let counted = self.counted.load(Ordering::Relaxed).wrapping_add(1);
        self.counted.store(counted, Ordering::Relaxed);
        if !counted.is_multiple_of(LINE as u64 / COUNTS_PER_REQUEST) {
            return;
        }
        let lines = self.counts.len() / LINE;
        let line = self.next.fetch_add(1, Ordering::Relaxed) & (lines - 1);
        for count in &self.counts[line * LINE..][..LINE] {
            count.store(count.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sketch;

    fn hash(number: u64) -> u64 {
        let mixed = (number ^ 0x5bd1_e995).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
    }

    #[test]
    fn hot_keys_stand_out_and_are_forgotten() {
        let sketch = Sketch::new(1 << 12);
        for round in 0..1000 {
            sketch.count(hash(1));
            sketch.count(hash(1000 + round));
        }
        assert!(sketch.estimate(hash(1)) > 100);
        let cold = (0..1000).filter(|key| sketch.estimate(hash(500_000 + key)) == 0).count();
        assert!(cold > 930, "{cold}");
        // Ten windows of other keys.
        for other in 0..10 * (1 << 12) / 8 {
            sketch.count(hash(10_000_000 + other));
        }
        assert!(sketch.estimate(hash(1)) <= 20, "{}", sketch.estimate(hash(1)));
    }
}

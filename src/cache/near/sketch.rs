//! How often keys are asked for: a count-min sketch whose counts halve by and by.
//!
//! TinyLFU's (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy",
//! ACM ToS 2017): small counts, of which a key has four, the least of which is its own; they are
//! halved after so many requests, so that what was hot once is forgotten. All counts of a key stand
//! in one slot, and the halving goes on a little with each count, so that no request pays for all
//! of it.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a slot.
const COUNTS: usize = 40;
/// Counts of a key.
const ROWS: usize = 4;
/// Counts for each request after which all have been halved once. A key that is asked for once
/// must not be taken for one that others have counted for: with eight counts to a request, all four
/// of one key are taken by others in 2.5 of 100 cases.
const COUNTS_PER_REQUEST: usize = 8;

/// Counts in a word, a byte each, so that eight are halved at once.
const PER_WORD: usize = size_of::<u64>();

/// Counts of one slot. Two threads may overwrite each other's: they are estimates anyway.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; COUNTS / PER_WORD]);

/// Which slot's counts are to be halved next.
#[derive(Debug, Default)]
pub(super) struct Aging(AtomicU64);

impl Counts {
    fn places(hash: u64) -> [usize; ROWS] {
        let within = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let row = COUNTS / ROWS;
        array::from_fn(|at| at * row + (within >> (at * 8)) as usize % 256 % row)
    }

    /// Counts a request for a key; how many there have been lately, this one included.
    pub(super) fn count(&self, hash: u64) -> u8 {
        let places = Self::places(hash);
        let counts = places.map(|at| self.at(at));
        let least = counts.into_iter().min().unwrap_or(0);
        if least == u8::MAX {
            return least;
        }
        // Conservative update: higher counts are others' already.
        for (at, count) in places.into_iter().zip(counts) {
            if count == least {
                let word = &self.0[at / PER_WORD];
                let more = 1 << (at % PER_WORD * 8);
                word.store(word.load(Ordering::Relaxed) + more, Ordering::Relaxed);
            }
        }
        least + 1
    }

    /// How often a key has been asked for lately.
    #[cfg(test)]
    pub(super) fn estimate(&self, hash: u64) -> u8 {
        let counts = Self::places(hash).map(|at| self.at(at));
        counts.into_iter().min().unwrap_or(0)
    }

    /// Halves all.
    pub(super) fn halve(&self) {
        for word in &self.0 {
            // No bit goes from one count to the next.
            let half = word.load(Ordering::Relaxed) >> 1 & u64::from_ne_bytes([0x7f; PER_WORD]);
            word.store(half, Ordering::Relaxed);
        }
    }

    #[inline]
    fn at(&self, at: usize) -> u8 {
        (self.0[at / PER_WORD].load(Ordering::Relaxed) >> (at % PER_WORD * 8)) as u8
    }
}

impl Aging {
    /// Counts a request; the number of the slot whose turn it is, if it is one's.
    pub(super) fn next(&self) -> Option<usize> {
        const REQUESTS: u64 = (COUNTS / COUNTS_PER_REQUEST) as u64;
        let counted = self.0.load(Ordering::Relaxed).wrapping_add(1);
        self.0.store(counted, Ordering::Relaxed);
        counted.is_multiple_of(REQUESTS).then_some((counted / REQUESTS) as usize)
    }
}

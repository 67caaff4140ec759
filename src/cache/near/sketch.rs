//! How often keys are asked for: counts of the few keys of a slot, which halve by and by.
//!
//! ```text
//!  slot ─▶ [tag, count] × 8     asked for: its own count + 1
//!                               a newcomer: takes the place of whoever was asked for once at most,
//!                                           else the least count - 1
//! ```
//! Each count says whose it is, by 32 bits of the key's hash. So a key that is asked for once is
//! hardly ever taken for a hot one, as counts that keys share (a count-min sketch) would have it: and
//! each such mistake costs a fill, many times what counting does. Who stays is decided as in
//! HeavyKeeper (Gong et al.: "HeavyKeeper: An Accurate Algorithm for Finding Top-k Elephant Flows",
//! USENIX ATC 2018), with a decay that is certain. Counts are halved after so many requests, so that
//! what was hot once is forgotten (TinyLFU: Einziger, Friedman, Manes, ACM ToS 2017); that goes on a
//! little with each count, so that no request pays for all of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Keys of a slot that are counted: as many as a word has bytes.
const KEYS: usize = 8;
/// Requests for each slot, on the average, after which its counts are halved: as many as there are
/// places, so that who is asked for once has hardly to give way before.
const REQUESTS_PER_SLOT: u64 = KEYS as u64;

/// One in each byte, and all bits but the highest.
const ONES: u64 = u64::from_ne_bytes([1; KEYS]);
const LOWER: u64 = u64::from_ne_bytes([0x7f; KEYS]);

/// Counts of one slot. Two threads may overwrite each other's: they are estimates anyway.
#[derive(Debug, Default)]
pub(super) struct Counts {
    tags: [AtomicU32; KEYS],
    /// A byte for each.
    counts: AtomicU64,
}

/// What tells the keys of a slot apart.
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The highest bit of each byte that is 0.
const fn zeros(bytes: u64) -> u64 {
    !(((bytes & LOWER) + LOWER) | bytes | LOWER)
}

impl Counts {
    /// Counts a request for a key; how many there have been lately, this one included.
    #[inline]
    pub(super) fn count(&self, hash: u64) -> u8 {
        let (tag, counts) = (tag(hash), self.counts.load(Ordering::Relaxed));
        let lanes = self.lanes(tag);
        if lanes != 0 {
            let shift = lanes.trailing_zeros() * u8::BITS;
            let count = (counts >> shift) as u8;
            if count < u8::MAX {
                self.counts.store(counts + (1 << shift), Ordering::Relaxed);
            }
            return count.saturating_add(1);
        }
        let free = zeros(counts);
        if free != 0 {
            self.take(free, tag, counts);
        } else {
            self.displace(tag, counts);
        }
        1
    }

    /// A bit for each place that has this tag.
    #[inline]
    fn lanes(&self, tag: u32) -> u32 {
        let bit = |at: usize| u32::from(self.tags[at].load(Ordering::Relaxed) == tag) << at;
        (0..KEYS).fold(0, |bits, at| bits | bit(at))
    }

    /// Gives a newcomer the first of these places.
    #[inline]
    fn take(&self, places: u64, tag: u32, counts: u64) {
        let at = (places.trailing_zeros() / u8::BITS) as usize % KEYS;
        let shift = at as u32 * u8::BITS;
        self.tags[at].store(tag, Ordering::Relaxed);
        self.counts.store(counts & !(0xff << shift) | 1 << shift, Ordering::Relaxed);
    }

    /// No place is free: whoever was asked for once gives way, or the least loses some.
    fn displace(&self, tag: u32, counts: u64) {
        let once = zeros(counts ^ ONES);
        if once != 0 {
            // Not always the same one.
            let later = once & u64::MAX << (tag % KEYS as u32 * u8::BITS);
            return self.take(if later != 0 { later } else { once }, tag, counts);
        }
        let bytes = counts.to_le_bytes();
        let least = (0..KEYS).min_by_key(|at| bytes[*at]).unwrap_or(0);
        self.counts.store(counts - (1 << (least as u32 * u8::BITS)), Ordering::Relaxed);
    }

    /// How often a key has been asked for lately.
    #[cfg(test)]
    pub(super) fn estimate(&self, hash: u64) -> u8 {
        let (lanes, counts) = (self.lanes(tag(hash)), self.counts.load(Ordering::Relaxed));
        if lanes == 0 { 0 } else { (counts >> (lanes.trailing_zeros() * u8::BITS)) as u8 }
    }

    /// Halves all.
    pub(super) fn halve(&self) {
        // No bit goes from one count to the next.
        let half = self.counts.load(Ordering::Relaxed) >> 1 & LOWER;
        self.counts.store(half, Ordering::Relaxed);
    }
}

/// The number of the slot whose counts are to be halved with the `nth` request of a worker, if it is
/// one's turn. Each worker goes its own round: a count of all would be fought for.
#[inline]
pub(super) fn due(nth: u64) -> Option<usize> {
    nth.is_multiple_of(REQUESTS_PER_SLOT).then_some((nth / REQUESTS_PER_SLOT) as usize)
}

#[cfg(test)]
mod tests {
    use super::{Counts, KEYS};

    fn hash(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn keys_are_counted_each_by_itself_and_their_counts_halve() {
        let counts = Counts::default();
        for round in 1..=3 {
            for key in 1..=KEYS as u64 {
                assert_eq!(counts.count(hash(key)), round);
            }
        }
        counts.halve();
        assert_eq!((counts.estimate(hash(1)), counts.count(hash(1))), (1, 2));
        (0..600).for_each(|_| _ = counts.count(hash(1)));
        assert_eq!(counts.count(hash(1)), u8::MAX);
    }

    /// Four times as many keys as a slot has room for, of which some are asked for ten times as often.
    #[test]
    fn hot_keys_hold_their_places_and_nobody_is_counted_for_another() {
        let counts = Counts::default();
        for round in 0..200 {
            for key in 1..=4 * KEYS as u64 {
                let (is_hot, asked) = (key <= KEYS as u64 / 2, (round + 10 - key % 10) / 10);
                if is_hot {
                    let count = u64::from(counts.count(hash(key)));
                    assert!(count + 5 > round && count <= round + 1, "{key}: {count} of {round}");
                } else if round % 10 == key % 10 {
                    let count = u64::from(counts.count(hash(key)));
                    assert!(count <= asked + 1, "{key}: {count} of {}", asked + 1);
                }
            }
        }
    }
}

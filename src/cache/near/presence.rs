//! Whether a key may have an entry: two sets of bits, of which nothing is ever taken out singly.
//!
//! Entries come and go (expiry, eviction) without a word, but none lives longer than a known time.
//! So every such time a fresh set takes the place of the older one of two: whatever was noted in
//! that is gone by then.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::storage::Time;

const BITS: usize = u64::BITS as usize;

/// The sets.
#[derive(Debug)]
pub(super) struct Presence {
    sets: [Box<[AtomicU64]>; 2],
    /// The one that is noted in.
    current: AtomicUsize,
    /// When they change places, in milliseconds.
    turn_at: AtomicU64,
    life_max: u64,
}

impl Presence {
    /// Empty sets of at least `bits`, for entries that live `life_max` milliseconds at most.
    pub(super) fn new(bits: usize, life_max: u64) -> Self {
        let words = (bits / BITS).next_power_of_two();
        let set = || (0..words).map(|_| AtomicU64::new(0)).collect();
        let turn_at = AtomicU64::new(0);
        Self { sets: [set(), set()], current: AtomicUsize::new(0), turn_at, life_max }
    }

    /// Bytes of both.
    pub(super) fn bytes(&self) -> u64 {
        self.sets.iter().map(|set| size_of_val(&**set) as u64).sum()
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let bit = (hash >> 16) as usize;
        ((bit / BITS) & (self.sets[0].len() - 1), 1 << (bit % BITS))
    }

    /// Notes that a key is about to get an entry.
    pub(super) fn note(&self, hash: u64) {
        let (word, bit) = self.place(hash);
        let current = &self.sets[self.current.load(Ordering::SeqCst) & 1];
        current[word].fetch_or(bit, Ordering::SeqCst);
    }

    /// False if a key has no entry.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.sets.iter().any(|set| set[word].load(Ordering::SeqCst) & bit != 0)
    }

    /// Forgets what has died by now; to be called now and then by one thread.
    pub(super) fn tend(&self, now: Time) {
        if now.millis() < self.turn_at.load(Ordering::Relaxed) {
            return;
        }
        // A little longer than the longest life: who notes a key stores it a moment later.
        self.turn_at.store(now.after(self.life_max * 2 + 1000).millis(), Ordering::Relaxed);
        let next = 1 - (self.current.load(Ordering::SeqCst) & 1);
        for word in &self.sets[next] {
            word.store(0, Ordering::SeqCst);
        }
        self.current.store(next, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::{Presence, Time};

    #[test]
    fn a_key_is_known_as_long_as_its_entry_may_live() {
        let presence = Presence::new(1024, 1000);
        let hash = 0x1234_5678_9abc_def0;
        assert!(!presence.may_have(hash));
        for start in [0, 60_000, 90_000] {
            presence.tend(Time::from_millis(start));
            presence.note(hash);
            for later in (0..=1000).step_by(100) {
                presence.tend(Time::from_millis(start + later));
                assert!(presence.may_have(hash), "{start} {later}");
            }
        }
        presence.tend(Time::from_millis(200_000));
        presence.tend(Time::from_millis(300_000));
        assert!(!presence.may_have(hash));
    }
}

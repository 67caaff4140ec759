//! Keys that a fill was of no use for lately: absent, too large, of another kind. For a second they
//! are not filled again, so that a hot key of that sort costs no more than without a near cache.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::Time;

/// Keys that are remembered at most; others take their places.
const PLACES: usize = 1 << 14;

/// Milliseconds for which a key is remembered.
const SHUNNED: u64 = 1000;

/// The upper half of a key's hash in the upper half, the end of its time in the lower.
#[derive(Debug)]
pub(super) struct Shunned(Box<[AtomicU64]>);

impl Shunned {
    pub(super) fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.0) as u64
    }

    fn at(&self, hash: u64) -> &AtomicU64 {
        &self.0[(hash >> 12) as usize & (PLACES - 1)]
    }

    /// Remembers a key.
    pub(super) fn add(&self, hash: u64, now: Time) {
        let until = now.after(SHUNNED).millis() & u64::from(u32::MAX);
        self.at(hash).store(hash >> 32 << 32 | until, Ordering::Relaxed);
    }

    /// Whether a key is remembered; now and then another is taken for it.
    pub(super) fn has(&self, hash: u64, now: Time) -> bool {
        let known = self.at(hash).load(Ordering::Relaxed);
        // The clock of 32 bits goes round every fifty days.
        let left = (known as u32).wrapping_sub(now.millis() as u32);
        known >> 32 == hash >> 32 && u64::from(left) <= SHUNNED
    }
}

#[cfg(test)]
mod tests {
    use super::{Shunned, Time};

    #[test]
    fn a_key_is_shunned_for_a_second() {
        let shunned = Shunned::new();
        let (hash, other) = (0x1234_5678_9abc_def0, 0x1234_5679_9abc_def0);
        let at = Time::from_millis;
        assert!(!shunned.has(hash, at(5_000)));
        shunned.add(hash, at(5_000));
        assert!(shunned.has(hash, at(5_000)) && shunned.has(hash, at(6_000)));
        assert!(!shunned.has(hash, at(6_001)) && !shunned.has(other, at(5_000)));
    }
}

//! Whether a key may have an entry: two sets of bits, of which nothing is ever taken out singly.
//!
//! Entries come and go (expiry, eviction) without a word, but none lives longer than a known time.
//! So every such time the older set is emptied and becomes the newer one: whatever was noted in it
//! is gone by then.

use std::sync::atomic::{AtomicU64, Ordering};

/// The sets of one slot, the newer one first.
#[derive(Debug, Default)]
pub(super) struct Presence([AtomicU64; 2]);

/// The bit of a key.
const fn bit(hash: u64) -> u64 {
    1 << ((hash >> 14) % u64::BITS as u64)
}

impl Presence {
    /// Notes a key.
    pub(super) fn note(&self, hash: u64) {
        self.0[0].fetch_or(bit(hash), Ordering::SeqCst);
    }

    /// False if the key was not noted for a long time.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.0.iter().any(|set| set.load(Ordering::SeqCst) & bit(hash) != 0)
    }

    /// Forgets what was noted before the last turn.
    pub(super) fn turn(&self) {
        // What is noted meanwhile is in the newer set before or after this, and so in one of both.
        let newer = self.0[0].load(Ordering::SeqCst);
        self.0[1].store(newer, Ordering::SeqCst);
        self.0[0].fetch_and(!newer, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::Presence;

    #[test]
    fn what_is_noted_outlasts_one_turn() {
        let presence = Presence::default();
        presence.note(5 << 14);
        presence.turn();
        presence.note(6 << 14);
        assert!(presence.may_have(5 << 14) && presence.may_have(6 << 14));
        presence.turn();
        assert!(!presence.may_have(5 << 14) && presence.may_have(6 << 14));
        presence.turn();
        assert!(!presence.may_have(6 << 14));
    }
}

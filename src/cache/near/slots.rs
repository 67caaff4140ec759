//! What is going on with keys: writes under way, and a count that every invalidation raises.
//!
//! ```text
//!  fill  ─▶ token ──────────────── … ──▶ is_good? ─▶ stored
//!  write ─▶ begin (under way + 1, count + 1) ─▶ end (under way - 1, count + 1)
//!  push  ─▶ bump (count + 1)
//! ```
//! Keys share slots by their hash. Those that meet in one only take each other's fills for
//! cancelled, which costs a fill and never a promise.

use std::sync::atomic::{AtomicU64, Ordering};

/// Writes under way are counted in the lower bits, what has happened in the others. There are never
/// more requests unanswered than that: each takes far more than two bytes of the process's buffers.
const COUNT_SHIFT: u32 = 24;
const UNDER_WAY: u64 = (1 << COUNT_SHIFT) - 1;
const ONCE: u64 = 1 << COUNT_SHIFT;

/// All slots of a near cache. The orderings are those of a lock that nobody takes: whoever stores
/// makes itself known before it looks here ([`super::presence`]), whoever writes the other way
/// round, so that one of them sees the other.
#[derive(Debug)]
pub(super) struct Slots(Box<[AtomicU64]>);

impl Slots {
    /// At least `count` of them.
    pub(super) fn new(count: usize) -> Self {
        let count = count.next_power_of_two();
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.0) as u64
    }

    /// The slot of a key's hash; the lowest bits choose the shard of the storage already.
    pub(super) fn of(&self, hash: u64) -> u32 {
        (hash >> 20) as u32 & (self.0.len() as u32 - 1)
    }

    fn at(&self, slot: u32) -> &AtomicU64 {
        &self.0[slot as usize & (self.0.len() - 1)]
    }

    /// What has happened so far; `None` while a write is under way.
    pub(super) fn count(&self, slot: u32) -> Option<u64> {
        let state = self.at(slot).load(Ordering::SeqCst);
        (state & UNDER_WAY == 0).then_some(state >> COUNT_SHIFT)
    }

    /// A write begins.
    pub(super) fn begin(&self, slot: u32) {
        self.at(slot).fetch_add(ONCE + 1, Ordering::SeqCst);
    }

    /// It has ended.
    pub(super) fn end(&self, slot: u32) {
        self.at(slot).fetch_add(ONCE - 1, Ordering::SeqCst);
    }

    /// Something has changed.
    pub(super) fn bump(&self, slot: u32) {
        self.at(slot).fetch_add(ONCE, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn while_a_write_is_under_way_there_is_no_count_and_afterwards_another() {
        let slots = Slots::new(3);
        let slot = slots.of(7 << 20);
        let before = slots.count(slot).unwrap();
        slots.begin(slot);
        slots.begin(slot);
        assert_eq!(slots.count(slot), None);
        slots.end(slot);
        assert_eq!(slots.count(slot), None);
        slots.end(slot);
        let after = slots.count(slot).unwrap();
        assert!(after > before);
        slots.bump(slot);
        assert!(slots.count(slot).unwrap() > after);
    }
}

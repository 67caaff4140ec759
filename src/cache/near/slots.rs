//! What is known of keys before the storage is asked: a cache line for those of one slot.
//!
//! ```text
//!  hash ─▶ slot ─┬─ writes under way, and a count that every invalidation raises
//!                ├─ presence : may there be an entry?
//!                └─ counts   : how often it is asked for
//! ```
//! So a key that is cold costs one look at memory. Keys share slots by their hash. Those that meet
//! in one take each other's fills for cancelled, which costs a fill and never a promise.
//!
//! ```text
//!  fill  ─▶ token ──────────────── … ──▶ does it hold? ─▶ stored
//!  write ─▶ begin (under way + 1, count + 1) ─▶ end (under way - 1, count + 1)
//!  push  ─▶ bump (count + 1)
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use super::presence::Presence;
use super::sketch::{self, Counts};
use crate::storage::Time;

/// Writes under way are counted in the lower bits, what has happened in the others. There are never
/// more requests unanswered than that: each takes far more than two bytes of the process's buffers.
const COUNT_SHIFT: u32 = 24;
const UNDER_WAY: u64 = (1 << COUNT_SHIFT) - 1;
const ONCE: u64 = 1 << COUNT_SHIFT;

/// Slots that are looked at ahead of time together.
const AHEAD: usize = 16;

/// All slots of a near cache. The orderings are those of a lock that nobody takes: whoever stores
/// makes itself known ([`Slot::note`]) before it looks at the count, whoever writes the other way
/// round, so that one of them sees the other.
#[derive(Debug)]
pub(super) struct Slots {
    list: Box<[Slot]>,
    /// When what was noted first is forgotten, in milliseconds, and after how long.
    turn_at: AtomicU64,
    life_max: u64,
}

/// One of them.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Slot {
    writes: AtomicU64,
    presence: Presence,
    counts: Counts,
}

impl Slots {
    /// At least `count` of them, for entries that live `life_max` milliseconds at most.
    pub(super) fn new(count: usize, life_max: u64) -> Self {
        let list = (0..count.next_power_of_two()).map(|_| Slot::default()).collect();
        Self { list, turn_at: AtomicU64::new(0), life_max }
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.list) as u64
    }

    /// The number of the slot of a key's hash; its lowest bits choose the shard of the storage.
    pub(super) fn number(&self, hash: u64) -> u32 {
        (hash >> 20) as u32 & (self.list.len() as u32 - 1)
    }

    /// The slot of a number.
    pub(super) fn at(&self, number: u32) -> &Slot {
        &self.list[number as usize & (self.list.len() - 1)]
    }

    /// Counts a request for what has this hash and lies in the slot of this number, the `nth` of its
    /// worker; how many there have been lately, this one included.
    #[inline]
    pub(super) fn count(&self, slot: u32, hash: u64, nth: u64) -> u8 {
        let count = self.at(slot).counts.count(hash);
        if let Some(due) = sketch::due(nth) {
            self.list[due & (self.list.len() - 1)].counts.halve();
        }
        count
    }

    /// Has the slots of these hashes, as many as there is room for, near the processor; how many.
    #[inline]
    pub(super) fn look_ahead(&self, hashes: impl Iterator<Item = u64>) -> u32 {
        let mut numbers = [0; AHEAD];
        let mut count = 0;
        for (number, hash) in numbers.iter_mut().zip(hashes) {
            *number = self.number(hash);
            count += 1;
        }
        // One right behind the other, so that memory is waited for once.
        for number in &numbers[..count] {
            std::hint::black_box(self.at(*number).writes.load(Ordering::Relaxed));
        }
        count as u32
    }

    /// Forgets the presence of what has died by now; to be called now and then by one thread.
    pub(super) fn tend(&self, now: Time) {
        if now.millis() < self.turn_at.load(Ordering::Relaxed) {
            return;
        }
        // Twice the longest life and a little: whoever notes a key stores it a moment later.
        self.turn_at.store(now.after(self.life_max * 2 + 1000).millis(), Ordering::Relaxed);
        self.list.iter().for_each(|slot| slot.presence.turn());
    }
}

impl Slot {
    /// What has happened so far; `None` while a write is under way.
    pub(super) fn happened(&self) -> Option<u64> {
        let state = self.writes.load(Ordering::SeqCst);
        (state & UNDER_WAY == 0).then_some(state >> COUNT_SHIFT)
    }

    /// A write begins.
    pub(super) fn begin(&self) {
        self.writes.fetch_add(ONCE + 1, Ordering::SeqCst);
    }

    /// It has ended.
    pub(super) fn end(&self) {
        self.writes.fetch_add(ONCE - 1, Ordering::SeqCst);
    }

    /// Something has changed.
    pub(super) fn bump(&self) {
        self.writes.fetch_add(ONCE, Ordering::SeqCst);
    }

    /// Notes that a key is about to get an entry.
    pub(super) fn note(&self, hash: u64) {
        self.presence.note(hash);
    }

    /// False if a key has no entry.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.presence.may_have(hash)
    }

    /// How often a key has been asked for lately.
    #[cfg(test)]
    pub(super) fn estimate(&self, hash: u64) -> u8 {
        self.counts.estimate(hash)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{Slot, Slots, Time};

    impl Slots {
        /// The slot of a key's hash.
        fn of(&self, hash: u64) -> &Slot {
            self.at(self.number(hash))
        }
    }

    #[test]
    fn a_slot_is_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }

    #[test]
    fn while_a_write_is_under_way_there_is_no_count_and_afterwards_another() {
        let slots = Slots::new(3, 1000);
        let slot = slots.of(7 << 20);
        let before = slot.happened().unwrap();
        slot.begin();
        slot.begin();
        assert_eq!(slot.happened(), None);
        slot.end();
        assert_eq!(slot.happened(), None);
        slot.end();
        let after = slot.happened().unwrap();
        assert!(after > before);
        slot.bump();
        assert!(slot.happened().unwrap() > after);
    }

    #[test]
    fn a_key_is_known_as_long_as_its_entry_may_live() {
        let slots = Slots::new(64, 1000);
        let hash = 0x1234_5678_9abc_def0;
        assert!(!slots.of(hash).may_have(hash));
        for start in [0, 60_000, 90_000] {
            slots.tend(Time::from_millis(start));
            slots.of(hash).note(hash);
            for later in (0..=1000).step_by(100) {
                slots.tend(Time::from_millis(start + later));
                assert!(slots.of(hash).may_have(hash), "{start} {later}");
            }
        }
        slots.tend(Time::from_millis(200_000));
        slots.tend(Time::from_millis(300_000));
        assert!(!slots.of(hash).may_have(hash));
    }

    fn hash(number: u64) -> u64 {
        let mixed = (number ^ 0x5bd1_e995).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
    }

    #[test]
    fn hot_keys_stand_out_and_are_forgotten() {
        let slots = Slots::new(128, 1000);
        let asked = Cell::new(0);
        let count = |number| {
            asked.set(asked.get() + 1);
            slots.count(slots.number(hash(number)), hash(number), asked.get())
        };
        let estimate = |number| slots.of(hash(number)).estimate(hash(number));
        for round in 0..1000 {
            count(1);
            count(1000 + round);
        }
        assert!(estimate(1) > 20, "{}", estimate(1));
        let cold = (0..1000).filter(|key| estimate(500_000 + key) == 0).count();
        assert_eq!(cold, 1000);
        // Ten windows of other keys.
        for other in 0..10 * 128 * 8 {
            count(10_000_000 + other);
        }
        assert!(estimate(1) <= 20, "{}", estimate(1));
    }

    /// Each mistake costs a fill; one in a hundred would be half of what a cold key costs.
    #[test]
    fn a_key_that_is_asked_for_once_is_not_taken_for_another() {
        let slots = Slots::new(128, 1000);
        let mistaken = (0..100_000)
            .filter(|&number| slots.count(slots.number(hash(number)), hash(number), number) > 1)
            .count();
        assert!(mistaken <= 2, "{mistaken}");
    }
}

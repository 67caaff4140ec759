//! What goes when there is no memory left.
//!
//! ```text
//!  put ─▶ young segments ─▶ oldest one ─▶ items that were read ─▶ kept segments ─▶ the oldest one
//!                              │                                       ▲                │
//!                              ▼ the others                            └── the best ────┤ the rest
//!                              gone                                                     ▼ gone
//! ```
//! One segment is gone through at a time. What is kept of it is moved to the end of an open
//! segment and, if that is full, to the segment's own front, which is the open one from then on:
//! no memory is needed to win some. The best are those that are read most often for each byte;
//! how often is halved as time passes.

use crate::config::Eviction;
use crate::storage::engine::PutError;
use crate::storage::index::Place;
use crate::storage::segments::{Generation, Layout, Segment};
use crate::storage::time::Time;

use super::Segcache;

/// Parts of a hundred segments that are young, at least.
const YOUNG_PERCENT: usize = 10;

/// Reads after which a young item is kept, the one that stored it counted.
const YOUNG_READS: u8 = 2;

/// Parts of a hundred bytes that are kept of a kept segment, on average.
const KEPT_PERCENT: u64 = 75;

/// The same, at most, of any one.
const KEPT_PERCENT_MAX: usize = 90;

/// A segment with less than so many living bytes in a hundred is rid of the dead ones first.
const SPARSE_PERCENT: usize = 50;

/// Where nothing may be evicted: one with more than so many dead bytes in a hundred.
const DEAD_PERCENT: usize = 10;

/// Steps after which a segment is dropped whole, so that it does not take too long.
const STEPS_MAX: usize = 48;

/// What scores are told apart: eighths of octaves.
const SCORES: usize = 192;

/// How the scores of the segments gone through lately were distributed.
#[derive(Debug)]
pub(super) struct Policy {
    bytes: [u64; SCORES],
}

impl Default for Policy {
    fn default() -> Self {
        Self { bytes: [0; SCORES] }
    }
}

/// An item that is alive, in a segment that is gone through.
#[derive(Clone, Copy, Debug)]
struct Survivor {
    offset: usize,
    len: usize,
    hash: u64,
    frequency: u8,
    expiry: Option<Time>,
}

impl Survivor {
    /// How often it is read for each byte, logarithmically.
    fn score(&self) -> usize {
        let score = ((u64::from(self.frequency) << 20) / self.len as u64).max(8);
        let octave = score.ilog2() - 3;
        (octave as usize * 8 + (score >> octave) as usize - 8).min(SCORES - 1)
    }
}

impl Policy {
    /// The score from which on items are kept; `items` are taken into account.
    fn cut_off(&mut self, items: &[Survivor]) -> usize {
        self.bytes.iter_mut().for_each(|bytes| *bytes -= *bytes / 4);
        items.iter().for_each(|item| self.bytes[item.score()] += item.len as u64);
        let all: u64 = self.bytes.iter().sum();
        let mut above = 0;
        for (score, bytes) in self.bytes.iter().enumerate().rev() {
            above += bytes;
            if above * 100 > all * KEPT_PERCENT {
                return score + 1;
            }
        }
        0
    }
}

impl Segcache {
    /// Evicts until `bytes` can be had.
    ///
    /// # Errors
    /// [`PutError::Full`] if that does not come about.
    pub(super) fn make_room(&mut self, bytes: u64, now: Time) -> Result<(), PutError> {
        let before = self.memory();
        let enough = bytes.saturating_mul(2) + self.start.budget.segment_cost();
        // More steps than these get nothing further, but only what moves items in a circle.
        for step in 0..STEPS_MAX + 2 * self.segments.count() {
            // Memory that a reader still holds is not free yet: there is an end to waiting for it.
            let freed = before.saturating_sub(self.memory());
            if freed > enough || self.memory() <= self.keeps || !self.evict(step, now) {
                break;
            }
            if self.start.budget.has_room(bytes) {
                return Ok(());
            }
        }
        self.wanted = bytes;
        Err(PutError::Full)
    }

    /// Makes some room, or prepares that; false if nothing can be evicted.
    pub(crate) fn evict(&mut self, step: usize, now: Time) -> bool {
        let expired = self.segments.iter().find(|(_, segment)| segment.expired(now));
        if let Some((id, _)) = expired {
            return self.drain(id, &mut usize::MAX.clone());
        }
        let policy = self.start.eviction;
        let victim = self.victim(policy);
        let born = victim.map(|id| self.segments.get(id).born);
        if let Some((place, _)) = self
            .large
            .oldest()
            .filter(|(_, large)| policy != Eviction::None && born.is_none_or(|born| *large < born))
        {
            self.evict_large(place, now);
            return true;
        }
        match victim {
            Some(id) if policy == Eviction::None => self.merge(id, now),
            Some(id) if policy == Eviction::Merge && step < STEPS_MAX => self.merge(id, now),
            Some(id) => self.drop_segment(id, now),
            None => {}
        }
        victim.is_some()
    }

    /// The segment that is to go, or to become smaller.
    fn victim(&mut self, policy: Eviction) -> Option<u32> {
        if policy == Eviction::Random {
            let count = self.segments.count() as u64;
            let chosen = self.counters.chance().checked_rem(count)?;
            return self.segments.iter().nth(chosen as usize).map(|(id, _)| id);
        }
        let oldest = |wanted: &dyn Fn(&Segment) -> bool| {
            let some = self.segments.iter().filter(|(_, segment)| wanted(segment));
            some.min_by_key(|(_, segment)| segment.born).map(|(id, _)| id)
        };
        let closed = |segment: &Segment| !segment.open;
        let by_age = oldest(&closed).or_else(|| oldest(&|segment| segment.used() > 0));
        if policy == Eviction::Fifo {
            return by_age;
        }
        let len = self.start.budget.segment_len();
        if policy == Eviction::None {
            let dead = |segment: &Segment| segment.used() - segment.live_bytes();
            return oldest(&|segment| closed(segment) && dead(segment) * 100 > len * DEAD_PERCENT);
        }
        let sparse = self.sparse();
        let by_death = oldest(&|segment| closed(segment) && segment.live_bytes() < sparse);
        let young = self.segments.count_of(Generation::Young);
        let turn = if young * 100 > self.segments.count() * YOUNG_PERCENT {
            Generation::Young
        } else {
            Generation::Kept
        };
        by_death
            .or_else(|| oldest(&|segment| closed(segment) && segment.generation == turn))
            .or(by_age)
    }

    /// Living bytes below which a segment is only rid of the dead ones; always, where nothing may
    /// be evicted.
    fn sparse(&self) -> usize {
        match self.start.eviction {
            Eviction::None => usize::MAX,
            _ => self.start.budget.segment_len() * SPARSE_PERCENT / 100,
        }
    }

    /// Removes all items of a segment whose time has come, as many as there are steps left for,
    /// and gives it back; false if steps did not suffice.
    pub(super) fn drain(&mut self, id: u32, left: &mut usize) -> bool {
        self.segments.close(id);
        let segment = self.segments.get(id);
        let (mut offset, end) = (segment.drained, segment.used());
        while offset < end && *left > 0 && self.segments.get(id).live_items() > 0 {
            *left -= 1;
            let (len, hash) = self.passing(id, offset);
            self.drop_at(Place { segment: id, offset: offset as u32 }, hash, true);
            offset += len;
        }
        if self.segments.get(id).live_items() > 0 {
            self.segments.get_mut(id).drained = offset;
            return false;
        }
        self.segments.release(id);
        true
    }

    /// Length and hash of the item at an offset, dead or alive.
    fn passing(&self, id: u32, offset: usize) -> (usize, u64) {
        let bytes = self.segments.get(id).at(offset);
        let layout = Layout::parse(bytes);
        (layout.len(), self.start.keys.hash(layout.key(bytes)))
    }

    /// Removes the item at a place, if the index knows it.
    fn drop_at(&mut self, place: Place, hash: u64, expired: bool) {
        if let Some(found) = self.index.find_place(hash, place) {
            self.unlink(found);
            self.forget(place);
            *(if expired {
                &mut self.counters.usage.expired
            } else {
                &mut self.counters.usage.evicted
            }) += 1;
        }
    }

    fn drop_segment(&mut self, id: u32, now: Time) {
        for item in self.survivors(id, now) {
            self.drop_at(Place { segment: id, offset: item.offset as u32 }, item.hash, false);
        }
        self.segments.release(id);
    }

    fn evict_large(&mut self, place: Place, now: Time) {
        let hash = self.start.keys.hash(&self.large.get(place).key);
        let Some(found) = self.index.find_place(hash, place) else { return };
        let expired = self.large.get(place).expired(now);
        let frequency = found.slot.frequency();
        if !expired && frequency > 1 && self.start.eviction == Eviction::Merge {
            self.index.set_frequency(found, frequency / 2);
            self.segments.advance(1);
            self.large.renew(place, self.segments.appended());
        } else {
            self.drop_at(place, hash, expired);
        }
    }

    /// The living items of a segment; those that are found dead are removed.
    fn survivors(&mut self, id: u32, now: Time) -> Vec<Survivor> {
        let (mut offset, end) = (0, self.segments.get(id).used());
        let mut survivors = Vec::with_capacity(self.segments.get(id).live_items());
        while offset < end {
            let (len, hash) = self.passing(id, offset);
            let place = Place { segment: id, offset: offset as u32 };
            if let Some(found) = self.index.find_place(hash, place) {
                let expiry = self.expiry_at(place);
                if expiry.is_some_and(|at| at <= now) {
                    self.drop_at(place, hash, true);
                } else {
                    let frequency = found.slot.frequency();
                    survivors.push(Survivor { offset, len, hash, frequency, expiry });
                }
            }
            offset += len;
        }
        survivors
    }

    /// Keeps the best of a segment and lets the rest go.
    fn merge(&mut self, id: u32, now: Time) {
        self.segments.close(id);
        let segment = self.segments.get(id);
        let generation = segment.generation;
        let len = self.start.budget.segment_len();
        let sparse = segment.live_bytes() < self.sparse();
        let survivors = self.survivors(id, now);
        let cut_off = match generation {
            Generation::Kept if !sparse => self.policy.cut_off(&survivors),
            _ => 0,
        };
        let mut kept = Vec::with_capacity(survivors.len());
        let mut allowance = len * KEPT_PERCENT_MAX / 100;
        for item in survivors {
            let good = match generation {
                _ if sparse => true,
                Generation::Young => item.frequency >= YOUNG_READS,
                Generation::Kept => item.score() >= cut_off && item.len <= allowance,
            };
            if good {
                allowance = allowance.saturating_sub(item.len);
                kept.push(item);
            } else {
                self.drop_at(Place { segment: id, offset: item.offset as u32 }, item.hash, false);
            }
        }
        let aged = generation == Generation::Kept && !sparse;
        self.gather(id, &kept, aged, now);
    }

    /// Moves items of a segment to the open kept one and, when that is full, to the segment's
    /// front; gives the segment back if nothing is left in it.
    fn gather(&mut self, id: u32, kept: &[Survivor], aged: bool, now: Time) {
        let (mut moved, class) = (0, self.segments.get(id).class);
        if let Some(tail) = self.segments.tail(class, Generation::Kept, now) {
            for item in kept {
                let from = Place { segment: id, offset: item.offset as u32 };
                let Some(offset) = self.segments.copy(from, item.len, item.expiry, tail) else {
                    break;
                };
                self.relink(item, from, Place { segment: tail, offset }, aged);
                moved += 1;
            }
        }
        if moved == kept.len() {
            return self.segments.release(id);
        }
        self.segments.get_mut(id).rewind(now);
        for item in &kept[moved..] {
            let from = Place { segment: id, offset: item.offset as u32 };
            let offset = self.segments.get_mut(id).move_up(item.offset, item.len, item.expiry);
            self.relink(item, from, Place { segment: id, offset: offset as u32 }, aged);
        }
        self.segments.reopen_kept(id);
    }

    fn relink(&mut self, item: &Survivor, from: Place, to: Place, aged: bool) {
        let Survivor { hash, frequency, .. } = *item;
        let frequency = if aged { (frequency - frequency / 4).max(1) } else { frequency };
        if let Some(found) = self.index.find_place(hash, from) {
            self.index.set(found, to, frequency);
        }
    }
}

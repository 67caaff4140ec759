//! The segments of a shard: where each is, which are open, by the time that their items have left.
//!
//! Items are put together by class of their time to live, so that they expire together. Classes
//! are parts of an octave (halves, quarters or eighths: the more segments, the finer), which
//! bounds both how long dead bytes wait for the rest of their segment and how many segments are
//! open at a time. A class has one open segment for each generation.

use std::sync::Arc;

use crate::storage::budget::Budget;
use crate::storage::index::{LARGE, Place};
use crate::storage::time::Time;

mod layout;
mod segment;
mod sight;

pub(crate) use layout::{Context, Fields, HEADER_MAX, Layout};
pub(crate) use segment::{Generation, Record, Segment};
pub(crate) use sight::Sight;

/// Octaves of the time to live that are told apart: 1 s to 34 years.
const OCTAVES: u8 = 31;

/// Log2 of the segments that a shard has for each class in an octave.
const SEGMENTS_PER_CLASS_BITS: u32 = 6;

/// All segments of a shard.
#[derive(Debug)]
pub(crate) struct Segments {
    list: Vec<Option<Segment>>,
    vacant: Vec<u32>,
    /// Open segments by class and generation.
    tails: Box<[[Option<u32>; 2]]>,
    class_bits: u8,
    counts: [usize; 2],
    appended: u64,
    budget: Arc<Budget>,
}

impl Segments {
    /// None yet; there will be about `expected`.
    pub(crate) fn new(budget: Arc<Budget>, expected: u64) -> Self {
        let bits = expected.max(1).ilog2().saturating_sub(SEGMENTS_PER_CLASS_BITS).min(3) as u8;
        let classes = (usize::from(OCTAVES) << bits) + 1;
        Self {
            list: Vec::new(),
            vacant: Vec::new(),
            tails: vec![[None; 2]; classes].into_boxed_slice(),
            class_bits: bits,
            counts: [0; 2],
            appended: 0,
            budget,
        }
    }

    /// Bytes that this takes beside its segments.
    pub(crate) fn fixed_cost(&self) -> u64 {
        size_of_val(&*self.tails) as u64
    }

    /// The class of an item that expires then; the last is of those that never do.
    pub(crate) fn class_of(&self, expiry: Option<Time>, now: Time) -> u8 {
        let Some(at) = expiry else { return OCTAVES << self.class_bits };
        // In 1024 ms, from 1 on, with as many fraction bits as there are classes in an octave.
        let seconds = (at.since(now).as_millis() as u64 >> (10 - self.class_bits))
            .saturating_add(1 << self.class_bits);
        let octave = (seconds.ilog2() - u32::from(self.class_bits)).min(u32::from(OCTAVES) - 1);
        let within = (seconds >> octave).min((2 << self.class_bits) - 1) as u8;
        ((octave as u8) << self.class_bits) + (within - (1 << self.class_bits))
    }

    /// For how many milliseconds a segment of this class is appended to.
    fn width(&self, class: u8) -> u64 {
        1024 << (class >> self.class_bits) >> self.class_bits
    }

    /// The open segment of a class, unless it has been open for too long; it is closed then.
    pub(crate) fn tail(&mut self, class: u8, generation: Generation, now: Time) -> Option<u32> {
        let id = self.tails[usize::from(class)][generation as usize]?;
        let age = now.since(self.get(id).base()).as_millis() as u64;
        // Items that never expire do not wait for each other.
        if class == OCTAVES << self.class_bits || age <= self.width(class) {
            return Some(id);
        }
        self.retire(id);
        None
    }

    /// Closes a segment, and gives it back if nothing of it is alive.
    fn retire(&mut self, id: u32) {
        self.close(id);
        if self.get(id).live_items() == 0 {
            self.release(id);
        }
    }

    /// Opens a segment; `None` if there is no memory for it.
    pub(crate) fn open(&mut self, class: u8, generation: Generation, now: Time) -> Option<u32> {
        if self.vacant.is_empty() && self.numbers() == LARGE {
            return None;
        }
        let bytes = self.budget.take_segment()?;
        let mut segment = Segment::new(bytes, class, generation, now);
        segment.born = self.appended;
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.list.push(None);
            self.list.len() as u32 - 1
        });
        self.list[id as usize] = Some(segment);
        self.counts[generation as usize] += 1;
        self.make_tail(id);
        Some(id)
    }

    /// Makes a segment the one of its class and generation that is appended to.
    fn make_tail(&mut self, id: u32) {
        let segment = self.get_mut(id);
        segment.open = true;
        let (class, generation) = (segment.class, segment.generation);
        if let Some(before) = self.tails[usize::from(class)][generation as usize] {
            self.retire(before);
        }
        self.tails[usize::from(class)][generation as usize] = Some(id);
    }

    /// Lets nothing more be appended to a segment.
    pub(crate) fn close(&mut self, id: u32) {
        let segment = self.get_mut(id);
        if segment.open {
            segment.open = false;
            let (class, generation) = (segment.class, segment.generation);
            self.tails[usize::from(class)][generation as usize] = None;
        }
    }

    /// Makes a rewound segment the one to which kept items are appended.
    pub(crate) fn reopen_kept(&mut self, id: u32) {
        let born = self.appended;
        let segment = self.get_mut(id);
        let before = segment.generation;
        (segment.generation, segment.born) = (Generation::Kept, born);
        self.counts[before as usize] -= 1;
        self.counts[Generation::Kept as usize] += 1;
        self.make_tail(id);
    }

    /// Gives a segment back of which nothing is alive.
    pub(crate) fn release(&mut self, id: u32) {
        self.close(id);
        if let Some(segment) = self.list[id as usize].take() {
            self.counts[segment.generation as usize] -= 1;
            self.vacant.push(id);
            self.budget.give_segment(segment.into_bytes());
        }
    }

    /// Releases a segment if nothing of it is alive, or begins it anew if it is open.
    pub(crate) fn release_if_empty(&mut self, id: u32, now: Time) {
        let segment = self.get_mut(id);
        match (segment.live_items(), segment.open) {
            (0, true) => segment.rewind(now),
            (0, false) => self.release(id),
            _ => {}
        }
    }

    /// Gives all back.
    pub(crate) fn clear(&mut self) {
        let all: Vec<u32> = self.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.release(id));
    }

    /// Segments there are.
    pub(crate) fn count(&self) -> usize {
        self.counts[0] + self.counts[1]
    }

    /// Segments of a generation.
    pub(crate) fn count_of(&self, generation: Generation) -> usize {
        self.counts[generation as usize]
    }

    /// Numbers that segments may have: those below this.
    pub(crate) fn numbers(&self) -> u32 {
        self.list.len() as u32
    }

    /// Those there are, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Segment)> {
        (0..).zip(&self.list).filter_map(|(id, segment)| Some((id, segment.as_ref()?)))
    }

    /// The segment with this number, if there is one.
    pub(crate) fn find(&self, id: u32) -> Option<&Segment> {
        self.list.get(id as usize)?.as_ref()
    }

    /// A segment that is known to be there.
    #[expect(clippy::expect_used, reason = "the index refers to no segment that is gone")]
    pub(crate) fn get(&self, id: u32) -> &Segment {
        self.list[id as usize].as_ref().expect("a segment")
    }

    /// The same, to be changed.
    #[expect(clippy::expect_used, reason = "the index refers to no segment that is gone")]
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Segment {
        self.list[id as usize].as_mut().expect("a segment")
    }

    /// The item at a place, and its layout.
    #[inline(always)]
    pub(crate) fn item(&self, place: Place) -> (Layout, &[u8]) {
        let bytes = self.get(place.segment).at(place.offset as usize);
        (Layout::parse(bytes), bytes)
    }

    /// The same, to be changed.
    pub(crate) fn item_mut(&mut self, place: Place) -> (Layout, &mut [u8]) {
        let bytes = self.get_mut(place.segment).at_mut(place.offset as usize);
        (Layout::parse(bytes), bytes)
    }

    /// Notes an access to the item at a place, of this layout.
    #[inline(always)]
    pub(crate) fn touch(
        &mut self,
        place: Place,
        layout: Layout,
        version: u64,
        now: Time,
    ) -> Sight<'_> {
        let segment = self.get_mut(place.segment);
        let at = Context { base: segment.base(), version, now };
        Sight::touch(layout, segment.at_mut(place.offset as usize), at)
    }

    /// All that is behind a place, where an item may begin; nothing if there is no such place.
    pub(crate) fn behind(&self, place: Place) -> &[u8] {
        self.find(place.segment).map_or(&[], |segment| segment.behind(place.offset as usize))
    }

    /// Copies an item of `len` bytes to the end of the segment `to`; `None` if it has no room.
    pub(crate) fn copy(
        &mut self,
        from: Place,
        len: usize,
        expiry: Option<Time>,
        to: u32,
    ) -> Option<u32> {
        let pair = [from.segment as usize, to as usize];
        let [Some(source), Some(target)] = self.list.get_disjoint_mut(pair).ok()? else {
            return None;
        };
        Some(target.copy(source, (from.offset as usize, len), expiry)? as u32)
    }

    /// The item at a place is no longer known to the index.
    pub(crate) fn forget(&mut self, place: Place, len: usize) {
        self.get_mut(place.segment).forget(len);
    }

    /// How much has been appended so far, in bytes: the clock by which age is told.
    pub(crate) fn appended(&self) -> u64 {
        self.appended
    }

    /// So many bytes have been appended to this shard, here or elsewhere.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.appended += bytes as u64;
    }

    /// What narrow items of a segment are completed by.
    pub(crate) fn context(&self, id: u32, version: u64, now: Time) -> Context {
        Context { base: self.get(id).base(), version, now }
    }

    /// Panics if what is known of segments together is not what they are.
    #[cfg(test)]
    pub(crate) fn check_integrity(&self) {
        let open = || self.iter().filter(|(_, segment)| segment.open);
        for (id, segment) in open() {
            let tails = self.tails[usize::from(segment.class)];
            assert_eq!(tails[segment.generation as usize], Some(id), "an open segment is a tail");
        }
        assert_eq!(open().count(), self.tails.iter().flatten().flatten().count(), "tails are open");
        for generation in [Generation::Young, Generation::Kept] {
            let some = self.iter().filter(|(_, segment)| segment.generation == generation);
            assert_eq!(some.count(), self.count_of(generation));
        }
        assert_eq!(self.iter().count() + self.vacant.len(), self.list.len());
    }
}

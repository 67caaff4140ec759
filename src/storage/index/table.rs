//! A hash table of buckets in the order of their hashes, made of chunks.
//!
//! ```text
//!  position (32 bits of the hash) × buckets >> 32 ─▶ home bucket ─▶ the next one if it is full …
//! ```
//! Any number of buckets will do. A bucket is one cache line of eight slots. Items lie in the order
//! of their homes: one that comes in where all is full takes the slot of one whose home is later,
//! which goes on to the next bucket; where one is removed, those behind it move up (linear probing
//! in order, after Amble and Knuth 1974, "Ordered hash tables"; by buckets). So a search ends
//! where an item's home is past its own, whatever has come and gone before, some two buckets
//! on, and nobody is farther from home than need be. How far each is stands in its slot; only of one
//! that is farther than can be written its hash must be asked for. Behind the last home there may
//! be more buckets, as needed: an item always finds a place.

use std::cmp::Reverse;

use crate::storage::pages::Pages;

use super::bucket::{self, BUCKET, Bucket, EMPTY, LANES, Lanes};
use super::position;
use super::slot::{FAR, Mark, Place, Slot};

/// Buckets in a chunk.
const CHUNK_BUCKETS: usize = CHUNK_LEN / BUCKET;

/// A number of slots at which all still goes quickly, in percent.
const FULL_PERCENT: u64 = 90;

/// A part of a table: its buckets.
#[derive(Debug)]
pub(crate) struct Chunk(Pages);

/// Bytes of a chunk.
pub(crate) const CHUNK_LEN: usize = 16 << 10;

/// Where a slot is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) bucket: usize,
    pub(crate) lane: usize,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    homes: usize,
    /// Those that have been taken out, or are yet to come, are `None`.
    chunks: Vec<Option<Chunk>>,
    /// How many are there.
    present: usize,
}

impl Chunk {
    /// An empty one, on memory that is zero.
    pub(crate) fn new(pages: Pages) -> Self {
        Self(pages)
    }

    /// Empties it.
    pub(crate) fn wipe(&mut self) {
        self.0.fill(0);
    }

    fn bucket(&self, at: usize) -> &Bucket {
        &self.0.as_chunks().0[at]
    }

    fn bucket_mut(&mut self, at: usize) -> &mut Bucket {
        &mut self.0.as_chunks_mut().0[at]
    }
}

impl Table {
    /// A table of so many home buckets, without any memory yet.
    pub(crate) fn new(homes: usize) -> Self {
        Self { homes, chunks: Vec::new(), present: 0 }
    }

    /// Home buckets.
    pub(crate) fn homes(&self) -> usize {
        self.homes
    }

    /// How many chunks it has.
    #[cfg(test)]
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.iter().flatten().count()
    }

    /// Items up to which it works well.
    pub(crate) fn items_max(&self) -> u64 {
        (self.homes * LANES) as u64 * FULL_PERCENT / 100
    }

    /// The home bucket of a position.
    pub(crate) fn home(&self, position: u32) -> usize {
        ((u64::from(position) * self.homes as u64) >> 32) as usize
    }

    /// The first position whose home is `bucket`; 0 if that is past the last home.
    pub(crate) fn start(&self, bucket: usize) -> u64 {
        if bucket >= self.homes {
            return 0;
        }
        ((bucket as u64) << 32).div_ceil(self.homes as u64)
    }

    /// True if one more item needs no chunk for sure.
    pub(crate) fn is_complete(&self) -> bool {
        let end = self.chunks.len() * CHUNK_BUCKETS;
        self.present == self.chunks.len()
            && end >= self.homes
            && self.bucket(end - 1).is_some_and(|last| bucket::ends(last, 0))
    }

    /// A bucket; `None` if it has no memory yet.
    #[inline(always)]
    pub(super) fn bucket(&self, bucket: usize) -> Option<&Bucket> {
        let chunk = self.chunks.get(bucket / CHUNK_BUCKETS)?.as_ref()?;
        Some(chunk.bucket(bucket % CHUNK_BUCKETS))
    }

    #[inline(always)]
    fn bucket_mut(&mut self, bucket: usize) -> Option<&mut Bucket> {
        let chunk = self.chunks.get_mut(bucket / CHUNK_BUCKETS)?.as_mut()?;
        Some(chunk.bucket_mut(bucket % CHUNK_BUCKETS))
    }

    fn slots_at(&self, bucket: usize) -> Option<[Slot; LANES]> {
        self.bucket(bucket).map(bucket::slots)
    }

    /// The chunk of a bucket, which is made if it is not there.
    fn make(&mut self, bucket: usize, fresh: impl FnOnce() -> Chunk) -> &Chunk {
        let number = bucket / CHUNK_BUCKETS;
        if number >= self.chunks.len() {
            self.chunks.resize_with(number + 1, || None);
        }
        self.present += usize::from(self.chunks[number].is_none());
        self.chunks[number].get_or_insert_with(fresh)
    }

    /// Writes the slot at a spot that is there.
    pub(crate) fn set(&mut self, spot: Spot, slot: Slot) {
        if let Some(bucket) = self.bucket_mut(spot.bucket) {
            bucket::set(bucket, spot.lane, slot);
        }
    }

    /// Writes how often the item at a spot is read.
    #[inline(always)]
    pub(super) fn set_frequency(&mut self, spot: Spot, frequency: u8) {
        if let Some(bucket) = self.bucket_mut(spot.bucket) {
            bucket::set_frequency(bucket, spot.lane, frequency);
        }
    }

    /// The search for the item of a hash whose home is `home`.
    #[inline(always)]
    pub(super) fn search(&self, home: usize, hash: u64) -> Search<'_> {
        let bucket = self.bucket(home).unwrap_or(EMPTY);
        let left = bucket::marked(bucket, Mark::new(hash, 0));
        Search { table: self, hash, number: home, distance: 0, bucket, left }
    }

    /// Puts a slot in whose home is `home`; `fresh` gives a chunk if one is needed for it.
    pub(crate) fn insert(
        &mut self,
        home: usize,
        slot: Slot,
        hash_of: &impl Fn(Place) -> u64,
        mut fresh: impl FnMut() -> Chunk,
    ) {
        let (mut carried, mut home, mut bucket) = (slot, home, home);
        loop {
            let chunk = self.make(bucket, &mut fresh);
            let slots = bucket::slots(chunk.bucket(bucket % CHUNK_BUCKETS));
            let carried_here = carried.at_distance(bucket - home);
            if let Some(lane) = slots.iter().position(|slot| slot.is_empty()) {
                return self.set(Spot { bucket, lane }, carried_here);
            }
            // The one whose home is the latest.
            let homes = slots.map(|slot| self.home_of(slot, bucket, hash_of));
            let latest = (0..LANES).max_by_key(|lane| homes[*lane]);
            if let Some(lane) = latest.filter(|lane| homes[*lane] > home) {
                self.set(Spot { bucket, lane }, carried_here);
                (carried, home) = (slots[lane], homes[lane]);
            }
            bucket += 1;
        }
    }

    /// Empties a spot, and moves up what is behind it and not at home.
    pub(crate) fn remove(&mut self, spot: Spot, hash_of: &impl Fn(Place) -> u64) {
        let mut hole = spot;
        loop {
            let bucket = hole.bucket + 1;
            let Some((lane, slot, home)) = self.earliest(bucket, hash_of) else { break };
            self.set(hole, slot.at_distance(hole.bucket - home));
            hole = Spot { bucket, lane };
        }
        self.set(hole, Slot::default());
    }

    /// Of the items in a bucket that are not at home the one whose home is the earliest.
    fn earliest(
        &self,
        bucket: usize,
        hash_of: &impl Fn(Place) -> u64,
    ) -> Option<(usize, Slot, usize)> {
        let slots = self.slots_at(bucket)?;
        let (lane, slot) = slots.into_iter().enumerate().max_by_key(|(lane, slot)| {
            // Of several that are as far the first; the far ones are told apart below.
            (slot.distance(), Reverse(*lane))
        })?;
        match slot.distance() {
            0 => None,
            FAR => {
                let far = slots.into_iter().enumerate().filter(|(_, slot)| slot.distance() == FAR);
                let homes =
                    far.map(|(lane, slot)| (lane, slot, self.home_of(slot, bucket, hash_of)));
                homes.min_by_key(|(.., home)| *home)
            }
            distance => Some((lane, slot, bucket - distance)),
        }
    }

    /// The home of an item that is in a bucket.
    fn home_of(&self, slot: Slot, bucket: usize, hash_of: &impl Fn(Place) -> u64) -> usize {
        match slot.distance() {
            FAR => self.home(position(hash_of(slot.place()))),
            distance => bucket - distance,
        }
    }

    /// Shows every slot whose home is `home`.
    pub(crate) fn walk(
        &self,
        home: usize,
        hash_of: &impl Fn(Place) -> u64,
        mut visit: impl FnMut(Spot, Slot),
    ) {
        let mut number = home;
        while let Some(bucket) = self.bucket(number) {
            for (lane, slot) in bucket::slots(bucket).into_iter().enumerate() {
                if !slot.is_empty() && self.home_of(slot, number, hash_of) == home {
                    visit(Spot { bucket: number, lane }, slot);
                }
            }
            if bucket::ends(bucket, number - home) {
                return;
            }
            number += 1;
        }
    }

    /// Takes the chunk out whose last bucket is the one before `bucket`, if one ends there.
    pub(crate) fn take_before(&mut self, bucket: usize) -> Option<Chunk> {
        if bucket == 0 || !bucket.is_multiple_of(CHUNK_BUCKETS) {
            return None;
        }
        let taken = self.chunks.get_mut(bucket / CHUNK_BUCKETS - 1)?.take();
        self.present -= usize::from(taken.is_some());
        taken
    }

    /// Takes all chunks out.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Chunk> + use<> {
        self.present = 0;
        std::mem::take(&mut self.chunks).into_iter().flatten()
    }

    /// How many buckets a search looks at that finds nothing.
    #[cfg(test)]
    pub(crate) fn steps(&self, home: usize) -> usize {
        let ends = |number: usize| {
            self.bucket(number).is_none_or(|bucket| bucket::ends(bucket, number - home))
        };
        (home..).position(ends).map_or(0, |before| before + 1)
    }

    /// Every slot that is not empty.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        let chunks = self.chunks.iter().flatten();
        let buckets = |chunk| (0..CHUNK_BUCKETS).map(move |at| Chunk::bucket(chunk, at));
        chunks.flat_map(buckets).flat_map(bucket::slots).filter(|slot| !slot.is_empty())
    }
}

/// A search for the item of a hash: the slots that may be its own, those nearest to home first.
#[derive(Debug)]
pub(super) struct Search<'t> {
    table: &'t Table,
    hash: u64,
    number: usize,
    distance: usize,
    bucket: &'t Bucket,
    left: Lanes,
}

impl Iterator for Search<'_> {
    type Item = (Spot, Slot);

    #[inline(always)]
    fn next(&mut self) -> Option<(Spot, Slot)> {
        loop {
            if let Some(lane) = self.left.next() {
                let spot = Spot { bucket: self.number, lane };
                return Some((spot, bucket::slot(self.bucket, lane)));
            }
            if bucket::ends(self.bucket, self.distance) {
                return None;
            }
            (self.number, self.distance) = (self.number + 1, self.distance + 1);
            self.bucket = self.table.bucket(self.number)?;
            self.left = bucket::marked(self.bucket, Mark::new(self.hash, self.distance));
        }
    }
}

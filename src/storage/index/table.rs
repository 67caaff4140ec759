//! A hash table of buckets in the order of their hashes, made of chunks.
//!
//! ```text
//!  position (32 bits of the hash) × buckets >> 32 ─▶ home bucket ─▶ the next one if it is full …
//! ```
//! Any number of buckets will do. A bucket is one cache line of eight slots; beside it stands how
//! many items have passed it by on the way from their home, so that a search ends at the first
//! bucket that nobody has passed. Behind the last home there may be more buckets, as needed: an
//! item always finds a place.

use crate::storage::pages::Pages;

/// A slot: offset 20 bits, segment 20, tag 16, frequency 8; 0 if it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u64);

/// Slots in a bucket.
const LANES: usize = 8;

/// Buckets in a chunk: with their counts 16 KiB.
const CHUNK_BUCKETS: usize = 252;

/// A count that has reached this stays: nobody knows how many more there were.
const PASSED_MAX: u8 = u8::MAX;

/// A number of slots at which all still goes quickly, in percent.
const FULL_PERCENT: u64 = 94;

/// Bytes of a bucket: a cache line.
const BUCKET: usize = LANES * size_of::<u64>();

/// A part of a table: its buckets, and behind them how many items have passed each by.
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

    fn bytes(&self, at: usize) -> &[u8] {
        &self.0[at * BUCKET..][..BUCKET]
    }

    fn slots(&self, at: usize) -> [Slot; LANES] {
        let (lanes, _) = self.bytes(at).as_chunks();
        std::array::from_fn(|lane| Slot(u64::from_le_bytes(lanes[lane])))
    }

    fn set(&mut self, at: usize, lane: usize, slot: Slot) {
        let (lanes, _) = self.0[at * BUCKET..][..BUCKET].as_chunks_mut();
        lanes[lane] = slot.0.to_le_bytes();
    }

    fn passed(&self, at: usize) -> u8 {
        self.0[CHUNK_BUCKETS * BUCKET + at]
    }

    fn passed_mut(&mut self, at: usize) -> &mut u8 {
        &mut self.0[CHUNK_BUCKETS * BUCKET + at]
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
        let last = || self.chunk(end - 1).map(|(chunk, at)| chunk.slots(at));
        self.present == self.chunks.len()
            && end >= self.homes
            && last().is_some_and(|slots| slots.contains(&Slot::default()))
    }

    fn chunk(&self, bucket: usize) -> Option<(&Chunk, usize)> {
        let chunk = self.chunks.get(bucket / CHUNK_BUCKETS)?.as_ref()?;
        Some((chunk, bucket % CHUNK_BUCKETS))
    }

    fn chunk_mut(&mut self, bucket: usize) -> Option<(&mut Chunk, usize)> {
        let chunk = self.chunks.get_mut(bucket / CHUNK_BUCKETS)?.as_mut()?;
        Some((chunk, bucket % CHUNK_BUCKETS))
    }

    /// Writes the slot at a spot that is there.
    pub(crate) fn set(&mut self, spot: Spot, slot: Slot) {
        if let Some((chunk, at)) = self.chunk_mut(spot.bucket) {
            chunk.set(at, spot.lane, slot);
        }
    }

    /// The first slot on the way from `home` that `take` takes, of those that `may_be` the right
    /// one; and what that made of it. All of a bucket are asked whether they may be, without a
    /// branch for each that could be foreseen wrongly.
    pub(crate) fn find<T>(
        &self,
        home: usize,
        may_be: impl Fn(Slot) -> bool,
        take: impl Fn(Slot) -> Option<T>,
    ) -> Option<(Spot, T)> {
        let mut bucket = home;
        loop {
            let (chunk, at) = self.chunk(bucket)?;
            let slots = chunk.slots(at);
            let bit = |lane: usize| u32::from(may_be(slots[lane])) << lane;
            let mut left = (0..LANES).fold(0, |bits, lane| bits | bit(lane));
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                if let Some(made) = take(slots[lane % LANES]) {
                    return Some((Spot { bucket, lane }, made));
                }
                left &= left - 1;
            }
            if chunk.passed(at) == 0 {
                return None;
            }
            bucket += 1;
        }
    }

    /// The bytes of a bucket; none if it has no memory yet.
    pub(crate) fn bucket(&self, bucket: usize) -> &[u8] {
        self.chunk(bucket).map_or(&[], |(chunk, at)| chunk.bytes(at))
    }

    /// Puts a slot in on the way from `home`; `fresh` gives chunks that are needed for it.
    pub(crate) fn insert(&mut self, home: usize, slot: Slot, mut fresh: impl FnMut() -> Chunk) {
        let mut bucket = home;
        loop {
            let number = bucket / CHUNK_BUCKETS;
            if number >= self.chunks.len() {
                self.chunks.resize_with(number + 1, || None);
            }
            self.present += usize::from(self.chunks[number].is_none());
            let chunk = self.chunks[number].get_or_insert_with(&mut fresh);
            let at = bucket % CHUNK_BUCKETS;
            let free = chunk.slots(at).iter().position(|slot| *slot == Slot::default());
            if let Some(lane) = free {
                return chunk.set(at, lane, slot);
            }
            *chunk.passed_mut(at) = chunk.passed(at).saturating_add(1);
            bucket += 1;
        }
    }

    /// Empties a spot of which `home` is the home.
    pub(crate) fn remove(&mut self, home: usize, spot: Spot) {
        self.set(spot, Slot::default());
        for bucket in home..spot.bucket {
            if let Some((chunk, at)) = self.chunk_mut(bucket) {
                let passed = chunk.passed_mut(at);
                *passed -= u8::from(*passed != PASSED_MAX);
            }
        }
    }

    /// Shows every slot on the way from `home`, until `visit` has seen the last bucket.
    pub(crate) fn walk(&self, home: usize, mut visit: impl FnMut(Spot, Slot)) {
        let mut bucket = home;
        while let Some((chunk, at)) = self.chunk(bucket) {
            for (lane, slot) in chunk.slots(at).iter().enumerate() {
                if *slot != Slot::default() {
                    visit(Spot { bucket, lane }, *slot);
                }
            }
            if chunk.passed(at) == 0 {
                return;
            }
            bucket += 1;
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

    /// Every slot that is not empty.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        let chunks = self.chunks.iter().flatten();
        let slots = |chunk| (0..CHUNK_BUCKETS).flat_map(move |at| Chunk::slots(chunk, at));
        chunks.flat_map(slots).filter(|slot| *slot != Slot::default())
    }
}

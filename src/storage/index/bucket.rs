//! A bucket: a cache line of eight slots, laid out so that all of them are looked at together.
//!
//! ```text
//!  marks: 2 │ 2 │ 2 │ … eight of them │ frequency and place: 6 │ 6 │ 6 │ … eight of them
//! ```
//! A mark says which items a slot may be that of, and that it is not empty: four of them are a word,
//! and so compared in a few instructions without a branch for each that could be foreseen wrongly
//! (several fields in one word: Lamport 1975, "Multiple byte processing with full-word instructions").

use super::slot::{FAR, Mark, Slot};

/// Slots in a bucket.
pub(super) const LANES: usize = 8;

/// Bytes of a bucket: a cache line.
pub(super) const BUCKET: usize = 64;

/// A bucket's bytes.
pub(super) type Bucket = [u8; BUCKET];

/// One with nothing in it.
pub(super) const EMPTY: &Bucket = &[0; BUCKET];

/// Bytes of a mark, and of the rest of a slot.
const MARK: usize = size_of::<Mark>();
const REST: usize = size_of::<Slot>() - MARK;

/// Where the rests begin.
const RESTS_AT: usize = LANES * MARK;

/// Of a word of marks: the lowest bit of each, the highest one, all the others.
const LOWEST: u64 = 0x0001_0001_0001_0001;
const HIGHEST: u64 = LOWEST << 15;
const OTHERS: u64 = !HIGHEST;

/// Some lanes of a bucket: bit 16 × n for lane n, and the one above it for lane n + 4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes(u64);

impl Lanes {
    /// Those of which a word has the highest bit of the mark; the others of its bits are 0.
    fn new([first, second]: [u64; 2]) -> Self {
        Self(first >> 15 | second >> 14)
    }

    /// One of them.
    #[inline(always)]
    pub(super) fn first(self) -> usize {
        let bit = self.0.trailing_zeros() as usize % u64::BITS as usize;
        bit / 16 + bit % 2 * (LANES / 2)
    }
}

impl Iterator for Lanes {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let lane = (self.0 != 0).then(|| self.first());
        self.0 &= self.0.wrapping_sub(1);
        lane
    }
}

/// The lanes that have this mark.
#[inline(always)]
pub(super) fn marked(bucket: &Bucket, mark: Mark) -> Lanes {
    let all = u64::from(mark.bits()) * LOWEST;
    Lanes::new(words(bucket).map(|word| zero(word ^ all)))
}

/// True if an item that is so far from home here would have one of these slots instead: the search
/// for it ends.
#[inline(always)]
pub(super) fn ends(bucket: &Bucket, distance: usize) -> bool {
    let [first, second] = words(bucket);
    if distance == 0 {
        return (zero(first) | zero(second)) != 0;
    }
    // The highest bit stays where what is added to a distance makes it 0x8000 or more.
    let limit = HIGHEST - distance.min(FAR) as u64 * LOWEST;
    let far = |word: u64| (word & (FAR as u64 * LOWEST)) + limit;
    far(first) & far(second) & HIGHEST != HIGHEST
}

/// The slot of a lane.
#[inline(always)]
pub(super) fn slot(bucket: &Bucket, lane: usize) -> Slot {
    let mark = u16::from_le_bytes([bucket[MARK * lane], bucket[MARK * lane + 1]]);
    // The two bytes before it are there to be read with it.
    let rest = bucket[RESTS_AT + REST * lane - MARK..].first_chunk().copied();
    let rest = u64::from_le_bytes(rest.unwrap_or_default()) & !u64::from(u16::MAX);
    Slot::from_bits(rest | u64::from(mark))
}

/// All slots.
pub(super) fn slots(bucket: &Bucket) -> [Slot; LANES] {
    std::array::from_fn(|lane| slot(bucket, lane))
}

/// Writes the slot of a lane.
pub(super) fn set(bucket: &mut Bucket, lane: usize, slot: Slot) {
    let (mark, rest) = (slot.bits() as u16, slot.bits() >> (8 * MARK));
    bucket[MARK * lane..][..MARK].copy_from_slice(&mark.to_le_bytes());
    bucket[RESTS_AT + REST * lane..][..REST].copy_from_slice(&rest.to_le_bytes()[..REST]);
}

/// Writes how often the item of a lane is read.
#[inline(always)]
pub(super) fn set_frequency(bucket: &mut Bucket, lane: usize, frequency: u8) {
    bucket[RESTS_AT + REST * lane] = frequency;
}

#[inline(always)]
fn words(bucket: &Bucket) -> [u64; 2] {
    let marks = bucket.as_chunks().0;
    [u64::from_le_bytes(marks[0]), u64::from_le_bytes(marks[1])]
}

/// The highest bit of each mark that is 0.
#[inline(always)]
fn zero(word: u64) -> u64 {
    !(((word & OTHERS) + OTHERS) | word | OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::index::Place;

    /// A bucket of slots with these tags and distances, and each lane's place; `None` is empty.
    fn bucket(slots: [Option<(u64, usize)>; LANES]) -> Bucket {
        let mut bucket = *EMPTY;
        for (lane, slot) in slots.into_iter().enumerate() {
            let Some((tag, distance)) = slot else { continue };
            let place = Place { segment: 0xf_ffff - lane as u32, offset: lane as u32 };
            let slot = Slot::new(tag << 16, place, 200 + lane as u8).at_distance(distance);
            set(&mut bucket, lane, slot);
        }
        bucket
    }

    #[test]
    fn a_slot_is_read_as_it_was_written() {
        let bucket = bucket(std::array::from_fn(|lane| Some((1000 + lane as u64, 10 * lane))));
        for (lane, slot) in slots(&bucket).into_iter().enumerate() {
            let place = Place { segment: 0xf_ffff - lane as u32, offset: lane as u32 };
            assert_eq!((slot.place(), slot.frequency()), (place, 200 + lane as u8));
            assert_eq!(slot.distance(), (10 * lane).min(FAR));
        }
        let mut changed = bucket;
        set_frequency(&mut changed, 3, 17);
        assert_eq!(slot(&changed, 3), slot(&bucket, 3).read(17));
        assert_eq!((slot(&changed, 2), slot(&changed, 4)), (slot(&bucket, 2), slot(&bucket, 4)));
    }

    #[test]
    fn the_lanes_of_a_mark_are_those_that_have_it() {
        // All that could be taken for one another: 0, the highest bit, neighbours of a mark.
        let tags = [1, 2, 3, 511, 512, 513, 1022, 1023];
        for seed in 0..LANES * LANES * LANES {
            let of = |lane: usize| {
                let number = seed / LANES.pow(lane as u32 % 3) + lane / 3;
                (!number.is_multiple_of(5)).then(|| (tags[number % LANES], number % 3))
            };
            let bucket = bucket(std::array::from_fn(of));
            for (tag, distance) in tags.into_iter().flat_map(|tag| [(tag, 0), (tag, 1), (tag, 2)]) {
                let found: Vec<usize> = marked(&bucket, Mark::new(tag << 16, distance)).collect();
                let mut sorted = found.clone();
                sorted.sort_unstable();
                let right = (0..LANES).filter(|lane| of(*lane) == Some((tag, distance)));
                assert_eq!(sorted, right.collect::<Vec<_>>(), "{tag} {distance} in {bucket:?}");
            }
        }
    }

    #[test]
    fn a_search_ends_where_one_is_nearer_or_none_is() {
        let full = |distance: usize| std::array::from_fn(|_| Some((1023, distance)));
        for (here, searched) in (0..FAR + 3).flat_map(|here| (0..FAR + 3).map(move |to| (here, to)))
        {
            for lane in 0..LANES {
                let mut slots = full(FAR);
                slots[lane] = Some((5, here));
                let ended = here < searched.min(FAR);
                assert_eq!(ends(&bucket(slots), searched), ended, "{here} before {searched}");
                slots[lane] = None;
                assert!(ends(&bucket(slots), searched), "an empty one before {searched}");
            }
        }
    }
}

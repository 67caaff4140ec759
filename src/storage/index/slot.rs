//! A slot of the index: where an item is, some bits of its hash, how far from home it is, and how
//! often it is read.
//!
//! ```text
//!  offset 20 │ segment 20 │ frequency 8 │ tag 10 │ distance 6
//! ```
//! The lowest two bytes are its mark: what a search compares, by themselves.

const OFFSET_BITS: u32 = 20;
const SEGMENT_BITS: u32 = 20;
const TAG_BITS: u32 = 10;
const DISTANCE_BITS: u32 = 6;
const FREQUENCY_BITS: u32 = 8;

/// Where the parts begin, from the lowest bit.
const TAG_AT: u32 = DISTANCE_BITS;
const FREQUENCY_AT: u32 = TAG_AT + TAG_BITS;
const PLACE_AT: u32 = FREQUENCY_AT + FREQUENCY_BITS;

/// Of a hash, the bits above those that choose the shard.
const TAG_IN_HASH: u32 = 16;

/// Numbers of segments end here; this one stands for the list of large items.
pub(crate) const LARGE: u32 = (1 << SEGMENT_BITS) - 1;

/// Offsets end here.
pub(crate) const OFFSETS: usize = 1 << OFFSET_BITS;

/// This many buckets from home, or more: how many cannot be written.
pub(super) const FAR: usize = (1 << DISTANCE_BITS) - 1;

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// A slot; 0 if it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot(u64);

/// What a slot says that so far from home has the item of a hash: its tag and its distance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u16);

impl Slot {
    /// A slot for an item that nobody has read.
    pub(super) fn new(hash: u64, place: Place, frequency: u8) -> Self {
        Self(tag(hash) << TAG_AT | u64::from(frequency) << FREQUENCY_AT).moved(place)
    }

    /// As these bits say.
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// All its bits.
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// The same item at another place.
    pub(super) fn moved(self, place: Place) -> Self {
        let place = (u64::from(place.offset) << SEGMENT_BITS) | u64::from(place.segment);
        Self(self.0 & mask(PLACE_AT) | place << PLACE_AT)
    }

    /// The same item, read so often.
    pub(super) fn read(self, frequency: u8) -> Self {
        let others = self.0 & !(mask(FREQUENCY_BITS) << FREQUENCY_AT);
        Self(others | u64::from(frequency.max(1)) << FREQUENCY_AT)
    }

    /// The same item so many buckets from home.
    pub(super) fn at_distance(self, distance: usize) -> Self {
        Self(self.0 & !mask(DISTANCE_BITS) | distance.min(FAR) as u64)
    }

    /// Where its item is.
    pub(crate) fn place(self) -> Place {
        let place = self.0 >> PLACE_AT;
        Place { segment: place as u32 & LARGE, offset: (place >> SEGMENT_BITS) as u32 }
    }

    /// How often it is read, by and by; 0 only if the slot is empty.
    pub(crate) fn frequency(self) -> u8 {
        (self.0 >> FREQUENCY_AT) as u8
    }

    /// How many buckets it is from home; [`FAR`] for that many or more.
    pub(super) fn distance(self) -> usize {
        (self.0 & mask(DISTANCE_BITS)) as usize
    }

    /// True if there is no item.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Mark {
    /// Of the item of a hash, so many buckets from home.
    pub(super) fn new(hash: u64, distance: usize) -> Self {
        Self((tag(hash) << TAG_AT) as u16 | distance.min(FAR) as u16)
    }

    /// As a number, which is not 0.
    pub(super) fn bits(self) -> u16 {
        self.0
    }
}

/// Not 0, so that no mark is that of an empty slot.
fn tag(hash: u64) -> u64 {
    (hash >> TAG_IN_HASH & mask(TAG_BITS)).max(1)
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

//! The cells of a shard, and which of them a key may be in.
//!
//! Beside the cells stands a byte of each item's hash, 0 where there is none: a search reads only
//! cells that are likely to be the right one, and all are emptied by emptying these. Memory that
//! no item has been in yet is untouched: it is resident once it is written.

use crate::storage::item::Key;

use super::cell;

/// The cells that a key may be in, from below; the same one twice, if chance has it so.
pub(super) type Places = [usize; 4];

/// What gives one hash the positions of four: odd, and without a pattern.
const SPREAD: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0xd6e8_feb8_6659_fd93];

/// Positions end here, and cells before.
const POSITIONS: u64 = 1 << 32;

/// The cells.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Box<[u8]>,
    tags: Box<[u8]>,
    cell_len: usize,
}

impl Table {
    /// Empty cells of `cell_len` bytes, as many as there is memory for.
    pub(super) fn new(memory: u64, cell_len: usize) -> Self {
        let cells = (memory / (cell_len as u64 + 1)).clamp(1, POSITIONS - 1) as usize;
        let zeroed = |len: usize| vec![0; len].into_boxed_slice();
        Self { bytes: zeroed(cells * cell_len), tags: zeroed(cells), cell_len }
    }

    /// Bytes that it takes.
    pub(super) fn memory(&self) -> u64 {
        (self.bytes.len() + self.tags.len()) as u64
    }

    /// How many cells there are.
    pub(super) fn cells(&self) -> usize {
        self.tags.len()
    }

    /// The cells that a key with this hash may be in.
    pub(super) fn places(&self, hash: u64) -> Places {
        let mut places = SPREAD.map(|factor| self.place_at(hash.wrapping_mul(factor) >> 32));
        places.sort_unstable();
        places
    }

    /// The cell at a position of 32 bits; that or any later one at a larger position.
    pub(super) fn place_at(&self, position: u64) -> usize {
        ((position.min(POSITIONS) * self.cells() as u64) >> 32) as usize
    }

    /// The first position of a cell; 0 behind the last one.
    pub(super) fn position_of(&self, place: usize) -> u64 {
        if place >= self.cells() {
            return 0;
        }
        ((place as u64) << 32).div_ceil(self.cells() as u64)
    }

    /// The cell of a key's item, dead or alive.
    pub(super) fn find(&self, key: Key<'_>) -> Option<usize> {
        let tag = tag(key.hash);
        let places = SPREAD.map(|factor| self.place_at(key.hash.wrapping_mul(factor) >> 32));
        let holds =
            |place: usize| self.tags[place] == tag && cell::key(self.cell(place)) == key.bytes;
        places.into_iter().find(|place| holds(*place))
    }

    /// True if there is an item in a cell.
    pub(super) fn is_taken(&self, place: usize) -> bool {
        self.tags[place] != 0
    }

    /// The first cell from `place` on, and before `end`, that an item is in.
    pub(super) fn next_taken(&self, place: usize, end: usize) -> Option<usize> {
        let tags = self.tags.get(place..end.min(self.cells()))?;
        tags.iter().position(|tag| *tag != 0).map(|at| place + at)
    }

    /// The bytes of a cell.
    pub(super) fn cell(&self, place: usize) -> &[u8] {
        &self.bytes[place * self.cell_len..][..self.cell_len]
    }

    /// The same, to be changed.
    pub(super) fn cell_mut(&mut self, place: usize) -> &mut [u8] {
        &mut self.bytes[place * self.cell_len..][..self.cell_len]
    }

    /// A cell in which an item with such a hash is to be written now.
    pub(super) fn take(&mut self, place: usize, hash: u64) -> &mut [u8] {
        self.tags[place] = tag(hash);
        self.cell_mut(place)
    }

    /// Moves an item to an empty cell.
    pub(super) fn shift(&mut self, from: usize, to: usize) {
        let start = from * self.cell_len;
        self.bytes.copy_within(start..start + self.cell_len, to * self.cell_len);
        self.tags[to] = std::mem::take(&mut self.tags[from]);
    }

    /// Empties a cell.
    pub(super) fn empty(&mut self, place: usize) {
        self.tags[place] = 0;
    }

    /// Empties all cells.
    pub(super) fn clear(&mut self) {
        self.tags.fill(0);
    }

    /// True if the byte beside a cell is that of a hash.
    #[cfg(test)]
    pub(super) fn is_tagged(&self, place: usize, hash: u64) -> bool {
        self.tags[place] == tag(hash)
    }
}

/// A byte of a hash that is not 0.
fn tag(hash: u64) -> u8 {
    ((hash >> 24) as u8).max(1)
}

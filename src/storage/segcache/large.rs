//! Items too large for a segment: their values stand by themselves, in pieces.
//!
//! A piece is charged to the budget for as long as anybody holds it, a reader that writes it out
//! after the item is gone included. They are evicted in the order in which they were stored, one
//! that has been read since comes round again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::budget::{Budget, Charge};
use crate::storage::index::{LARGE, OFFSETS, Place};
use crate::storage::item::{Item, Marks, Value};
use crate::storage::pages::Pages;
use crate::storage::segments::Fields;
use crate::storage::time::Time;

/// Bytes of the longest piece.
const PIECE_MAX: usize = 1 << 20;

/// What a large item, or a piece, costs beside its bytes.
const EXTRA: u64 = 256;

/// A value that comes in piece by piece.
#[derive(Debug)]
pub(crate) struct Pieces {
    done: Vec<Bytes>,
    filling: Option<Piece>,
    /// Bytes that are still to come, those of the piece that is being filled not counted.
    left: usize,
}

/// What a piece's readers share.
#[derive(Debug)]
struct Piece {
    pages: Pages,
    /// Bytes of it that are filled.
    filled: usize,
    _charge: Charge,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.pages[..self.filled]
    }
}

impl Piece {
    fn room(&self) -> usize {
        self.pages.len() - self.filled
    }

    /// Takes bytes from the front of `rest`, as many as fit.
    fn fill(&mut self, rest: &mut &[u8]) {
        let (now, later) = rest.split_at(self.room().min(rest.len()));
        self.pages[self.filled..self.filled + now.len()].copy_from_slice(now);
        self.filled += now.len();
        *rest = later;
    }
}

impl Pieces {
    /// For `len` bytes to come.
    pub(crate) fn new(len: usize) -> Self {
        Self { done: Vec::new(), filling: None, left: len }
    }

    /// Bytes of memory that `len` bytes will take.
    pub(crate) fn memory(len: usize) -> u64 {
        Pages::cost(len) + (len as u64).div_ceil(PIECE_MAX as u64) * EXTRA
    }

    /// Takes bytes from the front of `rest` until nothing is left of it, or memory has to be
    /// found for the next piece; says how much then.
    pub(crate) fn write(&mut self, budget: &Arc<Budget>, rest: &mut &[u8]) -> Result<(), u64> {
        while !rest.is_empty() {
            let mut piece = match self.filling.take() {
                Some(piece) => piece,
                None => self.begin(budget)?,
            };
            piece.fill(rest);
            if piece.room() > 0 {
                self.filling = Some(piece);
            } else {
                self.done.push(Bytes::from_owner(piece));
            }
        }
        Ok(())
    }

    /// True if so many more bytes are welcome.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        len <= self.left + self.filling.as_ref().map_or(0, Piece::room)
    }

    fn begin(&mut self, budget: &Arc<Budget>) -> Result<Piece, u64> {
        let len = self.left.min(PIECE_MAX);
        let bytes = Pages::cost(len) + EXTRA;
        let charge = budget.take(bytes).ok_or(bytes)?;
        let pages = Pages::new(len).ok_or(bytes)?;
        self.left -= len;
        Ok(Piece { pages, filled: 0, _charge: charge })
    }

    /// All pieces, though bytes may be missing.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.done.extend(self.filling.take().map(Bytes::from_owner));
        self.done
    }
}

/// One large item.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) key: Box<[u8]>,
    pub(super) pieces: Vec<Bytes>,
    pub(super) fields: Fields,
    /// How much had been appended to its shard when it came, or came round.
    born: u64,
    charge: Charge,
}

impl Large {
    /// An item that is paid for.
    pub(super) fn new(key: &[u8], pieces: Vec<Bytes>, fields: Fields, charge: Charge) -> Self {
        Self { key: key.into(), pieces, fields, born: 0, charge }
    }

    /// Takes what an item with a key of this length costs beside its pieces.
    pub(super) fn charge(budget: &Arc<Budget>, key_len: usize) -> Result<Charge, u64> {
        let bytes = key_len as u64 + EXTRA;
        budget.take(bytes).ok_or(bytes)
    }

    /// Bytes of its value.
    pub(super) fn value_len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Bytes of key and value.
    pub(super) fn payload(&self) -> usize {
        self.key.len() + self.value_len()
    }

    /// Bytes of memory it takes.
    fn memory(&self) -> u64 {
        self.charge.bytes()
            + self.pieces.iter().map(|piece| Pages::cost(piece.len()) + EXTRA).sum::<u64>()
    }

    /// The item as it is seen.
    pub(super) fn seen(&self) -> Item<'_> {
        let Fields { flags, cas, expiry, marks, accessed } = self.fields;
        Item { value: Value::Pieces(&self.pieces), flags, cas, expiry, marks, accessed }
    }

    /// The item as it was before a reader came, who is noted.
    pub(super) fn read(&mut self, now: Time) -> Item<'_> {
        let Fields { marks, accessed, .. } = self.fields;
        self.fields.marks = Marks { fetched: true, ..marks };
        self.fields.accessed = now.whole_seconds();
        Item { marks, accessed, ..self.seen() }
    }

    /// True if its time has come.
    pub(super) fn expired(&self, now: Time) -> bool {
        self.fields.expiry.is_some_and(|at| at <= now)
    }
}

/// The large items of a shard.
#[derive(Debug, Default)]
pub(super) struct LargeItems {
    list: Vec<Option<Large>>,
    vacant: Vec<u32>,
    /// By birth.
    queue: BTreeMap<u64, u32>,
    memory: u64,
}

impl LargeItems {
    /// Bytes they take.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Numbers that items may have: those below this.
    pub(super) fn numbers(&self) -> u32 {
        self.list.len() as u32
    }

    /// The item of a number, if there is one.
    pub(super) fn find(&self, number: u32) -> Option<&Large> {
        self.list.get(number as usize)?.as_ref()
    }

    /// An item that is known to be there.
    #[expect(clippy::expect_used, reason = "the index refers to no item that is gone")]
    pub(super) fn get(&self, place: Place) -> &Large {
        self.find(place.offset).expect("a large item")
    }

    /// The same, to be changed.
    #[expect(clippy::expect_used, reason = "the index refers to no item that is gone")]
    pub(super) fn get_mut(&mut self, place: Place) -> &mut Large {
        self.list[place.offset as usize].as_mut().expect("a large item")
    }

    /// True if the item at a place has this key; seldom asked, beside all that are small.
    #[cold]
    pub(super) fn has_key(&self, place: Place, key: &[u8]) -> bool {
        *self.get(place).key == *key
    }

    /// True if one more can be held.
    pub(super) fn has_room(&self) -> bool {
        !self.vacant.is_empty() || self.list.len() < OFFSETS
    }

    /// Puts an item in, born at `born`.
    pub(super) fn insert(&mut self, mut item: Large, born: u64) -> Place {
        self.memory += item.memory();
        item.born = born;
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.list.push(None);
            self.list.len() as u32 - 1
        });
        self.queue.insert(born, number);
        self.list[number as usize] = Some(item);
        Place { segment: LARGE, offset: number }
    }

    /// Takes an item out; returns it.
    pub(super) fn remove(&mut self, place: Place) -> Option<Large> {
        let item = self.list.get_mut(place.offset as usize)?.take()?;
        self.queue.remove(&item.born);
        self.vacant.push(place.offset);
        self.memory -= item.memory();
        Some(item)
    }

    /// The one that has been here longest, and its birth.
    pub(super) fn oldest(&self) -> Option<(Place, u64)> {
        let (born, number) = self.queue.first_key_value()?;
        Some((Place { segment: LARGE, offset: *number }, *born))
    }

    /// Lets an item come round again.
    pub(super) fn renew(&mut self, place: Place, born: u64) {
        let item = self.get_mut(place);
        let before = std::mem::replace(&mut item.born, born);
        self.queue.remove(&before);
        self.queue.insert(born, place.offset);
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Panics if what is known of the items together is not what they are.
    #[cfg(test)]
    pub(super) fn check_integrity(&self) {
        let items: Vec<&Large> = self.list.iter().flatten().collect();
        assert_eq!(items.iter().map(|item| item.memory()).sum::<u64>(), self.memory);
        assert_eq!(items.len(), self.queue.len());
        assert_eq!(items.len() + self.vacant.len(), self.list.len());
        for (born, number) in &self.queue {
            assert_eq!(self.find(*number).map(|item| item.born), Some(*born));
        }
    }
}

//! The index of a shard: where the item of a key is, and how often it is read.
//!
//! ```text
//!  hash: position 32 │ tag 10 of 16 │ shard's choice 16
//!
//!  table  ████████░░░░░░░░      home below the mark: the item is in the next table
//!         ───────▶ mark
//!  next   █████████░░░░░░░░░    larger
//! ```
//! It grows with the number of items, to what all memory will hold as far as that can be told: a
//! few buckets are moved with every item that is stored, in the order of their hashes. Chunks of the
//! old table are used again for the new one, so that both together are hardly larger than the larger
//! of them. What is moved is read for its hash.

use std::sync::Arc;

use crate::storage::budget::{Budget, Charge};

mod bucket;
mod slot;
mod table;
#[cfg(test)]
mod tests;

use bucket::EMPTY;
use slot::Mark;
pub(crate) use slot::{LARGE, OFFSETS, Place, Slot};
pub(crate) use table::CHUNK_LEN;
use table::{Chunk, Spot, Table};

/// Home buckets of an empty index: one chunk.
const HOMES_MIN: usize = 250;

/// The next table has one part in so many more at least, and twice as many buckets at most.
const GROWTH_PARTS: u64 = 50;

/// Percent of the items that all memory will hold, by what it holds now, for which the next table
/// is made: so it need not grow again when memory is full.
const FORESEEN_PERCENT: u64 = 101;

/// Buckets that are moved when an item is stored; more than one, so that the next table is not
/// full before all are moved.
const MOVED_AT_ONCE: usize = 2;

/// Chunks that are at hand while the table grows, so that what is moved and what is stored find
/// what they may need; one or none will do at other times.
const CHUNKS_READY: usize = 2;

/// Buckets that a call of scan goes through at most, and the items after which it ends.
const SCAN_BUCKETS: usize = 64;
const SCAN_ITEMS: usize = 24;

/// A slot that was found. Good until something is stored or removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    in_next: bool,
    spot: Spot,
    pub(crate) slot: Slot,
}

/// Both tables.
#[derive(Debug)]
pub(crate) struct Index {
    table: Table,
    next: Option<Table>,
    mark: usize,
    items: u64,
    ready: Vec<Chunk>,
    /// One for each chunk there is.
    charges: Vec<Charge>,
    budget: Arc<Budget>,
}

fn position(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl Index {
    /// An empty one.
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        let (ready, charges) = (Vec::new(), Vec::new());
        Self { table: Table::new(HOMES_MIN), next: None, mark: 0, items: 0, ready, charges, budget }
    }

    /// Items there are.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// Bytes it takes.
    pub(crate) fn memory(&self) -> u64 {
        (self.charges.len() * CHUNK_LEN) as u64
    }

    /// The table that has the items of a position, and their home in it.
    fn home(&self, position: u32) -> (bool, usize) {
        match &self.next {
            Some(next) if self.table.home(position) < self.mark => (true, next.home(position)),
            _ => (false, self.table.home(position)),
        }
    }

    fn table(&self, in_next: bool) -> &Table {
        self.next.as_ref().filter(|_| in_next).unwrap_or(&self.table)
    }

    fn table_mut(&mut self, in_next: bool) -> &mut Table {
        self.next.as_mut().filter(|_| in_next).unwrap_or(&mut self.table)
    }

    /// The slots that may be that of an item: those with the hash's tag.
    #[inline(always)]
    pub(crate) fn search(&self, hash: u64) -> impl Iterator<Item = Found> {
        let position = position(hash);
        let home = self.table.home(position);
        let (in_next, table, home) = match &self.next {
            Some(next) if home < self.mark => (true, next, next.home(position)),
            _ => (false, &self.table, home),
        };
        let slots = table.search(home, hash);
        slots.map(move |(spot, slot)| Found { in_next, spot, slot })
    }

    /// The bytes of the bucket that the search for an item begins with.
    pub(crate) fn bucket(&self, hash: u64) -> &[u8] {
        let (in_next, home) = self.home(position(hash));
        self.table(in_next).bucket(home).map_or(&[], |bucket| bucket)
    }

    /// Where an item is, most likely, by the bytes of its bucket. Found without a branch.
    pub(crate) fn likely(bucket: &[u8], hash: u64) -> Place {
        let bucket = bucket.first_chunk().unwrap_or(EMPTY);
        let lane = bucket::marked(bucket, Mark::new(hash, 0)).first();
        bucket::slot(bucket, lane).place()
    }

    /// Puts an item in that is not there. [`Index::prepare`] must have said yes before.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        place: Place,
        frequency: u8,
        hash_of: impl Fn(Place) -> u64,
    ) {
        let (in_next, home) = self.home(position(hash));
        let Self { table, next, ready, budget, .. } = self;
        let table = next.as_mut().filter(|_| in_next).unwrap_or(table);
        let slot = Slot::new(hash, place, frequency);
        table.insert(home, slot, &hash_of, || ready.pop().unwrap_or_else(|| fresh(budget)));
        self.items += 1;
    }

    /// Says that the item of a slot is at another place now, and how often it is read.
    pub(crate) fn set(&mut self, found: Found, place: Place, frequency: u8) {
        let slot = found.slot.moved(place).read(frequency);
        self.table_mut(found.in_next).set(found.spot, slot);
    }

    /// Notes how often the item of a slot is read.
    pub(crate) fn set_frequency(&mut self, found: Found, frequency: u8) {
        self.table_mut(found.in_next).set_frequency(found.spot, frequency.max(1));
    }

    /// Takes an item out.
    pub(crate) fn remove(&mut self, found: Found, hash_of: impl Fn(Place) -> u64) {
        self.table_mut(found.in_next).remove(found.spot, &hash_of);
        self.items -= 1;
    }

    /// Makes sure that an item can be put in, and moves some buckets if the table is growing;
    /// false if there is no memory for that.
    pub(crate) fn prepare(&mut self, hash_of: impl Fn(Place) -> u64) -> bool {
        if self.next.is_none() && self.items >= self.table.items_max() {
            (self.next, self.mark) = (Some(Table::new(self.homes_next())), 0);
        }
        if self.next.is_none() {
            return self.refill();
        }
        for _ in 0..MOVED_AT_ONCE {
            if !(self.next.is_some() && self.refill()) {
                break;
            }
            self.move_bucket(&hash_of);
        }
        self.refill()
    }

    /// Home buckets of the next table.
    fn homes_next(&self) -> usize {
        let homes = self.table.homes() as u64;
        let full = homes * self.budget.limit() / self.budget.used().max(1);
        let foreseen = full.saturating_mul(FORESEEN_PERCENT) / 100;
        foreseen.clamp(homes + homes / GROWTH_PARTS, homes * 2) as usize
    }

    fn wanted(&self) -> usize {
        match &self.next {
            Some(_) => CHUNKS_READY,
            None => usize::from(!self.table.is_complete()),
        }
    }

    fn refill(&mut self) -> bool {
        while self.ready.len() < self.wanted() {
            let Some(charge) = self.budget.take(CHUNK_LEN as u64) else { return false };
            self.charges.push(charge);
            self.ready.push(fresh(&self.budget));
        }
        true
    }

    /// Moves all items whose home is the bucket at the mark.
    fn move_bucket(&mut self, hash_of: impl Fn(Place) -> u64) {
        loop {
            let (mut last, mark) = (None, self.mark);
            self.table.walk(mark, &hash_of, |spot, slot| last = Some((spot, slot)));
            let Some((spot, slot)) = last else { break };
            // More than two chunks are needed only if very many items have the same home.
            self.refill();
            self.table.remove(spot, &hash_of);
            let Self { next: Some(next), ready, budget, .. } = self else { return };
            let home = next.home(position(hash_of(slot.place())));
            let fresh = || ready.pop().unwrap_or_else(|| fresh(budget));
            next.insert(home, slot, &hash_of, fresh);
        }
        self.mark += 1;
        let passed = self.table.take_before(self.mark);
        self.reuse(passed);
        if self.mark == self.table.homes() {
            self.finish();
        }
    }

    /// The next table takes the place of the one before.
    fn finish(&mut self) {
        let Some(next) = self.next.take() else { return };
        let mut before = std::mem::replace(&mut self.table, next);
        self.mark = 0;
        before.take_all().for_each(|chunk| self.reuse(Some(chunk)));
    }

    /// Keeps a chunk for later, or gives it back.
    fn reuse(&mut self, chunk: Option<Chunk>) {
        let Some(mut chunk) = chunk else { return };
        if self.ready.len() < self.wanted() {
            chunk.wipe();
            self.ready.push(chunk);
        } else {
            drop(chunk);
            self.charges.pop();
        }
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) {
        let tables =
            [Some(std::mem::replace(&mut self.table, Table::new(HOMES_MIN))), self.next.take()];
        for mut table in tables.into_iter().flatten() {
            table.take_all().for_each(|chunk| self.reuse(Some(chunk)));
        }
        (self.mark, self.items) = (0, 0);
    }

    /// Some places in the order of their hashes, from the position `cursor` on, and the position
    /// to go on with; that is 0 at the end. Places that are not past `cursor` may be among them.
    pub(crate) fn scan(&self, cursor: u64, hash_of: impl Fn(Place) -> u64) -> (Vec<Place>, u64) {
        let mut places = Vec::new();
        let mut cursor = cursor;
        for _ in 0..SCAN_BUCKETS {
            let (in_next, home) = self.home(u32::try_from(cursor).unwrap_or(u32::MAX));
            let table = self.table(in_next);
            table.walk(home, &hash_of, |_, slot| places.push(slot.place()));
            // The part of the next table that is filled ends where the mark is.
            let end = table.start(home + 1);
            let mark = if in_next { self.table.start(self.mark) } else { 0 };
            cursor = match (end, mark) {
                (end, 0) => end,
                (0, mark) => mark,
                (end, mark) => end.min(mark),
            };
            if cursor == 0 || places.len() >= SCAN_ITEMS {
                break;
            }
        }
        (places, cursor)
    }

    /// The slot of the item at a place.
    pub(crate) fn find_place(&self, hash: u64, place: Place) -> Option<Found> {
        self.search(hash).find(|found| found.slot.place() == place)
    }

    /// How many buckets the search for an item of this hash looks at that is not there.
    #[cfg(test)]
    pub(crate) fn steps(&self, hash: u64) -> usize {
        let (in_next, home) = self.home(position(hash));
        self.table(in_next).steps(home)
    }

    /// Every slot.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        for table in [Some(&self.table), self.next.as_ref()].into_iter().flatten() {
            slots.extend(table.slots());
        }
        slots
    }

    /// True while the next table is being filled.
    #[cfg(test)]
    pub(crate) fn growing(&self) -> bool {
        self.next.is_some()
    }

    /// Chunks of both tables and those at hand are all that is paid for.
    #[cfg(test)]
    pub(crate) fn is_paid(&self) -> bool {
        let next = self.next.as_ref().map_or(0, Table::chunks);
        self.table.chunks() + next + self.ready.len() == self.charges.len()
    }
}

/// An empty chunk. It is paid for, but in the one case in a million that those at hand do not do.
#[expect(clippy::expect_used, reason = "as where the allocator has nothing left")]
fn fresh(budget: &Budget) -> Chunk {
    Chunk::new(budget.map(CHUNK_LEN).expect("memory"))
}

/// True if the item of this hash is in the part of a scan from `cursor` to `next`.
pub(crate) fn in_scan(hash: u64, cursor: u64, next: u64) -> bool {
    let position = u64::from(position(hash));
    position >= cursor && (next == 0 || position < next)
}

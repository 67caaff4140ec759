//! The engine for small items: cells of one size, and no other memory.
//!
//! ```text
//!  put ─▶ four cells by the key's hash ─▶ one that is empty, or whose item's time has come
//!              │ all taken
//!              ▼
//!         an item in one of them moves up into another of its own four, after one in its way has
//!              │ no such way
//!              ▼
//!         eviction: an item in one of the four goes │ refused as full
//! ```
//! After Pelikan's slimcache. An item never moves but to a cell above its own: so a scan, which
//! goes up through the cells, misses none that is there from its beginning to its end, and no
//! two items move each other for ever. Cells are filled from below to leave room for that.
//!
//! * `face`: the engine as others see it.
//! * `table`: the cells, and which of them a key may be in.
//! * `cell`: how an item lies in its cell.

mod cell;
mod face;
mod table;
#[cfg(test)]
mod tests;

use super::counters::Counters;
use super::engine::{PutError, Start};
use super::item::{Key, NewItem};
use super::time::Time;
use crate::config::Eviction;
use table::{Places, Table};

pub(super) use cell::room;

/// Items that move, at most, to make room for one: slimcache's number.
const MOVES_MAX: u32 = 2;

/// One part in so many of a shard's memory is left to values that are on their way in, which are
/// small as well; no more of it than the second number.
const DRAFTS: (u64, u64) = (64, 64 << 10);

/// One shard.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Cuckoo {
    pub(super) counters: Counters,
    table: Table,
    start: Start,
    /// The cell at which the next sweep goes on.
    swept: usize,
}

impl Cuckoo {
    /// An empty shard of cells of `cell_len` bytes.
    pub(super) fn new(start: Start, cell_len: usize) -> Self {
        let (part, most) = DRAFTS;
        let others = (start.share / part).min(most) + size_of::<Self>() as u64;
        let seed = start.keys.hash(b"random");
        Self {
            counters: Counters::new(start.version, seed),
            table: Table::new(start.share.saturating_sub(others), cell_len),
            swept: 0,
            start,
        }
    }

    /// Bytes it takes from the start, whatever is in it.
    pub(super) fn fixed_cost(&self) -> u64 {
        size_of::<Self>() as u64 + self.table.memory()
    }

    /// Writes an item that fits over the one that its key has, or into a cell that is made empty.
    fn store(
        &mut self,
        key: Key<'_>,
        item: &NewItem<'_>,
        cas: u64,
        now: Time,
    ) -> Result<(), PutError> {
        let place = match self.table.find(key) {
            Some(place) => {
                self.empty(place);
                place
            }
            None => self.make_room(key.hash, now)?,
        };
        cell::write(self.table.take(place, key.hash), key.bytes, item, cas, now);
        self.counters.usage.items += 1;
        self.counters.usage.bytes += (key.bytes.len() + item.len()) as u64;
        Ok(())
    }

    /// The cell of an item that is alive; one that is dead is removed.
    fn find_alive(&mut self, key: Key<'_>, now: Time) -> Option<usize> {
        let place = self.table.find(key)?;
        if !cell::is_dead(self.table.cell(place), now) {
            return Some(place);
        }
        self.empty(place);
        self.counters.usage.expired += 1;
        None
    }

    /// Removes the item of a cell.
    fn empty(&mut self, place: usize) {
        self.counters.usage.items -= 1;
        self.counters.usage.bytes -= cell::payload(self.table.cell(place)) as u64;
        self.table.empty(place);
    }

    fn remove_any(&mut self, key: Key<'_>) {
        if let Some(place) = self.table.find(key) {
            self.empty(place);
        }
    }

    /// An empty cell for an item with such a hash; others move for it, or one goes.
    fn make_room(&mut self, hash: u64, now: Time) -> Result<usize, PutError> {
        let places = self.table.places(hash);
        if let Some(place) = self.free_one(&places, MOVES_MAX, now) {
            return Ok(place);
        }
        let victim = self.victim(places).ok_or(PutError::Full)?;
        self.empty(victim);
        self.counters.usage.evicted += 1;
        Ok(victim)
    }

    /// One of some cells that is empty, or becomes so by no more than `moves` moves.
    fn free_one(&mut self, places: &[usize], moves: u32, now: Time) -> Option<usize> {
        if let Some(place) = places.iter().copied().find(|place| self.is_free(*place, now)) {
            return Some(place);
        }
        for &from in places.iter().filter(|_| moves > 0) {
            let key = cell::key(self.table.cell(from));
            let others = self.table.places(self.start.keys.hash(key));
            let above = &others[others.partition_point(|place| *place <= from)..];
            if let Some(to) = self.free_one(above, moves - 1, now) {
                self.table.shift(from, to);
                return Some(from);
            }
        }
        None
    }

    /// True if a cell is empty; one that is dead is emptied.
    fn is_free(&mut self, place: usize, now: Time) -> bool {
        if !self.table.is_taken(place) {
            return true;
        }
        let dead = cell::is_dead(self.table.cell(place), now);
        if dead {
            self.empty(place);
            self.counters.usage.expired += 1;
        }
        dead
    }

    /// The cell whose item is to go, if any may.
    fn victim(&mut self, places: Places) -> Option<usize> {
        match self.start.eviction {
            Eviction::None => None,
            Eviction::Expiry => {
                let expiry = |place: &usize| cell::expiry_millis(self.table.cell(*place));
                places.into_iter().min_by_key(expiry)
            }
            _ => Some(places[self.counters.chance() as usize % places.len()]),
        }
    }
}

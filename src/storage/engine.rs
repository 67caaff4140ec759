//! The narrow face of a storage engine: one shard, one thread at a time.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::budget::Budget;
use super::item::{Item, Key, KeyHasher, Marks, NewItem};
use super::time::Time;
use crate::config::Eviction;

/// What an engine is told.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) budget: Arc<Budget>,
    pub(super) keys: KeyHasher,
    /// Bytes that it has if all shards have the same.
    pub(super) share: u64,
    pub(super) item_max: usize,
    pub(super) version: u64,
    pub(super) eviction: Eviction,
}

/// Why an item was not stored; what was there under its key before is gone if `put` says so.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PutError {
    /// The key and value are larger than an item may be.
    #[error("object too large")]
    TooLarge,
    /// The memory is full of items that may not be evicted.
    #[error("out of memory")]
    Full,
}

/// A change of an item in place: what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amend {
    /// Another expiry; `Some(None)` for none.
    pub expiry: Option<Option<Time>>,
    /// Other marks.
    pub marks: Option<Marks>,
    /// Another version.
    pub cas: Option<u64>,
    /// A new version, as if it had been stored anew.
    pub renew: bool,
}

/// How full an engine is and what has become of its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Usage {
    /// Items alive, those that have expired unnoticed among them.
    pub items: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Bytes of memory taken, index included.
    pub memory: u64,
    /// Items stored so far.
    pub stored: u64,
    /// Items removed before their time to make room.
    pub evicted: u64,
    /// Items removed because their time had come.
    pub expired: u64,
}

impl Usage {
    /// Both together.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            items: self.items + other.items,
            bytes: self.bytes + other.bytes,
            memory: self.memory + other.memory,
            stored: self.stored + other.stored,
            evicted: self.evicted + other.evicted,
            expired: self.expired + other.expired,
        }
    }
}

/// One shard. An item whose expiry has come is nowhere to be seen, whether or not its memory has
/// been taken back.
pub trait Engine: Send {
    /// The item of `key`, as an onlooker: nothing is noted.
    fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>>;

    /// The item of `key`, for a reader: the access is noted (`fetched`, `accessed`, and whatever
    /// eviction goes by). The item is seen as it was before.
    fn read(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>>;

    /// The memory that finding `key` begins with; it is not looked at here.
    fn bucket(&self, _key: Key<'_>) -> &[u8] {
        &[]
    }

    /// The memory in which the item of `key` begins, most likely, by what is in its `bucket`; it is
    /// not looked at here.
    fn likely(&self, _key: Key<'_>, _bucket: &[u8]) -> &[u8] {
        &[]
    }

    /// Stores an item in place of whatever `key` has; returns its version.
    ///
    /// # Errors
    /// See [`PutError`]; the key has no item afterwards.
    fn put(&mut self, key: Key<'_>, item: &NewItem<'_>, now: Time) -> Result<u64, PutError>;

    /// Stores a value that has come in already; that of `item` does not matter.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn put_pieces(
        &mut self,
        key: Key<'_>,
        pieces: Vec<Bytes>,
        item: &NewItem<'_>,
        now: Time,
    ) -> Result<u64, PutError> {
        let parts: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
        self.put(key, &NewItem { value: &parts, ..*item }, now)
    }

    /// Changes the item of `key` without moving its value; its version after that, `None` if
    /// there is no item.
    fn amend(&mut self, key: Key<'_>, change: Amend, now: Time) -> Option<u64>;

    /// Removes the item of `key`; true if there was one.
    fn remove(&mut self, key: Key<'_>, now: Time) -> bool;

    /// Removes everything.
    fn clear(&mut self);

    /// Takes memory of expired items back, with about `budget` steps of work; true if there is
    /// more to do.
    fn sweep(&mut self, now: Time, budget: usize) -> bool;

    /// Shows some items, beginning at `cursor` (0 at first); returns where to go on, 0 at the
    /// end. An item that is there from the first call to the last is shown at least once.
    fn scan(&mut self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64;

    /// How full it is.
    fn usage(&self) -> Usage;

    /// Bytes that were not to be had when something was refused as `Full`; `None` if it is of no
    /// use to it what others give up.
    fn wanted(&self) -> Option<u64> {
        None
    }

    /// Gives memory up that all shards share, until `bytes` can be had; true if they can.
    fn give_up(&mut self, _bytes: u64, _now: Time) -> bool {
        false
    }

    /// Lets it keep so many bytes when memory is short: others have more.
    fn keep(&mut self, _bytes: u64) {}

    /// Panics if it contradicts itself.
    #[cfg(test)]
    fn check_integrity(&self) {}
}

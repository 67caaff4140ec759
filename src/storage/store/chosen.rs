//! The engine of a shard: one of those there are, without a call through a table.

use bytes::Bytes;

use crate::config::Storage;
use crate::storage::cuckoo::{Cuckoo, room};
use crate::storage::engine::{Amend, Engine, PutError, Start, Usage};
use crate::storage::item::{Item, Key, NewItem};
use crate::storage::segcache::{Look, Segcache};
use crate::storage::time::Time;

/// An engine of the kind that a store's settings name; either has the same place behind the tag.
#[derive(Debug)]
#[repr(C)]
#[expect(clippy::large_enum_variant, reason = "one for each shard, and never moved")]
pub(in crate::storage) enum Chosen {
    Segcache(Segcache),
    Cuckoo(Cuckoo),
}

/// `$call` on the engine that it is.
macro_rules! on {
    ($chosen:expr, $engine:ident => $call:expr) => {
        match $chosen {
            Chosen::Segcache($engine) => $call,
            Chosen::Cuckoo($engine) => $call,
        }
    };
}

impl Chosen {
    /// An empty shard.
    pub(super) fn new(storage: Storage, start: Start) -> Self {
        match storage {
            Storage::Segcache => Self::Segcache(Segcache::new(start)),
            Storage::Cuckoo { item_size } => Self::Cuckoo(Cuckoo::new(start, item_size)),
        }
    }

    /// Bytes of the largest item that such an engine can hold.
    pub(super) fn item_max(storage: Storage) -> usize {
        match storage {
            Storage::Segcache => usize::MAX,
            Storage::Cuckoo { item_size } => room(item_size),
        }
    }

    /// [`Engine::read`], and what `see` makes of the item: by way of each kind of item there is by
    /// itself, so that nothing is worked out of it that `see` does not ask for.
    #[inline]
    pub(super) fn read_with<T>(
        &mut self,
        key: Key<'_>,
        now: Time,
        see: impl FnOnce(Item<'_>) -> T,
    ) -> Option<T> {
        match self {
            Self::Segcache(engine) => match engine.look(key, now)? {
                Look::Small(sight) => Some(see(sight.item(now))),
                Look::Large(item) => Some(see(item)),
            },
            Self::Cuckoo(engine) => engine.read(key, now).map(see),
        }
    }

    /// Bytes it takes from the start, whatever is in it.
    pub(super) fn fixed_cost(&self) -> u64 {
        on!(self, engine => engine.fixed_cost())
    }

    /// What it counts.
    #[cfg(test)]
    pub(super) fn counters(&self) -> &crate::storage::counters::Counters {
        on!(self, engine => &engine.counters)
    }
}

impl Engine for Chosen {
    fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        on!(self, engine => engine.peek(key, now))
    }

    fn read(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        on!(self, engine => engine.read(key, now))
    }

    fn bucket(&self, key: Key<'_>) -> &[u8] {
        on!(self, engine => engine.bucket(key))
    }

    fn likely(&self, key: Key<'_>, bucket: &[u8]) -> &[u8] {
        on!(self, engine => engine.likely(key, bucket))
    }

    fn put(&mut self, key: Key<'_>, item: &NewItem<'_>, now: Time) -> Result<u64, PutError> {
        on!(self, engine => engine.put(key, item, now))
    }

    fn put_pieces(
        &mut self,
        key: Key<'_>,
        pieces: Vec<Bytes>,
        item: &NewItem<'_>,
        now: Time,
    ) -> Result<u64, PutError> {
        on!(self, engine => engine.put_pieces(key, pieces, item, now))
    }

    fn amend(&mut self, key: Key<'_>, change: Amend, now: Time) -> Option<u64> {
        on!(self, engine => engine.amend(key, change, now))
    }

    fn remove(&mut self, key: Key<'_>, now: Time) -> bool {
        on!(self, engine => engine.remove(key, now))
    }

    fn clear(&mut self) {
        on!(self, engine => engine.clear());
    }

    fn sweep(&mut self, now: Time, budget: usize) -> bool {
        on!(self, engine => engine.sweep(now, budget))
    }

    fn scan(&mut self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        on!(self, engine => engine.scan(cursor, now, visit))
    }

    fn usage(&self) -> Usage {
        on!(self, engine => engine.usage())
    }

    fn wanted(&self) -> Option<u64> {
        on!(self, engine => engine.wanted())
    }

    fn give_up(&mut self, bytes: u64, now: Time) -> bool {
        on!(self, engine => engine.give_up(bytes, now))
    }

    fn keep(&mut self, bytes: u64) {
        on!(self, engine => engine.keep(bytes));
    }

    #[cfg(test)]
    fn check_integrity(&self) {
        on!(self, engine => engine.check_integrity());
    }
}

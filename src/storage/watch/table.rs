//! The watched keys of one shard.
//!
//! ```text
//!  add ─▶ entries: key ─▶ watchers          order: (expiry, age) ─▶ key
//!            └ changed: taken out                 └ first: due, or the one to go when full
//! ```
//! What a watcher is told once it is not told again until it has read the key anew, so an entry
//! is taken out whole. An item keeps its expiry while its key has an entry: to change it is a
//! change like any other. An item that was evicted leaves its entry behind until the key is set or
//! removed, or its time has come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::watcher::Watcher;
use crate::storage::time::Time;

/// Bytes of keys and of references to watchers, on average, that go with each key that may be
/// watched.
const ROOM: usize = 256;

/// A key that is no longer watched, and those who watched it.
pub(in crate::storage) type Told = (Arc<[u8]>, Vec<Arc<Watcher>>);

/// When the item dies (the last moment there is, if never); then, which entry is older.
type Order = (Time, u64);

/// The keys, and who watches them.
#[derive(Debug, Default)]
pub(in crate::storage) struct Table {
    entries: HashMap<Arc<[u8]>, Entry>,
    order: BTreeMap<Order, Arc<[u8]>>,
    /// Entries made so far.
    made: u64,
    pairs: usize,
    key_bytes: usize,
    /// Everything was removed at a time set before, and nobody has been told yet.
    flushed: bool,
}

#[derive(Debug)]
struct Entry {
    /// By their numbers.
    watchers: Vec<Arc<Watcher>>,
    /// One of them has seen an item.
    present: bool,
    order: Order,
}

impl Table {
    /// True if no key is watched.
    pub(in crate::storage) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Watched keys.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Watchers of each key, summed.
    pub(super) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Has `watcher` told of the next change of a key; `found` is the expiry of its item, if it has
    /// one.
    pub(in crate::storage) fn add(
        &mut self,
        key: &[u8],
        found: Option<Option<Time>>,
        watcher: &Arc<Watcher>,
    ) {
        if !self.entries.contains_key(key) {
            self.make(key, found.flatten());
        }
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.present |= found.is_some();
        let place = entry.watchers.binary_search_by_key(&watcher.id(), |other| other.id());
        let Err(mut place) = place else { return };
        if entry.watchers.len() == entry.watchers.capacity() {
            // Before it grows: who has gone makes room.
            let before = entry.watchers.len();
            entry.watchers.retain(|other| other.listens());
            self.pairs -= before - entry.watchers.len();
            place = entry.watchers.partition_point(|other| other.id() < watcher.id());
        }
        entry.watchers.insert(place, Arc::clone(watcher));
        self.pairs += 1;
    }

    fn make(&mut self, key: &[u8], expiry: Option<Time>) {
        let order = (expiry.unwrap_or(Time::from_millis(u64::MAX)), self.made);
        self.made += 1;
        self.key_bytes += key.len();
        let key: Arc<[u8]> = key.into();
        self.order.insert(order, Arc::clone(&key));
        self.entries.insert(key, Entry { watchers: Vec::with_capacity(1), present: false, order });
    }

    /// Takes a key out that has changed. If its item was to be removed and was not there, that is
    /// a change only to those who have seen one.
    pub(in crate::storage) fn take(&mut self, key: &[u8], was_there: bool) -> Option<Told> {
        let entry = self.entries.get(key)?;
        if was_there || entry.present { self.take_out(key) } else { None }
    }

    /// Takes a key out whose item has died since it was seen.
    pub(in crate::storage) fn take_dead(&mut self, key: &[u8], now: Time) -> Option<Told> {
        let dead = self.entries.get(key)?.order.0 <= now;
        if dead { self.take_out(key) } else { None }
    }

    /// Takes keys out whose items have died.
    pub(super) fn due(&mut self, now: Time) -> impl Iterator<Item = Told> {
        std::iter::from_fn(move || self.take_first(|expiry| expiry <= now))
    }

    /// Takes out what is too much: what dies first, then what is oldest.
    pub(in crate::storage) fn excess(&mut self, keys: usize) -> impl Iterator<Item = Told> {
        std::iter::from_fn(move || {
            let bytes = self.key_bytes + self.pairs * size_of::<Arc<Watcher>>();
            let full = self.len() > keys || bytes > keys.saturating_mul(ROOM);
            full.then(|| self.take_first(|_| true)).flatten()
        })
    }

    /// Everything was removed, of which all are still to be told.
    pub(in crate::storage) fn flush(&mut self) {
        *self = Self { flushed: true, ..Self::default() };
    }

    /// Whether all are to be told that everything was removed; they will be, then.
    pub(super) fn take_flushed(&mut self) -> bool {
        std::mem::take(&mut self.flushed)
    }

    fn take_first(&mut self, wanted: impl Fn(Time) -> bool) -> Option<Told> {
        let (order, key) = self.order.first_key_value()?;
        if !wanted(order.0) {
            return None;
        }
        let key = Arc::clone(key);
        self.take_out(&key)
    }

    fn take_out(&mut self, key: &[u8]) -> Option<Told> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.order.remove(&entry.order);
        self.pairs -= entry.watchers.len();
        self.key_bytes -= key.len();
        if self.entries.is_empty() {
            // What many keys have made room for is given back when none is left.
            *self = Self { made: self.made, flushed: self.flushed, ..Self::default() };
        }
        Some((key, entry.watchers))
    }
}

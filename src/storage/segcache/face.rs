//! The engine as others see it.

use bytes::Bytes;

use crate::storage::engine::{Amend, Engine, PutError, Usage};
use crate::storage::index::{Index, LARGE, Place, in_scan};
use crate::storage::item::{Item, Key, NewItem};
use crate::storage::segments::{Fields, Record, Sight};
use crate::storage::time::Time;

use super::Segcache;

impl Engine for Segcache {
    fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        let (found, _) = self.find_alive(key, now)?;
        Some(self.seen(found.slot.place(), now))
    }

    fn read(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        Some(match self.look(key, now)? {
            Look::Small(sight) => sight.item(now),
            Look::Large(item) => item,
        })
    }

    fn bucket(&self, key: Key<'_>) -> &[u8] {
        self.index.bucket(key.hash)
    }

    fn likely(&self, key: Key<'_>, bucket: &[u8]) -> &[u8] {
        self.segments.behind(Index::likely(bucket, key.hash))
    }

    fn put(&mut self, key: Key<'_>, item: &NewItem<'_>, now: Time) -> Result<u64, PutError> {
        let value_len = item.len();
        self.admit((key, value_len), item, now, |engine, fields| {
            engine.store(&Record { key, value: item.value, value_len, fields }, now)
        })
    }

    fn put_pieces(
        &mut self,
        key: Key<'_>,
        pieces: Vec<Bytes>,
        item: &NewItem<'_>,
        now: Time,
    ) -> Result<u64, PutError> {
        self.store_pieces(key, pieces, item, now)
    }

    fn amend(&mut self, key: Key<'_>, change: Amend, now: Time) -> Option<u64> {
        let fresh = if change.renew { Some(self.counters.renew()) } else { None };
        let place = self.find_alive(key, now)?.0.slot.place();
        let before = self.seen(place, now);
        let fields = Fields {
            flags: before.flags,
            cas: change.cas.or(fresh).unwrap_or(before.cas),
            expiry: change.expiry.unwrap_or(before.expiry),
            marks: change.marks.unwrap_or(before.marks),
            accessed: before.accessed,
        };
        self.write_fields(key, place, fields, now).then_some(fields.cas)
    }

    fn remove(&mut self, key: Key<'_>, now: Time) -> bool {
        let found = self.find_alive(key, now);
        if let Some((found, _)) = found {
            self.remove_found(found, now);
        }
        found.is_some()
    }

    fn clear(&mut self) {
        self.index.clear();
        self.segments.clear();
        self.large.clear();
        self.swept = 0;
        self.counters.usage.bytes = 0;
    }

    fn sweep(&mut self, now: Time, budget: usize) -> bool {
        let mut left = budget.max(1);
        while self.swept < self.segments.numbers() + self.large.numbers() {
            if left == 0 || !self.sweep_one(self.swept, now, &mut left) {
                return true;
            }
            self.swept += 1;
        }
        self.swept = 0;
        false
    }

    fn scan(&mut self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        let hash_of = |place: Place| self.start.keys.hash(self.key_at(place));
        let (places, next) = self.index.scan(cursor, hash_of);
        for place in places {
            let key = self.key_at(place);
            let alive = self.expiry_at(place).is_none_or(|at| at > now);
            if alive && in_scan(self.start.keys.hash(key), cursor, next) {
                visit(key, self.seen(place, now));
            }
        }
        next
    }

    fn usage(&self) -> Usage {
        Usage { items: self.index.items(), memory: self.memory(), ..self.counters.usage }
    }

    fn wanted(&self) -> Option<u64> {
        Some(self.wanted)
    }

    fn give_up(&mut self, bytes: u64, now: Time) -> bool {
        self.make_room(bytes, now).is_ok()
    }

    fn keep(&mut self, bytes: u64) {
        self.keeps = bytes;
    }

    #[cfg(test)]
    fn check_integrity(&self) {
        self.check();
    }
}

/// What a read comes to.
pub(in crate::storage) enum Look<'a> {
    Small(Sight<'a>),
    Large(Item<'a>),
}

impl Segcache {
    /// [`Engine::read`]; the rest of it is for where the item is seen.
    #[inline]
    pub(in crate::storage) fn look(&mut self, key: Key<'_>, now: Time) -> Option<Look<'_>> {
        self.look_up(key.hash, key.bytes, now)
    }

    /// What it takes goes into registers, and what it gives into a few words.
    #[inline(never)]
    fn look_up(&mut self, hash: u64, bytes: &[u8], now: Time) -> Option<Look<'_>> {
        let (found, layout) = self.find_alive(Key { bytes, hash }, now)?;
        self.note_read(found);
        let place = found.slot.place();
        let Some(layout) = layout else {
            return Some(Look::Large(self.large.get_mut(place).read(now)));
        };
        Some(Look::Small(self.segments.touch(place, layout, self.counters.version, now)))
    }

    /// Writes what an item says beside key and value; false if no memory is left for that.
    fn write_fields(&mut self, key: Key<'_>, place: Place, fields: Fields, now: Time) -> bool {
        if place.segment == LARGE {
            self.large.get_mut(place).fields = fields;
            return true;
        }
        let at = self.segments.context(place.segment, self.counters.version, now);
        let (layout, bytes) = self.segments.item_mut(place);
        if layout.rewrite(bytes, &fields, at) {
            self.segments.get_mut(place.segment).extend(fields.expiry);
            return true;
        }
        // The header has no room for it: the item is stored anew.
        let item = bytes[..layout.len()].to_vec();
        let value = layout.value(&item);
        let record = Record { key, value_len: value.len(), value: &[value], fields };
        self.store(&record, now).is_ok()
    }

    /// Looks at the segment or, behind those, the large item of a number; false if more of it is
    /// left to do than steps.
    fn sweep_one(&mut self, number: u32, now: Time, left: &mut usize) -> bool {
        *left -= 1;
        let Some(large) = number.checked_sub(self.segments.numbers()) else {
            let expired = self.segments.find(number).is_some_and(|segment| segment.expired(now));
            return !expired || self.drain(number, left);
        };
        let expired = self.large.find(large).filter(|large| large.expired(now));
        if let Some(key) = expired.map(|large| large.key.clone()) {
            let key = self.start.keys.key(&key);
            self.find_alive(key, now);
        }
        true
    }
}

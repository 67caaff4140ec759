//! How an item comes in: over the one that it replaces, at the end of a segment, or by itself.

use std::sync::Arc;

use bytes::Bytes;

use crate::storage::engine::{Engine, PutError};
use crate::storage::index::{CHUNK_LEN, Found, LARGE, Place};
use crate::storage::item::{Key, NewItem};
use crate::storage::segments::{Fields, Generation, HEADER_MAX, Layout, Record};
use crate::storage::time::Time;

use super::large::{Large, Pieces};
use super::{Eviction, Segcache, key_at};

/// Longest key: its length has 16 bits.
const KEY_MAX: usize = u16::MAX as usize;

/// Times that memory is asked for, each after something was evicted, before it is given up.
const ROOM_TRIES: usize = 256;

impl Segcache {
    /// Stores an item whose version is settled.
    pub(super) fn store(&mut self, record: &Record<'_>, now: Time) -> Result<(), PutError> {
        if record.fields.expiry.is_some_and(|at| at <= now) {
            self.remove_any(record.key, now);
            self.counters.usage.expired += 1;
            return Ok(());
        }
        let wide = HEADER_MAX + record.key.bytes.len() + record.value_len;
        if wide > self.start.budget.segment_len() / 2 {
            return self.store_large(record, now);
        }
        self.prepare(now)?;
        let class = self.segments.class_of(record.fields.expiry, now);
        let tail = self.tail_for((record, wide), class, now);
        let found = self.find(record.key);
        if found.is_some_and(|found| self.replace(found, record, class, now)) {
            return Ok(());
        }
        self.append(record, tail?, found, now);
        Ok(())
    }

    /// Makes sure that the index has room for one more.
    fn prepare(&mut self, now: Time) -> Result<(), PutError> {
        loop {
            let Self { index, segments, large, start, .. } = self;
            let hash_of = |place: Place| start.keys.hash(key_at(segments, large, place));
            if index.prepare(hash_of) {
                return Ok(());
            }
            self.make_room(CHUNK_LEN as u64, now)?;
        }
    }

    /// An open segment in which the item has room; it is `wide` at most.
    fn tail_for(
        &mut self,
        (record, wide): (&Record<'_>, usize),
        class: u8,
        now: Time,
    ) -> Result<u32, PutError> {
        // Where nothing is evicted, what is rid of the dead is appended to as well.
        let generation = match self.start.eviction {
            Eviction::None => Generation::Kept,
            _ => Generation::Young,
        };
        for _ in 0..ROOM_TRIES {
            if let Some(id) = self.segments.tail(class, generation, now) {
                let has_room = |len| self.segments.get(id).has_room(len);
                if has_room(wide) || has_room(self.layout_in(id, record, now).len()) {
                    return Ok(id);
                }
            }
            if self.segments.open(class, generation, now).is_none() {
                self.make_room(self.start.budget.segment_cost(), now)?;
            }
        }
        Err(PutError::Full)
    }

    fn layout_in(&self, id: u32, record: &Record<'_>, now: Time) -> Layout {
        let at = self.segments.context(id, self.counters.version, now);
        Layout::new(record.key.bytes.len(), record.value_len, &record.fields, at)
    }

    /// Writes an item over the one that its key has, if it is as long, belongs to the same class,
    /// and lives no longer than others there.
    fn replace(&mut self, found: Found, record: &Record<'_>, class: u8, now: Time) -> bool {
        let place = found.slot.place();
        if place.segment == LARGE {
            return false;
        }
        let (before, _) = self.segments.item(place);
        let layout = self.layout_in(place.segment, record, now);
        let segment = self.segments.get(place.segment);
        let suits = segment.class == class && segment.outlives(record.fields.expiry);
        if layout.len() != before.len() || !suits {
            return false;
        }
        self.counters.usage.bytes += layout.payload() as u64;
        self.counters.usage.bytes -= before.payload() as u64;
        let at = self.segments.context(place.segment, self.counters.version, now);
        let segment = self.segments.get_mut(place.segment);
        segment.replace(place.offset as usize, layout, record, at);
        true
    }

    /// Appends an item to the open segment `id`, in place of what was `found`.
    fn append(&mut self, record: &Record<'_>, id: u32, found: Option<Found>, now: Time) {
        let layout = self.layout_in(id, record, now);
        let at = self.segments.context(id, self.counters.version, now);
        let offset = self.segments.get_mut(id).append(layout, record, at) as u32;
        self.segments.advance(layout.len());
        self.counters.usage.bytes += layout.payload() as u64;
        self.supersede(record.key, Place { segment: id, offset }, found, now);
    }

    /// Lets the index know a new item, in place of what was `found`.
    fn supersede(&mut self, key: Key<'_>, place: Place, found: Option<Found>, now: Time) {
        let Some(found) = found else {
            return self.link(key.hash, place);
        };
        let before = found.slot.place();
        self.index.set(found, place, found.slot.frequency());
        self.forget(before);
        if before.segment != LARGE {
            self.segments.release_if_empty(before.segment, now);
        }
    }

    fn store_large(&mut self, record: &Record<'_>, now: Time) -> Result<(), PutError> {
        // What it replaces makes room for it.
        self.remove_any(record.key, now);
        let budget = Arc::clone(&self.start.budget);
        let all = Pieces::memory(record.value_len);
        if !budget.has_room(all) {
            self.make_room(all, now)?;
        }
        let mut pieces = Pieces::new(record.value_len);
        for part in record.value {
            let mut rest = *part;
            // Others may have taken what there was.
            while let Err(bytes) = pieces.write(&budget, &mut rest) {
                self.make_room(bytes, now).inspect_err(|_| self.wanted = all)?;
            }
        }
        self.insert_large(record.key, pieces.finish(), record.fields, now)
    }

    fn insert_large(
        &mut self,
        key: Key<'_>,
        pieces: Vec<Bytes>,
        fields: Fields,
        now: Time,
    ) -> Result<(), PutError> {
        self.remove_any(key, now);
        self.prepare(now)?;
        let charge = loop {
            match Large::charge(&self.start.budget, key.bytes.len()) {
                Ok(charge) => break charge,
                Err(bytes) => self.make_room(bytes, now)?,
            }
        };
        if !self.large.has_room() {
            return Err(PutError::Full);
        }
        let large = Large::new(key.bytes, pieces, fields, charge);
        self.counters.usage.bytes += large.payload() as u64;
        self.segments.advance(large.payload().max(1));
        let place = self.large.insert(large, self.segments.appended());
        self.link(key.hash, place);
        Ok(())
    }

    fn remove_any(&mut self, key: Key<'_>, now: Time) -> bool {
        let found = self.find(key);
        if let Some(found) = found {
            self.remove_found(found, now);
        }
        found.is_some()
    }

    /// Stores pieces that have come in already.
    pub(super) fn store_pieces(
        &mut self,
        key: Key<'_>,
        pieces: Vec<Bytes>,
        item: &NewItem<'_>,
        now: Time,
    ) -> Result<u64, PutError> {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let wide = HEADER_MAX + key.bytes.len() + len;
        if wide <= self.start.budget.segment_len() / 2 {
            let parts: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
            return self.put(key, &NewItem { value: &parts, ..*item }, now);
        }
        self.admit((key, len), item, now, |engine, fields| {
            engine.insert_large(key, pieces, fields, now)
        })
    }

    /// Settles what is to be stored, and stores it by `store`.
    pub(super) fn admit(
        &mut self,
        (key, len): (Key<'_>, usize),
        item: &NewItem<'_>,
        now: Time,
        store: impl FnOnce(&mut Self, Fields) -> Result<(), PutError>,
    ) -> Result<u64, PutError> {
        if key.bytes.len() > KEY_MAX || key.bytes.len() + len > self.start.item_max {
            self.remove_any(key, now);
            return Err(PutError::TooLarge);
        }
        let fresh = self.counters.renew();
        let fields = Fields {
            flags: item.flags,
            cas: item.cas.unwrap_or(fresh),
            expiry: item.expiry,
            marks: item.marks,
            accessed: now.whole_seconds(),
        };
        if let Err(error) = store(self, fields) {
            self.remove_any(key, now);
            return Err(error);
        }
        self.counters.usage.stored += 1;
        Ok(fields.cas)
    }
}

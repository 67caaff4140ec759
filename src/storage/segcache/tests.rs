//! The engine by itself: that it never contradicts itself, and what only it can be asked.

use std::collections::{HashMap, HashSet};

use super::{Segcache, key_at};
use crate::storage::index::{LARGE, Place};

impl Segcache {
    /// Panics unless slots, items, segments and counts agree.
    pub(super) fn check(&self) {
        let (mut keys, mut places) = (HashSet::new(), HashSet::new());
        let mut live: HashMap<u32, (usize, usize)> = HashMap::new();
        let mut payload = 0;
        for slot in self.index.slots() {
            let place = slot.place();
            let key = key_at(&self.segments, &self.large, place);
            let found = self.index.find_place(self.start.keys.hash(key), place);
            assert_eq!(found.map(|found| found.slot), Some(slot), "a slot is found by its key");
            assert!(keys.insert(key), "a key has one item");
            assert!(places.insert((place.segment, place.offset)), "an item has one slot");
            payload += self.payload_at(place);
            if place.segment != LARGE {
                let (layout, _) = self.segments.item(place);
                let sum = live.entry(place.segment).or_default();
                *sum = (sum.0 + 1, sum.1 + layout.len());
                let outlives = self.segments.get(place.segment).outlives(self.expiry_at(place));
                assert!(outlives, "a segment is there as long as its items");
            }
        }
        assert_eq!(self.index.items() as usize, keys.len());
        assert_eq!(self.counters.usage.bytes as usize, payload);
        for (id, segment) in self.segments.iter() {
            let counted = live.get(&id).copied().unwrap_or_default();
            assert_eq!((segment.live_items(), segment.live_bytes()), counted, "segment {id}");
            assert!(segment.open || segment.live_items() > 0, "an empty segment is given back");
        }
        assert!(self.index.is_paid(), "chunks are what is paid for");
        self.segments.check_integrity();
        self.large.check_integrity();
    }

    fn payload_at(&self, place: Place) -> usize {
        match place.segment {
            LARGE => self.large.get(place).payload(),
            _ => self.segments.item(place).0.payload(),
        }
    }
}

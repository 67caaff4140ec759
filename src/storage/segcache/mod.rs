//! The engine: segments of items that expire together, an index beside them.
//!
//! ```text
//!  key ─▶ index (table of slots) ─▶ place ─▶ segment: item, item, item …  or a large item
//!
//!  put ─▶ open segment of its class of time to live ─▶ full: closed, another one opened
//!                                                        no memory: evict ─▶ merge what is read
//!  sweep ─▶ segments whose last item is dead ─▶ spare
//! ```
//! Each item has its own expiry, to the millisecond, which is looked at with every access; a
//! segment's is that of its last item. Nothing is ever alive that the index does not know: an item
//! is removed by emptying its slot. One thread at a time, hence plain integers.
//!
//! * `face`: the engine as others see it.
//! * `put`: how an item comes in.
//! * `evict`: what goes when there is no memory left.
//! * `large`: items that have memory of their own.

mod evict;
mod face;
mod large;
mod put;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::counters::Counters;
use super::engine::Start;
use super::index::{Found, Index, LARGE, Place};
use super::item::{Item, Key};
use super::segments::{Layout, Segments};
use super::time::Time;
use crate::config::Eviction;
use evict::Policy;
use large::LargeItems;

pub(super) use face::Look;
pub(super) use large::Pieces;

/// Up to this, every read counts; above it, one in so many as were counted.
const COUNTED_ALL: u8 = 16;

/// One shard.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Segcache {
    pub(super) counters: Counters,
    index: Index,
    segments: Segments,
    large: LargeItems,
    policy: Policy,
    start: Start,
    /// What it cannot do without: nothing of its own is evicted below that.
    keeps: u64,
    /// Bytes that were not to be had when something was refused as `Full`.
    wanted: u64,
    /// Segments that the sweep under way has seen.
    swept: u32,
}

impl Segcache {
    /// An empty shard.
    pub(super) fn new(start: Start) -> Self {
        let segments = start.share / start.budget.segment_cost();
        let seed = start.keys.hash(b"random");
        Self {
            counters: Counters::new(start.version, seed),
            index: Index::new(Arc::clone(&start.budget)),
            segments: Segments::new(Arc::clone(&start.budget), segments),
            large: LargeItems::default(),
            policy: Policy::default(),
            keeps: 0,
            wanted: 0,
            swept: 0,
            start,
        }
    }

    /// Bytes it takes from the start, whatever is in it.
    pub(super) fn fixed_cost(&self) -> u64 {
        size_of::<Self>() as u64 + self.segments.fixed_cost()
    }

    /// Bytes of memory it takes.
    pub(super) fn memory(&self) -> u64 {
        self.segments.count() as u64 * self.start.budget.segment_cost()
            + self.index.memory()
            + self.large.memory()
    }

    fn find(&self, key: Key<'_>) -> Option<Found> {
        self.seek(key).map(|(found, _)| found)
    }

    /// The slot of an item, and how it lies in its segment; a large one is in none.
    #[inline(always)]
    fn seek(&self, key: Key<'_>) -> Option<(Found, Option<Layout>)> {
        for found in self.index.search(key.hash) {
            let place = found.slot.place();
            if place.segment == LARGE {
                if self.large.has_key(place, key.bytes) {
                    return Some((found, None));
                }
                continue;
            }
            let (layout, bytes) = self.segments.item(place);
            if layout.key(bytes) == key.bytes {
                return Some((found, Some(layout)));
            }
        }
        None
    }

    fn key_at(&self, place: Place) -> &[u8] {
        key_at(&self.segments, &self.large, place)
    }

    /// The slot of an item that is alive; one that is dead is removed.
    ///
    /// It is a part of its callers, and so is what it calls, from the index down to the layout
    /// (`inline(always)`): what they hand on stays in registers then.
    #[inline(always)]
    fn find_alive(&mut self, key: Key<'_>, now: Time) -> Option<(Found, Option<Layout>)> {
        let (found, layout) = self.seek(key)?;
        let place = found.slot.place();
        let expiry = match layout {
            Some(layout) if !layout.may_expire() => None,
            Some(layout) => {
                let segment = self.segments.get(place.segment);
                layout.expiry(segment.at(place.offset as usize), segment.base())
            }
            None => self.large.get(place).fields.expiry,
        };
        if expiry.is_none_or(|at| at > now) {
            return Some((found, layout));
        }
        self.remove_found(found, now);
        self.counters.usage.expired += 1;
        None
    }

    fn expiry_at(&self, place: Place) -> Option<Time> {
        if place.segment == LARGE {
            return self.large.get(place).fields.expiry;
        }
        let (layout, bytes) = self.segments.item(place);
        layout.expiry(bytes, self.segments.get(place.segment).base())
    }

    fn remove_found(&mut self, found: Found, now: Time) {
        let place = found.slot.place();
        self.unlink(found);
        self.forget(place);
        if place.segment != LARGE {
            self.segments.release_if_empty(place.segment, now);
        }
    }

    /// Takes an item out of the index.
    fn unlink(&mut self, found: Found) {
        let Self { index, segments, large, start, .. } = self;
        index.remove(found, |place| start.keys.hash(key_at(segments, large, place)));
    }

    /// Lets the index know an item that it does not know yet.
    fn link(&mut self, hash: u64, place: Place) {
        let Self { index, segments, large, start, .. } = self;
        index.insert(hash, place, 1, |place| start.keys.hash(key_at(segments, large, place)));
    }

    /// The item at a place is no longer known to the index.
    fn forget(&mut self, place: Place) {
        if place.segment == LARGE {
            let payload = self.large.remove(place).map_or(0, |large| large.payload());
            self.counters.usage.bytes -= payload as u64;
        } else {
            let (layout, _) = self.segments.item(place);
            self.counters.usage.bytes -= layout.payload() as u64;
            self.segments.forget(place, layout.len());
        }
    }

    /// The item at a place as an onlooker sees it.
    fn seen(&self, place: Place, now: Time) -> Item<'_> {
        if place.segment == LARGE {
            return self.large.get(place).seen();
        }
        let (layout, bytes) = self.segments.item(place);
        let at = self.segments.context(place.segment, self.counters.version, now);
        layout.seen(bytes, at)
    }

    fn note_read(&mut self, found: Found) {
        let frequency = found.slot.frequency();
        let counts = frequency < COUNTED_ALL
            || frequency < u8::MAX && self.counters.happens_once_in(u32::from(frequency));
        if counts {
            self.index.set_frequency(found, frequency + 1);
        }
    }
}

/// The key of the item at a place.
fn key_at<'s>(segments: &'s Segments, large: &'s LargeItems, place: Place) -> &'s [u8] {
    if place.segment == LARGE {
        return &large.get(place).key;
    }
    let (layout, bytes) = segments.item(place);
    layout.key(bytes)
}

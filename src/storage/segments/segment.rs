//! A segment: items back to back, only ever appended to, and what is known of them together.

use crate::storage::item::Key;
use crate::storage::pages::Pages;
use crate::storage::time::Time;

use super::layout::{Context, Fields, Layout};

/// Which of the two generations a segment's items are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Stored lately; to show that they are read.
    Young = 0,
    /// Kept by an eviction before.
    Kept = 1,
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    bytes: Pages,
    used: usize,
    live_items: usize,
    live_bytes: usize,
    /// Narrow expiries count from here: the moment at which it was begun.
    base: Time,
    /// No item is alive from this moment on; `None` if one is for ever.
    max_expire: Option<Time>,
    /// How much had been appended to its shard when it was begun.
    pub(crate) born: u64,
    pub(crate) class: u8,
    pub(crate) generation: Generation,
    /// Items are appended to it.
    pub(crate) open: bool,
    /// Expired items before this place have been removed from the index.
    pub(crate) drained: usize,
}

/// An item that is to be appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) key: Key<'a>,
    pub(crate) value: &'a [&'a [u8]],
    pub(crate) value_len: usize,
    pub(crate) fields: Fields,
}

impl Segment {
    /// An empty one, open.
    pub(crate) fn new(bytes: Pages, class: u8, generation: Generation, now: Time) -> Self {
        Self {
            bytes,
            used: 0,
            live_items: 0,
            live_bytes: 0,
            base: now,
            max_expire: Some(Time::default()),
            born: 0,
            class,
            generation,
            open: true,
            drained: 0,
        }
    }

    /// Its memory.
    pub(crate) fn into_bytes(self) -> Pages {
        self.bytes
    }

    /// Bytes appended, dead ones among them.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Bytes of items that the index knows.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Items that the index knows.
    pub(crate) fn live_items(&self) -> usize {
        self.live_items
    }

    /// Where narrow expiries count from.
    pub(crate) fn base(&self) -> Time {
        self.base
    }

    /// True if `len` bytes more fit.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.used + len <= self.bytes.len()
    }

    /// True if all its items are dead.
    pub(crate) fn expired(&self, now: Time) -> bool {
        self.max_expire.is_some_and(|at| at <= now) && self.used > 0
    }

    /// True if its last item is dead no later than one with this expiry.
    pub(crate) fn outlives(&self, expiry: Option<Time>) -> bool {
        match (self.max_expire, expiry) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(last), Some(at)) => at <= last,
        }
    }

    /// Lets its last moment be no earlier than this.
    pub(crate) fn extend(&mut self, expiry: Option<Time>) {
        // Written only if it changes: other cores have the line, too, as long as nobody writes.
        if !self.outlives(expiry) {
            self.max_expire = expiry;
        }
    }

    /// Its memory from `offset` on, if there is any.
    pub(crate) fn behind(&self, offset: usize) -> &[u8] {
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// The item at `offset` and all after it.
    #[inline(always)]
    pub(crate) fn at(&self, offset: usize) -> &[u8] {
        &self.bytes[offset..self.used]
    }

    /// The same, to be written to.
    #[inline(always)]
    pub(crate) fn at_mut(&mut self, offset: usize) -> &mut [u8] {
        &mut self.bytes[offset..self.used]
    }

    /// Appends an item that has room; returns where.
    pub(crate) fn append(&mut self, layout: Layout, record: &Record<'_>, at: Context) -> usize {
        let (offset, len) = (self.used, layout.len());
        write(&mut self.bytes[offset..offset + len], layout, record, at);
        self.added(len, record.fields.expiry);
        offset
    }

    /// Writes an item where one of the same length was.
    pub(crate) fn replace(
        &mut self,
        offset: usize,
        layout: Layout,
        record: &Record<'_>,
        at: Context,
    ) {
        write(&mut self.bytes[offset..offset + layout.len()], layout, record, at);
        self.extend(record.fields.expiry);
    }

    /// Appends the bytes of an item; returns where, `None` if it has no room.
    fn append_bytes(&mut self, item: &[u8], expiry: Option<Time>) -> Option<usize> {
        let (offset, base) = (self.used, self.base);
        let place = self.bytes.get_mut(offset..offset + item.len())?;
        place.copy_from_slice(item);
        if !Layout::parse(item).rebase(place, expiry, base) {
            return None;
        }
        self.added(item.len(), expiry);
        Some(offset)
    }

    /// Appends an item of another segment to this one.
    pub(crate) fn copy(
        &mut self,
        from: &Self,
        item: (usize, usize),
        expiry: Option<Time>,
    ) -> Option<usize> {
        let (offset, len) = item;
        self.append_bytes(&from.bytes[offset..offset + len], expiry)
    }

    fn added(&mut self, len: usize, expiry: Option<Time>) {
        self.used += len;
        self.live_items += 1;
        self.live_bytes += len;
        self.extend(expiry);
    }

    /// An item of `len` bytes is no longer known to the index.
    pub(crate) fn forget(&mut self, len: usize) {
        self.live_items -= 1;
        self.live_bytes -= len;
    }

    /// Begins again at the front, as if nothing were alive. What is there can still be moved to
    /// the front by [`Segment::move_up`], in order.
    pub(crate) fn rewind(&mut self, now: Time) {
        (self.used, self.live_items, self.live_bytes, self.drained) = (0, 0, 0, 0);
        (self.base, self.max_expire) = (now, Some(Time::default()));
    }

    /// Moves the item at `offset`, which is behind all that is used, to the end of that.
    pub(crate) fn move_up(&mut self, offset: usize, len: usize, expiry: Option<Time>) -> usize {
        let to = self.used;
        self.bytes.copy_within(offset..offset + len, to);
        self.added(len, expiry);
        let base = self.base;
        let item = self.at_mut(to);
        // The base is later than it was: what fitted before fits now.
        Layout::parse(item).rebase(item, expiry, base);
        to
    }
}

fn write(bytes: &mut [u8], layout: Layout, record: &Record<'_>, at: Context) {
    let mut rest = layout.write(bytes, record.key.bytes, &record.fields, at);
    for part in record.value {
        let (place, behind) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = behind;
    }
}

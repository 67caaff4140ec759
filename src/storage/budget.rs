//! The memory of all shards, as one count of bytes.
//!
//! ```text
//!  segment ─▶ take_segment ─▶ a spare one, or a new one if the count allows it
//!  index, large values ─▶ take ─▶ Charge, which gives its bytes back when it is dropped
//!  shard ─▶ give_segment ─▶ spare, for whichever shard asks next
//! ```
//! It is touched once a segment, not once an item, so that shards seldom meet here. Segments are
//! kept rather than given up: the system clears what it hands out, and a segment that is used
//! again need not be cleared.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::pages::{Pages, Region};

/// Bytes that a segment costs beside its own: its entry in its shard's list, and the system's
/// tables.
const SEGMENT_EXTRA: u64 = 128;

/// What all shards share.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    segment_len: usize,
    /// Bytes handed out, those of spare segments among them.
    used: AtomicU64,
    spare: Mutex<Vec<Pages>>,
    region: Mutex<Region>,
}

/// Bytes that are taken; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// `limit` bytes in all, segments of `segment_len`.
    pub(super) fn new(limit: u64, segment_len: usize) -> Arc<Self> {
        let (used, spare) = Default::default();
        let region = Mutex::new(Region::new(limit));
        Arc::new(Self { limit, segment_len, used, spare, region })
    }

    /// Bytes there are in all.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Length of a segment.
    pub(super) fn segment_len(&self) -> usize {
        self.segment_len
    }

    /// What one segment costs.
    pub(super) fn segment_cost(&self) -> u64 {
        self.segment_len as u64 + SEGMENT_EXTRA
    }

    /// Bytes handed out, those of spare segments among them.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`; `None` if so many are not left, spare segments given up.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        while !self.count(bytes) {
            self.pop_spare()?;
            self.used.fetch_sub(self.segment_cost(), Ordering::Relaxed);
        }
        Some(Charge { budget: Arc::clone(self), bytes })
    }

    /// True if so many bytes can be had now.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        let spare = spare * self.segment_cost();
        let taken = self.used.load(Ordering::Relaxed).saturating_sub(spare);
        taken.saturating_add(bytes) <= self.limit
    }

    /// A segment; what is in it does not matter to anybody. `None` if the bytes are not left.
    pub(super) fn take_segment(&self) -> Option<Pages> {
        if let Some(segment) = self.pop_spare() {
            return Some(segment);
        }
        if !self.count(self.segment_cost()) {
            return None;
        }
        let pages = self.map(self.segment_len);
        if pages.is_none() {
            self.used.fetch_sub(self.segment_cost(), Ordering::Relaxed);
        }
        pages
    }

    /// Memory that is paid for, `len` bytes: a power of two of at least a page; `None` if the
    /// system has none.
    pub(super) fn map(&self, len: usize) -> Option<Pages> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner).take(len)
    }

    /// Takes a segment back.
    pub(super) fn give_segment(&self, segment: Pages) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// Adds to the count unless that were too much.
    fn count(&self, bytes: u64) -> bool {
        let sum = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    fn pop_spare(&self) -> Option<Pages> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Charge {
    /// How many bytes it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

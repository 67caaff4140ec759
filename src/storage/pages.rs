//! Memory that goes back to the system the moment it is given up.
//!
//! An allocator keeps what is freed for whatever else may want that size: a store that gave up
//! segments for large values, and large values for segments, would hold both.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Bytes of a page, or a multiple.
const PAGE: u64 = 4096;

/// Bytes that belong to one owner alone, zero at first, resident once they are written.
#[derive(Debug)]
pub(crate) struct Pages(MmapMut);

impl Pages {
    /// `len` bytes; `None` if the system has none.
    pub(crate) fn new(len: usize) -> Option<Self> {
        MmapMut::map_anon(len).ok().map(Self)
    }

    /// Bytes of memory that `len` bytes take: whole pages.
    pub(crate) const fn cost(len: usize) -> u64 {
        (len as u64).next_multiple_of(PAGE)
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

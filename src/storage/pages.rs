//! Memory that goes back to the system the moment it is given up.
//!
//! ```text
//!  Region: mapped at once, in huge pages ─▶ take ─▶ Pages, Pages, Pages … each unmapped by itself
//! ```
//! An allocator keeps what is freed for whatever else may want that size: a store that gave up
//! segments for large values, and large values for segments, would hold both. Huge pages make
//! reads of a large store a third faster, for an item is seldom on a page that the processor has
//! in its tables; what is cut from a region is used from its front on, so that they are not
//! resident before they are needed.

use std::fmt;
use std::ops::{Deref, DerefMut};

use mmap_rs::{MmapFlags, MmapMut, MmapOptions};

/// Bytes of a page, or a multiple.
const PAGE: u64 = 4096;

/// Bytes that are mapped at once: some huge pages of 2 MiB.
const REGION: usize = 32 << 20;

/// Memory of a store from which on it has huge pages.
const HUGE_FROM: u64 = 128 << 20;

/// Bytes that belong to one owner alone, zero at first, resident once they are written.
pub(crate) struct Pages(MmapMut);

/// Bytes that nobody has yet.
#[derive(Debug)]
pub(crate) struct Region {
    rest: Option<Pages>,
    flags: MmapFlags,
}

impl Pages {
    /// `len` bytes, mapped by themselves; `None` if the system has none.
    pub(crate) fn new(len: usize) -> Option<Self> {
        Self::map(len, MmapFlags::empty())
    }

    fn map(len: usize, flags: MmapFlags) -> Option<Self> {
        let options = MmapOptions::new(len).ok()?.with_flags(flags | MmapFlags::NO_RESERVE);
        options.map_mut().ok().map(Self)
    }

    /// Bytes of memory that `len` bytes take: whole pages.
    pub(crate) const fn cost(len: usize) -> u64 {
        (len as u64).next_multiple_of(PAGE)
    }
}

impl Region {
    /// One for a store of so much memory. A small one does without huge pages: of the last of them
    /// a part is resident that nobody has.
    pub(crate) fn new(memory: u64) -> Self {
        let huge = memory >= HUGE_FROM;
        let flags = if huge { MmapFlags::TRANSPARENT_HUGE_PAGES } else { MmapFlags::empty() };
        Self { rest: None, flags }
    }

    /// `len` bytes, a power of two of at least a page and at most 1 MiB; `None` if the system has
    /// none.
    pub(crate) fn take(&mut self, len: usize) -> Option<Pages> {
        match self.rest.as_mut().map(|rest| rest.0.split_to(len)) {
            Some(Ok(pages)) => return Some(Pages(pages)),
            // So much is just what is left; or less is, which is given up.
            _ => match self.rest.take() {
                Some(rest) if rest.len() == len => return Some(rest),
                _ => self.rest = Some(Pages::map(REGION, self.flags)?),
            },
        }
        self.rest.as_mut()?.0.split_to(len).ok().map(Pages)
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

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_region_are_zero_and_do_not_overlap() {
        let mut region = Region::new(HUGE_FROM);
        let lens = [4096, 1 << 20, 16 << 10, 1 << 15].into_iter().cycle().take(200);
        let mut all: Vec<Pages> = lens.map(|len| region.take(len).unwrap()).collect();
        for (number, pages) in all.iter_mut().enumerate() {
            assert!(pages.iter().all(|byte| *byte == 0));
            pages.fill(number as u8 | 1);
        }
        all.drain(20..30);
        for (number, pages) in all.iter().enumerate().take(20) {
            assert!(pages.iter().all(|byte| *byte == number as u8 | 1));
        }
    }

    #[test]
    fn the_last_part_of_a_region_is_used() {
        let mut region = Region::new(HUGE_FROM);
        let parts = REGION >> 20;
        let first: Vec<Pages> = (0..parts).map(|_| region.take(1 << 20).unwrap()).collect();
        assert!(region.rest.is_none());
        assert_eq!(first.iter().map(|pages| pages.len()).sum::<usize>(), REGION);
    }
}

//! What an entry is filed under: a key, or some fields of a hash as a part of its key.
//!
//! ```text
//!  key    ─▶ hash ─▶ slot ◀──────┐        invalidations name keys, so they meet all that a key has
//!  fields ─▶ hash                └─ owner
//! ```
//! A part lies in the slot of its owner, and its entry tells which count that had when it was asked
//! for ([`super::slots`]): whatever happens to the key ends its parts, without anyone having to know
//! which there are.

use super::slots::Slots;
use crate::storage::Key;

/// A key of a near cache, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Name<'k> {
    /// What it is called in the storage.
    pub(super) key: Key<'k>,
    /// The slot of the key that it is, or is a part of.
    pub(super) slot: u32,
    /// It is a part; no entry of a whole key is taken for one, whatever that is called.
    pub(super) is_part: bool,
}

impl<'k> Name<'k> {
    /// A key's.
    pub(super) fn of(key: Key<'k>, slots: &Slots) -> Self {
        Self { key, slot: slots.number(key.hash()), is_part: false }
    }

    /// That of a part of it.
    pub(super) const fn part<'p>(self, key: Key<'p>) -> Name<'p> {
        Name { key, slot: self.slot, is_part: true }
    }

    /// The hash of its bytes.
    #[inline]
    pub fn hash(self) -> u64 {
        self.key.hash()
    }
}

//! What is stored, as it goes in and as it is seen under the lock.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;

use super::time::Time;

/// A key with its hash, made by [`Store::key`](super::Store::key).
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key itself, 1 to 65,535 bytes.
    pub bytes: &'a [u8],
    /// Its keyed hash; says the shard and the place in it.
    pub(super) hash: u64,
}

impl Key<'_> {
    /// Its hash: keyed, another one in each process, 64 bits that are as good as any of them.
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}

/// Gives keys their hashes: another one in each process, so that nobody can choose keys that meet.
#[derive(Clone, Debug)]
pub(super) struct KeyHasher(ahash::RandomState);

impl KeyHasher {
    /// One that nobody knows.
    pub(super) fn new() -> Self {
        let seed = RandomState::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(|number: u8| seed.hash_one(number));
        Self(ahash::RandomState::with_seeds(a, b, c, d))
    }

    /// The hash of a key.
    #[inline]
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// A key with its hash.
    #[inline]
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hash(bytes) }
    }
}

/// What an item remembers beyond its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It has been read since it was stored.
    pub fetched: bool,
    /// It was invalidated but may still be served (memcached's meta commands).
    pub stale: bool,
    /// Somebody has been told to recache it (memcached's "win").
    pub won: bool,
}

/// An item, seen under its shard's lock.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The value.
    pub value: Value<'a>,
    /// The client's 32 bits.
    pub flags: u32,
    /// Its version: no other state of this key, in this process or an earlier one, has the same.
    pub cas: u64,
    /// The first moment at which it is dead; `None` for never.
    pub expiry: Option<Time>,
    /// What else it remembers; as it was before this access.
    pub marks: Marks,
    /// When it was last read or stored, to the second; as it was before this access.
    pub accessed: Time,
}

/// The bytes of a value: in one piece, or for a large one in several.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// All of them.
    Whole(&'a [u8]),
    /// One piece after the other; cheap to hand on beyond the lock.
    Pieces(&'a [Bytes]),
}

impl<'a> Value<'a> {
    /// Length in bytes.
    pub fn len(self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    /// True if there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Its pieces in order.
    pub fn pieces(self) -> impl Iterator<Item = &'a [u8]> {
        let (whole, pieces) = match self {
            Self::Whole(bytes) => (Some(bytes), &[][..]),
            Self::Pieces(pieces) => (None, pieces),
        };
        whole.into_iter().chain(pieces.iter().map(AsRef::as_ref))
    }

    /// Appends all of it to `out`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        match self {
            Self::Whole(bytes) => out.extend_from_slice(bytes),
            Self::Pieces(pieces) => pieces.iter().for_each(|piece| out.extend_from_slice(piece)),
        }
    }
}

/// An item to be stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewItem<'a> {
    /// The value: these, one after the other.
    pub value: &'a [&'a [u8]],
    /// The client's 32 bits.
    pub flags: u32,
    /// The first moment at which it is dead; `None` for never.
    pub expiry: Option<Time>,
    /// What else it is to remember.
    pub marks: Marks,
    /// The version it is to have; `None` for a new one.
    pub cas: Option<u64>,
}

impl NewItem<'_> {
    /// Bytes of the value.
    pub fn len(&self) -> usize {
        self.value.iter().map(|part| part.len()).sum()
    }

    /// True if the value is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

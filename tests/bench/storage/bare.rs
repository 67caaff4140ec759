//! The least that a read does which takes a lock and waits for memory twice: what the machine
//! allows, beside what a store needs.
//!
//! ```text
//!  key ─▶ hash ─▶ lock of its shard ─▶ slot: tag, number ─▶ item: key compared, value copied
//! ```
//! As large as the store that it stands beside, in huge pages like that, and nothing ever changes:
//! no expiry, no versions, no frequency, no segments; half of the slots are empty.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::{Mutex, PoisonError};

use mmap_rs::{MmapFlags, MmapMut, MmapOptions};

/// Shards, as many as the store has.
const SHARDS: usize = super::SHARDS;

/// Bytes of a slot: a tag of the hash and the number of an item that is not 0.
const SLOT: usize = size_of::<u64>();

/// A table of so many items of `key_bytes` and `value_bytes`.
pub(crate) struct Bare {
    locks: Vec<Mutex<()>>,
    hasher: ahash::RandomState,
    slots: MmapMut,
    items: MmapMut,
    key_bytes: usize,
    item_bytes: usize,
}

impl Bare {
    /// A table of these keys, all with the same value.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub(crate) fn new<const N: usize>(keys: &[[u8; N]], value: &[u8]) -> io::Result<Self> {
        let item_bytes = N + value.len();
        let slots = huge((keys.len() * 2).next_power_of_two() * SLOT)?;
        let mut items = huge((keys.len() + 1) * item_bytes)?;
        for (key, item) in keys.iter().zip(items.chunks_exact_mut(item_bytes).skip(1)) {
            item[..N].copy_from_slice(key);
            item[N..].copy_from_slice(value);
        }
        let locks = (0..SHARDS).map(|_| Mutex::default()).collect();
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut bare = Self { locks, hasher, slots, items, key_bytes: N, item_bytes };
        for (number, key) in (1..).zip(keys) {
            let hash = bare.hash(key);
            let spot = bare.spots(hash).find(|spot| bare.slot(*spot) == 0).unwrap_or_default();
            let slot = tag(hash) | number;
            bare.slots[spot * SLOT..][..SLOT].copy_from_slice(&slot.to_le_bytes());
        }
        Ok(bare)
    }

    /// Copies the value of a key out.
    pub(crate) fn read(&self, key: &[u8], out: &mut Vec<u8>) {
        let hash = self.hash(key);
        let shard = &self.locks[hash as usize % SHARDS];
        let _held = shard.lock().unwrap_or_else(PoisonError::into_inner);
        for spot in self.spots(hash) {
            let slot = self.slot(spot);
            if slot == 0 {
                return;
            }
            let item = &self.items[slot as u32 as usize * self.item_bytes..][..self.item_bytes];
            if tag(slot) == tag(hash) && item[..self.key_bytes] == *key {
                return out.extend_from_slice(&item[self.key_bytes..]);
            }
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// Where an item of this hash may be: one after the other, from the place that the hash says.
    fn spots(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let count = self.slots.len() / SLOT;
        (0..count).map(move |step| (hash as usize / SHARDS + step) % count)
    }

    fn slot(&self, spot: usize) -> u64 {
        let bytes = self.slots[spot * SLOT..].first_chunk();
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Whether all that is put in is read back, and nothing else.
///
/// # Errors
/// The system has no memory, or something else was read.
pub(crate) fn selfcheck() -> io::Result<()> {
    let keys: Vec<[u8; 8]> = (0..2000_u64).map(u64::to_le_bytes).collect();
    let (there, absent) = keys.split_at(1000);
    let bare = Bare::new(there, b"value")?;
    let read = |key: &[u8; 8]| {
        let mut out = Vec::new();
        bare.read(key, &mut out);
        out
    };
    let right = there.iter().all(|key| read(key) == b"value");
    let right = right && absent.iter().all(|key| read(key).is_empty());
    right.then_some(()).ok_or_else(|| io::Error::other("a bare table read something else"))
}

/// The upper half of a hash, or of a slot.
const fn tag(hash: u64) -> u64 {
    hash & !(u32::MAX as u64)
}

fn huge(len: usize) -> io::Result<MmapMut> {
    let options = MmapOptions::new(len).map_err(io::Error::other)?;
    options.with_flags(MmapFlags::TRANSPARENT_HUGE_PAGES).map_mut().map_err(io::Error::other)
}

//! From the configured name of a hash function to the function: one branch per key, none per byte.

use crate::config::{Hash, HashChar};
use crate::routing::hash::{bytewise, crc, md5_words, words};

/// The hash of a key by the named function. The empty key has a hash here; placement never asks
/// for it.
#[inline]
pub(crate) fn hash_of(hash: Hash, hash_char: HashChar, key: &[u8]) -> u32 {
    match hash_char {
        HashChar::Signed => select::<true>(hash, key),
        HashChar::Unsigned => select::<false>(hash, key),
    }
}

fn select<const SIGNED: bool>(hash: Hash, key: &[u8]) -> u32 {
    match hash {
        Hash::OneAtATime => bytewise::one_at_a_time::<SIGNED>(key),
        Hash::Md5 => md5_words(key)[0],
        Hash::Crc16 => crc::crc16(key),
        Hash::Crc32 => crc::crc32(key),
        Hash::Crc32a => crc::crc32a(key),
        Hash::Fnv1_64 => bytewise::fnv1_64::<SIGNED>(key),
        Hash::Fnv1a64 => bytewise::fnv1a_64::<SIGNED>(key),
        Hash::Fnv1_32 => bytewise::fnv1_32::<SIGNED>(key),
        Hash::Fnv1a32 => bytewise::fnv1a_32::<SIGNED>(key),
        Hash::Hsieh => words::hsieh::<SIGNED>(key),
        Hash::Murmur => words::murmur(key),
        Hash::Jenkins => words::jenkins(key),
    }
}

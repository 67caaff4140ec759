//! MD5 as four numbers: the first is the hash of a key, all four are points of a ketama ring.

use md5::{Digest, Md5};

/// The digest as four little-endian words (libmemcached and twemproxy, `md5_signature`).
pub(crate) fn md5_words(bytes: &[u8]) -> [u32; 4] {
    let digest = u128::from_le_bytes(Md5::digest(bytes).into());
    [0, 32, 64, 96].map(|shift| (digest >> shift) as u32)
}

//! The hashes that take several bytes at a time: hsieh, murmur, jenkins. All read little-endian.

use crate::routing::hash::bytewise::widen;

/// Paul Hsieh's SuperFastHash, but started with 0 instead of the length. The third of three
/// trailing bytes is the only one that is read as a `char`.
pub(super) fn hsieh<const SIGNED: bool>(key: &[u8]) -> u32 {
    let (blocks, tail) = key.as_chunks::<4>();
    let mut hash = blocks.iter().fold(0_u32, |hash, &[a, b, c, d]| {
        let hash = hash.wrapping_add(pair(a, b));
        let hash = (hash << 16) ^ (pair(c, d) << 11) ^ hash;
        hash.wrapping_add(hash >> 11)
    });
    match *tail {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 16;
            hash ^= widen::<SIGNED>(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

fn pair(low: u8, high: u8) -> u32 {
    u32::from(u16::from_le_bytes([low, high]))
}

/// Austin Appleby's MurmurHash2 with the seed 0xdeadbeef times the length.
pub(super) fn murmur(key: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    // Lengths wrap at 32 bits, as the C code's do.
    let length = key.len() as u32;
    let (blocks, tail) = key.as_chunks::<4>();
    let start = length.wrapping_mul(0xdead_beef) ^ length;
    let mut hash = blocks.iter().fold(start, |hash, &block| {
        let word = u32::from_le_bytes(block).wrapping_mul(MIX);
        let word = (word ^ (word >> 24)).wrapping_mul(MIX);
        hash.wrapping_mul(MIX) ^ word
    });
    if !tail.is_empty() {
        hash = (hash ^ padded(tail)).wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

/// Up to four bytes as a word, zeros after them.
fn padded(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| (word << 8) | u32::from(byte))
}

/// Bob Jenkins's lookup3 (`hashlittle`) with the initial value 13.
pub(super) fn jenkins(key: &[u8]) -> u32 {
    let start = (key.len() as u32).wrapping_add(0xdead_beef + 13);
    let mut state = [start; 3];
    let mut rest = key;
    // The last block, even a full one, goes through `close` alone.
    while let Some((block, after)) = rest.split_at_checked(12).filter(|(_, a)| !a.is_empty()) {
        state = mix(absorb(state, block));
        rest = after;
    }
    if rest.is_empty() {
        return start;
    }
    close(absorb(state, rest))
}

/// Adds up to twelve bytes, as three words, to the state.
fn absorb(state: [u32; 3], block: &[u8]) -> [u32; 3] {
    let mut words = block.chunks(4).map(padded);
    state.map(|part| part.wrapping_add(words.next().unwrap_or(0)))
}

fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    [a, b, c]
}

fn close([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

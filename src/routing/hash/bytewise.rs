//! The hashes that add or xor one byte at a time: FNV and one-at-a-time.
//!
//! twemproxy reads bytes as C's `char`. Where that is signed (x86), a byte from 0x80 on is
//! sign-extended and so touches the high bits too; `SIGNED` chooses, see [`widen`].

/// Start of the 32-bit FNV hashes, by their authors' definition.
pub(crate) const FNV_32_OFFSET: u32 = 2_166_136_261;
const FNV_32_PRIME: u32 = 16_777_619;

/// The low halves of the 64-bit start 0xcbf29ce484222325 and prime 0x100000001b3. The low half of a
/// product depends on the low halves of its factors only (the prime's high bit is bit 40), so 32
/// bits are enough for a result of 32 bits. twemproxy computes fnv1_64 in 64 bits and fnv1a_64 in
/// 32, which comes to the same but for the sign extension, and that agrees in the low half.
const FNV_64_OFFSET: u32 = 0x8422_2325;
const FNV_64_PRIME: u32 = 0x1b3;

/// A byte as C's `char` widened to 32 bits, signed or unsigned.
pub(super) fn widen<const SIGNED: bool>(byte: u8) -> u32 {
    if SIGNED { i32::from(byte.cast_signed()).cast_unsigned() } else { u32::from(byte) }
}

/// FNV-1, 64 bits, cut to the low 32.
pub(super) fn fnv1_64<const SIGNED: bool>(key: &[u8]) -> u32 {
    key.iter()
        .fold(FNV_64_OFFSET, |hash, &byte| hash.wrapping_mul(FNV_64_PRIME) ^ widen::<SIGNED>(byte))
}

/// FNV-1a with the 64-bit constants in 32 bits.
pub(super) fn fnv1a_64<const SIGNED: bool>(key: &[u8]) -> u32 {
    key.iter().fold(FNV_64_OFFSET, |hash, &byte| {
        (hash ^ widen::<SIGNED>(byte)).wrapping_mul(FNV_64_PRIME)
    })
}

/// FNV-1, 32 bits.
pub(super) fn fnv1_32<const SIGNED: bool>(key: &[u8]) -> u32 {
    key.iter()
        .fold(FNV_32_OFFSET, |hash, &byte| hash.wrapping_mul(FNV_32_PRIME) ^ widen::<SIGNED>(byte))
}

/// FNV-1a, 32 bits.
pub(super) fn fnv1a_32<const SIGNED: bool>(key: &[u8]) -> u32 {
    fnv1a_32_on::<SIGNED>(FNV_32_OFFSET, key)
}

/// FNV-1a, 32 bits, bytes unsigned, carried on from `state`: one link of Wayfair's chain of points.
pub(crate) fn fnv1a_32_from(state: u32, bytes: &[u8]) -> u32 {
    fnv1a_32_on::<false>(state, bytes)
}

fn fnv1a_32_on<const SIGNED: bool>(state: u32, bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(state, |hash, &byte| (hash ^ widen::<SIGNED>(byte)).wrapping_mul(FNV_32_PRIME))
}

/// Bob Jenkins's one-at-a-time, started with 0.
pub(super) fn one_at_a_time<const SIGNED: bool>(key: &[u8]) -> u32 {
    let mut hash = key.iter().fold(0_u32, |hash, &byte| {
        let hash = hash.wrapping_add(widen::<SIGNED>(byte));
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

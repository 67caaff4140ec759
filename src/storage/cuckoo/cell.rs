//! How an item lies in its cell, to the byte.
//!
//! ```text
//!  expiry 8 │ cas 8 │ flags 4 │ accessed and marks 4 │ klen 2 │ vlen 2 │ key │ value │ unused
//! ```
//! All numbers are whole, and are changed where they are. Seconds of access have 29 bits, which
//! are 17 years of one process.

use crate::config::CELL_HEADER;
use crate::storage::engine::Amend;
use crate::storage::item::{Item, Marks, NewItem, Value};
use crate::storage::time::Time;

const EXPIRY_AT: usize = 0;
const CAS_AT: usize = 8;
const FLAGS_AT: usize = 16;
const ACCESSED_AT: usize = 20;
const KEY_LEN_AT: usize = 24;
const VALUE_LEN_AT: usize = 26;
const KEY_AT: usize = CELL_HEADER;

const _: () = assert!(KEY_AT == VALUE_LEN_AT + 2, "the header has no gap");

/// In place of an expiry: none.
const NEVER: u64 = u64::MAX;

/// Bits of `accessed` that are marks.
const FETCHED: u32 = 1;
const STALE: u32 = 1 << 1;
const WON: u32 = 1 << 2;
const MARKS: u32 = FETCHED | STALE | WON;
const MARK_BITS: u32 = 3;

/// Bytes of the longest key and value together: the cell's, and what two bytes tell.
pub(in crate::storage) fn room(cell_len: usize) -> usize {
    cell_len.saturating_sub(KEY_AT).min(usize::from(u16::MAX))
}

/// Writes an item that fits.
pub(super) fn write(cell: &mut [u8], key: &[u8], item: &NewItem<'_>, cas: u64, now: Time) {
    put(cell, EXPIRY_AT, &item.expiry.map_or(NEVER, Time::millis).to_le_bytes());
    put(cell, CAS_AT, &cas.to_le_bytes());
    put(cell, FLAGS_AT, &item.flags.to_le_bytes());
    put(cell, ACCESSED_AT, &access(item.marks, now).to_le_bytes());
    put(cell, KEY_LEN_AT, &(key.len() as u16).to_le_bytes());
    put(cell, VALUE_LEN_AT, &(item.len() as u16).to_le_bytes());
    let mut at = KEY_AT;
    for part in [key].iter().chain(item.value) {
        put(cell, at, part);
        at += part.len();
    }
}

/// The item in a cell.
pub(super) fn item(cell: &[u8]) -> Item<'_> {
    let value_at = KEY_AT + key_len(cell);
    let access = u32_at(cell, ACCESSED_AT);
    Item {
        value: Value::Whole(&cell[value_at..value_at + value_len(cell)]),
        flags: u32_at(cell, FLAGS_AT),
        cas: u64_at(cell, CAS_AT),
        expiry: Some(expiry_millis(cell)).filter(|at| *at != NEVER).map(Time::from_millis),
        marks: Marks {
            fetched: access & FETCHED != 0,
            stale: access & STALE != 0,
            won: access & WON != 0,
        },
        accessed: Time::from_millis(u64::from(access >> MARK_BITS) * 1000),
    }
}

/// Its key.
pub(super) fn key(cell: &[u8]) -> &[u8] {
    &cell[KEY_AT..KEY_AT + key_len(cell)]
}

/// Bytes of its key and value.
pub(super) fn payload(cell: &[u8]) -> usize {
    key_len(cell) + value_len(cell)
}

/// The millisecond at which it dies; the last there is for one that never does.
pub(super) fn expiry_millis(cell: &[u8]) -> u64 {
    u64_at(cell, EXPIRY_AT)
}

/// True if its time has come.
pub(super) fn is_dead(cell: &[u8], now: Time) -> bool {
    let at = expiry_millis(cell);
    at != NEVER && at <= now.millis()
}

/// Notes that it was read.
pub(super) fn touch(cell: &mut [u8], now: Time) {
    let marks = u32_at(cell, ACCESSED_AT) & MARKS | FETCHED;
    put(cell, ACCESSED_AT, &(seconds(now) | marks).to_le_bytes());
}

/// Changes it; returns its version after that, a new one being `fresh`.
pub(super) fn amend(cell: &mut [u8], change: Amend, fresh: Option<u64>) -> u64 {
    if let Some(expiry) = change.expiry {
        put(cell, EXPIRY_AT, &expiry.map_or(NEVER, Time::millis).to_le_bytes());
    }
    if let Some(marks) = change.marks {
        let accessed = u32_at(cell, ACCESSED_AT) & !MARKS;
        put(cell, ACCESSED_AT, &(accessed | bits(marks)).to_le_bytes());
    }
    if let Some(cas) = change.cas.or(fresh) {
        put(cell, CAS_AT, &cas.to_le_bytes());
    }
    u64_at(cell, CAS_AT)
}

fn access(marks: Marks, now: Time) -> u32 {
    seconds(now) | bits(marks)
}

/// The second of an access, where it stands.
fn seconds(now: Time) -> u32 {
    ((now.millis() / 1000) as u32) << MARK_BITS
}

fn bits(marks: Marks) -> u32 {
    let bit = |bit, set| if set { bit } else { 0 };
    bit(FETCHED, marks.fetched) | bit(STALE, marks.stale) | bit(WON, marks.won)
}

fn key_len(cell: &[u8]) -> usize {
    usize::from(u16_at(cell, KEY_LEN_AT))
}

fn value_len(cell: &[u8]) -> usize {
    usize::from(u16_at(cell, VALUE_LEN_AT))
}

fn put(cell: &mut [u8], at: usize, part: &[u8]) {
    cell[at..at + part.len()].copy_from_slice(part);
}

fn u16_at(cell: &[u8], at: usize) -> u16 {
    cell[at..].first_chunk().map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(cell: &[u8], at: usize) -> u32 {
    cell[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(cell: &[u8], at: usize) -> u64 {
    cell[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

//! What an entry says of itself, in front of the value, as it stands in the storage.

use super::Token;
use super::leases::Lease;
use crate::storage::{Item, Time, Value};

/// Bytes in front of the value.
const HEADER: usize = 33;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string's bytes.
    Plain,
    /// A hash: its fields and values as the elements of a RESP array, without its header.
    Hash,
    /// Some fields of a hash: what HMGET answers.
    Fields,
    /// That there is nothing.
    Absent,
}

/// Where and when an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When the request that filled it was sent.
    pub sent: Time,
    /// The connection it came over.
    pub lease: Lease,
}

/// An entry as it is found.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What is kept.
    pub kind: Kind,
    /// The value.
    pub value: &'a [u8],
    /// The client's 32 bits (memcached).
    pub flags: u32,
    /// The server's version of the value (memcached); of fields, what had happened to their key.
    pub cas: u64,
    /// Where and when it came from.
    pub origin: Origin,
    /// What is in force of it otherwise.
    pub(super) flushes: u64,
    /// How many connections there had been when its fill was sent.
    pub(super) opened: u64,
}

pub(super) fn header(kind: Kind, token: &Token) -> [u8; HEADER] {
    let Token { origin, flushes, opened, .. } = token;
    let mut header = [0; HEADER];
    header[0] = match kind {
        Kind::Plain => 0,
        Kind::Hash => 1,
        Kind::Fields => 2,
        Kind::Absent => 3,
    };
    header[1..9].copy_from_slice(&origin.sent.millis().to_le_bytes());
    header[9..13].copy_from_slice(&origin.lease.place.to_le_bytes());
    header[13..17].copy_from_slice(&origin.lease.life.to_le_bytes());
    header[17..25].copy_from_slice(&flushes.to_le_bytes());
    header[25..33].copy_from_slice(&opened.to_le_bytes());
    header
}

impl<'a> Entry<'a> {
    /// The entry that an item is; `None` for one that is none.
    pub(super) fn of(item: &Item<'a>) -> Option<Self> {
        let Value::Whole(bytes) = item.value else { return None };
        let (header, value) = bytes.split_first_chunk::<HEADER>()?;
        let kind = match header[0] {
            0 => Kind::Plain,
            1 => Kind::Hash,
            2 => Kind::Fields,
            _ => Kind::Absent,
        };
        let long = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let short = |at: usize| header[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        Some(Self {
            kind,
            value,
            flags: item.flags,
            cas: item.cas,
            origin: Origin {
                sent: Time::from_millis(long(1)?),
                lease: Lease { place: short(9)?, life: short(13)? },
            },
            flushes: long(17)?,
            opened: long(25)?,
        })
    }
}

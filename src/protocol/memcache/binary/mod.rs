//! memcached's binary protocol, for a cache of our own: packets with a header of fixed size
//! (memcached's doc/protocol-binary.txt).
//!
//! ```text
//!  header (24) │ extras │ key │ value ─▶ parse ─▶ Parsed: its row; spans of opcode, key and value
//!                                        Packet::of ─▶ what is asked ─▶ Echo::reply │ Failure
//! ```
//! * `commands`: the table, one row an opcode.
//! * `parse`: a client's bytes to a [`Parsed`](crate::protocol::Parsed).
//!
//! What is answered is `protocol::packet`.

mod commands;
mod parse;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::protocol::packet::HEADER;
use crate::protocol::{Echo, Outline, Request};

pub use commands::Verb;
use commands::row_of;
pub(super) use parse::{begins, parse};

/// Where the length of the body stands in a header.
const BODY_AT: Range<usize> = 8..12;

/// What is asked, in the terms of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What is to be done.
    pub verb: Verb,
    /// What goes without saying need not be said: that a key was not found, that a write was done.
    pub quiet: bool,
    /// The reply is to repeat the key.
    pub keyed: bool,
    /// What the reply repeats.
    pub echo: Echo,
    /// The version that must be there; 0 stands for any.
    pub cas: u64,
    /// What stands before the key: numbers, of the length that the verb has.
    pub extras: &'a [u8],
    /// The key, of any bytes; empty if the verb has none.
    pub key: &'a [u8],
    /// The value; empty if the verb has none.
    pub value: &'a [u8],
}

impl<'a> Packet<'a> {
    /// What `request` asks, which [`parse`] has found; `None` for one of another protocol.
    pub fn of(request: &Request<'a>) -> Option<Self> {
        let header = Header::of(request.bytes)?;
        let row = row_of(header.opcode)?;
        Some(Self {
            verb: row.verb,
            quiet: row.quiet,
            keyed: row.keyed,
            echo: header.echo(),
            cas: header.cas,
            extras: request.bytes.get(HEADER..HEADER + header.extras).unwrap_or_default(),
            key: request.arg(1),
            value: request.arg(2),
        })
    }

    /// Four bytes of the extras, as a number; 0 if they are not there.
    pub fn u32_at(&self, at: usize) -> u32 {
        self.extras
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |four| u32::from_be_bytes(*four))
    }

    /// Eight bytes of the extras, as a number; 0 if they are not there.
    pub fn u64_at(&self, at: usize) -> u64 {
        self.extras
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |eight| u64::from_be_bytes(*eight))
    }
}

/// True for opcodes that store a value whatever is there.
pub fn sets(opcode: u8) -> bool {
    row_of(opcode).is_some_and(|row| row.verb == Verb::Set)
}

/// The request without its value, if that is all that its command stores.
pub(super) fn outline(request: &Request<'_>) -> Option<Outline> {
    let packet = Packet::of(request)?;
    if !matches!(packet.verb, Verb::Set | Verb::Add | Verb::Replace) {
        return None;
    }
    let value_at = request.head.line as usize;
    let mut text = request.bytes.get(..value_at)?.to_vec();
    text.get_mut(BODY_AT)?.copy_from_slice(&((value_at - HEADER) as u32).to_be_bytes());
    Some(Outline { text, len: request.head.len - value_at as u64, value_at })
}

/// What a request's header says.
#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: u8,
    /// Bytes of the extras.
    extras: usize,
    /// Bytes of the key.
    key: usize,
    /// Bytes behind the header: extras, key and value.
    body: u32,
    opaque: [u8; 4],
    cas: u64,
}

impl Header {
    /// `None` if it has not come in whole.
    fn of(bytes: &[u8]) -> Option<Self> {
        let [_, opcode, k0, k1, extras, _, _, _, rest @ ..] = bytes.first_chunk::<HEADER>()?;
        let [b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = rest;
        Some(Self {
            opcode: *opcode,
            extras: usize::from(*extras),
            key: usize::from(u16::from_be_bytes([*k0, *k1])),
            body: u32::from_be_bytes([*b0, *b1, *b2, *b3]),
            opaque: [*o0, *o1, *o2, *o3],
            cas: u64::from_be_bytes(*cas),
        })
    }

    fn echo(&self) -> Echo {
        Echo { opcode: self.opcode, opaque: self.opaque }
    }
}

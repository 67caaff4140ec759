//! What a fill is told by: the right to it, what it has brought, and what became of it.

use super::entry::{Kind, Origin};

/// The right to store what a request that is sent now will bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub(super) slot: u32,
    pub(super) count: u64,
    pub(super) flushes: u64,
    /// How many connections there have been.
    pub(super) opened: u64,
    /// When that request is sent, and over which connection.
    pub origin: Origin,
}

/// What a fill has brought.
#[derive(Clone, Copy, Debug)]
pub struct Fill<'a> {
    /// What it is.
    pub kind: Kind,
    /// The value, one piece after the other.
    pub value: &'a [&'a [u8]],
    /// The client's 32 bits.
    pub flags: u32,
    /// The server's version.
    pub cas: u64,
    /// Milliseconds that the server gives it, from the moment of sending; `None` for ever.
    pub left: Option<u64>,
    /// The server tells of changes.
    pub tracked: bool,
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is served from now on.
    Stored,
    /// The key was written, or its connection lost, meanwhile.
    Raced,
    /// It is larger than what is kept.
    TooBig,
    /// Its time is over.
    Expired,
    /// There is no room.
    Full,
}

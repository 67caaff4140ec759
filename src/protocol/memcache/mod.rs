//! memcached's ASCII protocol: requests as clients write them, replies as servers do; and the binary
//! one, for caches of our own.
//!
//! * `binary`: packets.
//! * `commands`: the table, one row a command.
//! * `encoded`: keys of any bytes, base64.
//! * `line`: where a line ends, and its words.
//! * `meta`: meta commands in front of a server.
//! * `request`: bytes of a client to a [`Parsed`](crate::protocol::Parsed).
//! * `response`: bytes of a server to where a reply ends and what it says.

pub mod binary;
mod commands;
mod encoded;
mod line;
mod meta;
mod outline;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use commands::expect_of;
pub use encoded::{decode_base64, write_base64};
pub use meta::{
    KEY_BYTES, MetaReply, NOOP, NOOP_REPLY, access_of, binary_key, is_plain_key, is_quiet,
    knows_meta, may_write, meta_reply, only_reads,
};
pub use outline::outline;
pub use request::parse;
pub use response::{Scanner, block, is_block, write_refusal};

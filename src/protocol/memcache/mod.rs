//! memcached's ASCII protocol: requests as clients write them, replies as servers do.
//!
//! * `commands`: the table, one row a command.
//! * `line`: where a line ends, and its words.
//! * `request`: bytes of a client to a [`Parsed`](crate::protocol::Parsed).
//! * `response`: bytes of a server to where a reply ends and what it says.

mod commands;
mod line;
mod outline;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use commands::expect_of;
pub use outline::outline;
pub use request::parse;
pub use response::{Scanner, block, is_block, write_refusal};

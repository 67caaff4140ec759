//! Redis's RESP2 and inline commands: requests as clients write them, replies as servers do.
//!
//! * `commands`: the table, one row a command.
//! * `request`: bytes of a client to a [`Parsed`](crate::protocol::Parsed).
//! * `array`, `inline`: the two forms of a request.
//! * `rest`: where a large request ends whose start was enough to send it on its way.
//! * `response`: bytes of a server to where a reply ends and what it says.

mod array;
mod commands;
mod inline;
mod request;
mod response;
mod rest;
#[cfg(test)]
mod tests;

pub use commands::commands;
pub use request::{parse, write_bulk, write_command, write_header};
pub use response::{Elements, Scanner, elements, integer, is_read_only, write_refusal};
pub use rest::Rest;

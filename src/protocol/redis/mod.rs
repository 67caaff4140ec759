//! Redis's RESP2, RESP3 and inline commands: requests as clients write them, replies as servers do.
//!
//! * `commands`: the table, one row a command.
//! * `request`: bytes of a client to a [`Parsed`](crate::protocol::Parsed).
//! * `array`, `inline`: the two forms of a request.
//! * `rest`: where a large request ends whose start was enough to send it on its way.
//! * `response`: bytes of a server to where a reply ends and what it says.
//! * `reply`: what we answer ourselves; `hello`: what begins a conversation.

mod array;
mod commands;
mod hello;
mod inline;
mod reply;
mod request;
mod response;
mod rest;
#[cfg(test)]
mod tests;

pub use commands::{cache_commands, commands, refused};
pub use hello::{BAD_NAME, Hello, STRANGER, greet, has_field_times, is_client_name};
pub use reply::{DEFAULT_USER, DIGITS, Reply, decimal, write_refusal};
pub use request::{parse, write_bulk, write_command, write_header};
pub use response::{Elements, Scanner, bulk_text, elements, integer, is_read_only, push_elements};
pub use rest::{Rest, outline};

/// The version of Redis whose commands the tables hold; clients read it to know what they may
/// send.
pub const VERSION: &str = "7.4.0";

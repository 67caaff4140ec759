//! Sockets: opening them, and the driver that moves bytes between them and the state machines.
//!
//! ```text
//!  listen ─▶ accepted sockets ───────────▶ Inbox ┐
//!  resolve ─▶ connect ─▶ server sockets ─▶ Inbox ┴▶ Driver ─▶ (owner, readable | writable)
//! ```
//! Nothing above this module calls the operating system for a socket, so that another driver, or
//! a simulated network, can take its place.

mod connect;
mod driver;
mod inbox;
mod listen;
mod resolve;
mod stdio;
mod stream;

#[cfg(test)]
mod tests;

pub use connect::{ConnectError, connect, dial, recheck};
pub use driver::{Driver, Read, Token, Written};
pub use inbox::{Inbox, Mail};
pub use listen::{Accepted, Acceptor, BindError, Listener};
pub use resolve::{Count, LookUp, Resolver, look_up, name_of};
pub use stdio::Stdio;
pub use stream::Stream;

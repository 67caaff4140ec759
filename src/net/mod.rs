//! Sockets: opening them, and the driver that moves bytes between them and the state machines.
//!
//! ```text
//!  listen ─▶ accepted sockets ──── (tls) ─▶ Inbox ┐
//!  resolve ─▶ connect ─▶ (tls) ─▶ sockets ─▶ Inbox ┴▶ Driver ─▶ (owner, readable | writable)
//! ```
//! Nothing above this module calls the operating system for a socket, so that another driver, or
//! a simulated network, can take its place.

mod blocking;
mod connect;
mod driver;
mod inbox;
mod listen;
mod resolve;
mod stdio;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

pub use blocking::Blocking;
pub use connect::{ConnectError, connect, dial, recheck};
pub use driver::{Driver, Read, Token, Written};
pub use inbox::{Inbox, Mail};
pub use listen::{Accepted, Acceptor, BindError, Listener, descriptor_limit, stand_back};
pub use resolve::{Count, LookUp, Resolver, look_up, name_of};
pub use stdio::Stdio;
pub use stream::Stream;
pub use tls::{Acceptor as TlsAcceptor, Connector as TlsConnector, HandshakeError, TlsError};

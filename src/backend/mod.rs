//! Server connections: what is in flight on them, what their replies mean, whether they live.
//!
//! ```text
//!  service ─▶ Connection::push ─▶ out ─▶ flush ─▶ socket ─▶ server
//!                 │ Inflight: who asked, in order                │
//!  service ◀─ Replies::reply ◀─ scan, pair with the oldest ◀─────┘
//! ```
//! A connection whose next reply cannot be paired with certainty is closed, never used again.
//! [`Inflight`] and [`Health`] hold no socket and take the time as an argument.

mod connection;
mod failure;
mod health;
mod inflight;
mod io;

#[cfg(test)]
mod tests;

pub use connection::{Connection, Flow, Greeting, Phase, Received, Replies};
pub use failure::{Failure, OUT_OF_SIGHT};
pub use health::{Backoff, Health, Verdict};
pub use inflight::{Ask, Cause, Entry, Inflight, Remains, Ticket, To};
pub use io::{Io, Letter, Owner, dial_server, recheck_server};

pub use crate::net::{
    ConnectError, HandshakeError, Inbox, Resolver, Stream, TlsConnector, name_of,
};

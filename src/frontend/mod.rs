//! Clients: accepted by one thread, served by the workers.
//!
//! ```text
//!  accept ─▶ Inbox ─▶ worker ─▶ session: parse ─▶ service
//!                        ▲                          │ replies, in any order
//!                        └── one write ◀─ pipeline ◀┘ in the order of the requests
//! ```
//! * `accept`, `listening`: the listener thread; takes clients in batches. `dealer`: deals them out.
//! * `change`: another configuration, and what becomes of clients of pools that it removes.
//! * `worker`: the loop of one worker thread: its stages in a row.
//! * `handshakes`: TLS, on the listener thread.
//! * `serve`, `request`, `upload`: from bytes of a client to requests, and what is done with them;
//!   `dedicated`, `subscriber`: those that are part of something longer.
//! * `sessions`: the clients of a worker, and the order of their replies.

mod accept;
mod change;
mod dealer;
mod dedicated;
mod deposit;
mod handshakes;
mod listening;
mod moving;
mod request;
mod rings;
mod serve;
mod sessions;
mod subscriber;
mod upload;
mod worker;

pub use accept::Terms;
pub use dealer::Dealer;
pub use handshakes::Handshakes;
pub use listening::{Listening, Opening};
pub use worker::{Reach, Worker};

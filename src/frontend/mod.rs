//! Clients: accepted by one thread, served by the workers.
//!
//! ```text
//!  accept ─▶ Inbox ─▶ worker ─▶ session: parse ─▶ service
//!                        ▲                          │ replies, in any order
//!                        └── one write ◀─ pipeline ◀┘ in the order of the requests
//! ```
//! * `accept`: the listener thread; takes clients in batches and deals them out.
//! * `worker`: the loop of one worker thread: its stages in a row.
//! * `serve`: from bytes of a client to requests.
//! * `sessions`, `session`: the clients of a worker.
//! * `pipeline`: the order of replies; no I/O.

mod accept;
mod pipeline;
mod serve;
mod session;
mod sessions;
mod worker;

pub use accept::{Dealer, listen};
pub use worker::Worker;

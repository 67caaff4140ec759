//! One pipelined connection to one server.
//!
//! ```text
//!  Closed ─ dialling ─▶ Connecting ─ opened ─▶ Greeting ─ answered ─▶ Ready ─ failure ─▶ Closed
//!     push() queues in every phase; bytes of requests leave only in Ready
//! ```
//! * `life`: the connection from dialling to closing, and what is queued on it.
//! * `receive`: what the server sends, paired with what it was asked.
//! * `greeting`: the first questions on a new connection, and which answers will do.
//! * `outgoing`: what waits to be written.

mod greeting;
mod life;
mod outgoing;
mod receive;

pub use greeting::Greeting;
pub use life::{Connection, Phase};
pub use receive::{Flow, Received, Replies};

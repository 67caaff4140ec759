//! Bytes to messages and back: pure, no I/O, no clock, no allocation sized by the wire.
//!
//! ```text
//!  request bytes ─▶ parse ─▶ Parsed: a Head (command, spans of its arguments) or why there is none
//!  reply bytes ─▶ Scanner ─▶ Scan: how many bytes belong to the reply, whether it has ended, how
//! ```
//! Both protocols fill the same [`Head`] and [`Scan`], so that what routes requests and pairs
//! replies with them is written once. "Need more bytes" is a value, never an error.

mod body;
mod digits;
mod hostile;
mod keys;
pub mod memcache;
mod message;
mod names;
mod op;
mod output;
mod packet;
pub mod ping;
pub mod redis;
#[cfg(test)]
mod support;

pub use digits::integer;
pub use keys::{Keys, Positions};
pub use message::{
    Access, Command, Dedicated, Expect, Head, Inline, Local, Malformed, Outcome, Outline, Parsed,
    Plan, PubSub, Refusal, Request, Rules, Scan, Span, Sub,
};
pub use op::Op;
#[cfg(test)]
pub(crate) use output::COMPACT_FROM;
pub use output::Output;
pub use packet::{Echo, Failure, Status};

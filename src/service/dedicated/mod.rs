//! Sessions that need a server connection of their own: transactions, and commands that block.
//!
//! ```text
//!  session ─▶ Conversation ─▶ takes? ─ no ─▶ the common way
//!                 │ yes                                      ┌─ spare: for the next session
//!                 ▼                                          │
//!            conversation ─▶ lend ─▶ a connection ─▶ over, all answered
//!                                        └─ the session goes, or it breaks ─▶ closed
//! ```
//! What is said on such a connection is in the order of the session's requests, since the session
//! waits for all replies before it begins and again when it ends. A connection is used by the next
//! session only if the server is known to have forgotten this one.

mod blocking;
mod conversation;
mod lending;
mod transaction;

pub use conversation::Conversation;
pub(super) use lending::Extra;

//! Plain values of a topology: servers as operators write them, documents, and what tells two
//! lists of servers apart.
//!
//! ```text
//!  entry "host:port:weight name" ─▶ Server ┐
//!  a source's document ─▶ Node ────────────┴▶ Document ─▶ Diff (what a change does)
//!                                                └──────▶ digest (do two proxies agree?)
//! ```
//! The node name is a server's identity: its address may change under it, and no key moves.

mod diff;
mod digest;
mod document;
mod given_up;
mod pin;
mod server;

pub use diff::Diff;
pub use digest::{Placement, digest, sha256};
pub use document::{Document, Node, Phase, VersionError, nodes_in_ring_order};
pub use given_up::{DeadOld, GivenUp, tell as tell_given_up};
pub use pin::{PinError, key_of_text, text_of_key};
pub use server::{Address, EntryError, Server, State, ring_order};

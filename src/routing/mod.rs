//! Key to server: hash tag, hash, ring. Immutable once built.
//!
//! ```text
//!  key ─▶ key: the part that counts ─▶ hash: u32 ─▶ ring │ slots │ random ─▶ server index
//!                                                    ▲
//!                          live servers ─▶ points ───┘  (when a router is built)
//! ```
//! Placement is twemproxy's and Wayfair's, byte for byte, and is never changed: a key that moves is
//! a lost cache. The expected answers stand in `tests/vectors`. A change of liveness makes a new
//! [`Router`] beside the old one; server indices stay those of the pool's whole list. While a pool
//! grows or shrinks it has two of them, a [`DualRing`].

mod board;
mod dual_ring;
mod hash;
mod key;
mod moves;
mod permit;
mod points;
mod ring;
mod router;
mod slots;
#[cfg(test)]
mod tests;

pub use board::Board;
pub use dual_ring::{DualRing, Place};
pub use moves::{Moves, ServerMoves};
pub use permit::{Pass, Permit};
pub use router::{Located, Router};

pub use crate::topology::Phase;

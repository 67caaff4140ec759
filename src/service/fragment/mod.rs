//! Requests that are split over servers, and how the parts of their replies become one.
//!
//! ```text
//!  keys ─▶ server of each ─▶ parts (at most one a server) ─▶ wire of each part
//!  replies of parts, in any order ─▶ take_in ─▶ all here? ─▶ merge in the order of the keys
//! ```
//! No I/O and no clock.

mod everywhere;
mod gather;
mod gathers;
mod merge;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use everywhere::ScanAt;
pub(super) use gather::Gather;
pub(super) use gathers::{Gathers, New};
pub(super) use merge::{Manner, Merge};
pub(super) use wire::{end_line, write_redis_parts};

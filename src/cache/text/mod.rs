//! What commands do to bytes: pure, without items, clients or clocks.
//!
//! * `glob`: Redis's patterns.
//! * `decimal`: numbers with a fraction.
//! * `lcs`: the longest common subsequence.

mod decimal;
mod glob;
mod lcs;

pub(super) use decimal::{Unfit, sum};
pub(super) use glob::matches;
pub(super) use lcs::{Lcs, Match};

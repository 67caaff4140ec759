//! Two rings: what becomes of operations on keys that move while a pool grows or shrinks.
//!
//! * `operation`: what a request wants of one key.
//! * `table`: the steps of each operation in each phase.
//! * `machine`, `step`: one operation under way, and what it asks for.
//! * `wire`, `answer`: what servers and clients are told.
//! * `slots`, `drive`: machines on the connections of a worker.
//! * `told`: the table for people.
//! * `passage`: new rings, and whether what began under the last ones has ended.
//!
//! The contract: a get may miss at any time; it never returns a value that was dead before the get
//! began. An increment, append or add that was acknowledged is neither applied twice nor lost in
//! silence.

mod answer;
mod drive;
mod machine;
mod operation;
mod passage;
mod slots;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod told;
mod wire;

pub(super) use passage::Passage;
pub use passage::rings;
pub(super) use slots::Slots;
pub(super) use step::Side;
pub use told::{Told, told};

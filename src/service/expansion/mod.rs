//! Two rings: what becomes of operations on keys that move while a pool grows or shrinks.
//!
//! * `operation`: what a request wants of one key.
//! * `table`: the steps of each operation in each phase.
//! * `machine`: one operation under way.
//! * `wire`, `answer`: what servers and clients are told.
//!
//! The contract: a get may miss at any time; it never returns a value that was dead before the get
//! began. An increment, append or add that was acknowledged is neither applied twice nor lost in
//! silence.

mod answer;
mod machine;
mod operation;
mod table;
#[cfg(test)]
mod tests;
mod wire;

//! Key to server: hash tag, hash, ring. Immutable once built.
//!
//! ```text
//!  key ─▶ tag: the part that counts ─▶ hash: u32 ─▶ ring | modula | random ─▶ server index
//! ```

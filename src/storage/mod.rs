//! Stored items: shards of single-writer engines behind short locks. Knows no protocol.
//!
//! ```text
//!  key ─▶ Store::key (keyed hash) ─▶ lock: one shard, or several in order ─▶ Locked
//!                                                                             │ read put amend remove
//!                              Shard: an Engine, one thread at a time ◀───────┘
//!  admin ─▶ Store::sweep, Store::clear_at, Store::usage
//! ```
//! Whatever a command does between taking and giving back the lock is atomic. No time is read
//! here: every call says what time it is, on a clock that never goes back ([`Time`]).
//!
//! * `item`: what is stored and what is seen of it.
//! * `engine`: the narrow face that every storage engine has.
//! * `store`: shards, locks, and what concerns all shards.
//! * `plain`: the simplest engine, a map, which others are held against.

mod engine;
mod item;
mod plain;
mod store;
mod time;

pub use engine::{Amend, Engine, PutError, Usage};
pub use item::{Item, Key, Marks, NewItem, Value};
pub use store::{Locked, Settings, Store};
pub use time::Time;

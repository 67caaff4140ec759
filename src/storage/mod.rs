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
//! * `store`: shards, locks, and what concerns all shards.
//! * `locked`, `draft`: what a command does with the shards of its keys, and with a value that is
//!   on its way in.
//! * `item`: what is stored and what is seen of it.
//! * `engine`: the narrow face that a storage engine has; `counters`: what each of them counts.
//! * `segcache`: an engine, on `segments` that hold the items and an `index` that finds them.
//! * `cuckoo`: another one, for small items: cells of one size, each item in one of a few.
//! * `watch`: who is told when an item changes.
//! * `budget`: the memory that all shards share, in `pages` from the system.

mod budget;
mod counters;
mod cuckoo;
mod draft;
mod engine;
mod index;
mod item;
mod locked;
mod pages;
mod segcache;
mod segments;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod watch;

pub use crate::config::{Eviction, Storage};
pub use draft::{Draft, Loan};
pub use engine::{Amend, Engine, PutError, Usage};
pub use item::{Item, Key, Marks, NewItem, Value};
pub use locked::Locked;
pub use store::{Settings, Store};
pub use time::Time;
pub use watch::{Change, Wake, Watch, Watched};

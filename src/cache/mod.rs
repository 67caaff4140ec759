//! Commands on stored items: the cache that a pool without servers is.
//!
//! ```text
//!  request ─▶ execute (memcache, redis) ─▶ keys' shards locked ─▶ items ─▶ reply
//! ```
//! Everything happens in place on the worker's thread, in one critical section a command. The
//! time of a command is the turn's ([`Now`]).
//!
//! * `memcache`: memcached's text and meta commands.
//! * `redis`: Redis's clients: sessions, transactions, what concerns the server.
//! * `strings`: Redis's commands on items.
//! * `near`: the cache in front of servers, and what it promises.
//! * `text`: what these do to bytes, pure.

mod clock;
mod incoming;
pub mod memcache;
pub mod near;
pub mod redis;
mod strings;
mod text;

use std::sync::Arc;

use crate::metrics::{PoolMetrics, Registry};
use crate::storage::{Store, Time};

pub use crate::storage::{Draft, Loan, PutError, Wake};
pub use clock::{Clock, wall_millis};
pub use incoming::Incoming;

/// What time it is, on both clocks, read once a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The storage clock, on which everything expires.
    pub time: Time,
    /// The wall clock in milliseconds since 1970: only for turning absolute times of clients into
    /// moments of the storage clock and back.
    pub wall_millis: u64,
}

/// One cache: what all workers that serve its pool share.
#[derive(Debug)]
pub struct Cache {
    /// The items; pools may share them.
    pub store: Arc<Store>,
    /// All counters of the process.
    pub registry: Arc<Registry>,
    /// The pool's number in the registry.
    pub pool: usize,
    /// Bytes of the largest value.
    pub value_max: usize,
    /// Bytes of the largest reply to one request, but for a single value, which may be as large as
    /// a value may be.
    pub reply_max: usize,
}

/// Where and when a command is executed.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The cache.
    pub cache: &'a Cache,
    /// The worker's own counters of the pool.
    pub counters: &'a PoolMetrics,
    /// The time of the turn.
    pub now: Now,
    /// The value to be stored, where that has come in before its request was whole.
    pub incoming: Option<&'a Incoming>,
}

/// What becomes of the client after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Stay,
    /// It is closed once it has got all replies.
    Close,
}

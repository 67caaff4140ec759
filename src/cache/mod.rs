//! Commands on stored items: the cache that a pool without servers is.
//!
//! ```text
//!  request ─▶ execute (memcache, redis) ─▶ keys' shards locked ─▶ items ─▶ reply
//! ```
//! Everything happens in place on the worker's thread, in one critical section a command. The
//! time of a command is the turn's ([`Now`]).
//!
//! * `redis`: Redis's clients: sessions, transactions, what concerns the server.
//! * `strings`: Redis's commands on items.
//! * `text`: what these do to bytes, pure.

pub mod redis;
mod strings;
mod text;

use std::sync::Arc;

use crate::metrics::{PoolMetrics, Registry};
use crate::storage::{Store, Time};

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
    /// The items.
    pub store: Store,
    /// Everything that is counted, for statistics.
    pub registry: Arc<Registry>,
    /// The number of the pool.
    pub pool: usize,
    /// Bytes of the largest value.
    pub value_max: usize,
}

/// What a command is executed with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The cache of the client's pool.
    pub cache: &'a Cache,
    /// What this worker counts of the pool.
    pub counters: &'a PoolMetrics,
    /// What time it is.
    pub now: Now,
}

/// What becomes of the client after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Stay,
    /// It is closed once it has got all replies.
    Close,
}

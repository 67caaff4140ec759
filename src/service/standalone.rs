//! Pools without servers: requests are executed in place, on items of our own.
//!
//! ```text
//!  session ─▶ Standalone::execute ─▶ cache (memcache, redis) ─▶ the session's output
//! ```
//! Nothing is in flight, so a reply goes straight behind those before it.

use std::sync::Arc;
use std::time::Instant;

use crate::cache::{self, Cache, Clock, Context, Now};
use crate::config::Protocol;
use crate::metrics::PoolMetrics;
use crate::protocol::Request;
use crate::service::local::After;

/// What a cache knows of a client between two of its requests; nothing for memcache.
#[derive(Debug, Default)]
pub struct State(Option<Box<cache::redis::Session>>);

/// The caches of all pools that are one, as a worker sees them.
pub struct Standalone {
    pools: Vec<Option<Place>>,
    clock: Clock,
    now: Now,
}

struct Place {
    cache: Arc<Cache>,
    protocol: Protocol,
}

impl Standalone {
    /// The caches in the order of the pools, each with what it speaks; `None` for a pool that has
    /// servers.
    pub fn new(caches: &[Option<(Arc<Cache>, Protocol)>], clock: Clock) -> Self {
        let place = |(cache, protocol): &(Arc<Cache>, Protocol)| Place {
            cache: Arc::clone(cache),
            protocol: *protocol,
        };
        let pools = caches.iter().map(|cache| cache.as_ref().map(place)).collect();
        Self { pools, clock, now: clock.at(Instant::now()) }
    }

    /// True if requests of this pool are executed here.
    pub fn serves(&self, pool: u16) -> bool {
        self.pools.get(pool as usize).is_some_and(Option::is_some)
    }

    /// A turn begins at `now`: all that it executes happens then.
    pub fn begin_turn(&mut self, now: Instant) {
        if self.pools.iter().any(Option::is_some) {
            self.now = self.clock.at(now);
        }
    }

    /// Executes a request and appends its reply to `out`.
    pub fn execute(
        &self,
        pool: u16,
        request: Request<'_>,
        counters: &PoolMetrics,
        (state, out): (&mut State, &mut Vec<u8>),
    ) -> After {
        let Some(Some(place)) = self.pools.get(pool as usize) else { return After::Close };
        let context = Context { cache: &place.cache, counters, now: self.now };
        let after = match place.protocol {
            Protocol::Memcache => cache::memcache::execute(&context, request, out),
            Protocol::Redis => {
                let session = state.0.get_or_insert_default();
                cache::redis::execute(&context, session, request, out)
            }
            Protocol::Ping => {
                out.extend_from_slice(b"PONG\r\n");
                cache::After::Stay
            }
        };
        match after {
            cache::After::Stay => After::Stay,
            cache::After::Close => After::Close,
        }
    }
}

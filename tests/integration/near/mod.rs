//! The near cache in front of real servers: its promises under faults, its clients, its modes.

mod clients;
mod flights;
mod history;
mod modes;
mod own;
mod replies;
mod talk;
mod timeline;
mod verify;
mod walk;
mod writer;

use crate::support::{Memcached, PoolSpec, Proxy, Redis};

/// A pool in front of a server, with a near cache that lets everything in.
fn memcache_pool(server: &Memcached, near: &str) -> PoolSpec {
    with_near(PoolSpec::memcache(&[server.port()]), near)
}

fn redis_pool(server: &Redis, near: &str) -> PoolSpec {
    with_near(PoolSpec::redis(&[server.port()]), near)
}

fn with_near(pool: PoolSpec, near: &str) -> PoolSpec {
    let near = format!("{{ memory: 8MiB, admit: all, {near} }}");
    pool.set("timeout", 5000).set("near_cache", near)
}

/// Lookups that ended so.
fn lookups(proxy: &Proxy, result: &str) -> f64 {
    proxy.metrics().get("twinring_near_cache_requests_total", &[("result", result)])
}

/// Numbers by which a test goes another way each time, and the same way for the same seed
/// (xorshift64*, Vigna: "An experimental exploration of Marsaglia's xorshift generators").
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

//! How a run is set up: which servers, which rings, and what is drawn from its seed.

use std::sync::Arc;

use crate::config::{Config, Pool, parse};
use crate::routing::{DualRing, Phase};
use crate::service::expansion::rings;

/// Whose servers they are like, and by what the near cache knows how old a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// memcached; by its age.
    Memcached,
    /// Redis, which is asked to tell of changes.
    Tracked,
    /// Redis; by its age.
    Aged,
}

/// How old a value may be that is shown, and how long a proxy waits for an answer; milliseconds.
pub(super) const BOUND: u64 = 300;
pub(super) const TIMEOUT: u64 = 100;

/// Sessions of each worker.
pub(super) const SESSIONS: u32 = 3;

/// Keys of each kind: those that move, and those that stay.
pub(super) const KEYS: usize = 3;

impl Manner {
    pub(super) fn is_redis(self) -> bool {
        self != Self::Memcached
    }

    pub(super) fn config(self) -> Config {
        let (protocol, near) = match self {
            Self::Memcached => ("memcache", "max_age: 300ms"),
            Self::Tracked => ("redis", "mode: tracked, lease: 300ms"),
            Self::Aged => ("redis", "mode: ttl, max_age: 300ms"),
        };
        let expansion = match self {
            Self::Memcached => "stub_ttl: 1s, cas_quarantine: 0s, fence: 80ms",
            _ => "fence: 80ms, migrate_timeout: 50ms",
        };
        let text = format!(
            "pools:\n  a:\n    listen: 127.0.0.1:0\n    protocol: {protocol}\n    timeout: {TIMEOUT}\n    \
             near_cache: {{ memory: 1MiB, admit: all, {near} }}\n    \
             servers: [ '127.0.0.1:1:1 a' ]\n    \
             expansion: {{ {expansion}, servers: [ '127.0.0.1:1:1 a', '127.0.0.1:2:1 b' ] }}\n"
        );
        parse(&text, "a.yml", false).unwrap()
    }
}

/// The rings of a pool in a phase.
pub(super) fn rings_in(phase: Phase, pool: &Pool) -> Arc<DualRing> {
    Arc::new(rings(pool, pool.two_rings().unwrap()).at_phase(phase))
}

/// Keys that move, and then as many that stay.
pub(super) fn keys(rings: &DualRing) -> Vec<String> {
    let of = |moves: bool| {
        let all = (0..).map(|number| format!("key:{number}"));
        let chosen = all.filter(move |key| rings.moved(key.as_bytes()).is_some() == moves);
        chosen.take(KEYS).collect::<Vec<_>>()
    };
    [of(true), of(false)].concat()
}

/// Numbers that look random and come again with the same seed: SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// One of these.
    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

//! Whether a near cache is of any use: while it is not, most reads pass it by.
//!
//! ```text
//!  watchful ── nothing found among so many keys ─▶ dozing: one read in eight is looked at
//!      ▲                                              │
//!      └────────────────── a hit ─────────────────────┘
//! ```
//! Where every key is asked for once, looking for it is a cost without a gain. A key that gets hot
//! meanwhile is still noticed, by every eighth of its reads. Passing by is always allowed: a read that
//! does is as one of a pool without a near cache.

use super::{Role, Wanted};
use crate::cache::near::Near;
use crate::config::Admission;
use crate::metrics::PoolMetric;
use crate::protocol::{Request, memcache};
use crate::service::proxy::Proxy;

/// Keys in a row that were not found, after which a worker dozes: so many that caches which find one in
/// a thousand never do.
const IN_VAIN: u64 = 16 * 1024;

/// Of so many reads one is looked at then.
const LOOKED_AT: u32 = 8;

/// What one worker remembers of one near cache.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// Hits so far, and how many keys had been missed when the last one of them was noticed.
    hits: u64,
    missed: u64,
    /// Reads since it dozes.
    reads: u32,
    dozes: bool,
}

impl Vigil {
    /// Whether the next read passes by, with so many `hits` and `misses` counted.
    #[inline]
    fn lets_pass(&mut self, hits: u64, misses: u64) -> bool {
        if hits != self.hits {
            *self = Self { hits, missed: misses, ..Self::default() };
        }
        self.dozes = misses.saturating_sub(self.missed) >= IN_VAIN;
        if !self.dozes {
            return false;
        }
        self.reads = self.reads.wrapping_add(1);
        !self.reads.is_multiple_of(LOOKED_AT)
    }

    /// Whether most reads pass by.
    pub(super) fn dozes(&self) -> bool {
        self.dozes
    }
}

impl Proxy {
    /// Whether a read passes the near cache by, which has been of no use for long.
    #[inline]
    pub(super) fn is_spared(&mut self, pool: u16, role: Role, request: &Request<'_>) -> bool {
        let metrics = &self.metrics.pools[pool as usize];
        let (hits, misses) =
            (metrics.get(PoolMetric::NearHits), metrics.get(PoolMetric::NearMisses));
        let keys = match role {
            // A write must be marked.
            Role::Read(Wanted::Meta) if !memcache::only_reads(request) => return false,
            Role::Read(Wanted::Get) | Role::Several => request.args.len() as u64 - 1,
            Role::Read(_) => 1,
            Role::Write | Role::Flush | Role::Other => return false,
        };
        let admits_all = |near: &Near| near.settings().admit == Admission::All;
        if self.nearby.of(pool).is_none_or(|near| admits_all(near)) {
            return false;
        }
        let passes = self.nearby.vigil(pool).lets_pass(hits, misses);
        if passes {
            metrics.add(PoolMetric::NearSpared, keys);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_nothing_dozes_until_a_hit() {
        let mut vigil = Vigil::default();
        assert!((0..IN_VAIN).all(|misses| !vigil.lets_pass(0, misses)));
        let looked_at = (0..800).filter(|_| !vigil.lets_pass(0, IN_VAIN)).count();
        assert_eq!(looked_at, 100);
        assert!(vigil.dozes());
        assert!(!vigil.lets_pass(1, IN_VAIN) && !vigil.dozes());
        assert!((0..IN_VAIN).all(|more| !vigil.lets_pass(1, IN_VAIN + more)));
        assert!(vigil.lets_pass(1, 2 * IN_VAIN));
    }

    #[test]
    fn who_finds_one_in_a_thousand_never_does() {
        let mut vigil = Vigil::default();
        assert!((0..10 * IN_VAIN).all(|read| !vigil.lets_pass(read / 1000, read)));
    }
}

//! Whether a near cache is of any use: while it is not, most reads pass it by.
//!
//! ```text
//!  watchful ── nothing found among so many keys ─▶ dozing: one read in eight is looked at
//!      ▲                                              │
//!      └────────────────── a hit ─────────────────────┘
//! ```
//! Counts are looked at with the reads that are looked at, so that a hit is learnt of with the next of
//! these; the others pay for nothing but their turn.
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
    /// Whether the next read passes by. If not, the counts are to be looked at.
    #[inline]
    fn lets_pass(&mut self) -> bool {
        self.reads = self.reads.wrapping_add(1);
        self.dozes && !self.reads.is_multiple_of(LOOKED_AT)
    }

    /// Learns how many keys have been found and missed so far.
    fn learn(&mut self, hits: u64, misses: u64) {
        if hits != self.hits {
            *self = Self { hits, missed: misses, ..Self::default() };
        }
        self.dozes = misses.saturating_sub(self.missed) >= IN_VAIN;
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
        let keys = match role {
            // A write must be marked.
            Role::Read(Wanted::Meta) if !memcache::only_reads(request) => return false,
            Role::Read(Wanted::Get) | Role::Several => request.args.len() as u64 - 1,
            Role::Read(_) => 1,
            Role::Write | Role::Flush | Role::Other => return false,
        };
        if self.nearby.vigil(pool).lets_pass() {
            self.metrics.pools[pool as usize].add(PoolMetric::NearSpared, keys);
            return true;
        }
        self.look_out(pool);
        false
    }

    /// Has the vigil of a pool learn what came of the reads so far.
    fn look_out(&mut self, pool: u16) {
        let metrics = &self.metrics.pools[pool as usize];
        let (hits, misses) =
            (metrics.get(PoolMetric::NearHits), metrics.get(PoolMetric::NearMisses));
        let admits_all = |near: &Near| near.settings().admit == Admission::All;
        if self.nearby.of(pool).is_none_or(|near| admits_all(near)) {
            *self.nearby.vigil(pool) = Vigil::default();
        } else {
            self.nearby.vigil(pool).learn(hits, misses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next read: whether it passes by, the counts being as they are.
    fn passes(vigil: &mut Vigil, hits: u64, misses: u64) -> bool {
        let passes = vigil.lets_pass();
        if !passes {
            vigil.learn(hits, misses);
        }
        passes
    }

    #[test]
    fn who_finds_nothing_dozes_until_a_hit() {
        let mut vigil = Vigil::default();
        assert!((0..=IN_VAIN).all(|misses| !passes(&mut vigil, 0, misses)));
        let looked_at = (0..800).filter(|_| !passes(&mut vigil, 0, IN_VAIN)).count();
        assert_eq!(looked_at, 800 / LOOKED_AT as usize);
        assert!(vigil.dozes());
        let until_awake = (0..800).filter(|_| passes(&mut vigil, 1, IN_VAIN)).count();
        assert!(until_awake < LOOKED_AT as usize && !vigil.dozes());
        assert!((0..=IN_VAIN).all(|more| !passes(&mut vigil, 1, IN_VAIN + more)));
        assert!(passes(&mut vigil, 1, 2 * IN_VAIN));
    }

    #[test]
    fn who_finds_one_in_a_thousand_never_does() {
        let mut vigil = Vigil::default();
        assert!((0..10 * IN_VAIN).all(|read| !passes(&mut vigil, read / 1000, read)));
    }
}

//! What the near cache has of a key, and what is counted of that.
//!
//! ```text
//!  glance ─┬─ surely nothing, as of by far the most keys ──▶ counted ─┬─ cold ─▶ There
//!          └─ perhaps ─▶ look_closely ─┬─ nothing ──────────▶ counted ─┴─ hot ──▶ Hot
//!                                      └─ shown ───────────▶ Hit
//! ```

use std::time::{Duration, Instant};

use super::{Nearby, Wanted};
use crate::cache::near::{Entry, Kind, Look, Name, Near, Time};
use crate::config::NearMode;
use crate::metrics::{PoolMetric, PoolMetrics};
use crate::service::proxy::Proxy;

/// Lookups of which one is noted for the report of hot keys.
const SAMPLED: u64 = 32;

/// From this part of its age on an entry is made young again, so that it need not be missed.
const OLD_FROM: (u32, u32) = (6, 10);

/// What an entry that was shown is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) age: Duration,
    pub(super) cas: u64,
    bytes: usize,
}

/// Where a value is to be had.
#[derive(Clone, Copy, Debug)]
pub(super) enum Looked {
    /// Here.
    Hit(Seen),
    /// At its server, and it is worth keeping.
    Hot,
    /// At its server.
    There,
}

/// What is known of a key at first sight.
pub(super) enum Glance<'k> {
    /// It is not here.
    Known(Looked),
    /// It may be, at this moment.
    Perhaps(Name<'k>, Time),
}

/// Counts a key that is not here, and says where it is to be had. What is asked for once is nothing
/// for a report of hot keys.
#[inline]
fn missed(
    near: &Near,
    metrics: &PoolMetrics,
    (owner, key): (Name<'_>, Name<'_>),
    (sampled, now): (bool, Time),
) -> Looked {
    metrics.add(PoolMetric::NearMisses, 1);
    let count = near.count(key, metrics.get(PoolMetric::NearMisses));
    if sampled && count > 1 {
        near.note_hot(owner);
    }
    if near.admits(key, count, now) { Looked::Hot } else { Looked::There }
}

impl Proxy {
    /// Looks for a key, or else for a part of it, counts what came of it, and says where the value is
    /// to be had; `show` makes a reply of an entry.
    #[inline]
    pub(super) fn look_near(
        &mut self,
        (pool, now): (u16, Instant),
        (name, part): (&[u8], Option<&[u8]>),
        show: impl FnMut(&Entry<'_>) -> Option<()>,
    ) -> Looked {
        match self.glance((pool, now), name, part.is_none()) {
            Glance::Known(looked) => looked,
            Glance::Perhaps(name, now) => self.look_closely((pool, now), (name, part), show),
        }
    }

    /// Looks at what is known of a key before the storage is asked: for a cold one that is all there
    /// is to do. `whole`: no part of it would do instead.
    #[inline]
    pub(super) fn glance<'k>(
        &mut self,
        (pool, now): (u16, Instant),
        name: &'k [u8],
        whole: bool,
    ) -> Glance<'k> {
        let Nearby { nears, lookups, moment, .. } = &mut self.nearby;
        let Some(near) = nears.get(pool as usize).and_then(Option::as_ref) else {
            return Glance::Known(Looked::There);
        };
        let metrics = &self.metrics.pools[pool as usize];
        let Some(key) = near.key(name) else {
            metrics.add(PoolMetric::NearUncovered, 1);
            return Glance::Known(Looked::There);
        };
        *lookups = lookups.wrapping_add(1);
        let now = moment.of(near, now);
        if !whole || !near.lacks(key) {
            return Glance::Perhaps(key, now);
        }
        let sampled = lookups.is_multiple_of(SAMPLED);
        Glance::Known(missed(near, metrics, (key, key), (sampled, now)))
    }

    /// Looks into the storage.
    pub(super) fn look_closely(
        &self,
        (pool, now): (u16, Time),
        (owner, part): (Name<'_>, Option<&[u8]>),
        mut show: impl FnMut(&Entry<'_>) -> Option<()>,
    ) -> Looked {
        let Some(near) = self.nearby.of(pool) else { return Looked::There };
        let metrics = &self.metrics.pools[pool as usize];
        let sampled = self.nearby.lookups.is_multiple_of(SAMPLED);
        let mut see = |entry: &Entry<'_>| {
            show(entry)?;
            let age = now.since(entry.origin.sent);
            let bytes = entry.value.len();
            Some(Seen { kind: entry.kind, age, cas: entry.cas, bytes })
        };
        let (mut looked, mut key) = (near.look(owner, now, &mut see), owner);
        if let (Some(part), Look::Miss | Look::Unfit) = (part, &looked)
            && let Some(part) = near.part(owner, part)
        {
            (looked, key) = (near.look(part, now, &mut see), part);
        }
        let metric = match looked {
            Look::Hit(seen) => {
                if sampled {
                    near.note_hot(owner);
                    near.weigh(key, seen.bytes);
                }
                return Looked::Hit(seen);
            }
            Look::Miss => return missed(near, metrics, (owner, key), (sampled, now)),
            Look::Busy => PoolMetric::NearBusy,
            Look::Lapsed => PoolMetric::NearLapsed,
            Look::Unfit => PoolMetric::NearUnfit,
        };
        if sampled {
            near.note_hot(owner);
        }
        metrics.add(metric, 1);
        Looked::There
    }

    /// Counts a key that was found here.
    pub(super) fn count_hit(&self, pool: u16, seen: &Seen) {
        let metrics = &self.metrics.pools[pool as usize];
        let absent = seen.kind == Kind::Absent;
        metrics.add(if absent { PoolMetric::Misses } else { PoolMetric::Hits }, 1);
        metrics.reads.record(Duration::ZERO);
        self.note_hit(pool, seen);
    }

    /// The same of one of several keys, which the request counts when it is whole.
    pub(super) fn note_hit(&self, pool: u16, seen: &Seen) {
        let metrics = &self.metrics.pools[pool as usize];
        metrics.add(PoolMetric::NearHits, 1);
        metrics.near_ages.record(seen.age);
    }

    /// Whether an entry is to be made young again by this request.
    pub(super) fn is_old(&self, pool: u16, wanted: Wanted, seen: &Seen) -> bool {
        let Some(near) = self.nearby.of(pool) else { return false };
        let settings = near.settings();
        let (part, whole) = OLD_FROM;
        settings.mode == NearMode::Ttl
            && wanted == Wanted::Get
            && seen.kind == Kind::Plain
            && seen.age * whole >= settings.max_age * part
    }
}

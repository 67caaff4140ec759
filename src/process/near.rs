//! The near caches of the process, one for each pool that wants one, and their upkeep.
//!
//! A pool keeps its near cache through changes of the configuration that do not concern it; one with
//! other settings begins empty.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::Clock;
use crate::cache::near::{self, Near};
use crate::config::Pool;
use crate::control::{HotKey, HotKeys};
use crate::metrics::{Registry, StoreMetric, StoreMetrics};
use crate::storage::{Time, Usage};

/// All of them, by the names of their pools.
#[derive(Clone, Default)]
pub(super) struct Nears(Arc<Mutex<Vec<Named>>>);

/// The name of a pool, and its near cache.
type Named = (String, Arc<Near>);

impl Nears {
    /// The near caches of `pools`, in their order: those of the same name and settings stay, the
    /// others begin empty or end.
    pub(super) fn of(&self, pools: &[Pool], clock: Clock) -> Vec<Option<Arc<Near>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let near = |pool: &Pool| {
            let settings = pool.near_cache.as_ref()?;
            let same = |(name, near): &&Named| *name == pool.name && near.settings() == settings;
            let kept = known.iter().find(same).map(|(_, near)| Arc::clone(near));
            Some(kept.unwrap_or_else(|| Arc::new(Near::new(settings.clone(), clock))))
        };
        let nears: Vec<Option<Arc<Near>>> = pools.iter().map(near).collect();
        let named = pools.iter().zip(&nears);
        *known =
            named.filter_map(|(pool, near)| Some((pool.name.clone(), near.clone()?))).collect();
        nears
    }

    /// What the admin thread tells of them.
    pub(super) fn hot_keys(&self) -> HotKeys {
        let nears = self.clone();
        let told = |known: near::HotKey| HotKey {
            key: known.key,
            requests: known.requests,
            value_bytes: known.value_bytes,
        };
        Arc::new(move |pool| {
            let known = nears.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (_, near) = known.iter().find(|(name, _)| name == pool)?;
            Some(near.hot_keys().into_iter().map(told).collect())
        })
    }

    /// Looks after all of them; `looks`: how full they are, too.
    pub(super) fn tend(&self, registry: &Registry, now: Time, (steps, looks): (usize, bool)) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, near) in &known {
            near.tend(now, steps);
            if looks {
                let metrics = registry.store(&format!("near:{name}"));
                report(&metrics, &near.review(now), near.memory_limit());
            }
        }
        if looks {
            let alive = |name: &str| known.iter().any(|(pool, _)| pool == name);
            registry.retain_stores(|store| store.strip_prefix("near:").is_none_or(alive));
        }
    }
}

/// Shows how full a store is.
pub(super) fn report(metrics: &StoreMetrics, usage: &Usage, limit: u64) {
    metrics.set(StoreMetric::Items, usage.items);
    metrics.set(StoreMetric::Bytes, usage.bytes);
    metrics.set(StoreMetric::Memory, usage.memory);
    metrics.set(StoreMetric::MemoryLimit, limit);
    metrics.set(StoreMetric::Stored, usage.stored);
    metrics.set(StoreMetric::Evicted, usage.evicted);
    metrics.set(StoreMetric::Expired, usage.expired);
}

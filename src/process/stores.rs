//! The stores of items that pools without servers are made of, and their upkeep.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::memory;
use super::near::{Nears, report};
use crate::cache::{Cache, Clock, wall_millis};
use crate::config::{CacheSettings, Config};
use crate::metrics::{Registry, StoreMetric};
use crate::storage::{Loan, Settings, Store, Time};

/// Shards of a store for each worker: so many that two workers seldom want the same one.
const SHARDS_PER_WORKER: usize = 16;

/// Steps of work that one round of upkeep may do in each shard.
const SWEEP_STEPS: usize = 64;

/// Rounds of upkeep between two looks at how full the stores are.
const ROUNDS_PER_LOOK: u64 = 10;

/// Bytes that a key takes that a client tracks, if it is of usual length.
const TRACKED_KEY: u64 = 256;

/// Bytes that tracked keys borrow from their store at a time.
const LOAN: u64 = 1 << 20;

/// Room for a key and what an item says of itself beside its value.
const KEY_ROOM: usize = 64 << 10;

/// Bytes that the stores of all pools may take together.
pub(super) fn memory_of_stores(config: &Config) -> u64 {
    first_of_each(config).values().map(|cache| cache.memory).sum()
}

/// The stores by their names, with what the first pool of each says.
fn first_of_each(config: &Config) -> HashMap<&str, &CacheSettings> {
    let caches = config.pools.iter().filter_map(|pool| pool.cache.as_ref());
    caches.rev().map(|cache| (cache.store.as_str(), cache)).collect()
}

/// All stores of the process, in the order in which the registry counts them.
pub(super) struct Stores {
    named: Vec<(String, Arc<Store>)>,
    clock: Clock,
}

impl Stores {
    /// The names of the stores, each once, in the order of the pools.
    fn names(config: &Config) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for cache in config.pools.iter().filter_map(|pool| pool.cache.as_ref()) {
            if !names.contains(&cache.store.as_str()) {
                names.push(&cache.store);
            }
        }
        names
    }

    /// Opens the stores of all pools that have no servers.
    pub(super) fn open(config: &Config) -> Self {
        let (first, total) = (first_of_each(config), memory_of_stores(config));
        let open = |name: &str| {
            let store = Store::new(settings(first[name], total, config.workers));
            let pools = config.pools.iter().filter_map(|pool| pool.cache.as_ref());
            let of_it = pools.filter(|cache| cache.store == name);
            if let Some(keys) = of_it.map(|cache| cache.tracking_table_max_keys).min() {
                store.limit_watched(usize::try_from(keys).unwrap_or(usize::MAX));
            }
            (name.to_owned(), Arc::new(store))
        };
        let clock = Clock::start();
        Self { named: Self::names(config).into_iter().map(open).collect(), clock }
    }

    /// Storage time.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// The cache of each pool; `None` where there are servers.
    pub(super) fn caches(
        &self,
        config: &Config,
        registry: &Arc<Registry>,
    ) -> Vec<Option<Arc<Cache>>> {
        let cache = |(pool, settings): (usize, &crate::config::Pool)| {
            let cache = settings.cache.as_ref()?;
            let (_, store) = self.named.iter().find(|(name, _)| *name == cache.store)?;
            let cache = Cache {
                store: Arc::clone(store),
                registry: Arc::clone(registry),
                pool,
                value_max: usize::try_from(cache.max_value).unwrap_or(usize::MAX),
                reply_max: settings.limits.client_output_bytes,
            };
            Some(Arc::new(cache))
        };
        config.pools.iter().enumerate().map(cache).collect()
    }

    /// What the admin thread does for the stores ten times a second.
    pub(super) fn upkeep(self, nears: Nears, registry: Arc<Registry>) -> impl Fn() + Send + Sync {
        let rounds = std::sync::atomic::AtomicU64::new(0);
        let lent: Vec<Mutex<Vec<Loan>>> = self.named.iter().map(|_| Mutex::default()).collect();
        move || {
            let round = rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let now = self.clock.time(Instant::now());
            let looks = round.is_multiple_of(ROUNDS_PER_LOOK);
            nears.tend(&registry, now, (SWEEP_STEPS, looks));
            for ((name, store), lent) in self.named.iter().zip(&lent) {
                store.sweep(now, SWEEP_STEPS);
                store.tell_due(now);
                if looks {
                    let metrics = registry.store(name);
                    report(&metrics, &store.usage(now), store.settings().memory);
                    let watched = store.watched(now);
                    metrics.set(StoreMetric::TrackingClients, watched.watchers);
                    metrics.set(StoreMetric::TrackedKeys, watched.keys);
                    metrics.set(StoreMetric::Invalidations, watched.told);
                    lend(store, lent, watched.keys * TRACKED_KEY, now);
                }
            }
        }
    }
}

/// Has what is not an item take `bytes` of the store's memory, in large parts.
fn lend(store: &Store, lent: &Mutex<Vec<Loan>>, bytes: u64, now: Time) {
    let mut lent = lent.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = usize::try_from(bytes / LOAN).unwrap_or(usize::MAX);
    lent.truncate(wanted);
    while lent.len() < wanted {
        // If nothing may be evicted, the bound on tracked keys is all there is.
        let Ok(loan) = store.lend(LOAN, now) else { return };
        lent.push(loan);
    }
}

fn settings(cache: &CacheSettings, total: u64, workers: usize) -> Settings {
    let largest = usize::try_from(cache.max_value).unwrap_or(usize::MAX);
    Settings {
        memory: memory::for_items(cache.memory, total, workers),
        item_max: largest.saturating_add(KEY_ROOM),
        shards: workers * SHARDS_PER_WORKER,
        storage: cache.storage,
        eviction: cache.eviction,
        // Above all versions of an earlier process, unless that stored more than a million items a
        // millisecond.
        version: wall_millis() << 20,
    }
}

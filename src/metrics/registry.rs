//! All banks of the process in one hand: what readers of metrics read.
//!
//! ```text
//!  admin ─ publish ─▶ Layout (which pools and servers there are) ◀─ layout ─ readers
//!                        └ banks of what stays are the same ones ◀─ count ─ workers
//! ```
//! Every figure is summed over the workers at the moment it is asked for; nothing here writes to a
//! bank. Who wants figures to start anew has them set aside, and reads what came after that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crate::metrics::counters::{
    AdminMetrics, ListenerMetrics, PoolMetrics, PoolShape, ResolverMetrics, ServerMetrics,
    StoreMetrics, TopologyMetrics, WorkerMetrics,
};
use crate::metrics::histogram::{Histogram, HistogramSnapshot};
use crate::metrics::table::{Kind, PoolMetric, ServerMetric, WorkerMetric};

/// All banks of the process.
#[derive(Debug)]
pub struct Registry {
    /// Held for as long as it takes to copy the pointer.
    layout: RwLock<Arc<Layout>>,
    /// The listener thread's bank.
    pub listener: Arc<ListenerMetrics>,
    /// One bank for each store of items, by its name; the admin thread's.
    stores: RwLock<Vec<Arc<StoreMetrics>>>,
    /// One bank for each pool whose servers come from elsewhere.
    topologies: RwLock<Vec<Arc<TopologyMetrics>>>,
    /// The bank of the resolver's threads.
    pub resolver: Arc<ResolverMetrics>,
    /// The admin thread's bank.
    pub admin: Arc<AdminMetrics>,
    /// When the process began.
    pub started: Instant,
}

/// Which pools and servers there are, and the banks of the workers for them.
#[derive(Debug)]
pub struct Layout {
    /// Names of the pools and servers, by the number of the pool and in the order of every
    /// worker's banks; `None` for a pool that has been removed.
    pub shape: Vec<Option<PoolShape>>,
    /// One bank for each worker.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// For each pool, its figures when they were last set aside.
    aside: Vec<Arc<Aside>>,
}

/// A pool's figures at some time.
#[derive(Debug)]
struct Aside([AtomicU64; PoolMetric::COUNT]);

impl Default for Aside {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; PoolMetric::COUNT])
    }
}

impl Registry {
    /// Banks of zeros for `workers` workers.
    pub fn new(shape: Vec<PoolShape>, workers: usize) -> Self {
        let layout = Layout {
            workers: (0..workers).map(|_| Arc::new(WorkerMetrics::new(&shape))).collect(),
            aside: shape.iter().map(|_| Arc::default()).collect(),
            shape: shape.into_iter().map(Some).collect(),
        };
        Self {
            layout: RwLock::new(Arc::new(layout)),
            listener: Arc::default(),
            stores: RwLock::default(),
            topologies: RwLock::default(),
            resolver: Arc::default(),
            admin: Arc::default(),
            started: Instant::now(),
        }
    }

    /// The bank of the store of a name, which is made when it is first asked for.
    pub fn store(&self, name: &str) -> Arc<StoreMetrics> {
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = stores.iter().find(|store| store.name == name) {
            return Arc::clone(known);
        }
        let store = Arc::new(StoreMetrics::new(name));
        stores.push(Arc::clone(&store));
        store
    }

    /// The banks of all stores.
    pub fn stores(&self) -> Vec<Arc<StoreMetrics>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the banks of stores that there are not any more, by their names.
    pub fn retain_stores(&self, mut alive: impl FnMut(&str) -> bool) {
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|store| alive(&store.name));
    }

    /// The banks of sources of servers.
    pub fn topologies(&self) -> Vec<Arc<TopologyMetrics>> {
        self.topologies.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There are these sources of servers from now on.
    pub fn set_topologies(&self, banks: Vec<Arc<TopologyMetrics>>) {
        *self.topologies.write().unwrap_or_else(PoisonError::into_inner) = banks;
    }

    /// Which pools and servers there are now.
    pub fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Other pools and servers: those of the same number and name keep their banks. What is not
    /// there any more is not read any more; a worker that still has it may go on counting.
    pub fn publish(&self, shape: Vec<Option<PoolShape>>) -> Arc<Layout> {
        let next = Arc::new(self.layout().with(shape));
        *self.layout.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        next
    }

    /// A worker's figure, summed.
    pub fn total(&self, metric: WorkerMetric) -> u64 {
        let layout = self.layout();
        layout.workers.iter().map(|worker| worker.get(metric)).fold(0, u64::wrapping_add)
    }

    /// A pool's figure over all workers.
    pub fn pool(&self, pool: usize, metric: PoolMetric) -> u64 {
        self.layout().pool(pool, metric)
    }

    /// Sets a pool's figures aside: [`pool_since`](Self::pool_since) counts from here on.
    pub fn set_aside(&self, pool: usize) {
        let layout = self.layout();
        let Some(aside) = layout.aside.get(pool) else { return };
        for (cell, past) in aside.0.iter().enumerate() {
            let sum = layout.pools(pool).map(|bank| bank.cell(cell)).fold(0, u64::wrapping_add);
            past.store(sum, Ordering::Relaxed);
        }
    }

    /// A pool's counter over all workers, since it was last set aside.
    pub fn pool_since(&self, pool: usize, metric: PoolMetric) -> u64 {
        let layout = self.layout();
        let aside = layout.aside.get(pool);
        let past = aside.map_or(0, |aside| aside.0[metric as usize].load(Ordering::Relaxed));
        layout.pool(pool, metric).wrapping_sub(past)
    }
}

impl Layout {
    /// The pools that there are, by their numbers.
    pub fn present(&self) -> impl Iterator<Item = (usize, &PoolShape)> {
        let places = self.shape.iter().enumerate();
        places.filter_map(|(number, shape)| Some((number, shape.as_ref()?)))
    }

    /// A pool's figure over all workers.
    pub fn pool(&self, pool: usize, metric: PoolMetric) -> u64 {
        fold(metric.kind(), self.pools(pool).map(|bank| bank.get(metric)))
    }

    /// A server's figure over all workers.
    pub fn server(&self, pool: usize, server: usize, metric: ServerMetric) -> u64 {
        let cells = self.servers(pool, server).map(|bank| bank.get(metric));
        fold(metric.kind(), cells)
    }

    /// Connections to servers that the workers may have and do not have now.
    pub fn unopened(&self) -> u64 {
        let of_pool = |(number, pool): (usize, &PoolShape)| -> u64 {
            let most = self.workers.len() as u64 * u64::from(pool.connections);
            let open = |server| self.server(number, server, ServerMetric::Connections);
            (0..pool.servers.len()).map(|server| most.saturating_sub(open(server))).sum()
        };
        self.present().map(of_pool).sum()
    }

    /// One histogram of a pool over all workers.
    pub fn pool_latency(
        &self,
        pool: usize,
        which: fn(&PoolMetrics) -> &Histogram,
    ) -> HistogramSnapshot {
        merged(self.pools(pool).map(which))
    }

    /// A server's latency over all workers.
    pub fn server_latency(&self, pool: usize, server: usize) -> HistogramSnapshot {
        merged(self.servers(pool, server).map(|bank| &bank.latency))
    }

    fn pools(&self, pool: usize) -> impl Iterator<Item = &PoolMetrics> {
        self.workers.iter().filter_map(move |worker| worker.pools.get(pool))
    }

    fn servers(&self, pool: usize, server: usize) -> impl Iterator<Item = &ServerMetrics> {
        self.pools(pool).filter_map(move |pool| pool.servers.get(server))
    }

    /// The next layout, of another shape.
    fn with(&self, shape: Vec<Option<PoolShape>>) -> Self {
        let known = |number: usize, next: &Option<PoolShape>| {
            let before = self.shape.get(number).and_then(Option::as_ref);
            next.as_ref().is_none_or(|next| before.is_some_and(|it| it.name == next.name))
        };
        let aside = shape.iter().enumerate().map(|(number, next)| {
            let before = self.aside.get(number).filter(|_| known(number, next));
            before.map(Arc::clone).unwrap_or_default()
        });
        let aside = aside.collect();
        let worker = |bank: &Arc<WorkerMetrics>| {
            let pools = shape.iter().enumerate().map(|(number, next)| {
                let before = bank.pools.get(number).filter(|_| known(number, next));
                let old = self.shape.get(number).and_then(Option::as_ref);
                before.map_or_else(
                    || fresh(next.as_ref()),
                    |before| reshaped(before, old, next.as_ref()),
                )
            });
            Arc::new(bank.over(pools.collect()))
        };
        Self { workers: self.workers.iter().map(worker).collect(), aside, shape }
    }
}

fn fresh(shape: Option<&PoolShape>) -> PoolMetrics {
    let servers = shape.map_or(0, |shape| shape.servers.len());
    PoolMetrics::default().over((0..servers).map(|_| ServerMetrics::default()).collect())
}

/// A pool's bank over the servers of `next`: those that it has had under `old` keep theirs. A pool
/// that has gone keeps all.
fn reshaped(bank: &PoolMetrics, old: Option<&PoolShape>, next: Option<&PoolShape>) -> PoolMetrics {
    let Some(next) = next else { return bank.clone() };
    let names = old.map(|old| old.servers.as_slice()).unwrap_or_default();
    let known: std::collections::HashMap<&str, &ServerMetrics> =
        names.iter().map(String::as_str).zip(&bank.servers).collect();
    let server =
        |name: &String| known.get(name.as_str()).map(|&bank| bank.clone()).unwrap_or_default();
    bank.over(next.servers.iter().map(server).collect())
}

/// One value out of every worker's, by the metric's kind.
fn fold(kind: Kind, cells: impl Iterator<Item = u64>) -> u64 {
    match kind {
        Kind::Counter | Kind::Gauge | Kind::Age => cells.fold(0, u64::wrapping_add),
        Kind::Flag => cells.min().unwrap_or(0),
        Kind::Timestamp => cells.max().unwrap_or(0),
    }
}

fn merged<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> HistogramSnapshot {
    let mut sum = HistogramSnapshot::default();
    histograms.for_each(|histogram| sum.merge(histogram));
    sum
}

#[cfg(test)]
mod tests {
    use super::{PoolMetric, PoolShape, Registry, ServerMetric};

    fn pool(name: &str, servers: &[&str]) -> PoolShape {
        let servers = servers.iter().map(|&name| name.to_owned()).collect();
        PoolShape {
            name: name.to_owned(),
            protocol: "memcache",
            servers,
            near_cache: false,
            connections: 1,
        }
    }

    #[test]
    fn what_stays_goes_on_counting_and_what_comes_begins_at_zero() {
        let registry = Registry::new(vec![pool("web", &["a", "b"]), pool("app", &["c"])], 1);
        let before = registry.layout();
        before.workers[0].pools[0].add(PoolMetric::Hits, 3);
        before.workers[0].pools[0].servers[1].add(ServerMetric::Requests, 7);
        before.workers[0].pools[1].add(PoolMetric::Hits, 5);
        let shape = vec![Some(pool("web", &["aa", "b"])), None, Some(pool("new", &["c"]))];
        let after = registry.publish(shape);
        // A worker may still count in the bank that it had.
        before.workers[0].pools[0].servers[1].add(ServerMetric::Requests, 1);
        assert_eq!(after.pool(0, PoolMetric::Hits), 3);
        assert_eq!(after.server(0, 1, ServerMetric::Requests), 8);
        assert_eq!(after.server(0, 0, ServerMetric::Requests), 0);
        assert_eq!(after.server(0, 0, ServerMetric::Up), 1);
        assert_eq!(after.pool(2, PoolMetric::Hits), 0);
        let names: Vec<&str> = after.present().map(|(_, pool)| pool.name.as_str()).collect();
        assert_eq!(names, ["web", "new"]);
    }

    #[test]
    fn a_number_that_is_used_again_begins_at_zero() {
        let registry = Registry::new(vec![pool("web", &["a"])], 1);
        registry.layout().workers[0].pools[0].add(PoolMetric::Hits, 3);
        registry.publish(vec![None]);
        assert_eq!(registry.pool(0, PoolMetric::Hits), 3, "it drains");
        registry.publish(vec![Some(pool("web", &["a"]))]);
        assert_eq!(registry.pool(0, PoolMetric::Hits), 0);
    }
}

//! Banks of counters: what each thread counts for itself.
//!
//! ```text
//!  worker 0 ─▶ WorkerMetrics ─┬▶ cells
//!                             └▶ PoolMetrics ─┬▶ cells, histograms     ┐
//!                                             └▶ ServerMetrics ─▶ …    ├─ Registry ─▶ readers
//!  listener ─▶ ListenerMetrics ─▶ cells                                ┘
//! ```
//! A cell has one writer. So adding is a relaxed load and a relaxed store, plain moves on every
//! machine; readers see each cell whole, but not all cells of one moment. Cells are padded so that no
//! two threads write to one cache line. A clone of a bank is the same bank: what stays in the
//! configuration goes on counting in its own, whatever comes or goes around it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::histogram::Histogram;
use crate::metrics::table::{
    AdminMetric, ListenerMetric, PoolMetric, ResolverMetric, ServerMetric, StoreMetric,
    TopologyMetric, WorkerMetric,
};

/// What a worker's bank must have room for: one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// The pool's name: the label `pool`.
    pub name: String,
    /// `memcache` or `redis`.
    pub protocol: &'static str,
    /// The servers' names in ring order: the label `node`.
    pub servers: Vec<String>,
    /// It has a near cache.
    pub near_cache: bool,
    /// Connections that each worker has to each server, once they are needed.
    pub connections: u32,
}

/// The cells of one scope. 128 bytes: x86 fetches cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Cells<const N: usize>([AtomicU64; N]);

/// What one worker counts.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    /// One bank for each pool, by its number.
    pub pools: Vec<PoolMetrics>,
    cells: Arc<Cells<{ WorkerMetric::COUNT }>>,
    born: Instant,
}

/// What one worker counts of one pool.
#[derive(Clone, Debug, Default)]
pub struct PoolMetrics {
    /// One bank for each server, in ring order.
    pub servers: Vec<ServerMetrics>,
    /// Latency of reads.
    pub reads: Histogram,
    /// Latency of writes.
    pub writes: Histogram,
    /// Ages of what the near cache serves.
    pub near_ages: Histogram,
    /// Time that operations have waited in phase fence.
    pub parked: Histogram,
    cells: Arc<Cells<{ PoolMetric::COUNT }>>,
}

/// What one worker counts of one server.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    /// From a request's queueing to its whole reply.
    pub latency: Histogram,
    cells: Arc<Cells<{ ServerMetric::COUNT }>>,
}

/// What the listener thread counts.
#[derive(Debug, Default)]
pub struct ListenerMetrics {
    cells: Cells<{ ListenerMetric::COUNT }>,
}

/// What is counted of one store of items; the admin thread's.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    /// Its name: the label `store`.
    pub name: String,
    cells: Cells<{ StoreMetric::COUNT }>,
}

/// What is counted of one pool whose servers come from elsewhere; the admin thread's.
#[derive(Debug, Default)]
pub struct TopologyMetrics {
    /// The pool: the label `pool`.
    pub pool: String,
    rings: Mutex<Vec<RingName>>,
    cells: Cells<{ TopologyMetric::COUNT }>,
}

/// The ring that places keys, by a name that two proxies can compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingName {
    /// `current` or `target`.
    pub ring: &'static str,
    /// Over names, weights and placement.
    pub digest: String,
    /// The epoch that it is of.
    pub epoch: u64,
}

/// What the resolver's threads count, one at a time.
#[derive(Debug, Default)]
pub struct ResolverMetrics {
    cells: Cells<{ ResolverMetric::COUNT }>,
}

/// What the admin thread counts.
#[derive(Debug, Default)]
pub struct AdminMetrics {
    cells: Cells<{ AdminMetric::COUNT }>,
}

impl<const N: usize> Default for Cells<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Cells<N> {
    fn get(&self, cell: usize) -> u64 {
        self.0[cell].load(Ordering::Relaxed)
    }

    fn set(&self, cell: usize, value: u64) {
        self.0[cell].store(value, Ordering::Relaxed);
    }
}

/// Writes the four accessors of a bank.
macro_rules! bank {
    ($bank:ident, $metric:ident) => {
        impl $bank {
            /// Adds `n`. For the bank's own thread only.
            pub fn add(&self, metric: $metric, n: u64) {
                self.set(metric, self.get(metric).wrapping_add(n));
            }

            /// Takes `n` away (gauges). For the bank's own thread only.
            pub fn sub(&self, metric: $metric, n: u64) {
                self.set(metric, self.get(metric).wrapping_sub(n));
            }

            /// Sets the value. For the bank's own thread only.
            pub fn set(&self, metric: $metric, value: u64) {
                self.cells.set(metric as usize, value);
            }

            /// The value now, from any thread.
            pub fn get(&self, metric: $metric) -> u64 {
                self.cells.get(metric as usize)
            }
        }
    };
}

bank!(WorkerMetrics, WorkerMetric);
bank!(PoolMetrics, PoolMetric);
bank!(ServerMetrics, ServerMetric);
bank!(ListenerMetrics, ListenerMetric);
bank!(StoreMetrics, StoreMetric);
bank!(TopologyMetrics, TopologyMetric);
bank!(ResolverMetrics, ResolverMetric);
bank!(AdminMetrics, AdminMetric);

impl StoreMetrics {
    /// A bank of zeros for the store of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl TopologyMetrics {
    /// A bank of zeros for this pool.
    pub fn new(pool: &str) -> Self {
        Self { pool: pool.to_owned(), ..Self::default() }
    }

    /// A bank of its own that begins with what this one has.
    pub fn continued(&self) -> Self {
        let next = Self::new(&self.pool);
        (0..TopologyMetric::COUNT).for_each(|cell| next.cells.set(cell, self.cells.get(cell)));
        next.set_rings(self.rings());
        next
    }

    /// The rings in force now.
    pub fn rings(&self) -> Vec<RingName> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which rings are in force.
    pub fn set_rings(&self, rings: Vec<RingName>) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) = rings;
    }
}

impl WorkerMetrics {
    /// A bank of zeros for pools of this shape; every server counts as up.
    pub fn new(shape: &[PoolShape]) -> Self {
        let pools = shape.iter().map(|pool| PoolMetrics::new(pool.servers.len())).collect();
        Self { pools, cells: Arc::default(), born: Instant::now() }
    }

    /// The same bank over other pools.
    pub fn over(&self, pools: Vec<PoolMetrics>) -> Self {
        Self { pools, cells: Arc::clone(&self.cells), born: self.born }
    }

    /// Says that the worker's loop turns. To be called every few seconds even when idle.
    pub fn beat(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.born).as_millis();
        self.set(WorkerMetric::Heartbeat, u64::try_from(millis).unwrap_or(u64::MAX));
    }

    /// How long ago the worker last said so, or was made.
    pub fn heartbeat_age(&self, now: Instant) -> Duration {
        let beat = Duration::from_millis(self.get(WorkerMetric::Heartbeat));
        now.saturating_duration_since(self.born).saturating_sub(beat)
    }
}

impl PoolMetrics {
    fn new(servers: usize) -> Self {
        let servers = (0..servers).map(|_| ServerMetrics::default()).collect();
        Self { servers, ..Self::default() }
    }

    /// The same bank over other servers.
    pub fn over(&self, servers: Vec<ServerMetrics>) -> Self {
        Self { servers, ..self.clone() }
    }

    /// The cell at this place, whatever it counts.
    pub(super) fn cell(&self, cell: usize) -> u64 {
        self.cells.get(cell)
    }
}

impl Default for ServerMetrics {
    fn default() -> Self {
        let server = Self { latency: Histogram::default(), cells: Arc::default() };
        server.set(ServerMetric::Up, 1);
        server
    }
}

#[cfg(test)]
mod tests {
    use std::mem::align_of;
    use std::time::{Duration, Instant};

    use crate::metrics::counters::{Cells, ListenerMetrics, PoolShape, WorkerMetrics};
    use crate::metrics::table::{PoolMetric, ServerMetric, WorkerMetric};

    fn worker() -> WorkerMetrics {
        let servers = vec!["one".to_owned(), "two".to_owned()];
        WorkerMetrics::new(&[PoolShape {
            name: "web".to_owned(),
            protocol: "memcache",
            servers,
            near_cache: false,
            connections: 1,
        }])
    }

    #[test]
    fn a_cell_goes_up_down_and_to_a_value_without_touching_others() {
        let worker = worker();
        let pool = &worker.pools[0];
        pool.add(PoolMetric::Hits, 5);
        pool.sub(PoolMetric::Hits, 2);
        pool.servers[1].set(ServerMetric::EjectedAt, 77);
        assert_eq!(pool.get(PoolMetric::Hits), 3);
        assert_eq!(pool.get(PoolMetric::Misses), 0);
        assert_eq!(pool.servers[0].get(ServerMetric::EjectedAt), 0);
        assert_eq!(pool.servers[1].get(ServerMetric::EjectedAt), 77);
        assert_eq!(worker.get(WorkerMetric::Turns), 0);
    }

    #[test]
    fn banks_of_two_threads_share_no_cache_line() {
        assert_eq!(align_of::<Cells<1>>(), 128);
        assert_eq!(align_of::<ListenerMetrics>(), 128);
    }

    #[test]
    fn a_heartbeat_ages_until_the_next_one() {
        let worker = worker();
        let later = Instant::now() + Duration::from_secs(11);
        assert!(worker.heartbeat_age(later) >= Duration::from_secs(11));
        worker.beat(later);
        assert!(worker.heartbeat_age(later) < Duration::from_millis(2));
        assert_eq!(worker.heartbeat_age(later - Duration::from_secs(60)), Duration::ZERO);
    }
}

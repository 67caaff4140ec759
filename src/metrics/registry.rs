//! All banks of the process in one hand: what readers of metrics read.
//!
//! Every figure is summed over the workers at the moment it is asked for; nothing here writes.

use std::sync::Arc;
use std::time::Instant;

use crate::metrics::counters::{
    AdminMetrics, ListenerMetrics, PoolMetrics, PoolShape, ResolverMetrics, ServerMetrics,
    WorkerMetrics,
};
use crate::metrics::histogram::{Histogram, HistogramSnapshot};
use crate::metrics::table::{Kind, PoolMetric, ServerMetric, WorkerMetric};

/// All banks of the process.
#[derive(Debug)]
pub struct Registry {
    /// Names of the pools and servers, in the order of every worker's banks.
    pub shape: Vec<PoolShape>,
    /// One bank for each worker.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// The listener thread's bank.
    pub listener: Arc<ListenerMetrics>,
    /// The bank of the resolver's threads.
    pub resolver: Arc<ResolverMetrics>,
    /// The admin thread's bank.
    pub admin: Arc<AdminMetrics>,
    /// When the process began.
    pub started: Instant,
}

impl Registry {
    /// Banks of zeros for `workers` workers.
    pub fn new(shape: Vec<PoolShape>, workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Arc::new(WorkerMetrics::new(&shape))).collect(),
            shape,
            listener: Arc::default(),
            resolver: Arc::default(),
            admin: Arc::default(),
            started: Instant::now(),
        }
    }

    /// A worker's figure, summed.
    pub fn total(&self, metric: WorkerMetric) -> u64 {
        self.workers.iter().map(|worker| worker.get(metric)).fold(0, u64::wrapping_add)
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

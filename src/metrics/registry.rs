//! All banks of the process in one hand: what readers of metrics read.
//!
//! Every figure is summed over the workers at the moment it is asked for; nothing here writes to a
//! bank. Who wants figures to start anew has them set aside, and reads what came after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::metrics::counters::{
    AdminMetrics, ListenerMetrics, PoolMetrics, PoolShape, ServerMetrics, StoreMetrics,
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
    /// One bank for each store of items.
    pub stores: Vec<StoreMetrics>,
    /// The admin thread's bank.
    pub admin: Arc<AdminMetrics>,
    /// When the process began.
    pub started: Instant,
    /// For each pool, its figures when they were last set aside.
    aside: Vec<[AtomicU64; PoolMetric::COUNT]>,
}

impl Registry {
    /// Banks of zeros for `workers` workers.
    pub fn new(shape: Vec<PoolShape>, workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Arc::new(WorkerMetrics::new(&shape))).collect(),
            aside: shape.iter().map(|_| [const { AtomicU64::new(0) }; PoolMetric::COUNT]).collect(),
            shape,
            listener: Arc::default(),
            stores: Vec::new(),
            admin: Arc::default(),
            started: Instant::now(),
        }
    }

    /// With banks for the stores of these names.
    pub fn with_stores<'a>(self, names: impl Iterator<Item = &'a str>) -> Self {
        Self { stores: names.map(StoreMetrics::new).collect(), ..self }
    }

    /// A worker's figure, summed.
    pub fn total(&self, metric: WorkerMetric) -> u64 {
        self.workers.iter().map(|worker| worker.get(metric)).fold(0, u64::wrapping_add)
    }

    /// A pool's figure over all workers.
    pub fn pool(&self, pool: usize, metric: PoolMetric) -> u64 {
        fold(metric.kind(), self.pools(pool).map(|bank| bank.get(metric)))
    }

    /// Sets a pool's figures aside: [`pool_since`](Self::pool_since) counts from here on.
    pub fn set_aside(&self, pool: usize) {
        let Some(aside) = self.aside.get(pool) else { return };
        for (cell, past) in aside.iter().enumerate() {
            let sum = self.pools(pool).map(|bank| bank.cell(cell)).fold(0, u64::wrapping_add);
            past.store(sum, Ordering::Relaxed);
        }
    }

    /// A pool's counter over all workers, since it was last set aside.
    pub fn pool_since(&self, pool: usize, metric: PoolMetric) -> u64 {
        let past =
            self.aside.get(pool).map_or(0, |aside| aside[metric as usize].load(Ordering::Relaxed));
        self.pool(pool, metric).wrapping_sub(past)
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

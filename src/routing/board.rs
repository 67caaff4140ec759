//! The rings of all pools between threads: the admin thread sets them, each worker takes them over
//! and says when what it had begun under the last ones has ended.
//!
//! ```text
//!  admin ─ set ─▶ rings, version ─ taken in the next turn ─▶ worker
//!        ◀─ has_settled ─ versions, one for each worker ◀─ settle ─┘
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::routing::DualRing;

/// All of them.
#[derive(Debug)]
pub struct Board {
    /// Counts all changes, so that a worker need look at no more than this.
    version: AtomicU64,
    pools: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    /// The rings, and the version with which they came.
    rings: Mutex<(u64, Option<Arc<DualRing>>)>,
    /// Up to which version each worker has settled.
    settled: Vec<AtomicU64>,
}

impl Board {
    /// A board for `workers` workers, with what each pool has at first; of a pool with one ring
    /// that is none.
    /// With rings at first, no worker has settled: what a process before this one began counts too.
    pub fn new(rings: impl Iterator<Item = Option<DualRing>>, workers: usize) -> Self {
        let cell = |rings: Option<DualRing>| Cell {
            rings: Mutex::new((u64::from(rings.is_some()), rings.map(Arc::new))),
            settled: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { version: AtomicU64::new(1), pools: rings.map(cell).collect() }
    }

    /// Gives a pool other rings, over the servers that it has. For one thread.
    pub fn set(&self, pool: usize, rings: Option<Arc<DualRing>>) {
        let Some(cell) = self.pools.get(pool) else { return };
        let version = self.version.load(Ordering::Relaxed) + 1;
        *cell.rings.lock().unwrap_or_else(PoisonError::into_inner) = (version, rings);
        self.version.store(version, Ordering::Release);
    }

    /// The rings of a pool, and the version with which they came.
    pub fn rings(&self, pool: usize) -> (u64, Option<Arc<DualRing>>) {
        let Some(cell) = self.pools.get(pool) else { return (0, None) };
        cell.rings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many changes there have been.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How many pools there are.
    pub fn pools(&self) -> usize {
        self.pools.len()
    }

    /// A worker has settled with the rings that came with this version.
    pub fn settle(&self, pool: usize, worker: usize, version: u64) {
        if let Some(settled) = self.pools.get(pool).and_then(|cell| cell.settled.get(worker)) {
            settled.store(version, Ordering::Release);
        }
    }

    /// Whether all workers have settled with a pool's rings: all operations begun before have
    /// ended, so that the phase may be acknowledged.
    pub fn has_settled(&self, pool: usize) -> bool {
        self.settled(pool).all(|settled| settled)
    }

    /// The same of each worker.
    pub fn settled(&self, pool: usize) -> impl Iterator<Item = bool> {
        let (version, _) = self.rings(pool);
        let workers = self.pools.get(pool).map(|cell| &cell.settled[..]).unwrap_or_default();
        workers.iter().map(move |settled| settled.load(Ordering::Acquire) >= version)
    }
}

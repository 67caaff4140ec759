//! The rings of all pools between threads: the admin thread sets them, each worker takes them over
//! and says when what it had begun under the last ones has ended.
//!
//! ```text
//!  admin ─ set ─▶ rings, version ─ taken in the next turn ─▶ worker
//!        ─ carry ─▶ version ─ with the servers, in a plan ─▶ worker
//!        ◀─ has_ended, has_settled ─ versions, one for each worker ◀─ end, settle ─┘
//! ```
//! Rings count servers by their places in their pool's list. Where the list changes with them, they
//! come with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::routing::{DualRing, Permit};

/// All of them.
#[derive(Debug)]
pub struct Board {
    /// Counts all changes, so that a worker need look at no more than this.
    version: AtomicU64,
    /// Locked by a worker when rings have changed, or while it has not settled with them.
    pools: RwLock<Vec<Arc<Cell>>>,
    workers: usize,
}

#[derive(Debug)]
struct Cell {
    held: Mutex<Held>,
    /// Up to which version each worker has ended, and settled with, what was there before.
    ended: Vec<AtomicU64>,
    settled: Vec<AtomicU64>,
    permit: Arc<Permit>,
}

#[derive(Clone, Debug)]
struct Held {
    /// The version with which they came.
    version: u64,
    /// They come with a plan: no worker takes them from here.
    carried: bool,
    rings: Option<Arc<DualRing>>,
}

impl Board {
    /// A board for `workers` workers, with what each pool has at first, be it one ring alone; from
    /// the pool's permit. With two rings no worker has settled: what a process before this one
    /// began counts too.
    pub fn new(
        pools: usize,
        workers: usize,
        rings: impl Fn(usize, &Arc<Permit>) -> Option<DualRing>,
    ) -> Self {
        let cell = |pool| Arc::new(Cell::new(workers, |permit| rings(pool, permit)));
        let pools = RwLock::new((0..pools).map(cell).collect());
        Self { version: AtomicU64::new(1), pools, workers }
    }

    /// Has room for so many pools; those that come have one ring. For one thread.
    pub fn grow(&self, pools: usize) {
        let mut cells = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        while cells.len() < pools {
            cells.push(Arc::new(Cell::new(self.workers, |_| None)));
        }
    }

    /// Gives a pool other rings, over the servers that it has. For one thread.
    pub fn set(&self, pool: usize, rings: Option<Arc<DualRing>>) {
        self.put(pool, (false, rings));
    }

    /// Notes that a pool is given other rings together with other servers. Returns the version that
    /// goes with them; 0 if there is no such pool. For one thread.
    pub fn carry(&self, pool: usize, rings: Option<Arc<DualRing>>) -> u64 {
        self.put(pool, (true, rings))
    }

    fn put(&self, pool: usize, (carried, rings): (bool, Option<Arc<DualRing>>)) -> u64 {
        let Some(cell) = self.cell(pool) else { return 0 };
        let version = self.version.load(Ordering::Relaxed) + 1;
        *cell.held() = Held { version, carried, rings };
        self.version.store(version, Ordering::Release);
        version
    }

    /// The rings of a pool.
    pub fn rings(&self, pool: usize) -> Option<Arc<DualRing>> {
        self.cell(pool)?.held().rings.clone()
    }

    /// What a pool has been given behind this version, and with which one, unless it comes with a
    /// plan.
    pub fn news(&self, pool: usize, behind: u64) -> Option<(u64, Option<Arc<DualRing>>)> {
        let Held { version, carried, rings } = self.cell(pool)?.held().clone();
        (version > behind && !carried).then_some((version, rings))
    }

    /// The permit of a pool.
    pub fn permit(&self, pool: usize) -> Option<Arc<Permit>> {
        self.cell(pool).map(|cell| Arc::clone(&cell.permit))
    }

    /// How many changes there have been.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How many pools there are.
    pub fn pools(&self) -> usize {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What a worker had begun before this version has ended.
    pub fn end(&self, pool: usize, worker: usize, version: u64) {
        if let Some(cell) = self.cell(pool)
            && let Some(ended) = cell.ended.get(worker)
        {
            ended.store(version, Ordering::Release);
        }
    }

    /// A worker has settled with the rings that came with this version.
    pub fn settle(&self, pool: usize, worker: usize, version: u64) {
        if let Some(cell) = self.cell(pool)
            && let Some(settled) = cell.settled.get(worker)
        {
            settled.store(version, Ordering::Release);
        }
    }

    /// Whether all workers have the pool's rings, and all that they had begun before has ended.
    pub fn has_ended(&self, pool: usize) -> bool {
        let Some(cell) = self.cell(pool) else { return true };
        let version = cell.held().version;
        cell.ended.iter().all(|ended| ended.load(Ordering::Acquire) >= version)
    }

    /// Whether all workers have settled with a pool's rings: nothing is left of what was before
    /// that the next phase could not bear, so that this one may be acknowledged.
    pub fn has_settled(&self, pool: usize) -> bool {
        self.settled(pool).all(|settled| settled)
    }

    /// The same of each worker.
    pub fn settled(&self, pool: usize) -> impl Iterator<Item = bool> {
        let cell = self.cell(pool);
        let workers: Vec<bool> = cell.map_or_else(Vec::new, |cell| {
            let version = cell.held().version;
            cell.settled.iter().map(|it| it.load(Ordering::Acquire) >= version).collect()
        });
        workers.into_iter()
    }

    fn cell(&self, pool: usize) -> Option<Arc<Cell>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).get(pool).map(Arc::clone)
    }
}

impl Cell {
    /// The cell of a pool that has these rings, if two, from its permit.
    fn new(workers: usize, rings: impl FnOnce(&Arc<Permit>) -> Option<DualRing>) -> Self {
        let permit = Arc::new(Permit::new(Instant::now()));
        let rings = rings(&permit).map(Arc::new);
        let held = Held { version: u64::from(rings.is_some()), carried: false, rings };
        let none = || (0..workers).map(|_| AtomicU64::new(0)).collect();
        Self { held: Mutex::new(held), ended: none(), settled: none(), permit }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Board;

    #[test]
    fn a_pool_that_comes_is_settled_with_by_every_worker() {
        let board = Board::new(1, 2, |_, _| None);
        assert_eq!(board.carry(1, None), 0, "there is no such pool");
        board.grow(2);
        board.grow(1);
        assert_eq!(board.pools(), 2);
        let version = board.carry(1, None);
        assert!(board.has_settled(0) && !board.has_ended(1) && !board.has_settled(1));
        board.end(1, 0, version);
        board.settle(1, 0, version);
        assert!(!board.has_ended(1) && !board.has_settled(1));
        board.end(1, 1, version);
        board.settle(1, 1, version);
        assert!(board.has_ended(1) && board.has_settled(1));
        assert_eq!(board.permit(1).map(|permit| permit.term()), Some(0));
    }
}

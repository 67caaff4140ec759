//! A worker takes over the rings that the admin thread has set, and says when it has settled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::worker::Worker;
use crate::service::{Board, Plan, Turn};

/// After which it is looked again whether what began under earlier rings has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a worker knows of the board.
#[derive(Debug)]
pub(super) struct Rings {
    board: Arc<Board>,
    worker: usize,
    seen: u64,
    /// What came with the plans of the pools.
    carried: Vec<u64>,
    /// Pools that have not settled, and with which version.
    unsettled: Vec<(u16, u64)>,
}

impl Rings {
    pub(super) fn new(board: Arc<Board>, worker: usize) -> Self {
        Self { board, worker, seen: 0, carried: Vec::new(), unsettled: Vec::new() }
    }

    /// When to look again.
    pub(super) fn next_alarm(&self, now: Instant) -> Option<Instant> {
        (!self.unsettled.is_empty()).then(|| now + LOOK_AGAIN)
    }

    /// Plans have been taken over, with whatever rings they have.
    pub(super) fn note(&mut self, plans: &[Plan]) {
        self.carried.resize(plans.len(), 0);
        for (pool, version) in plans.iter().map(|plan| plan.rings.version).enumerate() {
            if std::mem::replace(&mut self.carried[pool], version) < version {
                self.wait_for(pool, version);
            }
        }
    }

    fn wait_for(&mut self, pool: usize, version: u64) {
        self.unsettled.retain(|(other, _)| usize::from(*other) != pool);
        self.unsettled.push((pool as u16, version));
    }
}

impl Worker {
    /// Looks whether any pool has other rings.
    pub(super) fn watch_rings(&mut self) {
        if self.rings.board.version() != self.rings.seen {
            self.take_rings();
        }
        if !self.rings.unsettled.is_empty() {
            self.settle();
        }
    }

    fn take_rings(&mut self) {
        let board = Arc::clone(&self.rings.board);
        let before = std::mem::replace(&mut self.rings.seen, board.version());
        for pool in 0..board.pools() {
            let Some((version, rings)) = board.news(pool, before) else { continue };
            let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
            self.proxy.set_rings(turn, pool as u16, rings);
            self.rings.wait_for(pool, version);
        }
    }

    fn settle(&mut self) {
        let (proxy, rings, now) = (&self.proxy, &mut self.rings, self.now);
        rings.unsettled.retain(|&(pool, version)| {
            if proxy.has_ended(pool) {
                rings.board.end(pool.into(), rings.worker, version);
            }
            let settled = proxy.has_settled(pool, now);
            if settled {
                rings.board.settle(pool.into(), rings.worker, version);
            }
            !settled
        });
    }
}

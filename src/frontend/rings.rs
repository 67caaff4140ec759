//! A worker takes over the rings that the admin thread has set, and says when it has settled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::worker::Worker;
use crate::service::{Board, Turn};

/// After which it is looked again whether what began under earlier rings has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a worker knows of the board.
#[derive(Debug)]
pub(super) struct Rings {
    board: Arc<Board>,
    worker: usize,
    seen: u64,
    /// Pools that have not settled, and with which version.
    unsettled: Vec<(u16, u64)>,
}

impl Rings {
    pub(super) fn new(board: Arc<Board>, worker: usize) -> Self {
        Self { board, worker, seen: 0, unsettled: Vec::new() }
    }

    /// When to look again.
    pub(super) fn next_alarm(&self, now: Instant) -> Option<Instant> {
        (!self.unsettled.is_empty()).then(|| now + LOOK_AGAIN)
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
            let (version, rings) = board.rings(pool);
            if version <= before {
                continue;
            }
            let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
            self.proxy.set_rings(turn, pool as u16, rings);
            self.rings.unsettled.retain(|(other, _)| usize::from(*other) != pool);
            self.rings.unsettled.push((pool as u16, version));
        }
    }

    fn settle(&mut self) {
        let (proxy, rings, now) = (&self.proxy, &mut self.rings, self.now);
        rings.unsettled.retain(|&(pool, version)| {
            let settled = proxy.has_settled(pool, now);
            if settled {
                rings.board.settle(pool.into(), rings.worker, version);
            }
            !settled
        });
    }
}

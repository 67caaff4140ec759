//! Another configuration, as the sessions of a worker see it.
//!
//! ```text
//!  letter ─▶ adopt ─▶ limits, budget, pools that come, servers (Proxy::adopt)
//!               └ a pool was removed ─▶ dismiss: its clients go as in a drain ─▶ Proxy::retire
//! ```

use std::time::{Duration, Instant};

use super::sessions::Reason;
use super::worker::{LAST_CLIENTS, Worker};
use crate::metrics::PoolMetric;
use crate::service::{Latest, Turn};

/// How often clients of pools that were removed are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Pools that have been removed and still have clients.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pools: Vec<Going>,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Going {
    pool: u16,
    /// Until then clients may still come from the listener.
    open: Instant,
    /// Then those who are left are closed.
    until: Instant,
}

impl Removed {
    /// When they are to be looked at next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next
    }
}

impl Worker {
    /// Takes over what there is to be held from now on.
    pub(super) fn adopt(&mut self, latest: &Latest) {
        let Some((snapshot, banks)) = latest.take() else { return };
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        self.metrics = self.proxy.adopt(turn, &snapshot, &banks);
        self.rings.note(&snapshot.pools);
        let pools = || snapshot.pools.iter().map(|plan| &plan.settings);
        let limits = pools().map(|pool| pool.limits).collect();
        self.sessions.adopt(limits, snapshot.buffers, &self.metrics);
        self.protocols = pools().map(|pool| pool.protocol).collect();
        self.idle_timeouts = pools().map(|pool| pool.idle_timeout).collect();
        for (pool, plan) in (0..).zip(&snapshot.pools) {
            let going = self.removed.pools.iter().any(|it| it.pool == pool);
            if plan.removed && !going && !self.proxy.is_retired(pool) {
                let (open, until) = (self.now + LAST_CLIENTS, self.now + snapshot.grace);
                self.removed.pools.push(Going { pool, open, until: until.max(open) });
                self.removed.next = Some(self.now);
            }
        }
    }

    /// Has clients of pools that were removed go as soon as nothing of theirs is under way.
    pub(super) fn dismiss_removed(&mut self) {
        let now = self.now;
        if self.removed.next.is_none_or(|at| now < at) {
            return;
        }
        let mut pools = std::mem::take(&mut self.removed.pools);
        self.dismiss_idle(|pool| pools.iter().any(|it| it.pool == pool));
        for going in pools.iter().filter(|it| now >= it.until) {
            self.close_all_of(going.pool);
        }
        self.flush();
        pools.retain(|going| {
            let clients =
                self.metrics.pools[going.pool as usize].get(PoolMetric::ClientConnections);
            if clients > 0 || now < going.open {
                return true;
            }
            let turn = &mut Turn { now, io: &mut self.io, clients: &mut self.sessions };
            self.proxy.retire(turn, going.pool);
            false
        });
        self.removed.next = (!pools.is_empty()).then(|| now + LOOK_AGAIN);
        self.removed.pools = pools;
    }

    fn close_all_of(&mut self, pool: u16) {
        for token in self.sessions.tokens() {
            if self.sessions.get(token).is_some_and(|session| session.pool == pool) {
                self.sessions.doom(token, Reason::Shutdown);
            }
        }
    }
}

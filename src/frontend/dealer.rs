//! The clients of one pool, dealt out to the workers.
//!
//! ```text
//!  batch ─▶ those with descriptors to spare ─▶ (handshakes) ─▶ as many as there is room for ─┐
//!             └────────── the others: a word why, closed ────────────────┘                    │
//!                                   one inbox push for each worker ◀─ round robin ◀───────────┘
//! ```

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::Protocol;
use crate::metrics::{ListenerMetric, PoolMetric, Registry, Spacing};
use crate::net::{Accepted, Inbox, descriptor_limit};
use crate::service::Letter;
use crate::signal::Life;

/// Descriptors that no client gets, beside those of the server connections that there may be: for
/// the admin and the statistics listener (16 connections each), look-ups, the log, files that are
/// read again, ZooKeeper. With few descriptors clients get half of them all the same.
const KEPT: u64 = 64;

/// Deals clients of one pool out.
pub struct Dealer {
    pool: u16,
    protocol: Protocol,
    compat: bool,
    max_clients: Option<u64>,
    /// Clients are to speak TLS.
    tls: bool,
    inboxes: Vec<Inbox<Letter>>,
    pub(super) registry: Arc<Registry>,
    life: Arc<Life>,
    /// Held for as long as somebody of the pool may come.
    _lease: Arc<()>,
    next: usize,
    dealt: u64,
    /// Spaces out what the log is told of failures.
    notes: Spacing,
}

impl Dealer {
    /// The dealer of the pool with this number.
    pub fn new(
        (pool, protocol, compat): (u16, Protocol, bool),
        inboxes: Vec<Inbox<Letter>>,
        (registry, life): (Arc<Registry>, Arc<Life>),
        lease: Arc<()>,
    ) -> Self {
        Self {
            pool,
            protocol,
            compat,
            max_clients: None,
            tls: false,
            _lease: lease,
            inboxes,
            registry,
            life,
            next: 0,
            dealt: 0,
            notes: Spacing::default(),
        }
    }

    /// Holds to other terms from now on: how many clients there may be at a time, and whether they
    /// are to speak TLS.
    pub(super) fn hold(&mut self, max_clients: Option<u64>, tls: bool) {
        self.max_clients = max_clients;
        self.tls = tls;
    }

    /// What the process is about to do.
    pub(super) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Tells the log that no client could be taken; the counters, which are to say so as well.
    pub(super) fn failed(&mut self, error: &io::Error, now: Instant) -> Arc<Registry> {
        if let Some(untold) = self.notes.pass(now) {
            let untold = (untold > 0).then_some(untold);
            let pool = self.name();
            tracing::warn!(%error, pool, untold, "accept failed, listener rests");
        }
        Arc::clone(&self.registry)
    }

    /// The pool's name, for the log.
    fn name(&self) -> String {
        let layout = self.registry.layout();
        let shape = layout.shape.get(usize::from(self.pool)).and_then(Option::as_ref);
        shape.map(|shape| shape.name.clone()).unwrap_or_default()
    }

    /// Clients of this pool that are here or on their way to a worker.
    fn present(&self) -> u64 {
        let layout = self.registry.layout();
        let total = layout.pool(self.pool.into(), PoolMetric::ClientConnectionsTotal);
        let here = layout.pool(self.pool.into(), PoolMetric::ClientConnections);
        self.dealt.saturating_sub(total) + here
    }

    /// What the number of a client's descriptor must be below. Those above are kept for servers and
    /// operators: without them a crowd of clients would keep the process from all that it serves.
    pub(super) fn bound(&self) -> u64 {
        let limit = descriptor_limit().unwrap_or(u64::MAX);
        limit.saturating_sub(KEPT + self.registry.layout().unopened()).max(limit / 2)
    }

    /// Turns those of a batch away whose descriptors are not below `bound`.
    pub(super) fn keep_descriptors(&mut self, batch: &mut Vec<Accepted>, bound: u64, now: Instant) {
        let listener = &self.registry.listener;
        for refused in batch.extract_if(.., |it| it.descriptor() >= bound) {
            listener.add(ListenerMetric::Accepted, 1);
            listener.add(ListenerMetric::RejectedFd, 1);
            self.turn_away(refused);
            if let Some(untold) = self.notes.pass(now) {
                let (untold, pool) = ((untold > 0).then_some(untold), self.name());
                let limit = descriptor_limit();
                tracing::warn!(
                    pool,
                    bound,
                    limit,
                    untold,
                    "client turned away: too few file descriptors, raise their limit (ulimit -n)"
                );
            }
        }
    }

    /// Deals a batch out, as evenly as can be; what no worker has room for is closed.
    pub(super) fn deal(&mut self, batch: &mut Vec<Accepted>) {
        let listener = &self.registry.listener;
        listener.add(ListenerMetric::Accepted, batch.len() as u64);
        let room = self.max_clients.map_or(u64::MAX, |max| max.saturating_sub(self.present()));
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(batch.len());
        for refused in batch.drain(fits..) {
            listener.add(ListenerMetric::RejectedMax, 1);
            self.turn_away(refused);
        }
        let workers = self.inboxes.len();
        let mut hands: Vec<Vec<Letter>> = Vec::new();
        hands.resize_with(workers, Vec::new);
        for accepted in batch.drain(..) {
            hands[self.next].push(Letter::Client(self.pool, accepted));
            self.next = (self.next + 1) % workers;
        }
        for (inbox, mut hand) in self.inboxes.iter().zip(hands) {
            if hand.is_empty() {
                continue;
            }
            let dealt = hand.len();
            inbox.push_all(&mut hand);
            self.dealt += (dealt - hand.len()) as u64;
            listener.add(ListenerMetric::RejectedMax, hand.len() as u64);
        }
    }

    /// Closes a batch that has come too late.
    pub(super) fn decline(&mut self, batch: &mut Vec<Accepted>) {
        let listener = &self.registry.listener;
        listener.add(ListenerMetric::Accepted, batch.len() as u64);
        listener.add(ListenerMetric::RejectedDraining, batch.len() as u64);
        batch.clear();
    }

    /// Tells a client why it is not served, if the socket takes that at once, and closes it.
    fn turn_away(&self, accepted: Accepted) {
        let text: &[u8] = match self.protocol {
            _ if self.compat => b"",
            Protocol::Memcache | Protocol::Ping => b"ERROR Too many open connections\r\n",
            Protocol::Redis => b"-ERR max number of clients reached\r\n",
        };
        // Whether it could be told or not, it is closed.
        let _ = match accepted {
            // It would not understand a plain word.
            Accepted::Tcp(_) if self.tls => Ok(0),
            Accepted::Tcp(mut socket) => io::Write::write(&mut socket, text),
            Accepted::Unix(mut socket) => io::Write::write(&mut socket, text),
            Accepted::Secured(_) => Ok(0),
        };
    }
}

/// The dealer: held for a moment each time, by tasks of one thread.
pub(super) fn lock(dealer: &Mutex<Dealer>) -> MutexGuard<'_, Dealer> {
    dealer.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One worker: a thread's loop over the sockets of its clients and its servers.
//!
//! ```text
//!  turn: wait ─▶ mail ─▶ sockets ─▶ timers ─▶ flush servers, flush clients ─▶ close the doomed
//! ```
//! Everything that a turn queues for one destination leaves in one write at the end of the turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::change::Removed;
use super::rings::Rings;
use super::sessions::{Reason, Sessions};
use crate::config::{Config, Protocol};
use crate::metrics::{PoolMetric, WorkerMetric, WorkerMetrics};
use crate::net::{Accepted, Inbox, Mail, Resolver, Stream, TlsConnector, Token};
use crate::protocol::Span;
use crate::service::{
    Board, Identity, Io, Latest, Letter, Near, Owner, Proxy, Standalone, Ticket, Turn,
};
use crate::signal::{Life, Phase};

/// How often a worker that has nothing to do shows that it is alive, and looks at clients that
/// make no progress.
const BEAT: Duration = Duration::from_secs(1);
/// After which those look again that wait for other values to come in, be it at another worker.
const DEPOSIT_AGAIN: Duration = Duration::from_millis(5);

/// How long after a drain has begun clients may still come from the listener: it notices within
/// [`REST`](super::accept::REST), and takes those who had connected before.
pub(super) const LAST_CLIENTS: Duration = Duration::from_millis(200);

/// The number of the next client of the process, which CLIENT ID tells.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Bytes taken from a client at once.
const READ_BYTES: usize = 64 * 1024;

/// What a worker reaches beyond itself: caches of ours, the resolver, TLS to the servers and the
/// near cache of each pool, the next configuration, and the board of rings, where it has this number.
pub type Reach = (
    Standalone,
    Resolver,
    Arc<[Option<TlsConnector>]>,
    Vec<Option<Arc<Near>>>,
    Arc<Latest>,
    (Arc<Board>, usize),
);

/// A worker.
pub struct Worker {
    pub(super) io: Io,
    pub(super) sessions: Sessions,
    pub(super) proxy: Proxy,
    pub(super) standalone: Standalone,
    pub(super) rings: Rings,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) compat: bool,
    /// When this turn began.
    pub(super) now: Instant,
    /// What a client sends is first seen here.
    pub(super) scratch: Vec<u8>,
    pub(super) args: Vec<Span>,
    /// Requests whose keys have been looked at ahead of time.
    pub(super) ahead: u32,
    /// Clients whose large value must wait for others, and how long it is.
    pub(super) depositors: Vec<(Token, u64)>,
    /// Clients with an unfinished request.
    pub(super) watched: Vec<Token>,
    /// How long clients of each pool may be silent.
    pub(super) idle_timeouts: Vec<Option<Duration>>,
    /// Pools that have been removed and still have clients.
    pub(super) removed: Removed,
    /// Where the next configuration is found.
    latest: Arc<Latest>,
    life: Arc<Life>,
    next_beat: Instant,
    /// While the process drains: when nobody will come any more.
    drained_from: Option<Instant>,
}

impl Worker {
    /// A worker that gets `mail`; to be made on its own thread, within its runtime.
    pub fn new(
        config: &Config,
        (inbox, mail): (Inbox<Letter>, Mail<Letter>),
        metrics: Arc<WorkerMetrics>,
        life: Arc<Life>,
        (standalone, resolver, tls, nears, latest, board): Reach,
    ) -> Self {
        let budget = usize::try_from(config.buffers).unwrap_or(usize::MAX) / config.workers.max(1);
        let limits = config.pools.iter().map(|pool| pool.limits).collect();
        let now = Instant::now();
        let mut proxy = Proxy::new(config, Arc::clone(&metrics), (inbox, resolver, tls), nears);
        if board.1 == 0 {
            proxy.sweeps();
        }
        Self {
            io: Io::new(mail),
            sessions: Sessions::new(limits, budget, Arc::clone(&metrics)),
            proxy,
            standalone,
            rings: Rings::new(board.0, board.1),
            metrics,
            protocols: config.pools.iter().map(|pool| pool.protocol).collect(),
            compat: config.compat,
            now,
            scratch: Vec::with_capacity(READ_BYTES),
            args: Vec::new(),
            ahead: 0,
            depositors: Vec::new(),
            watched: Vec::new(),
            idle_timeouts: config.pools.iter().map(|pool| pool.idle_timeout).collect(),
            removed: Removed::default(),
            latest,
            life,
            next_beat: now,
            drained_from: None,
        }
    }

    /// Serves until the process drains and the last client has gone.
    pub async fn run(mut self) {
        let (mut tokens, mut mail) = (Vec::new(), Vec::new());
        self.proxy.preconnect();
        while !self.is_done() {
            let until = self.next_alarm();
            self.io.turn(Some(until), &mut tokens, &mut mail).await;
            self.now = Instant::now();
            self.standalone.begin_turn(self.now);
            self.watch_rings();
            for letter in mail.drain(..) {
                self.open(letter);
            }
            self.release_depositors();
            for &token in &tokens {
                self.ready(token);
            }
            self.tick();
            self.flush();
            self.dismiss_removed();
            if self.life.phase() == Phase::Draining {
                self.drained_from.get_or_insert(self.now + LAST_CLIENTS);
                self.dismiss_idle(|_| true);
                self.flush();
            }
        }
        self.proxy.shut(&mut self.io);
    }

    fn next_alarm(&self) -> Instant {
        let drained = self.drained_from.filter(|&at| at > self.now);
        let waited = (!self.depositors.is_empty()).then(|| self.now + DEPOSIT_AGAIN);
        let removed = self.removed.next_look();
        let settling = self.rings.next_alarm(self.now);
        let alarms = [self.proxy.next_alarm(), drained, waited, removed, settling];
        alarms.into_iter().flatten().fold(self.next_beat, Instant::min)
    }

    fn is_done(&self) -> bool {
        self.drained_from.is_some_and(|at| self.now >= at)
            && self.sessions.len() == 0
            && self.proxy.is_idle()
    }

    fn open(&mut self, letter: Letter) {
        match letter {
            Letter::Client(pool, accepted) => self.welcome(pool, accepted),
            Letter::Dialled { connection, attempt, result } => {
                let turn =
                    &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
                self.proxy.dialled(turn, (connection, attempt), result);
            }
            Letter::Moved { connection, attempt } => {
                let turn =
                    &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
                self.proxy.moved(turn, (connection, attempt));
            }
            Letter::Changed(ticket) => self.tell(ticket),
            Letter::Landed { pool, hash } => {
                let turn =
                    &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
                self.proxy.landed(turn, pool, hash);
            }
            // Its coming has woken the worker; the phase is looked at in every turn.
            Letter::Phase => {}
            Letter::Configuration => self.adopt(&Arc::clone(&self.latest)),
        }
    }

    /// A new client; one that has gone already is not noticed.
    fn welcome(&mut self, pool: u16, accepted: Accepted) {
        if self.proxy.is_retired(pool) {
            // It came too late to be served.
            return;
        }
        let stream = Stream::of(accepted);
        let metrics = &self.metrics.pools[pool as usize];
        metrics.add(PoolMetric::ClientConnectionsTotal, 1);
        let Ok(stream) = stream else {
            return metrics.add(PoolMetric::DisconnectReset, 1);
        };
        metrics.add(PoolMetric::ClientConnections, 1);
        self.metrics.add(WorkerMetric::Connections, 1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let authenticated = !self.proxy.needs_password(pool);
        let identity = Identity { id, authenticated, resp3: false, name: None };
        let token = self.io.insert(stream, Owner::Client);
        self.sessions.insert(token, (pool, identity), self.now);
    }

    fn ready(&mut self, token: Token) {
        match self.io.owner(token) {
            Some(Owner::Client) => self.client_ready(token),
            Some(Owner::Server(link)) => {
                let turn =
                    &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
                self.proxy.ready(turn, link);
            }
            None => {}
        }
    }

    /// What is due by the clock.
    fn tick(&mut self) {
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        self.proxy.tick(turn);
        self.metrics.add(WorkerMetric::Turns, 1);
        if self.now < self.next_beat {
            return;
        }
        self.next_beat = self.now + BEAT;
        self.metrics.beat(self.now);
        let buffered = self.sessions.buffered() + self.proxy.buffered();
        self.metrics.set(WorkerMetric::BufferBytes, buffered as u64);
        self.close_overdue();
        self.close_silent();
        self.sessions.review();
    }

    fn close_overdue(&mut self) {
        let now = self.now;
        let mut watched = std::mem::take(&mut self.watched);
        watched.retain(|&token| {
            let Some(session) = self.sessions.get(token) else { return false };
            session.watched = session.begun.is_some();
            let (pool, keep) = (session.pool, session.watched);
            let limits = *self.sessions.limits(pool);
            let late = self.sessions.get(token).is_some_and(|s| s.is_overdue(&limits, now));
            if late {
                self.sessions.doom(token, Reason::Timeout);
            }
            keep && !late
        });
        watched.append(&mut self.watched);
        self.watched = watched;
    }

    /// Closes clients that have been silent for longer than their pool allows.
    fn close_silent(&mut self) {
        if self.idle_timeouts.iter().all(Option::is_none) {
            return;
        }
        for token in self.sessions.tokens() {
            let Some(session) = self.sessions.get(token) else { continue };
            let silent = self.now.saturating_duration_since(session.heard);
            let limit = self.idle_timeouts[session.pool as usize];
            if session.is_idle()
                && !session.subscribed
                && limit.is_some_and(|limit| silent >= limit)
            {
                self.sessions.doom(token, Reason::Timeout);
            }
        }
    }

    /// One write for each server and each client that has something; then the goodbyes. Servers
    /// come first: if one breaks under its write, its clients are told in this turn.
    pub(super) fn flush(&mut self) {
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        self.proxy.flush(turn);
        self.sessions.flush(&mut self.io);
        for token in self.sessions.take_leaving() {
            self.watch(token);
        }
        for ticket in self.sessions.take_drained() {
            let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
            self.proxy.resume(turn, ticket);
        }
        for (token, reason) in self.sessions.take_doomed() {
            self.close(token, reason);
        }
        self.sessions.note_elsewhere(self.proxy.buffered());
        self.standalone.hold(self.sessions.memory(), self.now);
        self.sessions.release_starved(&mut self.io, self.now);
    }

    /// Closes a client and counts why.
    fn close(&mut self, token: Token, reason: Reason) {
        self.abort_upload(token);
        self.hang_up(token);
        self.unsubscribe_all(token);
        self.proxy.forget(token.0);
        // What is there for it goes out first, as far as the socket takes it.
        if reason != Reason::Protocol
            && let Some(session) = self.sessions.get(token)
        {
            let _ = self.io.write(token, session.pipeline.output());
        }
        let Some(session) = self.sessions.remove(token) else { return };
        self.io.remove(token);
        if session.waited_for {
            let ticket = Ticket { session: token.0, serial: session.serial, seq: 0 };
            let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
            self.proxy.resume(turn, ticket);
        }
        // A client that was lost is remembered as that, however it left.
        let reason = if session.lost { Reason::Protocol } else { reason };
        self.metrics.sub(WorkerMetric::Connections, 1);
        let metrics = &self.metrics.pools[session.pool as usize];
        metrics.sub(PoolMetric::ClientConnections, 1);
        metrics.add(
            match reason {
                Reason::Eof => PoolMetric::DisconnectEof,
                Reason::Reset => PoolMetric::DisconnectReset,
                Reason::Timeout => PoolMetric::DisconnectTimeout,
                Reason::SlowReader => PoolMetric::DisconnectSlowReader,
                Reason::Protocol => PoolMetric::DisconnectProtocol,
                Reason::Shutdown => PoolMetric::DisconnectShutdown,
            },
            1,
        );
        match reason {
            Reason::Eof => metrics.add(PoolMetric::ClientEof, 1),
            Reason::Shutdown => {}
            _ => metrics.add(PoolMetric::ClientErr, 1),
        }
    }

    /// While the process drains, or their pool has been removed, clients go as soon as nothing of theirs is under way. What one
    /// has sent already, read or not, is served before: whoever seems idle is looked at once more
    /// in a later turn, when the system has been asked what has come in.
    pub(super) fn dismiss_idle(&mut self, concerns: impl Fn(u16) -> bool) {
        let now = self.now;
        for token in self.sessions.tokens() {
            let Some(session) = self.sessions.get(token).filter(|it| concerns(it.pool)) else {
                continue;
            };
            if session.is_blocked() {
                self.sessions.doom(token, Reason::Shutdown);
            } else if !session.is_idle() {
                session.idle_at = None;
            } else if *session.idle_at.get_or_insert(now) < now {
                self.sessions.doom(token, Reason::Shutdown);
            } else {
                self.io.touch(token);
            }
        }
    }
}

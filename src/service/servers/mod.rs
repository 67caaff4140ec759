//! The life of server connections: dialled when needed, read, flushed, closed, tried again.
//!
//! ```text
//!  reach ─▶ dial ─▶ dialled ─▶ greeting ─▶ fit ─▶ readable … ─▶ broken ─▶ reach (if any wait)
//!                      └─ failed ─▶ Health: pause, or down ─▶ tick: probe
//! ```
//! Here they are opened. `receiving` has what servers send and what is sent to them, `failing` what
//! becomes of a connection that broke and of its server, `moving` what if the server's name leads
//! elsewhere now, `leaving` what if the configuration has it no more, `alarms` what is due by the
//! clock.

mod alarms;
mod failing;
mod leaving;
mod moving;
mod receiving;

use std::time::{Duration, Instant};

use super::dispatch::Turn;
use super::proxy::Proxy;
use super::replies::Clients;
use crate::backend::{ConnectError, Failure, Owner, Phase, Stream, dial_server};
use crate::metrics::ServerMetric;
use moving::watched_peer;

/// How long a server may take to accept a connection, unless its pool's timeout is shorter.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
impl Proxy {
    /// # Errors
    /// The server is down, or resting after a failure.
    pub(in crate::service) fn reach(&mut self, link: u32, now: Instant) -> Result<(), Failure> {
        let place = &self.links[link as usize];
        if place.connection.phase() != Phase::Closed {
            return Ok(());
        }
        let health = &self.pools[place.pool as usize].servers[place.server as usize].health;
        if !health.is_up() || !health.may_connect(now) {
            return Err(health.last_failure());
        }
        self.dial(link);
        Ok(())
    }

    pub(super) fn dial(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        place.attempt = place.attempt.wrapping_add(1);
        place.connection.connecting();
        let settings = &self.pools[place.pool as usize].settings;
        let limit = settings.timeout.map_or(DIAL_LIMIT, |timeout| timeout.min(DIAL_LIMIT));
        let address = &settings.servers[place.server as usize].address;
        let tls = self.tls.get(place.pool as usize).and_then(Option::as_ref);
        dial_server((&self.inbox, &self.resolver, tls), (link, place.attempt), address, limit);
    }

    /// Begins to connect to every server of the pools that want that from the start.
    pub fn preconnect(&mut self) {
        for link in 0..self.links.len() as u32 {
            let pool = self.links[link as usize].pool;
            if self.pools[pool as usize].settings.preconnect {
                self.dial(link);
            }
        }
    }

    /// A dialling attempt has ended.
    pub fn dialled<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (link, attempt): (u32, u32),
        result: Result<Stream, ConnectError>,
    ) {
        let Some(place) = self.links.get_mut(link as usize) else { return };
        if place.attempt != attempt || place.connection.phase() != Phase::Connecting {
            return;
        }
        let (pool, server) = (place.pool as usize, place.server as usize);
        let metrics = &self.metrics.pools[pool].servers[server];
        let failure = match result {
            Ok(stream) => {
                metrics.add(ServerMetric::ConnectsOk, 1);
                metrics.add(ServerMetric::Connections, 1);
                place.peer = watched_peer(&self.pools[pool], server, &stream);
                let token = turn.io.insert(stream, Owner::Server(link));
                match place.connection.opened(turn.io, token) {
                    Ok(()) => return self.watch_greeting(turn.now, link),
                    Err(failure) => failure,
                }
            }
            Err(error) => {
                metrics.add(ServerMetric::ConnectsFailed, 1);
                match error {
                    ConnectError::Resolve(_) => Failure::Unresolved,
                    ConnectError::Timeout => Failure::TimedOut,
                    ConnectError::Tls(error) => {
                        self.note_handshake(turn.now, (pool, server), &error);
                        Failure::Tls
                    }
                    ConnectError::Connect(e) => match Failure::of(e.kind()) {
                        Failure::TimedOut => Failure::TimedOut,
                        _ => Failure::Refused,
                    },
                }
            }
        };
        self.broken(turn, link, failure);
    }

    /// A greeting that is never answered must not be waited for for ever.
    fn watch_greeting(&mut self, now: Instant, link: u32) {
        let place = &mut self.links[link as usize];
        let settings = &self.pools[place.pool as usize].settings;
        let limit = settings.timeout.map_or(DIAL_LIMIT, |timeout| timeout.min(DIAL_LIMIT));
        place.due_by = Some(now + limit);
        self.arm(link, Some(now + limit));
    }

    /// A new connection has answered the greeting.
    fn fit<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        place.due_by = None;
        let (pool, server) = (place.pool as usize, place.server as usize);
        self.pools[pool].servers[server].unavailable = false;
        self.readmit(turn.now, (pool, server));
        self.mark_dirty(link);
        self.watch_subscriber(turn.now, link);
        self.trust(turn, link);
        self.upload_moved(turn, link);
    }

    /// Closes a connection that nothing waits on.
    pub(in crate::service) fn close_unused<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        let (pool, server) = (place.pool as usize, place.server as usize);
        if place.connection.token().is_some() {
            self.metrics.pools[pool].servers[server].sub(ServerMetric::Connections, 1);
        }
        let remains = place.connection.close(turn.io, false);
        place.paused = None;
        place.due_by = None;
        self.distrust(link);
        let failed = remains.failed.iter().map(|entry| entry.ask.mark);
        for mark in failed.chain(remains.marks) {
            self.linger(mark, turn.now);
        }
    }
}

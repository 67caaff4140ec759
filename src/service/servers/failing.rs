//! Connections that broke: what waited on them, and what their servers are held to be.
//!
//! ```text
//!  broken ─┬▶ failed entries ─▶ clients      note_failure ─▶ Health ─▶ down ─▶ eject
//!          └▶ the rest ─▶ dial                    readmit ◀─ answered ◀─ up
//! ```

use std::time::{Instant, SystemTime};

use crate::backend::{Entry, Failure, Phase, To, Verdict};
use crate::metrics::{PoolMetric, ServerMetric};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Duty, Proxy};
use crate::service::replies::Clients;

impl Proxy {
    /// A server has shown that it serves: its failures are forgotten, and if it was down it is
    /// put back.
    pub(super) fn readmit(&mut self, now: Instant, (pool, server): (usize, usize)) {
        if self.is_leaving((pool, server)) {
            return;
        }
        let owner = &mut self.pools[pool];
        if owner.servers[server].health.answered() != Verdict::Up {
            return;
        }
        if owner.set_live(server, true) {
            self.ring_changed(pool as u16);
        }
        self.metrics.pools[pool].servers[server].set(ServerMetric::Up, 1);
        self.note_up(now, (pool, server));
        while let Some(other) = self.pools[pool].overdue() {
            if !self.eject(pool, other) {
                break;
            }
        }
    }

    /// Takes a server off the ring, if that is to be done and may be done.
    fn eject(&mut self, pool: usize, server: usize) -> bool {
        let ejected = self.pools[pool].set_live(server, false);
        if ejected {
            self.ring_changed(pool as u16);
            let metrics = &self.metrics.pools[pool];
            metrics.add(PoolMetric::ServerEjects, 1);
            metrics.servers[server].set(ServerMetric::EjectedAt, wall_clock_micros());
        }
        ejected
    }

    /// A connection cannot be used any more: answers what has failed, sends again what may be,
    /// and notes the failure against the server.
    pub(in crate::service) fn broken<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        failure: Failure,
    ) {
        let place = &mut self.links[link as usize];
        if place.connection.phase() == Phase::Closed {
            return;
        }
        let (pool, server) = (place.pool as usize, place.server as usize);
        let had_socket = place.connection.token().is_some();
        let dialling = place.connection.phase() != Phase::Ready;
        let hung_up = matches!(failure, Failure::Closed | Failure::Reset);
        let idle = place.connection.depth() == 0 && !dialling && hung_up;
        let streamed = place.connection.is_streaming();
        let may_retry = matches!(failure, Failure::Reset | Failure::Closed) && !self.compat;
        let remains = place.connection.close(turn.io, may_retry);
        place.paused = None;
        place.due_by = None;
        self.distrust(link);
        if failure == Failure::NoResp3 {
            self.note_tracking(turn.now, (pool as u16, server), false);
        }
        for &mark in &remains.marks {
            self.linger(mark, turn.now);
        }
        let metrics = &self.metrics.pools[pool];
        if had_socket {
            metrics.servers[server].sub(ServerMetric::Connections, 1);
        }
        // twemproxy has a connection, which it closes, even where there was none to be had.
        if had_socket || self.compat {
            metrics.servers[server].add(failure.close_metric(), 1);
        }
        if failure.is_desync() {
            metrics.servers[server].add(ServerMetric::DesyncClosed, 1);
        }
        metrics.add(PoolMetric::Retries, remains.retried as u64);
        self.note_bad(turn.now, link, failure);
        // That is no fault: it serves all who speak RESP2.
        let able = failure != Failure::NoResp3;
        if able && (!idle || self.compat) {
            self.note_failure(turn, link, failure);
        }
        for (index, entry) in remains.failed.into_iter().enumerate() {
            self.fail_entry(turn, link, &entry, (index == 0 && streamed, failure));
        }
        match self.links[link as usize].duty {
            Duty::Shared | Duty::Leaving => {}
            Duty::Upload(_) => return self.end_upload(turn, link, failure),
            Duty::Subscriber => return self.end_subscriber(turn, link, failure),
            Duty::Lent { .. } | Duty::Spare | Duty::Gone => {
                return self.end_lent(turn, link, failure);
            }
        }
        self.resume_waiting(turn, link, (dialling, failure));
        self.speed_up(turn, link);
        self.report(link);
        self.end_if_left(turn, link);
    }

    /// What still waits on a closed connection is sent on a new one; if there was none to begin
    /// with (`dialling`), or the server is down now, it fails; as twemproxy, always.
    fn resume_waiting<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        (dialling, why): (bool, Failure),
    ) {
        let place = &mut self.links[link as usize];
        let health = &self.pools[place.pool as usize].servers[place.server as usize].health;
        if !dialling && health.is_up() && !self.compat {
            if place.connection.depth() > 0 {
                self.dial(link);
            }
            return;
        }
        for entry in place.connection.abandon() {
            self.fail_entry(turn, link, &entry, (false, why));
        }
    }

    pub(super) fn fail_entry<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        entry: &Entry,
        (streamed, failure): (bool, Failure),
    ) {
        match entry.ask.to {
            // A reply that has begun cannot turn into an error line.
            To::Client(ticket) if streamed => {
                self.linger(entry.ask.mark, turn.now);
                turn.clients.cut(ticket);
            }
            _ => self.fail_asked(turn, link, &entry.ask, failure),
        }
    }

    pub(super) fn note_failure<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        failure: Failure,
    ) {
        let place = &self.links[link as usize];
        let (pool, server) = (place.pool as usize, place.server as usize);
        let metrics = &self.metrics.pools[pool];
        metrics.servers[server].add(failure.metric(), 1);
        if self.is_leaving((pool, server)) {
            // Whoever has its name now is another.
            return;
        }
        let owner = &mut self.pools[pool];
        let verdict = owner.servers[server].health.failed(turn.now, failure);
        if verdict == Verdict::Down {
            metrics.servers[server].set(ServerMetric::Up, 0);
            self.eject(pool, server);
            self.note_down(turn.now, (pool, server), failure);
        }
        let probe = self.pools[pool].servers[server].health.probe_at();
        let first = self.pools[pool].servers[server].first;
        self.arm(first, probe);
    }
}

/// Microseconds since 1970, as twemproxy reports them.
fn wall_clock_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

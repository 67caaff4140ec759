//! The life of server connections: dialled when needed, read, flushed, closed, tried again.
//!
//! ```text
//!  reach ─▶ dial ─▶ dialled ─▶ greeting ─▶ fit ─▶ readable … ─▶ broken ─▶ reach (if any wait)
//!                      └─ failed ─▶ Health: pause, or down ─▶ tick: probe
//! ```

use std::time::{Duration, Instant, SystemTime};

use super::dispatch::Turn;
use super::proxy::{Pause, Proxy};
use super::replies::{Clients, Progress, Sink};
use crate::backend::{
    ConnectError, Entry, Failure, Owner, Phase, Received, Stream, Ticket, To, Verdict, dial_server,
};
use crate::metrics::{PoolMetric, ServerMetric};

/// How long a server may take to accept a connection, unless its pool's timeout is shorter.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// How long one client may keep a server connection waiting without reading any of the replies
/// that it has been sent, when it holds as many of them as it may.
const STALL: Duration = Duration::from_millis(500);

/// How long it may do so while it reads, but little: others wait for its sake.
const WAIT_MOST: Duration = Duration::from_secs(5);

/// How often a down server whose connection is open is looked at.
const PROBE_AGAIN: Duration = Duration::from_millis(100);

/// The shortest time between two looks at a connection by the clock.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Proxy {
    /// Sees to it that `link` has a connection or is getting one.
    ///
    /// # Errors
    /// The server is down, or resting after a failure.
    pub(super) fn reach(&mut self, link: u32, now: Instant) -> Result<(), Failure> {
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

    fn dial(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        place.attempt = place.attempt.wrapping_add(1);
        place.connection.connecting();
        let settings = &self.pools[place.pool as usize].settings;
        let limit = settings.timeout.map_or(DIAL_LIMIT, |timeout| timeout.min(DIAL_LIMIT));
        let address = &settings.servers[place.server as usize].address;
        dial_server(&self.inbox, (link, place.attempt), address, limit);
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
        place.greeted_by = Some(now + limit);
        self.arm(link, Some(now + limit));
    }

    /// A server's socket is ready: reads replies and writes what waits.
    pub fn ready<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let Some(place) = self.links.get_mut(link as usize) else { return };
        if let Err(failure) = place.connection.flush(turn.io) {
            return self.broken(turn, link, failure);
        }
        if place.upload.is_some() {
            self.upload_moved(turn, link);
        }
        if self.links[link as usize].paused.is_none() {
            self.receive(turn, link);
        }
        self.report(link);
    }

    fn receive<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        let (pool, server) = (place.pool as usize, place.server as usize);
        let mut complete = std::mem::take(&mut self.complete);
        let mut sink = Sink {
            clients: turn.clients,
            gathers: &mut self.gathers,
            metrics: &self.metrics.pools[pool],
            server: &self.metrics.pools[pool].servers[server],
            now: turn.now,
            paused: None,
            complete: &mut complete,
            unavailable: false,
            served: false,
        };
        let received = place.connection.receive(turn.io, turn.now, &mut self.scratch, &mut sink);
        let (mut paused, unavailable, served) = (sink.paused, sink.unavailable, sink.served);
        for place in complete.drain(..) {
            paused = self.complete(turn, place).or(paused);
        }
        self.complete = complete;
        if let Some(ticket) = paused {
            let pause = Pause { ticket, began: turn.now, looked: turn.now };
            self.links[link as usize].paused = Some(pause);
            self.arm(link, Some(turn.now + STALL));
        }
        let state = &mut self.pools[pool].servers[server].unavailable;
        let recovered = served && !unavailable && std::mem::take(state);
        *state |= unavailable;
        match received {
            Ok(Received::Fit) => self.fit(turn, link),
            Ok(_) if unavailable => self.note_failure(turn, link, Failure::Unfit),
            Ok(_) => self.end_upload_if_done(turn, link),
            Err(failure) => self.broken(turn, link, failure),
        }
        if recovered {
            self.readmit(turn.now, (pool, server));
        }
        self.speed_up(turn, link);
    }

    /// Lets go whom a long queue has slowed down, once it is short.
    fn speed_up<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        if place.slowed.is_empty() {
            return;
        }
        let queue = self.pools[place.pool as usize].settings.limits.server_queue;
        if place.connection.depth() <= queue / 4 {
            for ticket in place.slowed.drain(..) {
                turn.clients.resume(turn.io, ticket);
            }
        }
    }

    /// A new connection has answered the greeting.
    fn fit<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        place.greeted_by = None;
        let (pool, server) = (place.pool as usize, place.server as usize);
        self.pools[pool].servers[server].unavailable = false;
        self.readmit(turn.now, (pool, server));
        self.mark(link);
        self.upload_moved(turn, link);
    }

    /// A server has shown that it serves: its failures are forgotten, and if it was down it is
    /// put back.
    fn readmit(&mut self, now: Instant, (pool, server): (usize, usize)) {
        let owner = &mut self.pools[pool];
        if owner.servers[server].health.answered() != Verdict::Up {
            return;
        }
        owner.set_live(server, true);
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
            let metrics = &self.metrics.pools[pool];
            metrics.add(PoolMetric::ServerEjects, 1);
            metrics.servers[server].set(ServerMetric::EjectedAt, wall_clock_micros());
        }
        ejected
    }

    /// A connection cannot be used any more: answers what has failed, sends again what may be,
    /// and notes the failure against the server.
    pub(super) fn broken<C: Clients>(
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
        place.greeted_by = None;
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
        if !idle || self.compat {
            self.note_failure(turn, link, failure);
        }
        for (index, entry) in remains.failed.into_iter().enumerate() {
            self.fail_entry(turn, link, &entry, (index == 0 && streamed, failure));
        }
        if self.links[link as usize].upload.is_some() {
            return self.end_upload(turn, link, failure);
        }
        self.resume_waiting(turn, link, (dialling, failure));
        self.speed_up(turn, link);
        self.report(link);
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

    fn fail_entry<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        entry: &Entry,
        (streamed, failure): (bool, Failure),
    ) {
        match entry.ask.to {
            // A reply that has begun cannot turn into an error line.
            To::Client(ticket) if streamed => turn.clients.cut(ticket),
            _ => {
                let pool = self.links[link as usize].pool;
                self.fail_asked(turn, pool, &entry.ask, failure);
            }
        }
    }

    fn note_failure<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32, failure: Failure) {
        let place = &self.links[link as usize];
        let (pool, server) = (place.pool as usize, place.server as usize);
        let metrics = &self.metrics.pools[pool];
        metrics.servers[server].add(failure.metric(), 1);
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

    /// What is due: requests time out, silent connections are given up, dead servers probed,
    /// clients that hold a server up are cut off.
    pub fn tick<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        while let Some(link) = self.next_due(turn.now) {
            self.look_at(turn, link);
        }
    }

    fn look_at<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        self.check_pause(turn, link);
        self.spare_upload(turn, link);
        let now = turn.now;
        let mut late = Vec::new();
        let place = &mut self.links[link as usize];
        let silent = place.greeted_by.is_some_and(|by| now >= by);
        let paused = place.paused.is_some();
        let expired = place.connection.expire(now, paused, |entry| late.push(entry));
        let any_late = !late.is_empty();
        for entry in late {
            self.fail_entry(turn, link, &entry, (false, Failure::TimedOut));
        }
        // twemproxy gives the connection up with the first request that is late.
        let given_up = self.compat && any_late;
        if expired.is_err() || silent || given_up {
            self.broken(turn, link, Failure::TimedOut);
        }
        self.probe_if_due(turn, link);
        self.rearm(now, link);
    }

    /// Cuts a client off that has kept a server connection waiting without reading anything.
    fn check_pause<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let now = turn.now;
        let Some(pause) = self.links[link as usize].paused else { return };
        if now < pause.looked + STALL {
            return;
        }
        match turn.clients.progress(pause.ticket) {
            Progress::Reading if now < pause.began + WAIT_MOST => {
                self.links[link as usize].paused = Some(Pause { looked: now, ..pause });
                return;
            }
            // It is given a little more, so that nobody waits for ever.
            Progress::Blocked => {}
            Progress::Reading | Progress::Stuck => turn.clients.give_up(pause.ticket),
        }
        self.resume(turn, pause.ticket);
    }

    /// Connections that waited for this session read on.
    pub fn resume<C: Clients>(&mut self, turn: &mut Turn<'_, C>, ticket: Ticket) {
        for place in &mut self.links {
            let same =
                |paused: Ticket| (paused.session, paused.serial) == (ticket.session, ticket.serial);
            if place.paused.is_some_and(|pause| same(pause.ticket)) {
                place.paused = None;
                if let Some(token) = place.connection.token() {
                    turn.io.touch(token);
                }
            }
        }
    }

    /// Asks a dead server whether it lives, when it is time; twemproxy believes that it does.
    fn probe_if_due<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let now = turn.now;
        let place = &self.links[link as usize];
        let server = &self.pools[place.pool as usize].servers[place.server as usize];
        let due = server.first == link && server.health.probe_at().is_some_and(|at| now >= at);
        if !due {
            return;
        }
        if self.compat {
            return self.readmit(now, (place.pool as usize, place.server as usize));
        }
        match place.connection.phase() {
            Phase::Closed => self.dial(link),
            // It said that it could not serve, and nobody asks it any more: it is greeted anew.
            Phase::Ready if place.connection.depth() == 0 => {
                self.close_unused(turn, link);
                self.dial(link);
            }
            // Its replies, or their absence, will tell.
            _ => {}
        }
    }

    /// Closes a connection that nothing waits on.
    pub(super) fn close_unused<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        let (pool, server) = (place.pool as usize, place.server as usize);
        if place.connection.token().is_some() {
            self.metrics.pools[pool].servers[server].sub(ServerMetric::Connections, 1);
        }
        place.connection.close(turn.io, false);
        place.paused = None;
        place.greeted_by = None;
    }

    fn rearm(&mut self, now: Instant, link: u32) {
        let place = &self.links[link as usize];
        let server = &self.pools[place.pool as usize].servers[place.server as usize];
        let probe = server.health.probe_at().filter(|_| server.first == link);
        let probe = match place.connection.phase() {
            Phase::Closed => probe,
            _ => probe.map(|at| at.max(now + PROBE_AGAIN)),
        };
        let paused = place.paused.map(|pause| pause.looked + STALL);
        let at = [place.connection.next_deadline(), place.greeted_by, probe, paused];
        // Never at once again: whatever is due has just been seen to.
        let soonest = now + LOOK_AGAIN;
        self.arm(link, at.into_iter().flatten().min().map(|at| at.max(soonest)));
    }

    /// Writes what was queued in this turn: one write for each connection.
    pub fn flush<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for link in dirty.drain(..) {
            let place = &mut self.links[link as usize];
            place.dirty = false;
            let flushed = place.connection.flush(turn.io);
            self.upload_moved(turn, link);
            self.report(link);
            if let Err(failure) = flushed {
                self.broken(turn, link, failure);
            }
        }
        // What broke while this went on was marked anew and waits for the next turn.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }
}

/// Microseconds since 1970, as twemproxy reports them.
fn wall_clock_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

//! The clients of one worker, and the way of replies to them.
//!
//! A session stands at the place of its socket's token; a serial number tells it from those that
//! stood there before, so that a late reply finds nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::session::{Hold, Mode, Reason, Session};
use crate::config::Limits;
use crate::metrics::{PoolMetric, PoolMetrics, WorkerMetrics};
use crate::net::{Token, Written};
use crate::service::{Clients, Flow, Identity, Io, Ticket};

/// A stretch of a reply at least this long is written at once, from where it lies.
const WRITE_THROUGH: usize = 16 * 1024;

/// A client that gets long replies is waited for once it holds this share of all buffers, or as
/// much as one client may.
const BUDGET_SHARE: usize = 16;

/// The sessions.
pub(super) struct Sessions {
    places: Vec<Option<Box<Session>>>,
    /// Limits of each pool.
    limits: Vec<Limits>,
    metrics: Arc<WorkerMetrics>,
    next_serial: u32,
    count: usize,
    /// Those with something to write.
    dirty: Vec<Token>,
    /// Those to be closed.
    doomed: Vec<(Token, Reason)>,
    /// Those that have been told that nothing more will come.
    leaving: Vec<Token>,
    /// Those that server connections wait for and that have taken bytes.
    drained: Vec<Ticket>,
    /// Those not read from because the buffers are full.
    starved: Vec<Token>,
    /// Bytes in the buffers of all, and how many there may be.
    buffered: usize,
    budget: usize,
}

impl Sessions {
    /// No sessions; those to come may hold `budget` bytes together, and each what the limits of
    /// its pool say.
    pub(super) fn new(limits: Vec<Limits>, budget: usize, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            places: Vec::new(),
            limits,
            metrics,
            next_serial: 0,
            count: 0,
            dirty: Vec::new(),
            doomed: Vec::new(),
            leaving: Vec::new(),
            drained: Vec::new(),
            starved: Vec::new(),
            buffered: 0,
            budget,
        }
    }

    /// Puts a new client at the place of its socket.
    pub(super) fn insert(&mut self, token: Token, pool: u16, identity: Identity) {
        let place = token.0 as usize;
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.next_serial = self.next_serial.wrapping_add(1);
        self.places[place] = Some(Box::new(Session::new(self.next_serial, pool, identity)));
        self.count += 1;
    }

    /// Takes a client out.
    pub(super) fn remove(&mut self, token: Token) -> Option<Box<Session>> {
        let session = self.places.get_mut(token.0 as usize)?.take()?;
        self.buffered -= session.counted;
        self.count -= 1;
        Some(session)
    }

    /// The client at a socket.
    pub(super) fn get(&mut self, token: Token) -> Option<&mut Session> {
        self.places.get_mut(token.0 as usize)?.as_deref_mut()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// All sockets that have a client.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let taken = self.places.iter().enumerate().filter(|(_, place)| place.is_some());
        taken.map(|(index, _)| Token(index as u32)).collect()
    }

    /// The limits of a pool.
    pub(super) fn limits(&self, pool: u16) -> &Limits {
        &self.limits[pool as usize]
    }

    /// The ticket of a client's request.
    pub(super) fn ticket(&mut self, token: Token, seq: u32) -> Option<Ticket> {
        let serial = self.get(token)?.serial;
        Some(Ticket { session: token.0, serial, seq })
    }

    /// Has a client closed at the end of the turn; [`Reason::Protocol`] without another byte.
    pub(super) fn doom(&mut self, token: Token, reason: Reason) {
        self.doomed.push((token, reason));
    }

    /// Those to be closed; the list is then empty.
    pub(super) fn take_doomed(&mut self) -> Vec<(Token, Reason)> {
        std::mem::take(&mut self.doomed)
    }

    /// Those that have just been told that nothing more will come; the list is then empty.
    pub(super) fn take_leaving(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.leaving)
    }

    /// Those that took bytes while a server connection waited; the list is then empty.
    pub(super) fn take_drained(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.drained)
    }

    /// Has a client written to at the end of the turn.
    pub(super) fn mark(&mut self, token: Token) {
        if let Some(session) = self.get(token)
            && !session.dirty
        {
            session.dirty = true;
            self.dirty.push(token);
        }
    }

    /// Bytes in all buffers.
    pub(super) fn buffered(&self) -> usize {
        self.buffered
    }

    /// True if the buffers are full: nobody should be read from.
    pub(super) fn is_full(&self) -> bool {
        self.buffered > self.budget
    }

    /// Remembers a client that is not read from because the buffers are full.
    pub(super) fn starve(&mut self, token: Token) {
        self.starved.push(token);
    }

    /// Brings the count of buffered bytes up to date after a session's buffers have changed.
    pub(super) fn account(&mut self, token: Token) {
        let Some(session) = self.places.get_mut(token.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let now = session.buffered();
        self.buffered = self.buffered + now - session.counted;
        session.counted = now;
    }

    /// Writes to all who have something to get: one write each.
    pub(super) fn flush(&mut self, io: &mut Io) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for token in dirty.drain(..) {
            self.write(io, token);
        }
        self.dirty = dirty;
        if !self.is_full() {
            for token in std::mem::take(&mut self.starved) {
                self.release(io, token, Hold::Budget);
            }
        }
    }

    /// Writes what one client has to get, as far as its socket takes it.
    pub(super) fn write(&mut self, io: &mut Io, token: Token) {
        let Some(session) = self.places.get_mut(token.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        session.dirty = false;
        if self.doomed.contains(&(token, Reason::Protocol)) {
            return;
        }
        let output = session.pipeline.output();
        if !output.is_empty() {
            match io.write(token, [output, &[]]) {
                Written::Bytes(n) => {
                    let metrics = &self.metrics.pools[session.pool as usize];
                    metrics.add(PoolMetric::ResponseBytes, n as u64);
                    session.took(n);
                }
                Written::Failed(_) => return self.doom(token, Reason::Reset),
            }
        }
        self.settle(io, token);
    }

    /// After bytes have left: lets go what waited for that, closes who is done.
    fn settle(&mut self, io: &mut Io, token: Token) {
        self.account(token);
        let Some(session) = self.get(token) else { return };
        if session.is_over() && session.ended {
            return self.doom(token, Reason::Eof);
        }
        if session.is_over() {
            session.mode = Mode::Leaving;
            self.leaving.push(token);
            return io.finish(token);
        }
        let (pool, serial, held) = (session.pool, session.serial, session.pipeline.buffered());
        if session.waited_for && held <= self.pause_above(pool) / 2 {
            if let Some(session) = self.get(token) {
                session.waited_for = false;
            }
            self.drained.push(Ticket { session: token.0, serial, seq: 0 });
        }
        self.release_if_answered(io, token);
    }

    /// Bytes above which a client that gets a long reply is waited for.
    fn pause_above(&self, pool: u16) -> usize {
        (self.limits(pool).client_output_bytes / 2).min(self.budget / BUDGET_SHARE)
    }

    /// Reads from a client again that waited for its requests to be answered, if they are.
    fn release_if_answered(&mut self, io: &mut Io, token: Token) {
        let Some(session) = self.get(token) else { return };
        let (depth, pool, hold) = (session.pipeline.depth(), session.pool, session.hold);
        match hold {
            Hold::Depth if depth <= self.limits(pool).pipeline_depth / 2 => {
                self.release(io, token, Hold::Depth);
            }
            Hold::Order if depth == 0 => self.release(io, token, Hold::Order),
            _ => {}
        }
    }

    /// Reads from a client again that was held for `why`.
    pub(super) fn release(&mut self, io: &mut Io, token: Token, why: Hold) {
        if let Some(session) = self.get(token)
            && session.hold == why
        {
            session.hold = Hold::None;
            io.touch(token);
        }
    }

    fn of(&mut self, ticket: Ticket) -> Option<&mut Session> {
        self.get(Token(ticket.session)).filter(|session| session.serial == ticket.serial)
    }
}

impl Session {
    fn took(&mut self, n: usize) {
        self.moved |= n > 0;
        self.pipeline.took(n);
    }

    /// Writes a long stretch of the reply that is next without copying it. Returns how many of
    /// its bytes the socket took.
    fn write_through(
        &mut self,
        io: &mut Io,
        ticket: Ticket,
        bytes: &[u8],
        metrics: &PoolMetrics,
    ) -> Option<usize> {
        if bytes.len() < WRITE_THROUGH || !self.pipeline.is_next(ticket.seq) {
            return Some(0);
        }
        let waiting = self.pipeline.output().len();
        match io.write(Token(ticket.session), [self.pipeline.output(), bytes]) {
            Written::Bytes(n) => {
                metrics.add(PoolMetric::ResponseBytes, n as u64);
                self.took(n.min(waiting));
                self.moved |= n > 0;
                Some(n.saturating_sub(waiting))
            }
            Written::Failed(_) => None,
        }
    }
}

impl Clients for Sessions {
    fn reply(&mut self, io: &mut Io, ticket: Ticket, bytes: &[u8], last: bool) -> Flow {
        let token = Token(ticket.session);
        let place = self.places.get_mut(ticket.session as usize).and_then(Option::as_mut);
        let Some(session) = place.filter(|session| session.serial == ticket.serial) else {
            return Flow::Go;
        };
        let metrics = &self.metrics.pools[session.pool as usize];
        let Some(direct) = session.write_through(io, ticket, bytes, metrics) else {
            self.doom(token, Reason::Reset);
            return Flow::Go;
        };
        session.pipeline.put(ticket.seq, &bytes[direct..], last);
        let (pool, held) = (session.pool, session.pipeline.buffered());
        self.account(token);
        self.mark(token);
        if held > self.limits(pool).client_output_bytes {
            self.doom(token, Reason::SlowReader);
        } else if !last && held > self.pause_above(pool) {
            if let Some(session) = self.of(ticket) {
                session.waited_for = true;
            }
            return Flow::Pause;
        }
        Flow::Go
    }

    fn cut(&mut self, ticket: Ticket) {
        if let Some(session) = self.of(ticket) {
            // What was there before goes out first, as far as the socket takes it.
            session.mode = Mode::Ending;
            self.mark(Token(ticket.session));
            self.doom(Token(ticket.session), Reason::Reset);
        }
    }

    fn resume(&mut self, io: &mut Io, ticket: Ticket) {
        if self.of(ticket).is_some() {
            self.release(io, Token(ticket.session), Hold::Upload);
        }
    }

    fn has_moved(&mut self, ticket: Ticket) -> bool {
        self.of(ticket).is_some_and(|session| std::mem::take(&mut session.moved))
    }
}

/// How long a client that has got its last reply may take to close its side.
const LEAVE: Duration = Duration::from_secs(1);

/// Whether a client has taken too long: to finish a request, or to leave.
pub(super) fn overdue(session: &Session, limits: &Limits, now: Instant) -> bool {
    let limit = match session.mode {
        Mode::Leaving => LEAVE,
        _ => limits.request_time,
    };
    session.begun.is_some_and(|begun| now.saturating_duration_since(begun) >= limit)
}

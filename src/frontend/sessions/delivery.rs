//! The way of replies to clients.
//!
//! ```text
//!  reply ─┬─ short ─▶ Pipeline ─▶ marked ─▶ flush: one write ─▶ settle: who waited goes on
//!         └─ long and next ─▶ written from where it lies; does the client lag, the server waits
//! ```

use crate::frontend::sessions::session::{Hold, Mode, Reason, Session};
use crate::frontend::sessions::table::Sessions;
use crate::metrics::{PoolMetric, PoolMetrics};
use crate::net::{Token, Written};
use crate::service::{Clients, Flow, Io, Progress, Ticket};

/// A stretch of a reply at least this long is written at once, from where it lies.
const WRITE_THROUGH: usize = 16 * 1024;

impl Sessions {
    /// Writes to all who have something to get: one write each.
    pub(in crate::frontend) fn flush(&mut self, io: &mut Io) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for token in dirty.drain(..) {
            if self.get(token).is_some_and(|session| session.dirty) {
                self.write(io, token);
            }
        }
        self.dirty = dirty;
    }

    /// Writes to a client whose requests are all answered: whatever else happens in this turn adds
    /// nothing, and its buffer can go to the next client.
    pub(in crate::frontend) fn write_if_answered(&mut self, io: &mut Io, token: Token) {
        let session = self.get(token);
        if session.is_some_and(|session| session.dirty && session.pipeline.depth() == 0) {
            self.write(io, token);
        }
    }

    /// Writes what one client has to get, as far as its socket takes it.
    pub(in crate::frontend) fn write(&mut self, io: &mut Io, token: Token) {
        let Some(session) = self.places.get_mut(token.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        session.dirty = false;
        if self.doomed.contains(&(token, Reason::Protocol)) {
            return;
        }
        let metrics = &self.metrics.pools[session.pool as usize];
        while session.pipeline.has_output() {
            let output = session.pipeline.output();
            let offered = output[0].len() + output[1].len();
            let Written::Bytes(n) = io.write(token, output) else {
                return self.doom(token, Reason::Reset);
            };
            metrics.add(PoolMetric::ResponseBytes, n as u64);
            session.took(n);
            if n < offered {
                if session.unread.is_none() {
                    session.unread = Some(0);
                    self.unread.push(token);
                }
                break;
            }
        }
        self.spares.take_back(session.pipeline.out());
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

    /// Reads from a client again that waited for its requests to be answered, if they are.
    fn release_if_answered(&mut self, io: &mut Io, token: Token) {
        let Some(session) = self.get(token) else { return };
        let (depth, pool, hold) = (session.pipeline.depth(), session.pool, session.hold);
        let held = session.pipeline.buffered();
        match hold {
            Hold::Output if held <= self.ask_below(pool) / 2 => {
                self.release(io, token, Hold::Output);
            }
            Hold::Depth if depth <= self.limits(pool).pipeline_depth / 2 => {
                self.release(io, token, Hold::Depth);
            }
            Hold::Order if depth == 0 => self.release(io, token, Hold::Order),
            _ => {}
        }
    }
}

impl Session {
    fn took(&mut self, n: usize) {
        self.note_taken(n);
        self.pipeline.took(n);
    }

    fn note_taken(&mut self, n: usize) {
        if n > 0 {
            self.moved = true;
            self.unread = self.unread.map(|_| 0);
        }
    }

    /// Writes a long stretch of the reply that is next without copying it. Returns how many of
    /// its bytes the socket took.
    #[inline]
    fn write_through(
        &mut self,
        io: &mut Io,
        ticket: Ticket,
        bytes: &[u8],
        metrics: &PoolMetrics,
    ) -> Option<usize> {
        let [waiting, more] = self.pipeline.output();
        let next = self.pipeline.is_next(ticket.seq) && more.is_empty();
        if bytes.len() < WRITE_THROUGH || !next {
            return Some(0);
        }
        match io.write(Token(ticket.session), [waiting, bytes]) {
            Written::Bytes(n) => {
                let waiting = waiting.len();
                metrics.add(PoolMetric::ResponseBytes, n as u64);
                self.took(n.min(waiting));
                self.note_taken(n);
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
        let bytes = if session.quiet { &[] } else { bytes };
        session.quiet &= !last;
        let Some(direct) = session.write_through(io, ticket, bytes, metrics) else {
            self.doom(token, Reason::Reset);
            return Flow::Go;
        };
        self.spares.lend(session.pipeline.out());
        session.pipeline.put(ticket.seq, &bytes[direct..], last);
        let (pool, held) = (session.pool, session.pipeline.buffered());
        self.account(token);
        self.mark(token);
        if held <= self.ask_below(pool) {
            return Flow::Go;
        }
        if held > self.limits(pool).client_output_bytes {
            self.doom(token, Reason::SlowReader);
            return Flow::Go;
        }
        let place = self.places.get(ticket.session as usize).and_then(Option::as_ref);
        if !place.is_some_and(|session| self.should_wait(session)) {
            return Flow::Go;
        }
        if let Some(session) = self.of(ticket) {
            session.waited_for = true;
        }
        Flow::Pause
    }

    fn push(&mut self, ticket: Ticket, bytes: &[u8]) {
        let token = Token(ticket.session);
        let Some(session) = self.of(ticket) else { return };
        session.pipeline.push(bytes);
        let (pool, held) = (session.pool, session.pipeline.buffered());
        self.account(token);
        self.mark(token);
        if held > self.limits(pool).client_output_bytes {
            self.doom(token, Reason::SlowReader);
        }
    }

    fn subscribed(&mut self, ticket: Ticket, has_any: bool) {
        if let Some(session) = self.of(ticket) {
            session.subscribed = has_any;
        }
    }

    fn speaks_resp3(&mut self, ticket: Ticket) -> bool {
        self.of(ticket).is_some_and(|session| session.identity.resp3)
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
            self.release(io, Token(ticket.session), Hold::Server);
        }
    }

    fn give_up(&mut self, ticket: Ticket) {
        if self.of(ticket).is_some() {
            self.doom(Token(ticket.session), Reason::SlowReader);
        }
    }

    fn progress(&mut self, ticket: Ticket) -> Progress {
        let Some(session) = self.of(ticket) else { return Progress::Blocked };
        let moved = std::mem::take(&mut session.moved);
        match session.pipeline.has_output() {
            false => Progress::Blocked,
            true if moved => Progress::Reading,
            true => Progress::Stuck,
        }
    }
}

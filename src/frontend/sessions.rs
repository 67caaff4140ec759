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
use crate::service::{Clients, Flow, Identity, Io, Progress, Ticket};

/// A stretch of a reply at least this long is written at once, from where it lies.
const WRITE_THROUGH: usize = 16 * 1024;

/// A client that gets long replies is waited for once it holds this share of all buffers, or as
/// much as one client may.
const BUDGET_SHARE: usize = 64;

/// Beats (of a second) for which a client whose socket is full may take nothing (faults F19), and
/// for which it may while the buffers are full.
const UNREAD_BEATS: u8 = 60;
const UNREAD_BEATS_WHEN_FULL: u8 = 2;

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
    /// Those whose sockets are full.
    unread: Vec<Token>,
    /// Those not read from because the buffers are full.
    starved: Vec<Token>,
    /// The one of them that may finish its request nevertheless, and how much of it was there
    /// when that was looked at last.
    favoured: Option<(Token, usize)>,
    /// Bytes in the buffers of all, in those of server connections, and how many there may be
    /// together.
    buffered: usize,
    elsewhere: usize,
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
            unread: Vec::new(),
            starved: Vec::new(),
            favoured: None,
            buffered: 0,
            elsewhere: 0,
            budget,
        }
    }

    /// Puts a new client at the place of its socket.
    pub(super) fn insert(&mut self, token: Token, session: (u16, Identity), now: Instant) {
        let (pool, identity) = session;
        let place = token.0 as usize;
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.next_serial = self.next_serial.wrapping_add(1);
        self.places[place] = Some(Box::new(Session::new(self.next_serial, pool, identity, now)));
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

    /// Says how many bytes are held in other buffers that count against the same bound.
    pub(super) fn note_elsewhere(&mut self, bytes: usize) {
        self.elsewhere = bytes;
    }

    fn is_full(&self) -> bool {
        self.buffered + self.elsewhere > self.budget
    }

    /// True if the buffers are full and this client must wait.
    pub(super) fn must_wait(&self, token: Token) -> bool {
        self.is_full() && self.favoured.is_none_or(|(favoured, _)| favoured != token)
    }

    /// Has a client not read from until the buffers have room. Whether it was read from before.
    pub(super) fn starve(&mut self, token: Token, now: Instant) -> bool {
        let Some(session) = self.get(token).filter(|session| session.hold == Hold::None) else {
            return false;
        };
        session.hold = Hold::Budget;
        session.starved = Some(now);
        self.starved.push(token);
        true
    }

    /// Lets clients be read from again that the full buffers have stopped: all if there is room,
    /// otherwise one that is in the middle of a request. Were nobody let on, buffers that are
    /// full of unfinished requests would stay so.
    pub(super) fn release_starved(&mut self, io: &mut Io, now: Instant) {
        if !self.is_full() {
            self.favoured = None;
            for token in std::mem::take(&mut self.starved) {
                self.feed(io, token, now);
            }
            return;
        }
        if self.favoured.is_some_and(|(token, _)| self.has_input(token)) {
            return;
        }
        let next = self.starved.iter().position(|&token| self.has_input(token));
        self.favoured = next.map(|index| (self.starved.remove(index), 0));
        if let Some((token, _)) = self.favoured {
            self.feed(io, token, now);
        }
    }

    fn has_input(&self, token: Token) -> bool {
        let session = self.places.get(token.0 as usize).and_then(Option::as_ref);
        session.is_some_and(|session| !session.input.is_empty())
    }

    /// Ends the hunger of one client. The time of it is not held against the client.
    fn feed(&mut self, io: &mut Io, token: Token, now: Instant) {
        if let Some(session) = self.get(token)
            && let Some(since) = session.starved.take()
        {
            let waited = now.saturating_duration_since(since);
            session.begun = session.begun.map(|begun| begun + waited);
        }
        self.release(io, token, Hold::Budget);
    }

    /// To be called once in a beat: gives clients up that take nothing of what they have asked
    /// for, and takes its favour from one that makes no use of it.
    pub(super) fn review(&mut self) {
        let most = if self.is_full() { UNREAD_BEATS_WHEN_FULL } else { UNREAD_BEATS };
        let mut unread = std::mem::take(&mut self.unread);
        unread.retain(|&token| self.is_unread(token, most));
        self.unread = unread;
        if let Some((token, before)) = self.favoured {
            let now = self.get(token).map_or(0, |session| session.input.len());
            self.favoured = (now > before).then_some((token, now));
        }
    }

    /// Whether a client still has a full socket; if that has been so for `most` beats it is given
    /// up.
    fn is_unread(&mut self, token: Token, most: u8) -> bool {
        let Some(session) = self.get(token) else { return false };
        let Some(beats) = session.unread else { return false };
        if session.pipeline.output().is_empty() {
            session.unread = None;
            return false;
        }
        session.unread = Some(beats + 1);
        if beats + 1 >= most {
            self.doom(token, Reason::SlowReader);
        }
        beats + 1 < most
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
                    if session.unread.is_none() && !session.pipeline.output().is_empty() {
                        session.unread = Some(0);
                        self.unread.push(token);
                    }
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

    /// Bytes above which a client that has replies to take is waited for.
    fn pause_above(&self, pool: u16) -> usize {
        (self.limits(pool).client_output_bytes / 2).min(self.budget / BUDGET_SHARE)
    }

    /// Bytes of replies above which a client's requests must wait until it has taken some.
    pub(super) fn ask_below(&self, pool: u16) -> usize {
        self.pause_above(pool) / 4
    }

    /// Whether a client holds so much that whoever brings more should wait. If it has nothing to
    /// take because an earlier reply has not come, waiting would hold others up for a server's
    /// sake, or even for ever (two clients could wait for each other's servers): then it may hold
    /// more.
    fn should_wait(&self, session: &Session) -> bool {
        let blocked = session.pipeline.output().is_empty() && !self.is_full();
        let most = match blocked {
            true => self.limits(session.pool).client_output_bytes / 2,
            false => self.pause_above(session.pool),
        };
        session.pipeline.buffered() > most
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
        match session.pipeline.output().is_empty() {
            true => Progress::Blocked,
            false if moved => Progress::Reading,
            false => Progress::Stuck,
        }
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
    let late = session.begun.is_some_and(|begun| now.saturating_duration_since(begun) >= limit);
    late && session.hold != Hold::Budget
}

//! A connection from dialling to closing, and what is queued on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::connection::greeting::Greeting;
use crate::backend::connection::outgoing::Outgoing;
use crate::backend::connection::receive::Scanner;
use crate::backend::failure::Failure;
use crate::backend::inflight::{Ask, Cause, Entry, Inflight, Remains};
use crate::backend::io::Io;
use crate::config::{Pool, Protocol};
use crate::metrics::{ServerMetric, ServerMetrics};
use crate::net::{Token, Written};

/// A request at least this long is written at once, from where it lies, if the socket takes it.
const WRITE_THROUGH: usize = 16 * 1024;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Closed,
    /// Somebody is dialling.
    Connecting,
    /// The server has been greeted and has not answered yet.
    Greeting,
    /// In use.
    Ready,
}

/// The connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) phase: Phase,
    pub(super) token: Option<Token>,
    pub(super) greeting: Arc<Greeting>,
    protocol: Protocol,
    pub(super) timeout: Option<Duration>,
    pub(super) value_bytes_max: u64,
    pub(super) inflight: Inflight,
    pub(super) out: Outgoing,
    /// Unanswered questions of the greeting.
    pub(super) greeting_left: usize,
    pub(super) scanner: Scanner,
    /// Bytes of a reply that is not whole yet.
    pub(super) input: Vec<u8>,
    /// How many of them the scanner has seen.
    pub(super) scanned: usize,
    /// The beginning of the oldest request's reply has been passed on.
    pub(super) streaming: bool,
    /// A push, which answers nothing, has begun.
    pub(super) pushing: bool,
    /// What comes answers no request in particular: whoever listens sorts it out.
    pub(super) listening: bool,
    /// It may get what answers no request: it listens, or speaks RESP3.
    pub(super) unasked: bool,
    /// The server tells of changes of what it is asked for on it.
    pub(super) tracking: bool,
    /// The server knows memcached's meta commands.
    pub(super) meta: bool,
    /// Fields of a hash may have a time to live of their own.
    pub(super) field_times: bool,
    /// The first of what it was closed for, if that came from the server.
    pub(super) sample: Option<Box<[u8]>>,
    reported: [u64; 4],
}

impl Connection {
    /// A closed connection to a server of `pool`, which is greeted with `greeting`.
    pub fn new(pool: &Pool, greeting: Arc<Greeting>) -> Self {
        let resp3 = greeting.resp3;
        let scanner = Scanner::new(pool.protocol, resp3);
        Self {
            phase: Phase::Closed,
            token: None,
            greeting,
            protocol: pool.protocol,
            timeout: pool.timeout,
            value_bytes_max: pool.limits.value_bytes,
            inflight: Inflight::default(),
            out: Outgoing::default(),
            greeting_left: 0,
            scanner,
            input: Vec::new(),
            scanned: 0,
            streaming: false,
            pushing: false,
            listening: false,
            unasked: resp3,
            tracking: false,
            meta: false,
            field_times: true,
            sample: None,
            reported: [0; 4],
        }
    }

    /// Holds to the settings of `pool` from the next request on.
    pub fn adopt(&mut self, pool: &Pool) {
        self.timeout = pool.timeout;
        self.value_bytes_max = pool.limits.value_bytes;
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Its socket, if it has one.
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// Requests that wait for replies.
    pub fn depth(&self) -> usize {
        self.inflight.len()
    }

    /// When the oldest request was queued that somebody waits for.
    pub fn oldest(&self) -> Option<Instant> {
        self.inflight.oldest()
    }

    /// The same, or of one that has timed out and is still owed a reply: it may yet be executed.
    pub fn owed_since(&self) -> Option<Instant> {
        self.inflight.owed_since()
    }

    /// Whether one of the requests waits for what others do.
    pub fn is_patient(&self) -> bool {
        self.inflight.is_patient()
    }

    /// Bytes it holds in buffers.
    pub fn buffered(&self) -> usize {
        self.out.waiting().len() + self.input.len() + self.inflight.kept_bytes()
    }

    /// How long a request may take, if that is bounded.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// When [`Connection::expire`] should be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.inflight.next_deadline(self.timeout, self.streaming)
    }

    /// True if a reply has been passed on in part: whoever got it cannot be told of an error. If
    /// that request had timed out before, nobody has got it.
    pub fn is_streaming(&self) -> bool {
        self.streaming && !self.inflight.front_has_expired()
    }

    /// Notes that somebody is dialling.
    pub fn connecting(&mut self) {
        self.phase = Phase::Connecting;
    }

    /// Queues a request made of `pieces`. A long last piece is written at once if nothing waits.
    ///
    /// # Errors
    /// The socket broke under such a write; the connection must be closed.
    pub fn push(
        &mut self,
        io: &mut Io,
        ask: Ask,
        pieces: &[&[u8]],
        now: Instant,
    ) -> Result<(), Failure> {
        self.inflight.push(ask, pieces, now, self.timeout);
        let Some((last, before)) = pieces.split_last() else { return Ok(()) };
        for piece in before {
            self.out.push(piece);
        }
        self.append(io, last)
    }

    /// The youngest request needs the permit of this term when its reply comes.
    pub fn bind(&mut self, term: u64) {
        self.inflight.bind(term);
    }

    /// Queues more bytes of the youngest request, which was pushed with its length so far; its
    /// time runs anew.
    ///
    /// # Errors
    /// As [`Connection::push`].
    pub fn push_more(&mut self, io: &mut Io, bytes: &[u8], now: Instant) -> Result<(), Failure> {
        self.inflight.lengthen(bytes.len(), now, self.timeout);
        self.append(io, bytes)
    }

    /// Whether the server tells of changes of what it is asked for here.
    pub fn is_tracking(&self) -> bool {
        self.tracking
    }

    /// The server tells of nothing any more.
    pub fn stop_tracking(&mut self) {
        self.tracking = false;
    }

    /// Whether the server knows memcached's meta commands.
    pub fn speaks_meta(&self) -> bool {
        self.meta
    }

    /// Whether fields of a hash may have a time to live of their own.
    pub fn has_field_times(&self) -> bool {
        self.field_times
    }

    /// Whether nothing new is written any more.
    pub fn is_left(&self) -> bool {
        self.out.has_end()
    }

    /// Hands out what comes as it is from now on; nothing is pushed any more, but said.
    pub fn listen(&mut self) {
        self.listening = true;
        self.unasked = true;
    }

    /// Queues bytes whose answer is not paired with them.
    pub fn say(&mut self, bytes: &[u8], now: Instant) {
        self.inflight.lengthen(bytes.len(), now, None);
        self.out.push(bytes);
    }

    fn append(&mut self, io: &mut Io, bytes: &[u8]) -> Result<(), Failure> {
        if let (Some(token), Phase::Ready, true) =
            (self.token, self.phase, bytes.len() >= WRITE_THROUGH && !self.out.has_end())
        {
            let result = written(io.write(token, [self.out.waiting(), bytes]));
            // All of the request is queued even if the socket broke: it has been counted, and
            // one that is sent again must be whole.
            self.out.took_with(result.unwrap_or(0), bytes);
            return result.map(|_| ());
        }
        self.out.push(bytes);
        Ok(())
    }

    /// Takes its socket over and greets the server.
    ///
    /// # Errors
    /// The socket broke at once.
    pub fn opened(&mut self, io: &mut Io, token: Token) -> Result<(), Failure> {
        let greeting = &self.greeting;
        self.token = Some(token);
        self.phase = Phase::Greeting;
        self.greeting_left = greeting.replies;
        // A greeting is far smaller than an empty socket's buffer.
        match io.write(token, [&greeting.bytes, &[]]) {
            Written::Bytes(n) if n == greeting.bytes.len() => Ok(()),
            Written::Bytes(_) => Err(Failure::Unfit),
            Written::Failed(kind) => Err(Failure::of(kind)),
        }
    }

    /// Writes what is queued, as far as the socket takes it.
    ///
    /// # Errors
    /// The socket broke.
    pub fn flush(&mut self, io: &mut Io) -> Result<(), Failure> {
        let (Some(token), Phase::Ready) = (self.token, self.phase) else { return Ok(()) };
        if !self.out.sendable().is_empty() {
            let n = written(io.write(token, [self.out.sendable(), &[]]))?;
            self.out.took(n);
        }
        Ok(())
    }

    /// What is queued by now is the last to be written here; the rest waits for the next one.
    pub fn leave(&mut self) {
        self.out.end();
    }

    /// True if it is being left and owes no reply any more.
    pub fn may_close(&self) -> bool {
        let (waiting, _) = self.inflight.unwritten(self.out.written());
        self.out.has_end() && self.out.sendable().is_empty() && waiting == self.inflight.len()
    }

    /// Times out what is due: hands out who must be told. While the connection is not read from
    /// because of a client (`paused`), its silence is not the server's.
    ///
    /// # Errors
    /// The server has been silent for so long that the connection must be closed.
    pub fn expire(
        &mut self,
        now: Instant,
        paused: bool,
        timed_out: impl FnMut(Entry),
    ) -> Result<(), Failure> {
        self.inflight.expire(now, self.streaming, timed_out);
        let Some(timeout) = self.timeout.filter(|_| self.phase == Phase::Ready) else {
            // While dialling or greeting there is nobody who could be silent.
            self.inflight.heard();
            return Ok(());
        };
        if paused {
            self.inflight.heard();
            if self.streaming {
                self.inflight.progressed(now, self.timeout);
            }
            return Ok(());
        }
        let stalled = self.streaming && self.inflight.has_stalled(now);
        if stalled || self.inflight.is_hopeless(now, timeout) {
            return Err(Failure::TimedOut);
        }
        Ok(())
    }

    /// Closes the socket. What was never written stays queued for the next connection, and so do,
    /// if `retry`, reads that got no reply; returns the rest, which has failed.
    pub fn close(&mut self, io: &mut Io, retry: bool) -> Remains {
        if let Some(token) = self.token.take() {
            io.remove(token);
        }
        self.phase = Phase::Closed;
        let cause = Cause {
            written: self.out.written(),
            retry,
            reply_begun: self.streaming || self.scanned > 0 || !self.input.is_empty(),
        };
        let mut remains = self.inflight.closed(cause, self.out.waiting());
        self.out = Outgoing::starting_with(std::mem::take(&mut remains.resend));
        self.input = Vec::new();
        self.scanned = 0;
        self.streaming = false;
        self.pushing = false;
        self.tracking = false;
        self.scanner = Scanner::new(self.protocol, self.greeting.resp3);
        remains
    }

    /// The first of the bytes that could not be taken, if [`Connection::receive`] failed for them.
    pub fn take_sample(&mut self) -> Option<Box<[u8]>> {
        self.sample.take()
    }

    /// Gives up on everything that waits.
    pub fn abandon(&mut self) -> Vec<Entry> {
        self.out = Outgoing::default();
        self.inflight.drain()
    }

    /// Brings the gauges of its server up to date.
    pub fn report(&mut self, metrics: &ServerMetrics) {
        let (waiting, waiting_bytes) = self.inflight.unwritten(self.out.written());
        let sent = (self.inflight.len() - waiting) as u64;
        let sent_bytes = self.inflight.bytes().saturating_sub(waiting_bytes);
        let now = [waiting as u64, waiting_bytes, sent, sent_bytes];
        let gauges = [
            ServerMetric::InQueue,
            ServerMetric::InQueueBytes,
            ServerMetric::OutQueue,
            ServerMetric::OutQueueBytes,
        ];
        for ((gauge, now), before) in gauges.into_iter().zip(now).zip(self.reported) {
            if now > before {
                metrics.add(gauge, now - before);
            } else if now < before {
                metrics.sub(gauge, before - now);
            }
        }
        self.reported = now;
    }
}

fn written(result: Written) -> Result<usize, Failure> {
    match result {
        Written::Bytes(n) => Ok(n),
        Written::Failed(kind) => Err(Failure::of(kind)),
    }
}

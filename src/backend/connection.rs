//! One pipelined connection to one server.
//!
//! ```text
//!  Closed ─ dialling ─▶ Connecting ─ opened ─▶ Greeting ─ answered ─▶ Ready ─ failure ─▶ Closed
//!     push() queues in every phase; bytes of requests leave only in Ready
//! ```
//! Replies are scanned where they were read; a whole reply, or the next stretch of a long one, is
//! handed on as a slice of the read buffer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::greeting::Greeting;
use super::inflight::{Ask, Cause, Entry, Inflight, Remains};
use super::io::Io;
use super::outgoing::Outgoing;
use crate::config::{Pool, Protocol};
use crate::metrics::{ServerMetric, ServerMetrics};
use crate::net::{Read, Token, Written};
use crate::protocol::{Malformed, Outcome, Scan, memcache, redis};

/// A reply of which this much has come in is passed on before it is whole.
const STREAM_FROM: usize = 16 * 1024;

/// A request at least this long is written at once, from where it lies, if the socket takes it.
const WRITE_THROUGH: usize = 16 * 1024;

/// Room made for what follows when a reply is cut.
const READ_STEP: usize = 16 * 1024;

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

/// Whether whoever takes replies can take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Go,
    /// Not now: stop reading from the server until told otherwise.
    Pause,
}

/// Who takes replies.
pub trait Replies {
    /// Takes the next stretch of the reply to `entry`; `end` says how the reply ended, if this
    /// was its last stretch.
    fn reply(&mut self, io: &mut Io, entry: &Entry, bytes: &[u8], end: Option<Outcome>) -> Flow;
}

/// What a read from a server brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Replies, or parts of them.
    Replies,
    /// The greeting was answered: the server is fit and requests flow.
    Fit,
    /// A receiver asked for a pause: do not read again before it is over.
    Paused,
}

#[derive(Debug)]
enum Scanner {
    Memcache(memcache::Scanner),
    Redis(redis::Scanner),
}

/// The connection.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    token: Option<Token>,
    greeting: Arc<Greeting>,
    protocol: Protocol,
    timeout: Option<Duration>,
    value_bytes_max: u64,
    inflight: Inflight,
    out: Outgoing,
    /// Unanswered questions of the greeting.
    greeting_left: usize,
    scanner: Scanner,
    /// Bytes of a reply that is not whole yet.
    input: Vec<u8>,
    /// How many of them the scanner has seen.
    scanned: usize,
    /// The beginning of the oldest request's reply has been passed on.
    streaming: bool,
    reported: [u64; 4],
}

impl Connection {
    /// A closed connection to a server of `pool`, which is greeted with `greeting`.
    pub fn new(pool: &Pool, greeting: Arc<Greeting>) -> Self {
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
            scanner: Scanner::new(pool.protocol),
            input: Vec::new(),
            scanned: 0,
            streaming: false,
            reported: [0; 4],
        }
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

    /// Bytes it holds in buffers.
    pub fn buffered(&self) -> usize {
        self.out.waiting().len() + self.input.len() + self.inflight.kept_bytes()
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

    /// Queues more bytes of the youngest request, which was pushed with its length so far; its
    /// time runs anew.
    ///
    /// # Errors
    /// As [`Connection::push`].
    pub fn push_more(&mut self, io: &mut Io, bytes: &[u8], now: Instant) -> Result<(), Failure> {
        self.inflight.lengthen(bytes.len(), now, self.timeout);
        self.append(io, bytes)
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

    /// Reads what has come in and hands replies to `replies`.
    ///
    /// # Errors
    /// The connection broke or sent what cannot be paired with a request; it must be closed.
    pub fn receive(
        &mut self,
        io: &mut Io,
        now: Instant,
        scratch: &mut Vec<u8>,
        replies: &mut impl Replies,
    ) -> Result<Received, Failure> {
        let Some(token) = self.token else { return Ok(Received::Replies) };
        let mut buffer = std::mem::take(&mut self.input);
        let cut = !buffer.is_empty();
        if cut {
            buffer.reserve(READ_STEP.max(buffer.len()));
        } else {
            buffer = std::mem::take(scratch);
            buffer.clear();
        }
        let read = io.read(token, &mut buffer);
        let result = self.take_in(io, now, &buffer, replies).map(|(used, received)| {
            self.keep_rest(&mut buffer, used, cut);
            received
        });
        if !cut {
            *scratch = buffer;
        }
        let received = result?;
        match read {
            Read::Bytes(_) => Ok(received),
            Read::End(_) => Err(Failure::Closed),
            Read::Failed(kind) => Err(Failure::of(kind)),
        }
    }

    /// Keeps what follows the first `used` bytes for the next read.
    fn keep_rest(&mut self, buffer: &mut Vec<u8>, used: usize, cut: bool) {
        if cut {
            buffer.drain(..used);
            if !buffer.is_empty() {
                self.input = std::mem::take(buffer);
            }
        } else if used < buffer.len() {
            self.input = buffer[used..].to_vec();
        }
    }

    /// Pairs `bytes` with requests; says how many of them are done with.
    fn take_in(
        &mut self,
        io: &mut Io,
        now: Instant,
        bytes: &[u8],
        replies: &mut impl Replies,
    ) -> Result<(usize, Received), Failure> {
        let mut received = Received::Replies;
        let mut used = 0;
        while used + self.scanned < bytes.len() {
            self.inflight.heard();
            let rest = &bytes[used..];
            if self.phase == Phase::Greeting {
                let Some(n) = self.greeted(rest)? else { break };
                used += n;
                if self.greeting_left == 0 {
                    self.phase = Phase::Ready;
                    received = Received::Fit;
                }
                continue;
            }
            let (n, flow, ended) = self.next_reply(io, rest, replies)?;
            used += n;
            if flow == Flow::Pause {
                received = Received::Paused;
            }
            if !ended {
                if self.streaming {
                    self.inflight.progressed(now, self.timeout);
                }
                break;
            }
        }
        Ok((used, received))
    }

    /// Looks for one answer to the greeting; its length once it is whole.
    fn greeted(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let greeting = Arc::clone(&self.greeting);
        let scan = self
            .scanner
            .scan(&bytes[self.scanned..], &greeting, self.value_bytes_max)
            .map_err(|_| Failure::Unfit)?;
        self.scanned += scan.used;
        let Some(outcome) = scan.end else {
            // No answer to a greeting is long: what never ends is not held.
            return if self.scanned < STREAM_FROM { Ok(None) } else { Err(Failure::Unfit) };
        };
        let len = std::mem::take(&mut self.scanned);
        greeting.check(&bytes[..len], outcome, self.greeting_left == 1)?;
        self.greeting_left -= 1;
        Ok(Some(len))
    }

    /// Hands on the reply at the start of `bytes`, whole or as far as it is worth passing on.
    /// Returns the bytes done with, whether to go on, and whether the reply has ended.
    fn next_reply(
        &mut self,
        io: &mut Io,
        bytes: &[u8],
        replies: &mut impl Replies,
    ) -> Result<(usize, Flow, bool), Failure> {
        let Some((entry, key)) = self.inflight.front(self.out.written()) else {
            return Err(Failure::Trailing);
        };
        let fresh = &bytes[self.scanned..];
        let scan = match &mut self.scanner {
            Scanner::Memcache(s) => s.scan(fresh, entry.ask.expect, key, self.value_bytes_max),
            Scanner::Redis(s) => s.scan(fresh, self.value_bytes_max),
        };
        let scan = scan.map_err(Failure::BadReply)?;
        self.scanned += scan.used;
        if scan.end.is_none() && self.scanned < STREAM_FROM && !self.streaming {
            return Ok((0, Flow::Go, false));
        }
        let len = std::mem::take(&mut self.scanned);
        if self.greeting.is_failure(&bytes[..len]) {
            return Err(Failure::Unfit);
        }
        self.streaming = scan.end.is_none();
        let flow = replies.reply(io, entry, &bytes[..len], scan.end);
        if scan.end.is_some() {
            self.inflight.pop();
        }
        Ok((len, flow, scan.end.is_some()))
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
        self.scanner = Scanner::new(self.protocol);
        remains
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

impl Scanner {
    fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Memcache => Self::Memcache(memcache::Scanner::default()),
            Protocol::Redis => Self::Redis(redis::Scanner::default()),
        }
    }

    fn scan(
        &mut self,
        bytes: &[u8],
        greeting: &Greeting,
        value_bytes_max: u64,
    ) -> Result<Scan, Malformed> {
        match self {
            Self::Memcache(s) => s.scan(bytes, greeting.expect, &[], value_bytes_max),
            Self::Redis(s) => s.scan(bytes, value_bytes_max),
        }
    }
}

fn written(result: Written) -> Result<usize, Failure> {
    match result {
        Written::Bytes(n) => Ok(n),
        Written::Failed(kind) => Err(Failure::of(kind)),
    }
}

//! What a server sends, paired with what it was asked.
//!
//! Replies are scanned where they were read; a whole reply, or the next stretch of a long one, is
//! handed on as a slice of the read buffer.

use std::sync::Arc;
use std::time::Instant;

use crate::backend::connection::greeting::Greeting;
use crate::backend::connection::life::{Connection, Phase};
use crate::backend::failure::Failure;
use crate::backend::inflight::Entry;
use crate::backend::io::Io;
use crate::config::Protocol;
use crate::net::Read;
use crate::protocol::{Malformed, Outcome, Scan, memcache, redis};

/// A reply of which this much has come in is passed on before it is whole.
const STREAM_FROM: usize = 16 * 1024;

/// Room made for what follows when a reply is cut.
const READ_STEP: usize = 16 * 1024;

/// Replies of the greeting that are left when it is the turn of CLIENT TRACKING and CLIENT CACHING:
/// theirs and PING's.
const TRACKING_LEFT: usize = 3;
const CACHING_LEFT: usize = 2;

/// Bytes of a push: far more than the names that a server tells at once.
const PUSH_BYTES_MAX: usize = 16 << 20;

/// How much is kept of what a connection is closed for (faults F06).
const SAMPLE_BYTES: usize = 64;

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

    /// Takes what has come on a connection that only listens.
    fn frame(&mut self, _bytes: &[u8]) {}

    /// Takes what a server says unasked on a connection on which it tells of changes.
    fn push(&mut self, _bytes: &[u8]) {}
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

impl Connection {
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
                let greeted = self.greeted(rest).inspect_err(|_| self.keep_sample(rest));
                let Some(n) = greeted? else { break };
                used += n;
                if self.greeting_left == 0 {
                    self.phase = Phase::Ready;
                    received = Received::Fit;
                }
                continue;
            }
            let next = self.next_reply(io, rest, replies);
            let (n, flow, ended) = next.inspect_err(|_| self.keep_sample(rest))?;
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

    /// Keeps what could not be taken of a reply that begins with `bytes`, or with which it goes on:
    /// what was not seen before.
    #[cold]
    fn keep_sample(&mut self, bytes: &[u8]) {
        let fresh = bytes.get(self.scanned..).filter(|fresh| !fresh.is_empty()).unwrap_or(bytes);
        self.sample = Some(fresh.get(..SAMPLE_BYTES).unwrap_or(fresh).into());
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
        if bytes.starts_with(b">") {
            // Who is told of changes hears of a FLUSHALL at once; nothing is kept of this one yet.
            return Ok(Some(len));
        }
        if greeting.tracking && self.greeting_left == TRACKING_LEFT {
            // Whoever cannot is of use all the same.
            self.tracking = bytes.starts_with(b"+");
        } else if greeting.tracking && self.greeting_left == CACHING_LEFT {
            self.tracking &= bytes.starts_with(b"+");
        } else {
            greeting.check(&bytes[..len], outcome, self.greeting_left == 1)?;
            self.meta = memcache::knows_meta(&bytes[..len]);
            if bytes.first() == Some(&b'%') {
                self.field_times = redis::has_field_times(&bytes[..len]);
            }
        }
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
        if self.unasked
            && let Some(taken) = self.next_unasked(bytes, replies)
        {
            return taken;
        }
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
}

impl Connection {
    /// Takes what answers no request, if that is what comes next.
    #[cold]
    fn next_unasked(
        &mut self,
        bytes: &[u8],
        replies: &mut impl Replies,
    ) -> Option<Result<(usize, Flow, bool), Failure>> {
        if self.listening {
            return Some(self.next_frame(bytes, replies));
        }
        let begins = self.scanned == 0 && !self.streaming && bytes.first() == Some(&b'>');
        if self.tracking {
            return (self.pushing || begins).then(|| self.next_push(bytes, replies));
        }
        (self.pushing || begins).then(|| self.drop_push(bytes))
    }

    /// Hands out what is whole at the start of `bytes`, on a connection that only listens.
    fn next_frame(
        &mut self,
        bytes: &[u8],
        replies: &mut impl Replies,
    ) -> Result<(usize, Flow, bool), Failure> {
        let Some(len) = self.whole(bytes)? else { return Ok((0, Flow::Go, false)) };
        replies.frame(&bytes[..len]);
        Ok((len, Flow::Go, true))
    }

    /// Hands out a push once it is whole.
    fn next_push(
        &mut self,
        bytes: &[u8],
        replies: &mut impl Replies,
    ) -> Result<(usize, Flow, bool), Failure> {
        let whole = self.whole(bytes)?;
        self.pushing = whole.is_none();
        let Some(len) = whole else {
            let fits = self.scanned < PUSH_BYTES_MAX;
            let oversize = Failure::BadReply(Malformed::Oversize);
            return fits.then_some((0, Flow::Go, false)).ok_or(oversize);
        };
        replies.push(&bytes[..len]);
        Ok((len, Flow::Go, true))
    }

    /// The length of the value that `bytes` begin with, in bytes, once it is whole; what has been
    /// scanned of it before is not scanned again.
    fn whole(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let Scanner::Redis(scanner) = &mut self.scanner else { return Err(Failure::Trailing) };
        let scan = scanner.scan(&bytes[self.scanned..], self.value_bytes_max);
        let scan = scan.map_err(Failure::BadReply)?;
        self.scanned += scan.used;
        Ok(scan.end.map(|_| std::mem::take(&mut self.scanned)))
    }

    /// Nobody waits for a push on a connection that sessions share.
    fn drop_push(&mut self, bytes: &[u8]) -> Result<(usize, Flow, bool), Failure> {
        let Scanner::Redis(scanner) = &mut self.scanner else { return Err(Failure::Trailing) };
        let scan = scanner.scan(bytes, self.value_bytes_max).map_err(Failure::BadReply)?;
        self.pushing = scan.end.is_none();
        Ok((scan.used, Flow::Go, scan.end.is_some()))
    }
}

/// Finds the ends of replies in what a server sends.
#[derive(Debug)]
pub(super) enum Scanner {
    Memcache(memcache::Scanner),
    Redis(redis::Scanner),
}

impl Scanner {
    pub(super) fn new(protocol: Protocol, resp3: bool) -> Self {
        match protocol {
            Protocol::Memcache | Protocol::Ping => Self::Memcache(memcache::Scanner::default()),
            Protocol::Redis => Self::Redis(redis::Scanner::speaking(resp3)),
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

//! From a client's bytes to requests.
//!
//! ```text
//!  readable ─▶ serve ─┬─ Parsing ─▶ parse ─▶ request │ local reply │ refusal
//!                     ├─ Swallowing: thrown away     │ begun upload
//!                     ├─ Uploading: sent on          ▼
//!                     ├─ Depositing: stored
//!                     └─ Ending: ignored          what is left waits in Session::input
//! ```

use std::time::Instant;

use super::sessions::{Hold, Mode, Reason, Session};
use super::worker::Worker;
use crate::config::Protocol;
use crate::metrics::WorkerMetric;
use crate::net::{Read, Token};
use crate::protocol::{Parsed, Refusal, Request, Span, memcache, ping, redis};

/// A request longer than this is not held but sent on while it comes in.
const UPLOAD_FROM: u64 = 1024 * 1024 + 64 * 1024;

/// What may stand around a value in the request that stores it: its key, options, lengths.
const VALUE_FRAME: usize = 128 * 1024;

/// Room made at first for a request that does not fit what was read, and at most at once.
const READ_STEP: (usize, usize) = (4 * 1024, 1024 * 1024);

/// Whether to look at what follows in the same buffer.
pub(super) enum Next {
    /// Yes: this many bytes are done with.
    Go(usize),
    /// No: more bytes, or something else, must come first. So many bytes are done with.
    Wait(usize),
}

impl Next {
    /// The same, where so many bytes before were done with already.
    pub(super) fn after(self, used: usize) -> Self {
        match self {
            Self::Go(more) => Self::Go(used + more),
            Self::Wait(more) => Self::Wait(used + more),
        }
    }
}

impl Worker {
    /// A client's socket is ready: writes what it is owed, reads and serves what it sends.
    pub(super) fn client_ready(&mut self, token: Token) {
        let now = self.now;
        let Some(session) = self.sessions.get(token) else { return };
        session.heard = now;
        if session.pipeline.has_output() {
            self.sessions.write(&mut self.io, token);
        }
        if self.sessions.must_wait(token) && self.sessions.starve(token, self.now) {
            self.metrics.add(WorkerMetric::PausedReads, 1);
        }
        let Some(session) = self.sessions.get(token) else { return };
        if session.hold != Hold::None {
            return self.overhear(token);
        }
        let input = std::mem::take(&mut session.input);
        let ended =
            if input.is_empty() { self.read_fresh(token) } else { self.read_on(token, input) };
        match ended {
            Read::Bytes(_) => {}
            Read::End(_) => self.client_ended(token),
            Read::Failed(_) => self.sessions.doom(token, Reason::Reset),
        }
        self.sessions.account(token);
        self.watch_progress(token);
        self.sessions.write_if_answered(&mut self.io, token);
    }

    /// Nothing is left from before: bytes are read into the worker's own buffer and served there.
    fn read_fresh(&mut self, token: Token) -> Read {
        let mut buffer = std::mem::take(&mut self.scratch);
        buffer.clear();
        let read = self.io.read(token, &mut buffer);
        self.look_at_the_clock();
        let used = self.serve(token, &buffer);
        if let Some(session) = self.sessions.get(token) {
            session.note_progress(used);
            if used < buffer.len() {
                session.input = buffer[used..].to_vec();
            }
        }
        self.scratch = buffer;
        read
    }

    /// A request was cut, or had to wait: reads behind it.
    fn read_on(&mut self, token: Token, mut input: Vec<u8>) -> Read {
        let Some(session) = self.sessions.get(token) else { return Read::Bytes(0) };
        let wanted = session.need.saturating_sub(input.len()).clamp(READ_STEP.0, READ_STEP.1);
        // As much again as is there at most: what is reserved has been paid for in bytes.
        input.reserve(wanted.min(input.len().max(READ_STEP.0)));
        let read = self.io.read(token, &mut input);
        self.look_at_the_clock();
        let used = self.serve(token, &input);
        input.drain(..used);
        if let Some(session) = self.sessions.get(token) {
            session.note_progress(used);
            if !input.is_empty() {
                session.input = input;
            }
        }
        read
    }

    /// What is said of the age of a value holds from the sending of a request on. Whatever has been
    /// read was sent before this moment; since the turn began, time may have passed unnoticed.
    #[inline]
    fn look_at_the_clock(&mut self) {
        if self.proxy.ages_values() {
            self.now = Instant::now();
        }
    }

    /// The client will send no more; it still gets what it is owed.
    fn client_ended(&mut self, token: Token) {
        let Some(session) = self.sessions.get(token) else { return };
        session.ended = true;
        if session.is_blocked() {
            // What it waits for, and so what it has sent behind that, may never be served.
            return self.sessions.doom(token, Reason::Eof);
        }
        if session.hold != Hold::None && !session.input.is_empty() {
            // What it has sent is not all served yet; the end is seen again then.
            return;
        }
        let gone = matches!(session.mode, Mode::Uploading(_) | Mode::Depositing(_) | Mode::Leaving);
        if session.pipeline.is_idle() || gone {
            return self.sessions.doom(token, Reason::Eof);
        }
        session.mode = Mode::Ending;
        session.input = Vec::new();
    }

    /// Notes when a request was begun that is not whole, so that a client that stalls is noticed.
    fn watch_progress(&mut self, token: Token) {
        let now = self.now;
        let Some(session) = self.sessions.get(token) else { return };
        let unfinished = session.is_awaited();
        // A long request has its time anew with each stretch; a short one has it once, or one byte
        // now and then would keep it open for ever.
        let passing = matches!(session.mode, Mode::Uploading(_) | Mode::Depositing(_));
        let long = session.input.len() > READ_STEP.1 || passing;
        session.begun = match session.begun {
            Some(begun) if unfinished && !long => Some(begun),
            _ => unfinished.then_some(now),
        };
        if unfinished {
            self.watch(token);
        }
    }

    /// Has a client looked at now and then.
    pub(super) fn watch(&mut self, token: Token) {
        let now = self.now;
        if let Some(session) = self.sessions.get(token) {
            session.begun.get_or_insert(now);
            if !std::mem::replace(&mut session.watched, true) {
                self.watched.push(token);
            }
        }
    }

    /// Serves what is whole in `bytes`; says how many of them are done with.
    fn serve(&mut self, token: Token, bytes: &[u8]) -> usize {
        let mut args = std::mem::take(&mut self.args);
        self.ahead = 0;
        let mut used = 0;
        while used < bytes.len() {
            match self.serve_one(token, &bytes[used..], &mut args) {
                Next::Go(n) => used += n,
                Next::Wait(n) => {
                    used += n;
                    break;
                }
            }
        }
        self.args = args;
        used
    }

    /// Serves what stands at the start of `bytes`.
    fn serve_one(&mut self, token: Token, bytes: &[u8], args: &mut Vec<Span>) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(bytes.len()) };
        match &mut session.mode {
            Mode::Parsing => {}
            Mode::Ending | Mode::Leaving => return Next::Go(bytes.len()),
            Mode::Swallowing(left) => {
                let n = (*left).min(bytes.len() as u64);
                *left -= n;
                if *left == 0 {
                    session.mode = Mode::Parsing;
                }
                return Next::Go(n as usize);
            }
            Mode::Uploading(_) => return self.serve_upload(token, bytes),
            Mode::Depositing(_) => return self.serve_deposit(token, bytes),
        }
        if bytes.len() < session.need {
            return Next::Wait(0);
        }
        let (pool, admitted) = (session.pool, session.identity.authenticated);
        let rules = self.proxy.rules(pool, &session.identity);
        let (depth, unread) = (session.pipeline.depth(), session.pipeline.buffered());
        if depth >= self.sessions.limits(pool).pipeline_depth {
            return self.hold(token, Hold::Depth);
        }
        if unread > self.sessions.ask_below(pool) {
            return self.hold(token, Hold::Output);
        }
        let parsed = match self.protocols[pool as usize] {
            Protocol::Memcache => memcache::parse(bytes, rules, args),
            Protocol::Redis => redis::parse(bytes, rules, args),
            Protocol::Ping => ping::parse(bytes, args),
        };
        match parsed {
            Parsed::Request(head) => {
                let (own, rest) = bytes.split_at(head.len as usize);
                let request = Request { head: &head, bytes: own, args };
                self.ahead = match self.ahead {
                    0 => self.proxy.look_ahead(pool, &request, rest),
                    left => left - 1,
                };
                self.serve_request(token, request)
            }
            Parsed::Inline(line) => {
                let request = Request { head: &line.head, bytes: &line.text, args };
                self.serve_request(token, request)
            }
            Parsed::Incomplete { need } => self.need(token, need),
            Parsed::Begun(head) if self.standalone.serves(pool) => {
                self.begin_deposit(token, bytes, (&head, args))
            }
            // A transaction's requests go on one connection, in order.
            Parsed::Begun(head) if head.len <= UPLOAD_FROM || self.is_conversing(token) => {
                self.need(token, head.len as usize)
            }
            // Several servers get it, one after the other.
            Parsed::Begun(head)
                if self.proxy.moves(pool, &Request { head: &head, bytes, args }) =>
            {
                self.need(token, head.len as usize)
            }
            Parsed::Begun(head) => self.begin_upload(token, bytes, &head, args),
            Parsed::Skip { len } => self.skip(token, len),
            Parsed::Refused { len, refusal } => {
                // What a stranger would store takes the place of nothing.
                if admitted {
                    let counters = &self.metrics.pools[pool as usize];
                    self.standalone.refused(pool, (bytes, args), refusal.as_ref(), counters);
                }
                self.refuse(token, len, refusal)
            }
            Parsed::Lost(refusal) => self.lose(token, &refusal),
        }
    }

    /// More bytes must come first; a request that cannot be sent on in parts must fit into what
    /// one client may hold, or be a value for a cache of our own.
    pub(super) fn need(&mut self, token: Token, need: usize) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        session.need = need;
        let pool = session.pool;
        let limits = self.sessions.limits(pool);
        let value = usize::try_from(limits.value_bytes).unwrap_or(usize::MAX);
        let stored = self.standalone.serves(pool) && need <= value.saturating_add(VALUE_FRAME);
        if stored || need <= limits.client_output_bytes {
            return Next::Wait(0);
        }
        let refusal = match self.protocols[pool as usize] {
            Protocol::Memcache | Protocol::Ping => Refusal::Server("object too large for cache"),
            Protocol::Redis => Refusal::Redis("ERR Protocol error: request too large".into()),
        };
        self.lose(token, &refusal)
    }

    /// Padding.
    fn skip(&mut self, token: Token, len: usize) -> Next {
        if let Some(session) = self.sessions.get(token) {
            session.need = 0;
        }
        Next::Go(len)
    }

    pub(super) fn hold(&mut self, token: Token, why: Hold) -> Next {
        self.metrics.add(WorkerMetric::PausedReads, 1);
        if let Some(session) = self.sessions.get(token) {
            session.hold = why;
        }
        Next::Wait(0)
    }
}

impl Session {
    /// Part of what was there is done with: whatever is left was begun only now.
    fn note_progress(&mut self, used: usize) {
        // Who is to leave makes none by sending on.
        if used > 0 && !matches!(self.mode, Mode::Ending | Mode::Leaving) {
            self.begun = None;
        }
    }
}

//! From a client's bytes to requests.
//!
//! ```text
//!  readable ─▶ serve ─┬─ Parsing ─▶ parse ─▶ request │ local reply │ refusal
//!                     ├─ Swallowing: thrown away     │ begun upload
//!                     ├─ Uploading: sent on          ▼
//!                     └─ Ending: ignored          what is left waits in Session::input
//! ```

use super::session::{Hold, Mode, Reason, Session, Upload, UploadRest};
use super::worker::Worker;
use crate::config::Protocol;
use crate::metrics::{PoolMetric, PoolMetrics, WorkerMetric};
use crate::net::{Read, Token};
use crate::protocol::{Head, Parsed, Plan, Refusal, Request, Span, memcache, ping, redis};
use crate::service::{After, Caller, Clients, Flow, Ticket, Turn, count_request};

/// A request longer than this is not held but sent on while it comes in.
const UPLOAD_FROM: u64 = 1024 * 1024 + 64 * 1024;

/// Room made at first for a request that does not fit what was read, and at most at once.
const READ_STEP: (usize, usize) = (4 * 1024, 1024 * 1024);

/// Whether to look at what follows in the same buffer.
enum Next {
    /// Yes: this many bytes are done with.
    Go(usize),
    /// No: more bytes, or something else, must come first. So many bytes are done with.
    Wait(usize),
}

impl Worker {
    /// A client's socket is ready: writes what it is owed, reads and serves what it sends.
    pub(super) fn client_ready(&mut self, token: Token) {
        let now = self.now;
        let Some(session) = self.sessions.get(token) else { return };
        session.heard = now;
        if !session.pipeline.output().is_empty() {
            self.sessions.write(&mut self.io, token);
        }
        if self.sessions.must_wait(token) && self.sessions.starve(token, self.now) {
            self.metrics.add(WorkerMetric::PausedReads, 1);
        }
        let Some(session) = self.sessions.get(token) else { return };
        if session.hold != Hold::None {
            return;
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
    }

    /// Nothing is left from before: bytes are read into the worker's own buffer and served there.
    fn read_fresh(&mut self, token: Token) -> Read {
        let mut buffer = std::mem::take(&mut self.scratch);
        buffer.clear();
        let read = self.io.read(token, &mut buffer);
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

    /// The client will send no more; it still gets what it is owed.
    fn client_ended(&mut self, token: Token) {
        let Some(session) = self.sessions.get(token) else { return };
        session.ended = true;
        if session.hold != Hold::None && !session.input.is_empty() {
            // What it has sent is not all served yet; the end is seen again then.
            return;
        }
        if session.pipeline.is_idle() || matches!(session.mode, Mode::Uploading(_) | Mode::Leaving)
        {
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
        let long = session.input.len() > READ_STEP.1 || matches!(session.mode, Mode::Uploading(_));
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
        }
        if bytes.len() < session.need {
            return Next::Wait(0);
        }
        let pool = session.pool;
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
                let request = Request { head: &head, bytes: &bytes[..head.len as usize], args };
                self.serve_request(token, request)
            }
            Parsed::Incomplete { need } => self.need(token, need),
            Parsed::Begun(head) if head.len <= UPLOAD_FROM || self.standalone.serves(pool) => {
                self.need(token, head.len as usize)
            }
            Parsed::Begun(head) => self.begin_upload(token, bytes, &head, args),
            Parsed::Skip { len } => self.skip(token, len),
            Parsed::Refused { len, refusal } => self.refuse(token, len, refusal),
            Parsed::Lost(refusal) => self.lose(token, &refusal),
        }
    }

    /// More bytes must come first; a request that cannot be sent on in parts must fit into what
    /// one client may hold.
    fn need(&mut self, token: Token, need: usize) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        session.need = need;
        let pool = session.pool;
        if need <= self.sessions.limits(pool).client_output_bytes {
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

    fn hold(&mut self, token: Token, why: Hold) -> Next {
        self.metrics.add(WorkerMetric::PausedReads, 1);
        if let Some(session) = self.sessions.get(token) {
            session.hold = why;
        }
        Next::Wait(0)
    }

    /// A whole request: answered here, or given to the service with a slot for its reply.
    fn serve_request(&mut self, token: Token, request: Request<'_>) -> Next {
        let done = Next::Go(request.bytes.len());
        let Some(session) = self.sessions.get(token) else { return done };
        session.need = 0;
        let pool = session.pool;
        if self.standalone.serves(pool) {
            return self.execute(token, request);
        }
        let local = matches!(request.head.command.plan, Plan::Local(_));
        if local || !session.identity.authenticated {
            let mut line = Vec::new();
            if !self.proxy.admits(pool, request.head.command, &session.identity, &mut line) {
                return self.reply_locally(token, &line, done);
            }
            if local {
                return self.answer(token, request);
            }
        }
        let seq = if request.head.noreply { 0 } else { session.pipeline.open() };
        let ticket = Ticket { session: token.0, serial: session.serial, seq };
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        match self.proxy.request(turn, Caller { pool, ticket }, request) {
            Flow::Go => done,
            Flow::Pause => {
                self.hold(token, Hold::Server);
                Next::Wait(request.bytes.len())
            }
        }
    }

    /// Executes a request on items of our own: its reply is the next, nothing being in flight.
    fn execute(&mut self, token: Token, request: Request<'_>) -> Next {
        let done = Next::Go(request.bytes.len());
        let Some(session) = self.sessions.get(token) else { return done };
        let pool = session.pool;
        let counters = &self.metrics.pools[pool as usize];
        count_request(counters, request.head.command.access, request.bytes.len() as u64);
        let into = (&mut session.state, session.pipeline.next_output());
        if self.standalone.execute(pool, request, counters, into) == After::Close {
            session.mode = Mode::Ending;
        }
        self.sessions.mark(token);
        done
    }

    /// Answers a request without asking a server.
    fn answer(&mut self, token: Token, request: Request<'_>) -> Next {
        let done = Next::Go(request.bytes.len());
        let mut line = Vec::new();
        let Some(session) = self.sessions.get(token) else { return done };
        let pool = session.pool;
        self.metrics.pools[pool as usize].add(PoolMetric::RequestsOther, 1);
        let after = self.proxy.answer(pool, request, &mut session.identity, &mut line);
        if after == After::Close {
            session.mode = Mode::Ending;
        }
        if request.head.noreply {
            return done;
        }
        self.reply_locally(token, &line, done)
    }

    /// Opens a slot and fills it at once.
    fn reply_locally(&mut self, token: Token, line: &[u8], done: Next) -> Next {
        if let Some(session) = self.sessions.get(token) {
            let seq = session.pipeline.open();
            session.pipeline.put(seq, line, true);
            self.sessions.mark(token);
        }
        done
    }

    /// A bad request whose end is known.
    fn refuse(&mut self, token: Token, len: u64, refusal: Option<Refusal>) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        session.need = 0;
        session.mode = Mode::Swallowing(len);
        let pool = session.pool as usize;
        count_refusal(&self.metrics.pools[pool], refusal.as_ref());
        if self.compat {
            self.sessions.doom(token, Reason::Protocol);
            return Next::Wait(0);
        }
        let Some(refusal) = refusal else { return Next::Go(0) };
        let line = self.refusal_line(pool, &refusal);
        self.reply_locally(token, &line, Next::Go(0))
    }

    /// Nobody knows where the next request would begin: one error line, then the end.
    fn lose(&mut self, token: Token, refusal: &Refusal) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        let upload = match &session.mode {
            Mode::Uploading(upload) => Some(upload.seq),
            _ => None,
        };
        session.mode = Mode::Ending;
        session.lost = true;
        session.quiet = false;
        let pool = session.pool as usize;
        count_refusal(&self.metrics.pools[pool], Some(refusal));
        if self.compat {
            self.sessions.doom(token, Reason::Protocol);
            return Next::Wait(0);
        }
        let line = self.refusal_line(pool, refusal);
        if let Some(session) = self.sessions.get(token) {
            // The line is the answer to the upload, unless that has had one.
            let seq = upload.unwrap_or_else(|| session.pipeline.open());
            session.pipeline.put(seq, &line, true);
            self.sessions.mark(token);
        }
        Next::Go(0)
    }

    fn refusal_line(&self, pool: usize, refusal: &Refusal) -> Vec<u8> {
        let mut line = Vec::new();
        match self.protocols[pool] {
            Protocol::Memcache | Protocol::Ping => memcache::write_refusal(refusal, &mut line),
            Protocol::Redis => redis::write_refusal(refusal, &mut line),
        }
        line
    }

    /// A request that is too long to be held: it waits for those before it, then goes on a
    /// connection of its own.
    fn begin_upload(&mut self, token: Token, bytes: &[u8], head: &Head, args: &[Span]) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        if session.pipeline.depth() > 0 {
            return self.hold(token, Hold::Order);
        }
        let rest = match self.protocols[session.pool as usize] {
            Protocol::Memcache | Protocol::Ping => UploadRest::Bytes {
                left: head.len - bytes.len() as u64,
                last: bytes.last().copied().unwrap_or_default(),
            },
            Protocol::Redis => match redis::Rest::after(bytes) {
                Ok(rest) => UploadRest::Array(rest),
                Err(refusal) => return self.lose(token, &refusal),
            },
        };
        session.need = 0;
        let pool = session.pool;
        session.quiet = head.noreply;
        let seq = session.pipeline.open();
        let Some(ticket) = self.sessions.ticket(token, seq) else { return Next::Wait(0) };
        let request = Request { head, bytes, args };
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        let id = match self.proxy.upload(turn, pool, request, ticket) {
            Ok(id) => Some(id),
            Err(text) => {
                let line = self.proxy.error_line(pool, text);
                self.sessions.reply(&mut self.io, ticket, &line, true);
                None
            }
        };
        if let Some(session) = self.sessions.get(token) {
            session.mode = Mode::Uploading(Box::new(Upload { id, seq, rest }));
        }
        Next::Go(bytes.len())
    }

    /// More of an upload.
    fn serve_upload(&mut self, token: Token, bytes: &[u8]) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        let Mode::Uploading(upload) = &mut session.mode else { return Next::Wait(0) };
        let id = upload.id;
        let (used, ended) = match upload.rest.take(bytes) {
            Ok(taken) => taken,
            Err(refusal) => {
                self.abort_upload(token);
                return self.lose(token, &refusal);
            }
        };
        if ended {
            session.mode = Mode::Parsing;
        }
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        let more = (&bytes[..used], ended);
        let flow = id.map_or(Flow::Go, |id| self.proxy.upload_more(turn, id, more));
        let unanswered = self.sessions.get(token).is_some_and(|s| s.pipeline.depth() > 0);
        match flow {
            // What follows goes on other connections and must not overtake the upload.
            _ if ended && unanswered => self.hold(token, Hold::Order),
            Flow::Pause if !ended => self.hold(token, Hold::Server),
            _ => return Next::Go(used),
        };
        Next::Wait(used)
    }

    /// The client is going, or lost, in the middle of an upload.
    pub(super) fn abort_upload(&mut self, token: Token) {
        let Some(Session { mode: Mode::Uploading(upload), .. }) = self.sessions.get(token) else {
            return;
        };
        if let Some(id) = upload.id.take() {
            let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
            self.proxy.upload_abort(turn, id);
        }
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

impl UploadRest {
    /// How many of `bytes` belong to the upload, and whether it ends with them.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        match self {
            Self::Bytes { left, last } => {
                let n = (*left).min(bytes.len() as u64) as usize;
                *left -= n as u64;
                let tail = [n.checked_sub(2).map_or(*last, |at| bytes[at]), bytes[n - 1]];
                if *left == 0 && tail != *b"\r\n" {
                    return Err(Refusal::Client("bad data chunk"));
                }
                *last = tail[1];
                Ok((n, *left == 0))
            }
            Self::Array(rest) => rest.advance(bytes),
        }
    }
}

fn count_refusal(metrics: &PoolMetrics, refusal: Option<&Refusal>) {
    let metric = match refusal {
        Some(Refusal::Server(_)) => PoolMetric::ErrorOversize,
        Some(Refusal::Client(_)) => PoolMetric::ErrorKey,
        _ => PoolMetric::ErrorUnsupported,
    };
    metrics.add(metric, 1);
}

//! A client's requests: answered here, given to the service, or refused.

use super::serve::Next;
use super::sessions::{Hold, Mode, Reason, Session};
use super::worker::Worker;
use crate::config::Protocol;
use crate::metrics::{PoolMetric, PoolMetrics};
use crate::net::Token;
use crate::protocol::{Local, Output, Plan, Refusal, Request, Status, memcache, redis};
use crate::service::{After, Caller, Deposit, Flow, Ticket, Turn, count_request};

impl Worker {
    /// A whole request: answered here, or given to the service with a slot for its reply.
    pub(super) fn serve_request(&mut self, token: Token, request: Request<'_>) -> Next {
        let done = Next::Go(request.head.len as usize);
        let Some(session) = self.sessions.get(token) else { return done };
        session.need = 0;
        let pool = session.pool;
        let stranger = !session.identity.authenticated;
        if stranger && self.protocols[pool as usize] == Protocol::Memcache {
            return self.admit_memcache(token, request);
        }
        if self.standalone.serves(pool) {
            self.execute(token, request, None);
            return done;
        }
        if session.pipeline.depth() > 0 && self.proxy.must_wait(pool, (token.0, self.now), &request)
        {
            return self.hold(token, Hold::Order);
        }
        let Some(session) = self.sessions.get(token) else { return done };
        let special = stranger || session.subscribed || session.conversation.is_some();
        let plan = request.head.command.plan;
        if special || matches!(plan, Plan::Local(_) | Plan::Dedicated(_) | Plan::PubSub(_)) {
            return self.serve_specially(token, request);
        }
        if self.proxy.is_gated(pool)
            && let Some(next) = self.await_keys(token, &request)
        {
            return next;
        }
        let Some(session) = self.sessions.get(token) else { return done };
        let caller = session.caller(token, &request);
        self.forward(token, caller, request)
    }

    /// A request of a memcache client that has not given a password.
    #[cold]
    fn admit_memcache(&mut self, token: Token, request: Request<'_>) -> Next {
        let done = Next::Go(request.head.len as usize);
        let Some(session) = self.sessions.get(token) else { return done };
        let mut line = Output::default();
        self.proxy.admit_memcache(session.pool, request, &mut session.identity, &mut line);
        self.reply_locally(token, &line, done)
    }

    /// A request that is not simply for a server.
    fn serve_specially(&mut self, token: Token, request: Request<'_>) -> Next {
        let done = Next::Go(request.head.len as usize);
        let Some(session) = self.sessions.get(token) else { return done };
        let mut line = Output::default();
        if !self.proxy.admits(session.pool, request.head.command, &session.identity, &mut line) {
            return self.reply_locally(token, &line, done);
        }
        if let Some(next) = self.await_keys(token, &request) {
            return next;
        }
        if let Some(next) = self.converse(token, request) {
            return next;
        }
        if let Some(next) = self.pubsub(token, request) {
            return next;
        }
        if let Plan::Local(local) = request.head.command.plan {
            return self.answer_in_order(token, local, request);
        }
        let Some(session) = self.sessions.get(token) else { return done };
        let caller = session.caller(token, &request);
        self.forward(token, caller, request)
    }

    /// A request for servers.
    #[inline]
    fn forward(&mut self, token: Token, caller: Caller, request: Request<'_>) -> Next {
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        match self.proxy.request(turn, caller, request) {
            Flow::Go => Next::Go(request.head.len as usize),
            Flow::Pause => {
                self.hold(token, Hold::Server);
                Next::Wait(request.head.len as usize)
            }
        }
    }

    /// Executes a request on items of our own: its reply is the next, nothing being in flight.
    /// Its value may have come in by itself.
    pub(super) fn execute(&mut self, token: Token, request: Request<'_>, deposit: Option<Deposit>) {
        let Some(session) = self.sessions.equipped(token) else { return };
        let pool = session.pool;
        let counters = &self.metrics.pools[pool as usize];
        let value = deposit.as_ref().map_or(0, Deposit::value_len);
        let bytes = request.bytes.len() as u64 + value;
        count_request(counters, memcache::access_of(&request), bytes);
        let into = (&mut session.state, session.pipeline.next_output());
        if self.standalone.execute(pool, (request, deposit), counters, into) == After::Close {
            session.mode = Mode::Ending;
        }
        if let Some(authenticated) = session.state.is_authenticated() {
            session.identity.authenticated = authenticated;
        }
        self.sessions.mark(token);
    }

    /// Tells a client what has changed of that which it has read; one that does not take it is
    /// given up when it is owed too much.
    pub(super) fn tell(&mut self, ticket: Ticket) {
        let token = Token(ticket.session);
        let Some(session) = self.sessions.of(ticket) else { return };
        if matches!(session.mode, Mode::Leaving) {
            return;
        }
        self.standalone.push(&session.state, session.pipeline.between_replies());
        let (pool, held) = (session.pool, session.pipeline.buffered());
        self.sessions.mark(token);
        self.sessions.account(token);
        if held > self.sessions.limits(pool).client_output_bytes {
            self.sessions.doom(token, Reason::SlowReader);
        }
    }

    /// Answers a request here. What changes which connections the next ones go on waits for those
    /// before it: they must not be overtaken.
    fn answer_in_order(&mut self, token: Token, local: Local, request: Request<'_>) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        let switches = matches!(local, Local::Hello | Local::Reset);
        if switches && session.pipeline.depth() > 0 {
            return self.hold(token, Hold::Order);
        }
        if local == Local::Reset {
            self.hang_up(token);
            self.unsubscribe_all(token);
        }
        self.answer(token, request)
    }

    /// Answers a request without asking a server.
    fn answer(&mut self, token: Token, request: Request<'_>) -> Next {
        let done = Next::Go(request.head.len as usize);
        let mut line = Output::default();
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
    pub(super) fn reply_locally(&mut self, token: Token, line: &[u8], done: Next) -> Next {
        if let Some(session) = self.sessions.get(token) {
            let seq = session.pipeline.open();
            session.pipeline.put(seq, line, true);
            self.sessions.mark(token);
        }
        done
    }

    /// A bad request whose end is known.
    pub(super) fn refuse(&mut self, token: Token, len: u64, refusal: Option<Refusal>) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        session.need = 0;
        session.mode = Mode::Swallowing(len);
        if let Some(conversation) = &mut session.conversation {
            conversation.spoil();
        }
        let pool = session.pool as usize;
        count_refusal(&self.metrics.pools[pool], refusal.as_ref());
        if self.compat {
            self.sessions.doom(token, Reason::Protocol);
            return Next::Wait(0);
        }
        let Some(refusal) = refusal else { return Next::Go(0) };
        if self.standalone.serves(pool as u16) {
            let out = session.pipeline.next_output();
            self.standalone.refuse(pool as u16, &refusal, &mut session.state, out);
            self.sessions.mark(token);
            return Next::Go(0);
        }
        let line = self.refusal_line(pool, &refusal);
        self.reply_locally(token, &line, Next::Go(0))
    }

    /// Nobody knows where the next request would begin: one error line, then the end.
    pub(super) fn lose(&mut self, token: Token, refusal: &Refusal) -> Next {
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
}

impl Session {
    /// Opens a slot for the reply to a request, if it wants one.
    #[inline]
    pub(super) fn caller(&mut self, token: Token, request: &Request<'_>) -> Caller {
        let seq = if request.head.noreply { 0 } else { self.pipeline.open() };
        let ticket = Ticket { session: token.0, serial: self.serial, seq };
        Caller { pool: self.pool, ticket, resp3: self.identity.resp3 }
    }
}

fn count_refusal(metrics: &PoolMetrics, refusal: Option<&Refusal>) {
    let metric = match refusal {
        Some(Refusal::Server(_)) => PoolMetric::ErrorOversize,
        Some(Refusal::Binary(failure)) if failure.status == Status::TooLarge => {
            PoolMetric::ErrorOversize
        }
        Some(Refusal::Client(_)) => PoolMetric::ErrorKey,
        _ => PoolMetric::ErrorUnsupported,
    };
    metrics.add(metric, 1);
}

//! Requests that are too long to be held: sent on while they come in.
//!
//! ```text
//!  Begun ─▶ (all before it answered) ─▶ begin ─▶ more, more ─▶ end: the next request waits for
//!                                         └ nowhere to send it: its bytes are dropped   the reply
//! ```

use super::serve::Next;
use super::sessions::{Hold, Mode, Session, Upload, UploadRest};
use super::worker::Worker;
use crate::config::Protocol;
use crate::net::Token;
use crate::protocol::{Head, Refusal, Request, Span, redis};
use crate::service::{Caller, Clients, Flow, Gated, Turn};

impl Worker {
    /// A request that is too long to be held: it waits for those before it, then goes on a
    /// connection of its own.
    pub(super) fn begin_upload(
        &mut self,
        token: Token,
        bytes: &[u8],
        head: &Head,
        args: &[Span],
    ) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        if session.pipeline.depth() > 0 {
            return self.hold(token, Hold::Order);
        }
        let pool = session.pool;
        let value_bytes = self.sessions.limits(pool).value_bytes;
        let rest = match self.protocols[pool as usize] {
            Protocol::Memcache | Protocol::Ping => UploadRest::Bytes {
                left: head.len - bytes.len() as u64,
                last: bytes.last().copied().unwrap_or_default(),
            },
            Protocol::Redis => match redis::Rest::after(bytes, value_bytes) {
                Ok(rest) => UploadRest::Array(rest),
                Err(refusal) => return self.lose(token, &refusal),
            },
        };
        let request = Request { head, bytes, args };
        let gated = if self.proxy.is_gated(pool) { self.ask_gate(token, &request) } else { None };
        if gated == Some(Gated::Wait) {
            return self.hold(token, Hold::Server);
        }
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        session.need = 0;
        session.quiet = head.noreply;
        let seq = session.pipeline.open();
        let resp3 = session.identity.resp3;
        let Some(ticket) = self.sessions.ticket(token, seq) else { return Next::Wait(0) };
        let caller = Caller { pool, ticket, resp3 };
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        let begun = match gated {
            Some(Gated::Refused(line)) => Err(line),
            _ => self.proxy.upload(turn, caller, request),
        };
        let id = match begun {
            Ok(id) => Some(id),
            Err(line) => {
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
    pub(super) fn serve_upload(&mut self, token: Token, bytes: &[u8]) -> Next {
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

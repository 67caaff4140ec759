//! Requests that store a large value in a cache of ours: not held, but handed on while they come.
//!
//! ```text
//!  Begun ─▶ begin ─▶ value, value, value … ─▶ the rest of the request ─▶ executed
//! ```

use super::serve::Next;
use super::sessions::{Hold, Mode};
use super::worker::Worker;
use crate::config::Protocol;
use crate::net::Token;
use crate::protocol::{Head, Outline, Parsed, Request, Span, memcache, redis};
use crate::service::{Accepted, Deposit};

/// A request longer than this has its value put where it will stay while it comes in.
const DEPOSIT_FROM: u64 = 256 * 1024;

impl Worker {
    /// A request to a cache of ours that has begun: its value is taken as it comes, if it is large
    /// and the command has one; otherwise the request is waited for.
    pub(super) fn begin_deposit(
        &mut self,
        token: Token,
        bytes: &[u8],
        (head, args): (&Head, &[Span]),
    ) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        let pool = session.pool;
        let outline = match self.protocols[pool as usize] {
            _ if head.len <= DEPOSIT_FROM => None,
            Protocol::Memcache => memcache::outline(bytes, head, args),
            Protocol::Redis => redis::outline(bytes, args),
            Protocol::Ping => None,
        };
        let place = |outline: &Outline| (outline.value_at, outline.len);
        let (value_at, len) = outline.as_ref().map_or((0, 0), place);
        let state = &mut session.state;
        let accepted = outline.map(|outline| self.standalone.accept(pool, outline, state));
        match accepted {
            Some(Accepted::Now(deposit)) => {
                session.need = 0;
                session.mode = Mode::Depositing(deposit);
                Next::Go(value_at)
            }
            Some(Accepted::Later) => {
                self.depositors.push((token, len));
                self.hold(token, Hold::Memory)
            }
            Some(Accepted::Held) | None => self.need(token, head.len as usize),
        }
    }

    /// Lets the first of those go on that wait for a place among the values under way, if there is
    /// one now. Who went on in vain would only read more of what cannot be taken yet.
    pub(super) fn release_depositors(&mut self) {
        let Some((token, len)) = self.depositors.first().copied() else { return };
        let Some(pool) = self.sessions.get(token).map(|session| session.pool) else {
            self.depositors.remove(0);
            return;
        };
        if self.standalone.may_accept(pool, len) {
            self.depositors.remove(0);
            self.sessions.release(&mut self.io, token, Hold::Memory);
        }
    }

    /// More of such a request.
    pub(super) fn serve_deposit(&mut self, token: Token, bytes: &[u8]) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        let Mode::Depositing(deposit) = &mut session.mode else { return Next::Wait(0) };
        let filled = self.standalone.fill(deposit, bytes);
        if !deposit.is_full() {
            return Next::Go(filled);
        }
        self.end_deposit(token, &bytes[filled..]).after(filled)
    }

    /// The value is there; `bytes` stand behind it, if anything does.
    fn end_deposit(&mut self, token: Token, bytes: &[u8]) -> Next {
        let Some(session) = self.sessions.get(token) else { return Next::Wait(0) };
        let Mode::Depositing(deposit) = &mut session.mode else { return Next::Wait(0) };
        let (text, before) = (deposit.text_with(bytes), deposit.text_len());
        let (pool, mut args) = (session.pool, Vec::new());
        let rules = self.proxy.rules(pool, &session.identity);
        let parsed = match self.protocols[pool as usize] {
            Protocol::Redis => redis::parse(&text, rules, &mut args),
            _ => memcache::parse(&text, rules, &mut args),
        };
        let need = match &parsed {
            Parsed::Incomplete { need } => Some(*need),
            Parsed::Begun(head) => Some(head.len as usize),
            _ => None,
        };
        if let Some(need) = need {
            return self.need(token, need.saturating_sub(before));
        }
        let Mode::Depositing(deposit) = std::mem::replace(&mut session.mode, Mode::Parsing) else {
            return Next::Wait(0);
        };
        self.finish_deposit(token, (parsed, &text, &args), *deposit)
    }

    /// All of the request is there.
    fn finish_deposit(
        &mut self,
        token: Token,
        (parsed, text, args): (Parsed, &[u8], &[Span]),
        deposit: Deposit,
    ) -> Next {
        let before = deposit.text_len();
        match parsed {
            Parsed::Request(head) => {
                let bytes = &text[..head.len as usize];
                let request = Request { head: &head, bytes, args };
                self.execute(token, request, Some(deposit));
                Next::Go(bytes.len() - before)
            }
            Parsed::Refused { len, refusal } => {
                self.refuse(token, len.saturating_sub(before as u64), refusal)
            }
            Parsed::Lost(refusal) => self.lose(token, &refusal),
            // Nothing else begins with what such a request begins with.
            _ => Next::Wait(0),
        }
    }
}

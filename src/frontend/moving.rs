//! Requests about keys that are on their way from one server to another: the session waits.
//!
//! ```text
//!  request ─▶ its keys are in place? ─ yes ─▶ served
//!                    └ no ─▶ Hold::Server … resume ─▶ the same request again
//! ```

use super::serve::Next;
use super::sessions::Hold;
use super::worker::Worker;
use crate::net::Token;
use crate::protocol::Request;
use crate::service::{Caller, Gated, Ticket, Turn};

impl Worker {
    /// What is done about a request that may not be served yet, or not at all; `None` if it may.
    #[inline]
    pub(super) fn await_keys(&mut self, token: Token, request: &Request<'_>) -> Option<Next> {
        let pool = self.sessions.get(token)?.pool;
        if !self.proxy.is_gated(pool) {
            return None;
        }
        match self.ask_gate(token, request)? {
            Gated::Open => None,
            Gated::Wait => Some(self.hold(token, Hold::Server)),
            Gated::Refused(line) => {
                if let Some(session) = self.sessions.get(token)
                    && let Some(conversation) = &mut session.conversation
                {
                    conversation.spoil();
                }
                Some(self.reply_locally(token, &line, Next::Go(request.head.len as usize)))
            }
        }
    }

    /// Asks whether the keys of a request are in place.
    pub(super) fn ask_gate(&mut self, token: Token, request: &Request<'_>) -> Option<Gated> {
        let session = self.sessions.get(token)?;
        let ticket = Ticket { session: token.0, serial: session.serial, seq: 0 };
        let caller = Caller { pool: session.pool, ticket, resp3: session.identity.resp3 };
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        Some(self.proxy.gate(turn, caller, request))
    }
}

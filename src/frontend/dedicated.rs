//! Requests that belong to a conversation with one server: transactions, commands that block.
//!
//! ```text
//!  request ─▶ begins one, or is part of it? ─▶ (all before it answered) ─▶ Proxy::converse
//!                                  └ over ─▶ (its replies have come) ─▶ as any other request
//! ```

use super::serve::Next;
use super::sessions::{Hold, Reason};
use super::worker::Worker;
use crate::net::{Read, Token};
use crate::protocol::{Plan, Request};
use crate::service::{Caller, Ticket, Turn};

/// Bytes that are taken from a client that waits in a command that blocks.
const AHEAD: usize = 64 * 1024;

impl Worker {
    /// Sees to a request that may belong to a conversation; `None` if it does not.
    pub(super) fn converse(&mut self, token: Token, request: Request<'_>) -> Option<Next> {
        let session = self.sessions.get(token)?;
        let begins = matches!(request.head.command.plan, Plan::Dedicated(_));
        if session.conversation.is_none() && !begins {
            return None;
        }
        let (pool, unanswered) = (session.pool, session.pipeline.depth() > 0);
        let goes_on = session.conversation.as_ref().is_some_and(|it| it.may_go_on());
        if unanswered && !goes_on {
            return Some(self.hold(token, Hold::Order));
        }
        if session.conversation.as_ref().is_some_and(|it| it.is_over()) {
            session.conversation = None;
        }
        if !self.proxy.converses(pool, session.conversation.as_deref(), &request) {
            return None;
        }
        let mut conversation = session.conversation.take().unwrap_or_default();
        let seq = session.pipeline.open();
        let ticket = Ticket { session: token.0, serial: session.serial, seq };
        let caller = Caller { pool, ticket, resp3: session.identity.resp3 };
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        self.proxy.converse(turn, caller, &mut conversation, request);
        if let Some(session) = self.sessions.get(token) {
            session.conversation = Some(conversation);
        }
        Some(Next::Go(request.head.len as usize))
    }

    /// Whether a client is in the middle of one.
    pub(super) fn is_conversing(&mut self, token: Token) -> bool {
        self.sessions.get(token).is_some_and(|session| session.conversation.is_some())
    }

    /// A client that waits in a command that blocks has sent more, or has gone: only the latter
    /// is of interest now.
    pub(super) fn overhear(&mut self, token: Token) {
        let Some(session) = self.sessions.get(token) else { return };
        if !session.is_blocked() || session.input.len() >= AHEAD {
            return;
        }
        let mut input = std::mem::take(&mut session.input);
        input.reserve(AHEAD - input.len());
        let read = self.io.read(token, &mut input);
        if let Some(session) = self.sessions.get(token) {
            session.input = input;
        }
        match read {
            Read::Bytes(_) => {}
            Read::End(_) => self.sessions.doom(token, Reason::Eof),
            Read::Failed(_) => self.sessions.doom(token, Reason::Reset),
        }
    }

    /// The client is going: what it has begun with a server is not left to others.
    pub(super) fn hang_up(&mut self, token: Token) {
        let conversation = self.sessions.get(token).and_then(|it| it.conversation.take());
        if let Some(conversation) = conversation {
            let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
            self.proxy.hang_up(turn, &conversation);
        }
    }
}

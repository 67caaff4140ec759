//! Sessions with subscriptions: what begins and ends them, and what else they may send.

use super::serve::Next;
use super::sessions::Hold;
use super::worker::Worker;
use crate::net::Token;
use crate::protocol::redis::Reply;
use crate::protocol::{Local, Output, Plan, PubSub, Request};
use crate::service::{Ticket, Turn};

impl Worker {
    /// Sees to a request about subscriptions, and to one that a session may not send while it has
    /// any; `None` if it is neither.
    pub(super) fn pubsub(&mut self, token: Token, request: Request<'_>) -> Option<Next> {
        let done = Next::Go(request.head.len as usize);
        let session = self.sessions.get(token)?;
        let unanswered = session.pipeline.depth() > 0;
        match request.head.command.plan {
            // It is answered at once, and must not overtake what it ends.
            Plan::PubSub(PubSub::Unsubscribe(_)) if unanswered => {
                Some(self.hold(token, Hold::Order))
            }
            Plan::PubSub(what) => {
                session.subscribed |= matches!(what, PubSub::Subscribe(_));
                let caller = session.caller(token, &request);
                let turn =
                    &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
                self.proxy.pubsub(turn, caller, (what, request));
                Some(done)
            }
            // RESP3 tells messages from replies.
            _ if !session.subscribed || session.identity.resp3 => None,
            Plan::Local(Local::Quit | Local::Reset) => None,
            Plan::Local(Local::Ping) if request.args.len() <= 2 => {
                let mut line = Output::default();
                let mut reply = Reply::new(&mut line, false);
                reply.array(2);
                reply.bulk(b"pong");
                reply.bulk(request.arg(1));
                Some(self.reply_locally(token, &line, done))
            }
            _ => {
                let caller = session.caller(token, &request);
                let turn =
                    &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
                self.proxy.refuse_subscribed(turn, caller, request.head.command.name);
                Some(done)
            }
        }
    }

    /// The session is going, or begins anew.
    pub(super) fn unsubscribe_all(&mut self, token: Token) {
        let Some(session) = self.sessions.get(token) else { return };
        if !std::mem::take(&mut session.subscribed) {
            return;
        }
        let (pool, serial) = (session.pool, session.serial);
        let ticket = Ticket { session: token.0, serial, seq: 0 };
        let turn = &mut Turn { now: self.now, io: &mut self.io, clients: &mut self.sessions };
        self.proxy.unsubscribe_all(turn, pool, ticket);
    }
}

//! What a session has under way that needs a connection of its own, and what is said on it.

use super::lending::Lent;
use crate::backend::{Ask, Failure, To};
use crate::protocol::{Dedicated, Expect, Local, Plan, Request, Span};
use crate::service::dispatch::{Turn, rewritten};
use crate::service::proxy::{Caller, Proxy};
use crate::service::replies::{Clients, count_request};

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its last replies are awaited, or it has not begun.
    #[default]
    Over,
    /// Keys are watched.
    Watching,
    /// Commands are queued.
    Multi,
}

/// A session's conversation with one server.
#[derive(Debug, Default)]
pub struct Conversation {
    pub(super) stage: Stage,
    /// The connection and the server, once a key has said which: the latter by its first
    /// connection's number, which it keeps when others come and go.
    pub(super) lent: Option<(Lent, u32)>,
    /// Something was refused: EXEC will be.
    pub(super) spoilt: bool,
    /// Its last command may wait as long as it likes.
    pub(super) blocked: bool,
    /// The mark of what is queued to be written.
    pub(super) mark: u32,
}

impl Conversation {
    /// Whether it has ended but for the replies that are awaited.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether its last command may be waiting for others.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether another request may be sent before the last one is answered.
    pub fn may_go_on(&self) -> bool {
        self.stage == Stage::Multi
    }

    /// A request was refused before it came here.
    pub fn spoil(&mut self) {
        self.spoilt |= self.stage == Stage::Multi;
    }
}

impl Proxy {
    /// Whether a request belongs to such a conversation.
    pub fn converses(
        &self,
        pool: u16,
        conversation: Option<&Conversation>,
        request: &Request<'_>,
    ) -> bool {
        let plan = request.head.command.plan;
        match (conversation.map_or(Stage::Over, |it| it.stage), plan) {
            (_, Plan::Local(Local::Quit | Local::Reset)) => false,
            (Stage::Multi, _) => true,
            (_, Plan::PubSub(_)) => false,
            (_, Plan::Dedicated(Dedicated::BlockIfSaid)) if !says_block(request) => {
                self.is_watched(pool, conversation, request)
            }
            (_, Plan::Dedicated(_)) => true,
            (Stage::Watching, _) => self.is_watched(pool, conversation, request),
            (Stage::Over, _) => false,
        }
    }

    /// Whether a request is for the server whose keys are watched, and for it alone.
    fn is_watched(
        &self,
        pool: u16,
        conversation: Option<&Conversation>,
        request: &Request<'_>,
    ) -> bool {
        let watched = conversation.and_then(|it| it.lent).map(|(_, server)| server);
        let owner = &self.pools[pool as usize];
        let server = || owner.server_for(request, request.keys()).ok();
        let server = || server().map(|server| owner.servers[server].first);
        watched.is_some() && request.keys().len() > 0 && server() == watched
    }

    /// Sees to a request that belongs to one.
    pub fn converse<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        conversation: &mut Conversation,
        request: Request<'_>,
    ) {
        let command = request.head.command;
        let metrics = &self.metrics.pools[caller.pool as usize];
        count_request(metrics, command.access, request.bytes.len() as u64);
        // What it waited for has come, or it would not be here.
        conversation.blocked = false;
        let mark = 0;
        let mut talk = Talk { proxy: self, turn, caller, conversation, request, mark };
        match (talk.conversation.stage, command.plan) {
            (_, Plan::Dedicated(Dedicated::Multi)) => talk.multi(),
            (Stage::Multi, Plan::Dedicated(Dedicated::Watch)) => {
                talk.error("ERR WATCH inside MULTI is not allowed");
            }
            (_, Plan::Dedicated(Dedicated::Exec)) => talk.exec(),
            (_, Plan::Dedicated(Dedicated::Discard)) => talk.discard(),
            (Stage::Multi, _) => talk.queue(),
            (_, Plan::Dedicated(Dedicated::Watch)) => talk.watch(),
            (_, Plan::Dedicated(Dedicated::Unwatch)) => talk.unwatch(),
            (Stage::Over, _) => talk.block(),
            (Stage::Watching, _) => talk.pass(),
        }
    }

    /// A session has gone in the middle of one.
    pub fn hang_up<C: Clients>(&mut self, turn: &mut Turn<'_, C>, conversation: &Conversation) {
        if let Some((lent, _)) = conversation.lent {
            self.revoke(turn, lent);
        }
        self.linger(conversation.mark, turn.now);
    }
}

/// Whether XREAD is to wait: BLOCK is an option, and all options come before the streams.
pub(super) fn says_block(request: &Request<'_>) -> bool {
    let end = request.keys().first().unwrap_or(request.args.len());
    let options = request.args.get(1..end).unwrap_or_default();
    options.iter().any(|arg| arg.of(request.bytes).eq_ignore_ascii_case(b"BLOCK"))
}

/// One request of a conversation.
pub(super) struct Talk<'a, 't, C> {
    pub(super) proxy: &'a mut Proxy,
    pub(super) turn: &'a mut Turn<'t, C>,
    pub(super) caller: Caller,
    pub(super) conversation: &'a mut Conversation,
    pub(super) request: Request<'a>,
    /// The mark that the next thing said carries.
    pub(super) mark: u32,
}

impl<C: Clients> Talk<'_, '_, C> {
    /// Answers with an error; `text` begins with its code.
    pub(super) fn error(&mut self, text: &str) {
        let refusal = crate::protocol::Refusal::Redis(text.to_owned());
        self.proxy.turn_down(self.turn, self.caller, &refusal);
    }

    /// Answers with bytes of the protocol.
    pub(super) fn reply(&mut self, bytes: &[u8]) {
        self.turn.clients.reply(self.turn.io, self.caller.ticket, bytes, true);
    }

    /// Answers with what went wrong between us and the server.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.proxy.fail(self.turn, self.caller.pool, To::Client(self.caller.ticket), failure);
    }

    /// The connection to `server`: the one that there is, or a new one. The answer has been given
    /// if there is none to be had.
    pub(super) fn connection(&mut self, server: usize) -> Option<Lent> {
        let first = self.proxy.pools[self.caller.pool as usize].servers[server].first;
        match self.conversation.lent {
            Some((lent, _)) if !self.proxy.has(lent) => self.fail(Failure::Reset),
            Some((lent, of)) if of == first => return Some(lent),
            Some(_) => self.error("CROSSSLOT the keys of this session are on another server"),
            None => match self.proxy.lend(self.turn, self.caller, server) {
                Ok(lent) => {
                    self.conversation.lent = Some((lent, first));
                    return Some(lent);
                }
                Err(failure) => self.fail(failure),
            },
        }
        None
    }

    /// The connection that there is, if it is still the session's.
    pub(super) fn present(&self) -> Option<Lent> {
        self.conversation.lent.map(|(lent, _)| lent).filter(|lent| self.proxy.has(*lent))
    }

    /// Sends the request on.
    pub(super) fn send(&mut self, lent: Lent, patient: bool) {
        let to = To::Client(self.caller.ticket);
        self.proxy.note_keys(lent.link, &self.request);
        if self.request.head.rewrite {
            let protocol = self.proxy.pools[self.caller.pool as usize].settings.protocol;
            let wire = rewritten(protocol, &self.request).concat();
            self.say(lent, (to, patient), &wire);
        } else {
            self.say(lent, (to, patient), self.request.bytes);
        }
    }

    /// Marks what the request writes, for as long as it is not answered.
    pub(super) fn mark_writes(&mut self) {
        let now = self.turn.now;
        self.mark = self.proxy.mark_writes(self.caller.pool, self.mark, &self.request, now);
    }

    /// Sends a request.
    pub(super) fn say(&mut self, lent: Lent, (to, patient): (To, bool), wire: &[u8]) {
        let (key, read, may_miss) = (Span::default(), false, false);
        let mark = std::mem::take(&mut self.mark);
        let ask = Ask { to, expect: Expect::Resp, read, key, may_miss, patient, mark };
        self.proxy.send(self.turn, lent.link, ask, &[wire]);
    }

    /// The conversation is over when what was sent is answered.
    pub(super) fn end(&mut self) {
        if let Some((lent, _)) = self.conversation.lent {
            self.proxy.end_loan(self.turn, lent);
        }
        self.conversation.stage = Stage::Over;
        self.conversation.spoilt = false;
        // What was queued was not executed, or nobody knows.
        let mark = std::mem::take(&mut self.conversation.mark);
        self.proxy.linger(mark, self.turn.now);
    }
}

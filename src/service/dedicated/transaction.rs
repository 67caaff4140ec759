//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: on the server of the first key.
//!
//! MULTI is answered here: which server it is for is known with the first key, and so the server
//! hears of it then. A key elsewhere, or a command that no single server can answer, is refused,
//! and with it the transaction, as Redis drops one with an error in it.

use super::conversation::{Stage, Talk};
use crate::backend::{Failure, To};
use crate::protocol::{Dedicated, Local, Plan};
use crate::service::replies::Clients;
use crate::service::route::Astray;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
const OK: &[u8] = b"+OK\r\n";
const EMPTY: &[u8] = b"*0\r\n";

impl<C: Clients> Talk<'_, '_, C> {
    pub(super) fn multi(&mut self) {
        if self.conversation.stage == Stage::Multi {
            return self.error("ERR MULTI calls can not be nested");
        }
        self.conversation.stage = Stage::Multi;
        match (self.present(), self.conversation.lent) {
            (Some(lent), _) => self.send(lent, false),
            // What was watched may have changed unseen.
            (None, Some(_)) => {
                self.conversation.spoilt = true;
                self.reply(OK);
            }
            (None, None) => self.reply(OK),
        }
    }

    /// A command within MULTI.
    pub(super) fn queue(&mut self) {
        let before = self.conversation.lent.is_some();
        let command = self.request.head.command;
        // Where there is but one server, a script needs no key to say which.
        let keyless = self.request.keys().len() == 0 && command.plan == Plan::Forward;
        // Any server that has the transaction can answer these.
        let local = matches!(
            command.plan,
            Plan::Local(Local::Ping | Local::Echo) | Plan::Dedicated(Dedicated::Unwatch)
        );
        let alone = (local || keyless) && self.proxy.pools[self.caller.pool as usize].is_alone();
        let anywhere = local || alone;
        let lent = match self.present() {
            Some(lent) if anywhere => Some(lent),
            None if anywhere && alone => {
                self.server_without_key().and_then(|server| self.connection(server))
            }
            _ if self.request.keys().len() == 0 || matches!(command.plan, Plan::PubSub(_)) => {
                let name = command.name;
                self.error(&format!(
                    "ERR {name} cannot be queued: it does not say for which server"
                ));
                None
            }
            _ => self.server().and_then(|server| self.connection(server)),
        };
        let Some(lent) = lent else {
            self.conversation.spoilt = true;
            return;
        };
        if !before {
            self.say(lent, (To::Nobody, false), MULTI);
        }
        // It is written by EXEC.
        let (mark, now) = (self.conversation.mark, self.turn.now);
        let mark = self.proxy.mark_writes(self.caller.pool, mark, &self.request, now);
        self.conversation.mark = mark;
        self.send(lent, false);
    }

    pub(super) fn exec(&mut self) {
        if self.conversation.stage != Stage::Multi {
            return self.error("ERR EXEC without MULTI");
        }
        match self.present() {
            _ if self.conversation.spoilt => {
                self.drop_queue();
                self.error("EXECABORT Transaction discarded because of previous errors.");
            }
            Some(lent) => {
                self.mark = std::mem::take(&mut self.conversation.mark);
                self.send(lent, false);
            }
            None if self.conversation.lent.is_some() => {
                self.error("EXECABORT Transaction discarded: the connection to the server broke.");
            }
            None => self.reply(EMPTY),
        }
        self.end();
    }

    pub(super) fn discard(&mut self) {
        if self.conversation.stage != Stage::Multi {
            return self.error("ERR DISCARD without MULTI");
        }
        match self.present() {
            Some(lent) => self.send(lent, false),
            None => self.reply(OK),
        }
        self.end();
    }

    pub(super) fn watch(&mut self) {
        self.conversation.stage = Stage::Watching;
        match self.server().and_then(|server| self.connection(server)) {
            Some(lent) => self.send(lent, false),
            // Whoever overlooks the error must not believe that the keys are watched.
            None => self.conversation.spoilt = true,
        }
    }

    pub(super) fn unwatch(&mut self) {
        match self.present() {
            Some(lent) => self.send(lent, false),
            None => self.reply(OK),
        }
        self.end();
    }

    fn drop_queue(&mut self) {
        if let Some(lent) = self.present() {
            self.say(lent, (To::Nobody, false), DISCARD);
        }
    }

    /// The server of a pool in which one has every key.
    fn server_without_key(&self) -> Option<usize> {
        self.proxy.pools[self.caller.pool as usize].place(b"").ok()
    }

    /// The server of the request's keys; the answer has been given if there is none.
    pub(super) fn server(&mut self) -> Option<usize> {
        match self.proxy.pools[self.caller.pool as usize]
            .server_for(&self.request, self.request.keys())
        {
            Ok(server) => return Some(server),
            Err(Astray::Failed(failure)) => self.fail(failure),
            Err(Astray::Apart(text)) => self.error(text),
            // The gate has seen to keys that move.
            Err(Astray::Moved { .. }) => self.fail(Failure::NoServer),
        }
        None
    }
}

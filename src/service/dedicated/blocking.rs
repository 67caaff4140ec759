//! Commands that wait for what others do, and those that may have to while keys are watched.
//!
//! Their replies may be a long time in coming, so nothing of them is late; a server that has gone
//! is noticed by its socket. Until then the session sends nothing else, as in Redis.

use super::conversation::{Talk, says_block};
use crate::protocol::{Dedicated, Plan};
use crate::service::replies::Clients;

impl<C: Clients> Talk<'_, '_, C> {
    /// A command that waits, by itself.
    pub(super) fn block(&mut self) {
        if let Some(lent) = self.server().and_then(|server| self.connection(server)) {
            self.conversation.blocked = true;
            self.mark_writes();
            self.send(lent, true);
        }
        self.end();
    }

    /// Any command for the server whose keys are watched.
    pub(super) fn pass(&mut self) {
        let waits = match self.request.head.command.plan {
            Plan::Dedicated(Dedicated::Block) => true,
            Plan::Dedicated(Dedicated::BlockIfSaid) => says_block(&self.request),
            _ => false,
        };
        if let Some(lent) = self.server().and_then(|server| self.connection(server)) {
            self.conversation.blocked = waits;
            self.mark_writes();
            self.send(lent, waits);
        }
    }
}

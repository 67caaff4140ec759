//! Ways of being beside two rings that break promises, so that tests can show that they would see it.

use super::Nearby;
use super::fills::Fills;
use crate::cache::near::Near;
use crate::service::pool::Pool;

/// Something that is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Wrong {
    /// What is kept outlives a change of rings.
    Kept,
    /// The same, and keys between two servers are served from here.
    ServedBetween,
    /// What moves is asked of its old server, wherever it is.
    FilledFromOld,
    /// What is kept goes with a change of rings, and what is on its way comes nevertheless.
    FillsKept,
}

impl Nearby {
    /// What a change of rings does wrong; true if it does no more.
    pub(super) fn errs_at_rings(&mut self, pool: u16) -> bool {
        let Some(near) = self.nears[pool as usize].as_ref() else { return false };
        if self.wrong == Some(Wrong::FillsKept) {
            near.flush();
            self.fills.take_new_tokens(near);
        }
        matches!(self.wrong, Some(Wrong::Kept | Wrong::ServedBetween | Wrong::FillsKept))
    }

    /// The server that is asked wrongly.
    pub(super) fn wrong_server(&self, pool: &Pool, key: &[u8]) -> Option<usize> {
        let wrong = self.wrong == Some(Wrong::FilledFromOld);
        Some(pool.rings.as_ref().filter(|_| wrong)?.moved(key)?[0])
    }
}

impl Fills {
    /// As if nothing had happened to what is on its way.
    fn take_new_tokens(&mut self, near: &Near) {
        for it in self.all() {
            let Some(token) = it.token else { continue };
            let Some(name) = it.question.name_in(near, &it.key) else { continue };
            it.token = near.token(name, token.origin.lease, token.origin.sent);
        }
    }
}

//! Where a follower stands with its source while a fleet walks from one ring to another: what must
//! be so before keys that move are acted on.
//!
//! ```text
//!  session ─▶ begin_term ─▶ present: an ephemeral that the coordinator waits for ─▶ reading: agrees
//!       ─▶ cleared: what began in another term has ended ─▶ heard: permit until then ─▶ workers
//! ```
//! A process that is not present is not waited for: it must not act. One that is present is at most
//! a phase away from all others.

use std::time::Instant;

use super::{Follower, Force};
use crate::topology::Document;

/// All of it. Without sessions it does not matter.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Counts sessions.
    pub(super) term: u64,
    /// The term in which the rings were put in force.
    pub(super) put: u64,
    /// Everybody can see in this session that we are here.
    present: bool,
    /// What the source has said in this session is in force.
    pub(super) agrees: bool,
    /// What was begun before has ended.
    pub(super) cleared: bool,
    /// The session lives at least until then.
    heard: Option<Instant>,
}

impl Follower {
    /// A session begins: whatever was known may have passed long ago.
    pub(in crate::control::topology) fn begin_term(&mut self) {
        let Standing { term, put, .. } = self.standing;
        self.standing = Standing { term: term + 1, put, ..Standing::default() };
        self.admission.begin_anew();
    }

    /// Whether what the source has said in this session is in force.
    pub(in crate::control::topology) fn agrees(&self) -> bool {
        self.standing.agrees
    }

    /// Whether everybody can see that we are here.
    pub(in crate::control::topology) fn is_present(&self) -> bool {
        self.standing.present
    }

    /// Everybody can.
    pub(in crate::control::topology) fn set_present(&mut self) {
        self.standing.present = true;
    }

    /// The session lives at least until then.
    pub(in crate::control::topology) fn heard(&mut self, until: Instant) {
        self.standing.heard = Some(until);
        self.grant();
    }

    /// Lets the workers act on keys that move, if all is as it must be.
    pub(in crate::control::topology) fn grant(&mut self) {
        let Some(force) = self.force.as_ref().filter(|_| !self.desk.is_over()) else { return };
        let Standing { term, present, agrees, heard, .. } = self.standing;
        self.standing.cleared |= agrees && force.board.has_ended(force.number);
        let Some(until) = heard.filter(|_| present && agrees && self.standing.cleared) else {
            return;
        };
        if let Some(permit) = force.board.permit(force.number) {
            permit.grant(term, until);
        }
    }

    /// Lets them no longer.
    pub(in crate::control::topology) fn revoke(&self) {
        let Some(force) = &self.force else { return };
        if let Some(permit) = force.board.permit(force.number) {
            permit.revoke();
        }
    }

    /// Whether the permit is of use: keys move, or operations of such a time are under way.
    pub(in crate::control::topology) fn needs_permit(&self) -> bool {
        self.phase().is_between() || !self.has_ended()
    }

    /// Whether what began before the rings that are in force has ended.
    fn has_ended(&self) -> bool {
        self.force.as_ref().is_none_or(|force| force.board.has_ended(force.number))
    }

    /// Whether what is followed may be acknowledged: it is what the source says, and in force in
    /// all workers, and nothing is left of what was before.
    pub(in crate::control::topology) fn may_acknowledge(&self) -> bool {
        let settled = |force: &Force| force.board.has_settled(force.number);
        self.standing.agrees && self.force.as_ref().is_some_and(settled)
    }

    /// What is followed is what the source says: rings that were put in force in an earlier term
    /// are so in this one.
    pub(in crate::control::topology) fn renew_term(&mut self) -> Result<(), String> {
        let document = self.admission.current().map(|admitted| &admitted.document);
        let Some(document) = document.filter(|it: &&Document| it.has_two_rings()) else {
            return Ok(());
        };
        if self.standing.put == self.standing.term {
            return Ok(());
        }
        let document = document.clone();
        self.put(&document)
    }
}

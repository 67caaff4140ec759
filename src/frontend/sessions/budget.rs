//! What clients hold, and who must wait for it or is given up.
//!
//! ```text
//!  account ─▶ buffered ─▶ full? ─▶ readers starve, but one that is in the middle of a request
//!                           └────▶ a beat: who takes nothing of what it has asked for is doomed
//! ```

use std::time::Instant;

use crate::frontend::sessions::session::{Hold, Reason, Session};
use crate::frontend::sessions::table::Sessions;
use crate::net::Token;
use crate::service::Io;

/// A client that gets long replies is waited for once it holds this share of all buffers, or as
/// much as one client may.
const BUDGET_SHARE: usize = 64;

/// Bytes that a client takes that has nothing in its buffers, its socket's place included.
const CLIENT: usize = 1024;

/// Beats (of a second) for which a client whose socket is full may take nothing (faults F19), and
/// for which it may while the buffers are full.
const UNREAD_BEATS: u8 = 60;
const UNREAD_BEATS_WHEN_FULL: u8 = 2;

impl Sessions {
    /// Bytes in all buffers.
    pub(in crate::frontend) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Bytes that all clients take, but for what they share with items of ours.
    pub(in crate::frontend) fn memory(&self) -> usize {
        self.buffered - self.shared + self.count * CLIENT
    }

    /// Says how many bytes are held in other buffers that count against the same bound.
    pub(in crate::frontend) fn note_elsewhere(&mut self, bytes: usize) {
        self.elsewhere = bytes;
    }

    fn is_full(&self) -> bool {
        self.buffered + self.elsewhere > self.budget
    }

    /// True if the buffers are full and this client must wait.
    pub(in crate::frontend) fn must_wait(&self, token: Token) -> bool {
        self.is_full() && self.favoured.is_none_or(|(favoured, _)| favoured != token)
    }

    /// Has a client not read from until the buffers have room. Whether it was read from before.
    pub(in crate::frontend) fn starve(&mut self, token: Token, now: Instant) -> bool {
        let Some(session) = self.get(token).filter(|session| session.hold == Hold::None) else {
            return false;
        };
        session.hold = Hold::Budget;
        session.starved = Some(now);
        self.starved.push(token);
        true
    }

    /// Lets clients be read from again that the full buffers have stopped: all if there is room,
    /// otherwise one that is in the middle of a request. Were nobody let on, buffers that are
    /// full of unfinished requests would stay so.
    pub(in crate::frontend) fn release_starved(&mut self, io: &mut Io, now: Instant) {
        if !self.is_full() {
            self.favoured = None;
            for token in std::mem::take(&mut self.starved) {
                self.feed(io, token, now);
            }
            return;
        }
        if self.favoured.is_some_and(|(token, _)| self.has_input(token)) {
            return;
        }
        let next = self.starved.iter().position(|&token| self.has_input(token));
        self.favoured = next.map(|index| (self.starved.remove(index), 0));
        if let Some((token, _)) = self.favoured {
            self.feed(io, token, now);
        }
    }

    fn has_input(&self, token: Token) -> bool {
        let session = self.places.get(token.0 as usize).and_then(Option::as_ref);
        session.is_some_and(|session| !session.input.is_empty())
    }

    /// Ends the hunger of one client. The time of it is not held against the client.
    fn feed(&mut self, io: &mut Io, token: Token, now: Instant) {
        if let Some(session) = self.get(token)
            && let Some(since) = session.starved.take()
        {
            let waited = now.saturating_duration_since(since);
            session.begun = session.begun.map(|begun| begun + waited);
        }
        self.release(io, token, Hold::Budget);
    }

    /// To be called once in a beat: gives clients up that take nothing of what they have asked
    /// for, and takes its favour from one that makes no use of it.
    pub(in crate::frontend) fn review(&mut self) {
        let most = if self.is_full() { UNREAD_BEATS_WHEN_FULL } else { UNREAD_BEATS };
        let mut unread = std::mem::take(&mut self.unread);
        unread.retain(|&token| self.is_unread(token, most));
        self.unread = unread;
        if let Some((token, before)) = self.favoured {
            let now = self.get(token).map_or(0, |session| session.input.len());
            self.favoured = (now > before).then_some((token, now));
        }
    }

    /// Whether a client still has a full socket; if that has been so for `most` beats it is given
    /// up.
    fn is_unread(&mut self, token: Token, most: u8) -> bool {
        let Some(session) = self.get(token) else { return false };
        let Some(beats) = session.unread else { return false };
        if !session.pipeline.has_output() {
            session.unread = None;
            return false;
        }
        session.unread = Some(beats + 1);
        if beats + 1 >= most {
            self.doom(token, Reason::SlowReader);
        }
        beats + 1 < most
    }

    /// Brings the count of buffered bytes up to date after a session's buffers have changed.
    pub(in crate::frontend) fn account(&mut self, token: Token) {
        let Some(session) = self.places.get_mut(token.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let now = (session.buffered(), session.pipeline.shared());
        self.buffered = self.buffered + now.0 - session.counted.0;
        self.shared = self.shared + now.1 - session.counted.1;
        session.counted = now;
    }

    /// Bytes above which a client that has replies to take is waited for.
    pub(super) fn pause_above(&self, pool: u16) -> usize {
        (self.limits(pool).client_output_bytes / 2).min(self.budget / BUDGET_SHARE)
    }

    /// Bytes of replies above which a client's requests must wait until it has taken some.
    pub(in crate::frontend) fn ask_below(&self, pool: u16) -> usize {
        self.pause_above(pool) / 4
    }

    /// Whether a client holds so much that whoever brings more should wait. If it has nothing to
    /// take because an earlier reply has not come, waiting would hold others up for a server's
    /// sake, or even for ever (two clients could wait for each other's servers): then it may hold
    /// more.
    pub(super) fn should_wait(&self, session: &Session) -> bool {
        let blocked = !session.pipeline.has_output() && !self.is_full();
        let most = match blocked {
            true => self.limits(session.pool).client_output_bytes / 2,
            false => self.pause_above(session.pool),
        };
        session.pipeline.buffered() > most
    }
}

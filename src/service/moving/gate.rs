//! The sessions whose next request is about keys that are not where they are to be used: what each
//! waits for.
//!
//! ```text
//!  Parked ─ another phase ─▶ looked at again        Moving ─ all keys done ─▶ Passed ─▶ Open
//!     └ too long ─▶ Failed ─▶ Refused                  └ one cannot be had ─▶ Failed ─▶ Refused
//! ```

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::carry::Tokens;
use super::flow::{Flows, Id};
use super::placed::Placed;
use super::way::Way;
use crate::backend::Ticket;
use crate::service::proxy::Lane;

/// Bytes of an answer that are kept: an error's first words, or what is around a value.
const ANSWER_BYTES: usize = 1024;

/// Whether a request may be served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gated {
    /// It may.
    Open,
    /// Not yet: [`Clients::resume`] says when to ask again.
    Wait,
    /// Not at all: its client gets this line.
    Refused(Vec<u8>),
}

/// All sessions that wait.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(super) waits: HashMap<u32, Wait>,
    /// Those that wait for another phase, and until when.
    pub(super) parked: VecDeque<(Instant, u32, u32)>,
    /// Keys that somebody else is at, and when they are asked about again.
    pub(super) later: VecDeque<(Instant, Id)>,
    /// Keys whose answer is whole.
    pub(super) ready: Vec<Id>,
    pub(super) flows: Flows,
    pub(super) tokens: Tokens,
    next_serial: u32,
    /// Bytes of keys and their values.
    held: usize,
    pub(super) placed: Placed,
}

/// What one session waits for.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) serial: u32,
    pub(super) ticket: Ticket,
    pub(super) pool: u16,
    pub(super) lane: Lane,
    /// The age of the pool's rings in which it began, and when that was.
    pub(super) era: u64,
    pub(super) since: Instant,
    pub(super) state: State,
    pub(super) keys: Vec<Key>,
    /// How many of them are not done.
    pub(super) left: usize,
}

#[derive(Debug)]
pub(super) enum State {
    /// For another phase.
    Parked,
    /// For keys.
    Moving,
    /// For nothing any more.
    Passed,
    /// Its client is to get this line.
    Failed(Vec<u8>),
}

/// A key on its way.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: Vec<u8>,
    /// Where it may be, and where it is to be used.
    pub(super) servers: [usize; 2],
    pub(super) way: Way,
    /// Bytes of a value that the answer may hold.
    pub(super) value_bytes: usize,
    pub(super) answer: Vec<u8>,
}

impl Gate {
    /// Bytes of keys and their values.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// When the first session has been parked for long enough, or the first key is asked about again.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        let parked = self.parked.front().map(|(until, ..)| *until);
        parked.into_iter().chain(self.later.front().map(|(at, _)| *at)).min()
    }

    /// Takes a stretch of the answer about a key.
    pub(crate) fn take_in(&mut self, id: Id, bytes: &[u8], last: bool) {
        self.change(id, |key| {
            let room = (key.value_bytes + ANSWER_BYTES).saturating_sub(key.answer.len());
            key.answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
        if last {
            self.ready.push(id);
        }
    }

    pub(super) fn wait(&mut self, session: u32, serial: u32) -> Option<&mut Wait> {
        self.waits.get_mut(&session).filter(|wait| wait.serial == serial)
    }

    pub(super) fn key(&mut self, (session, serial, key): Id) -> Option<&mut Key> {
        self.wait(session, serial)?.keys.get_mut(key as usize)
    }

    /// Changes what a key holds.
    pub(super) fn change<T>(&mut self, id: Id, change: impl FnOnce(&mut Key) -> T) -> Option<T> {
        let key = self.key(id)?;
        let before = key.bytes();
        let changed = change(key);
        let after = key.bytes();
        self.held = self.held - before + after;
        Some(changed)
    }

    pub(super) fn remove(&mut self, session: u32) -> Option<Wait> {
        let wait = self.waits.remove(&session)?;
        self.held -= wait.bytes();
        Some(wait)
    }

    pub(super) fn insert(&mut self, mut wait: Wait) -> u32 {
        self.next_serial = self.next_serial.wrapping_add(1);
        wait.serial = self.next_serial;
        self.held += wait.bytes();
        if let Some(before) = self.waits.insert(wait.ticket.session, wait) {
            self.held -= before.bytes();
        }
        self.next_serial
    }

    /// What has become of what a session has waited for; `None` if it is to be looked at anew.
    pub(super) fn outcome(&mut self, ticket: Ticket, era: u64) -> Option<Gated> {
        let wait = self.waits.get(&ticket.session)?;
        let same = wait.ticket.serial == ticket.serial;
        if same && matches!(wait.state, State::Parked | State::Moving) {
            return Some(Gated::Wait);
        }
        let wait = self.remove(ticket.session)?;
        match wait.state {
            State::Passed if same && wait.era == era => Some(Gated::Open),
            State::Failed(line) if same => Some(Gated::Refused(line)),
            _ => None,
        }
    }
}

impl Wait {
    fn bytes(&self) -> usize {
        self.keys.iter().map(Key::bytes).sum()
    }
}

impl Key {
    fn bytes(&self) -> usize {
        self.name.len() + self.answer.len() + self.way.held()
    }
}

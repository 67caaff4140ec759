//! Fills under way, and who waits for each: one question to the server for all who ask meanwhile.

use std::collections::HashMap;
use std::time::Instant;

use super::fields;
use super::forms::Form;
use crate::backend::Ticket;
use crate::cache::near::{Flight, Name, Near, Token};
use crate::service::proxy::Lane;

/// A reply longer than this gives its memory back.
const KEEP_BYTES: usize = 64 * 1024;

/// All fills of a worker, each at its place.
#[derive(Default)]
pub(in crate::service) struct Fills {
    places: Vec<Filling>,
    free: Vec<u32>,
    next_serial: u32,
    /// By pool and hash of the key.
    by_key: HashMap<(u16, u64), u32>,
    /// Who must ask for itself.
    pub(in crate::service) released: Vec<Released>,
}

/// What is asked of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Question {
    /// memcache: the value, by `mg`.
    #[default]
    Meta,
    /// memcache: whether the version is still this one.
    Version(u64),
    /// Redis: GET and PTTL.
    Value,
    /// Redis: HGETALL and PTTL.
    Hash,
    /// Redis: HMGET and PTTL; the fill's key is the name of the fields.
    Fields,
}

impl Question {
    /// The key that a fill asks for.
    pub(super) fn key_in(self, key: &[u8]) -> &[u8] {
        if self == Self::Fields { fields::words(key).next().unwrap_or_default() } else { key }
    }

    /// Whether nothing can be the answer where a server is dead, as to a read of one value.
    pub(super) const fn may_miss(self) -> bool {
        !matches!(self, Self::Hash | Self::Fields)
    }

    /// What the answer is filed under.
    pub(super) fn name_in<'k>(self, near: &Near, key: &'k [u8]) -> Option<Name<'k>> {
        let owner = near.key(self.key_in(key))?;
        if self == Self::Fields { near.part(owner, key) } else { Some(owner) }
    }
}

/// One fill.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) serial: u32,
    pub(super) pool: u16,
    pub(super) link: u32,
    pub(super) key: Vec<u8>,
    pub(super) hash: u64,
    pub(super) question: Question,
    pub(super) token: Option<Token>,
    /// Other workers wait for it by this.
    pub(super) flight: Option<Flight>,
    /// The server tells of changes of the key from now on.
    pub(super) tracked: bool,
    /// The first of them is the one whose request it is.
    pub(super) waiters: Vec<Waiter>,
    /// What has come of the main reply.
    pub(super) reply: Vec<u8>,
    /// It is too long to be kept: what comes goes on to the first who waits.
    pub(super) passing: bool,
    /// The main reply is there.
    pub(super) answered: bool,
    /// Nothing will be stored.
    pub(super) spoilt: bool,
}

/// Who waits for a fill.
#[derive(Debug)]
pub(in crate::service) struct Waiter {
    pub(in crate::service) whom: Whom,
    pub(super) form: Form,
    /// It is a session for which this connection is not the one its requests go on.
    pub(super) abroad: bool,
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::service) enum Whom {
    Client(Ticket),
    /// One part of a request for several keys, and the lane of its session.
    Part {
        gather: u32,
        serial: u32,
        part: u16,
        ticket: Option<Ticket>,
    },
}

impl Whom {
    /// The request that waits.
    pub(super) const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Client(ticket) => Some(*ticket),
            Self::Part { ticket, .. } => *ticket,
        }
    }
}

/// What somebody wants who could wait for a fill.
#[derive(Debug)]
pub(super) struct Wish<'k> {
    pub(super) pool: u16,
    pub(super) lane: Lane,
    pub(super) key: &'k [u8],
    pub(super) question: Question,
    pub(super) whom: Whom,
    pub(super) form: Form,
}

/// Who must ask for itself, for what, and where.
#[derive(Debug)]
pub(in crate::service) struct Released {
    pub(super) pool: u16,
    pub(super) key: Vec<u8>,
    pub(super) question: Question,
    pub(super) waiter: Waiter,
}

impl Fills {
    /// Begins one, of which nobody waits yet.
    pub(super) fn begin(
        &mut self,
        (pool, link): (u16, u32),
        (key, hash): (&[u8], u64),
        (question, token, tracked): (Question, Token, bool),
        flight: Option<Flight>,
    ) -> (u32, u32) {
        self.next_serial = self.next_serial.wrapping_add(1).max(1);
        let serial = self.next_serial;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Filling::default());
            self.places.len() as u32 - 1
        });
        let it = &mut self.places[place as usize];
        it.serial = serial;
        (it.pool, it.link, it.hash, it.question) = (pool, link, hash, question);
        (it.token, it.tracked, it.flight) = (Some(token), tracked, flight);
        it.key.extend_from_slice(key);
        self.by_key.insert((pool, hash), place);
        (place, serial)
    }

    /// The fill at `place`, if it is still the one meant.
    pub(super) fn get(&mut self, place: u32, serial: u32) -> Option<&mut Filling> {
        self.places.get_mut(place as usize).filter(|it| it.serial == serial)
    }

    /// All that there are.
    #[cfg(test)]
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Filling> {
        self.places.iter_mut().filter(|it| it.serial != 0)
    }

    /// What the fill at `place` asks.
    pub(super) fn question(&self, place: u32) -> Question {
        self.places.get(place as usize).map_or(Question::Meta, |it| it.question)
    }

    /// The token of the fill at `place`.
    pub(super) fn token(&self, place: u32) -> Option<Token> {
        self.places.get(place as usize)?.token
    }

    /// The fill of a key that is under way.
    pub(super) fn of(&mut self, pool: u16, (key, hash): (&[u8], u64)) -> Option<&mut Filling> {
        let place = *self.by_key.get(&(pool, hash))?;
        self.places.get_mut(place as usize).filter(|it| it.key == key && it.serial != 0)
    }

    /// Has those who wait ask for themselves, but for the first `but`.
    pub(super) fn release(&mut self, place: u32, but: usize) {
        let rest = self.take_waiters(place, but);
        self.released.extend(rest);
    }

    /// Those who wait, but for the first `but`.
    pub(super) fn take_waiters(&mut self, place: u32, but: usize) -> Vec<Released> {
        let it = &mut self.places[place as usize];
        let rest = it.waiters.drain(but.min(it.waiters.len())..);
        let (pool, key, question) = (it.pool, &it.key, it.question);
        let release = |waiter| Released { pool, key: key.clone(), question, waiter };
        rest.map(release).collect()
    }

    /// Ends one, whose flight is still to be ended.
    pub(super) fn finish(&mut self, place: u32) -> (u16, Option<Flight>) {
        let it = &mut self.places[place as usize];
        let known = (it.pool, it.hash);
        let flight = it.flight.take();
        it.serial = 0;
        it.token = None;
        it.waiters.clear();
        it.key.clear();
        it.reply.clear();
        if it.reply.capacity() > KEEP_BYTES {
            it.reply = Vec::new();
        }
        (it.passing, it.answered, it.spoilt) = (false, false, false);
        // Another one may have been begun for the key meanwhile.
        if self.by_key.get(&known) == Some(&place) {
            self.by_key.remove(&known);
        }
        self.free.push(place);
        (known.0, flight)
    }
}

impl Filling {
    /// Whether another request for the key may wait for this one: nothing has been written since
    /// it was sent, its reply is still to come, and it is no older than a value may be.
    pub(super) fn may_be_joined(&self, near: &Near, asks: Question, now: Instant) -> bool {
        let settings = near.settings();
        let most = if self.tracked { settings.lease } else { settings.max_age };
        let age = |token: &Token| near.time(now).since(token.origin.sent);
        let young = self.token.as_ref().is_some_and(|token| age(token) < most);
        let same = match (self.question, asks) {
            (Question::Version(_), _) | (_, Question::Version(_)) => false,
            (a, b) => a == b,
        };
        let room = self.waiters.len() <= settings.joiners as usize;
        let holds = self.token.as_ref().is_some_and(|token| near.holds(token));
        same && room && holds && young && !self.answered && !self.passing
    }
}

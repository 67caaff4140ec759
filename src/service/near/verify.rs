//! The promise checked at work: one in so many hits is compared with what the server has.
//!
//! ```text
//!  hit ─▶ ask ─┬─ the same ──▶ "same"
//!              └─ another ─▶ when a value may be that old no longer: the same entry still served?
//!                              ├─ no ──▶ "changed"
//!                              └─ yes ─▶ "stale"
//! ```
//! "stale" must not happen: such a value was dead for longer than is promised when it was served. A
//! value that comes back is another entry, which was asked for later.
//!
//! What is checked is the entry that a hit was answered from, whatever was wanted of it: its server is
//! asked for all of it. A worker checks one at a time, so that checks are never many.

use std::time::{Duration, Instant};

use super::Nearby;
use super::endings::plain_request;
use super::filling::CHECK;
use super::fills::Question;
use super::forms::{self, Form};
use crate::backend::{Ask, To};
use crate::cache::near::{Kind, Look, Near, Time};
use crate::config::{NearMode, Protocol};
use crate::metrics::{PoolMetric, Spacing};
use crate::protocol::{Outcome, memcache};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Caller, Lane, Proxy};
use crate::service::replies::{Clients, Sink};

/// What one worker checks.
#[derive(Default)]
pub(in crate::service) struct Verify {
    /// Hits since the last check was due.
    hits: u32,
    /// Which check it is, so that an answer to an earlier one is not taken for its own.
    serial: u32,
    check: Option<Check>,
    /// When the log was last told of a stale value.
    told: Spacing,
}

/// A hit that is being checked.
struct Check {
    pool: u16,
    lane: Lane,
    /// The key, or the name of some of its fields.
    key: Vec<u8>,
    question: Question,
    /// The entry, as it was shown.
    shown: Served,
    /// What has come of the server's answer.
    answer: Vec<u8>,
    /// The server had another value: to be looked at then.
    until: Option<Instant>,
}

/// What an entry gives, and which one it is.
#[derive(Default)]
struct Served {
    reply: Vec<u8>,
    /// When it was asked for.
    sent: Time,
    /// The server's version (memcache), with which an entry may be made young again.
    cas: u64,
}

impl Verify {
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        self.check.as_ref()?.until
    }

    /// Whether a hit is to be checked, every so many being so.
    pub(super) fn is_due(&mut self, every: u32) -> bool {
        if every == 0 {
            return false;
        }
        self.hits = (self.hits + 1) % every;
        self.hits == 0 && self.check.is_none()
    }

    /// The server has not answered: nothing is known.
    pub(super) fn give_up(&mut self, serial: u32) {
        if self.serial == serial {
            self.check = None;
        }
    }
}

impl Check {
    /// What the near cache has now; `None` if that is nothing.
    fn what_is_served(&self, near: &Near, now: Instant) -> Option<Served> {
        let form = form_of(self.question, self.lane);
        let mut reply = Vec::new();
        let looked = near.look(self.question.name_in(near, &self.key)?, near.time(now), |entry| {
            form.show((self.question, &self.key), entry, &mut reply)?;
            Some((entry.origin.sent, entry.cas))
        });
        let Look::Hit((sent, cas)) = looked else { return None };
        Some(Served { reply, sent, cas })
    }

    /// Whether the same entry is still served.
    fn is_still_served(&self, near: &Near, now: Instant) -> bool {
        let is_same = |served: Served| {
            let renewed = self.question == Question::Meta && served.cas == self.shown.cas;
            (served.sent == self.shown.sent || renewed) && self.is_shown(&served.reply)
        };
        self.what_is_served(near, now).is_some_and(is_same)
    }

    /// Whether a reply says what was shown.
    fn is_shown(&self, reply: &[u8]) -> bool {
        let shown = &self.shown.reply[..];
        let is_hash = self.question == Question::Hash;
        reply == shown || is_hash && forms::is_same_hash(shown, reply).unwrap_or(false)
    }
}

/// What a server is asked for to check an entry.
const fn question_of(kind: Kind, redis: bool) -> Question {
    match kind {
        Kind::Hash => Question::Hash,
        Kind::Fields => Question::Fields,
        Kind::Plain | Kind::Absent if redis => Question::Value,
        Kind::Plain | Kind::Absent => Question::Meta,
    }
}

fn form_of(question: Question, lane: Lane) -> Form {
    match question {
        Question::Value | Question::Hash | Question::Fields => Form::Redis { resp3: lane.resp3 },
        Question::Meta | Question::Version(_) => Form::Get,
    }
}

/// How long a value may be dead and served.
fn bound(near: &Near) -> Duration {
    let settings = near.settings();
    match settings.mode {
        NearMode::Ttl => settings.max_age,
        // One of its servers may refuse to tell.
        NearMode::Tracked => settings.lease.max(settings.max_age),
    }
}

impl Proxy {
    /// Checks the entry of this kind that a client has just been shown something of, or all; `key`:
    /// the key, or the name of some of its fields.
    #[cold]
    pub(super) fn verify<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        (key, kind): (&[u8], Kind),
    ) {
        let (pool, lane) = (caller.pool, caller.lane());
        let redis = self.pools[pool as usize].settings.protocol == Protocol::Redis;
        if !redis && !memcache::is_plain_key(key) {
            return;
        }
        let Some(near) = self.nearby.of(pool) else { return };
        let (question, key, shown) = (question_of(kind, redis), key.to_vec(), Served::default());
        let mut check = Check { pool, lane, key, question, shown, answer: Vec::new(), until: None };
        // Another worker may have taken it away.
        let Some(shown) = check.what_is_served(near, turn.now) else { return };
        check.shown = shown;
        self.nearby.verify.check = Some(check);
        self.ask_to_verify(turn);
    }

    fn ask_to_verify<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        let verify = &mut self.nearby.verify;
        let Some(check) = &mut verify.check else { return };
        verify.serial = verify.serial.wrapping_add(1);
        let to = To::Fill { fill: 0, serial: verify.serial, step: CHECK };
        let (pool, lane) = (check.pool, check.lane);
        // A plain get: an mg could take a stale item's right to be made anew from a client.
        let form = form_of(check.question, lane);
        let (wire, expect, key) = plain_request(&form, (check.question, &check.key), to);
        let key_of_it = check.question.key_in(&check.key);
        let Ok(server) = self.pools[pool as usize].lasting_place(key_of_it) else {
            verify.check = None;
            return;
        };
        let link = self.connection(pool, server, lane);
        let ask = Ask { to, expect, read: true, key, may_miss: false, patient: false, mark: 0 };
        self.send(turn, link, ask, &[&wire]);
    }

    /// Looks whether a value that its server no longer had is served for too long.
    pub(in crate::service) fn verify_again(&mut self, now: Instant) {
        if self.nearby.verify.next_alarm().is_none_or(|at| at > now) {
            return;
        }
        let Nearby { nears, verify, .. } = &mut self.nearby;
        let Some(check) = verify.check.take() else { return };
        let near = nears.get(check.pool as usize).and_then(Option::as_ref);
        let metrics = &self.metrics.pools[check.pool as usize];
        if !near.is_some_and(|near| check.is_still_served(near, now)) {
            return metrics.add(PoolMetric::VerifiedChanged, 1);
        }
        metrics.add(PoolMetric::VerifiedStale, 1);
        if verify.told.pass(now).is_some() {
            let key = check.key.escape_ascii().to_string();
            tracing::error!(key, "near cache: a value is served that is too old");
        }
    }
}

impl<C: Clients> Sink<'_, C> {
    /// Takes the next stretch of what the server has of a key that is checked.
    pub(super) fn checked(&mut self, serial: u32, bytes: &[u8], end: Option<Outcome>) {
        let Nearby { nears, verify, .. } = &mut *self.nearby;
        let near = nears.get(self.pool as usize).and_then(Option::as_ref);
        let Some(check) = verify.check.as_mut().filter(|_| verify.serial == serial) else { return };
        // What is longer is another value anyway.
        let room = (check.shown.reply.len() + 1).saturating_sub(check.answer.len());
        check.answer.extend_from_slice(&bytes[..room.min(bytes.len())]);
        let (Some(outcome), Some(near)) = (end, near) else { return };
        match outcome {
            Outcome::Hit | Outcome::Miss if check.is_shown(&check.answer) => {
                self.metrics.add(PoolMetric::VerifiedSame, 1);
            }
            Outcome::Hit | Outcome::Miss => {
                check.until = Some(self.now + bound(near));
                return;
            }
            // An error says nothing.
            _ => {}
        }
        verify.check = None;
    }
}

//! The promise checked at work: one in so many hits is compared with what the server has.
//!
//! ```text
//!  hit ─▶ ask ─┬─ the same ──▶ "same"
//!              └─ another ─▶ when a value may be that old no longer: still served here?
//!                              ├─ no ─▶ "changed"
//!                              └─ yes ─▶ ask once more ─┬─ the same ─▶ "same": it has come back
//!                                                       └─ another, and still served ─▶ "stale"
//! ```
//! "stale" must not happen: such a value was dead for longer than is promised when it was served.
//! A worker checks one hit at a time, so that checks are never many; of strings alone.

use std::time::{Duration, Instant};

use super::Nearby;
use super::endings::plain_request;
use super::filling::CHECK;
use super::fills::Question;
use super::forms::Form;
use crate::backend::{Ask, To};
use crate::cache::near::{Look, Near};
use crate::config::NearMode;
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
    key: Vec<u8>,
    question: Question,
    /// What was shown.
    shown: Vec<u8>,
    /// What has come of the server's answer.
    answer: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Asked for the first or the second time.
    Asked { again: bool },
    /// The server had another value: to be looked at then.
    Differs { until: Instant },
}

impl Verify {
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        match self.check.as_ref()?.stage {
            Stage::Differs { until } => Some(until),
            Stage::Asked { .. } => None,
        }
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
    /// Whether the near cache still shows it.
    fn is_still_served(&self, near: &Near, now: Instant) -> bool {
        let form = form_of(self.question, self.lane);
        let mut reply = Vec::new();
        let Some(name) = near.key(&self.key) else { return false };
        let looked = near.look(name, near.time(now), |entry| {
            form.show((self.question, &self.key), entry, &mut reply)
        });
        matches!(looked, Look::Hit(_)) && reply == self.shown
    }
}

fn form_of(question: Question, lane: Lane) -> Form {
    match question {
        Question::Value => Form::Redis { resp3: lane.resp3 },
        _ => Form::Get,
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
    /// Checks what a client has just been shown of a string.
    #[cold]
    pub(super) fn verify<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        (key, question): (&[u8], Question),
        shown: &[u8],
    ) {
        if question == Question::Meta && !memcache::is_plain_key(key) {
            return;
        }
        let stage = Stage::Asked { again: false };
        let (key, shown, answer) = (key.to_vec(), shown.to_vec(), Vec::new());
        let (pool, lane) = (caller.pool, caller.lane());
        let check = Check { pool, lane, key, question, shown, answer, stage };
        self.nearby.verify.check = Some(check);
        self.ask_to_verify(turn);
    }

    fn ask_to_verify<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        let verify = &mut self.nearby.verify;
        let Some(check) = &mut verify.check else { return };
        verify.serial = verify.serial.wrapping_add(1);
        check.answer.clear();
        let to = To::Fill { fill: 0, serial: verify.serial, step: CHECK };
        let (pool, lane) = (check.pool, check.lane);
        // A plain get: an mg could take a stale item's right to be made anew from a client.
        let form = form_of(check.question, lane);
        let (wire, expect, key) = plain_request(&form, (check.question, &check.key), to);
        let Ok(server) = self.pools[pool as usize].place(&check.key) else {
            verify.check = None;
            return;
        };
        let link = self.connection(pool, server, lane);
        let ask = Ask { to, expect, read: true, key, may_miss: false, patient: false, mark: 0 };
        self.send(turn, link, ask, &[&wire]);
    }

    /// Looks whether a value that its server no longer had is served for too long.
    pub(in crate::service) fn verify_again<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        if self.nearby.verify.next_alarm().is_none_or(|at| at > turn.now) {
            return;
        }
        let Nearby { nears, verify, .. } = &mut self.nearby;
        let Some(check) = &mut verify.check else { return };
        let near = nears.get(check.pool as usize).and_then(Option::as_ref);
        if near.is_some_and(|near| check.is_still_served(near, turn.now)) {
            check.stage = Stage::Asked { again: true };
            return self.ask_to_verify(turn);
        }
        self.metrics.pools[check.pool as usize].add(PoolMetric::VerifiedChanged, 1);
        verify.check = None;
    }
}

impl<C: Clients> Sink<'_, C> {
    /// Takes the next stretch of what the server has of a key that is checked.
    pub(super) fn checked(&mut self, serial: u32, bytes: &[u8], end: Option<Outcome>) {
        let Nearby { nears, verify, .. } = &mut *self.nearby;
        let near = nears.get(self.pool as usize).and_then(Option::as_ref);
        let Some(check) = verify.check.as_mut().filter(|_| verify.serial == serial) else { return };
        // What is longer is another value anyway.
        let room = (check.shown.len() + 1).saturating_sub(check.answer.len());
        check.answer.extend_from_slice(&bytes[..room.min(bytes.len())]);
        let (Some(outcome), Some(near)) = (end, near) else { return };
        let metric = match (outcome, check.stage) {
            (Outcome::Hit, _) if check.answer == check.shown => Some(PoolMetric::VerifiedSame),
            (Outcome::Hit | Outcome::Miss, Stage::Asked { again: false }) => {
                let until = self.now + bound(near);
                check.stage = Stage::Differs { until };
                return;
            }
            (Outcome::Hit | Outcome::Miss, _) if check.is_still_served(near, self.now) => {
                if verify.told.pass(self.now).is_some() {
                    let key = check.key.escape_ascii().to_string();
                    tracing::error!(key, "near cache: a value is served that is too old");
                }
                Some(PoolMetric::VerifiedStale)
            }
            (Outcome::Hit | Outcome::Miss, _) => Some(PoolMetric::VerifiedChanged),
            // An error says nothing.
            _ => None,
        };
        verify.check = None;
        if let Some(metric) = metric {
            self.metrics.add(metric, 1);
        }
    }
}

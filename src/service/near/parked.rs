//! Requests that wait without having asked a server: for what another worker has asked for, or for
//! their turn after a question on which all of them have waited in vain.
//!
//! ```text
//!  taken by another worker ─▶ parked ─▶ ended, or too late ─▶ look ─┬─▶ reply
//!  the question has failed ─▶ parked ─▶ its turn ───────────────────┴─▶ its own question
//! ```

use std::time::{Duration, Instant};

use super::Nearby;
use super::fills::{Released, Waiter, Whom, Wish};
use crate::backend::Letter;
use crate::cache::near::{Entry, Look, Near};
use crate::metrics::PoolMetric;
use crate::protocol::Outcome;
use crate::service::dispatch::Turn;
use crate::service::proxy::{Lane, Proxy};
use crate::service::replies::{Clients, count_lookup};

/// How long it is waited for another worker, whose server connection may be stuck.
const WAIT_MOST: Duration = Duration::from_millis(100);

/// The time over which those are spread who have waited in vain together: a server in trouble is
/// not to be asked by all of them in one moment.
const SPREAD: Duration = Duration::from_millis(20);

/// Requests of one worker that wait; further ones ask for themselves.
const PARKED_MAX: usize = 4096;

/// All of one worker, in the order in which they came.
#[derive(Default)]
pub(in crate::service) struct Parked {
    list: Vec<Place>,
    /// None is due before.
    next: Option<Instant>,
}

struct Place {
    released: Released,
    hash: u64,
    due: Instant,
    /// For what another worker has asked; not for its turn.
    for_another: bool,
}

impl Parked {
    /// Whether a request for a key waits.
    pub(super) fn has(&self, pool: u16, hash: u64) -> bool {
        self.list.iter().any(|it| (it.released.pool, it.hash) == (pool, hash))
    }

    /// Whether a letter will come for a key.
    fn expects(&self, pool: u16, hash: u64) -> bool {
        let same = |it: &&Place| (it.released.pool, it.hash) == (pool, hash);
        self.list.iter().any(|it| it.for_another && same(&it))
    }

    pub(super) fn has_room(&self) -> bool {
        self.list.len() < PARKED_MAX
    }

    pub(super) fn next_alarm(&self) -> Option<Instant> {
        self.next
    }

    fn add(&mut self, place: Place) {
        self.next = Some(self.next.map_or(place.due, |next| next.min(place.due)));
        self.list.push(place);
    }

    /// Those that wait for what has ended.
    fn take(&mut self, pool: u16, hash: u64) -> Vec<Place> {
        let it = |place: &mut Place| {
            place.for_another && (place.released.pool, place.hash) == (pool, hash)
        };
        self.list.extract_if(.., it).collect()
    }

    /// Those that have waited long enough.
    fn take_due(&mut self, now: Instant) -> Vec<Place> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let due = self.list.extract_if(.., |place| place.due <= now).collect();
        self.next = self.list.iter().map(|place| place.due).min();
        due
    }
}

impl Nearby {
    /// Has those wait for their turn who have waited in vain.
    pub(super) fn spread(&mut self, now: Instant, released: Vec<Released>) {
        let count = released.len() as u32;
        for (rank, mut released) in (0..).zip(released) {
            let near = self.nears.get(released.pool as usize).and_then(Option::as_ref);
            let name = near.and_then(|near| released.question.name_in(near, &released.key));
            let Some(hash) = name.map(|name| name.hash()) else {
                self.fills.released.push(released);
                continue;
            };
            self.keep_abroad(&mut released.waiter);
            // Somewhere within its part of the time.
            let part = self.lookups.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
            let due = now + SPREAD * rank / count + SPREAD * part as u32 / (count << 16);
            self.lookups = self.lookups.wrapping_add(1);
            self.parked.add(Place { released, hash, due, for_another: false });
        }
    }

    /// No other request of its session is to overtake it.
    fn keep_abroad(&mut self, waiter: &mut Waiter) {
        if !waiter.abroad
            && let Some(ticket) = waiter.whom.ticket()
        {
            waiter.abroad = true;
            self.leave_home(ticket.session);
        }
    }
}

impl Proxy {
    /// Has somebody wait for what another worker has asked for; if that is over, he looks again.
    pub(super) fn park<'k, C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        wish: Wish<'k>,
    ) -> Option<Wish<'k>> {
        let Wish { pool, key, question, .. } = wish;
        let Some(near) = self.nearby.of(pool) else { return Some(wish) };
        let Some(name) = question.name_in(near, key) else { return Some(wish) };
        let (hash, inbox) = (name.hash(), self.inbox.clone());
        let wake = Box::new(move || inbox.push(Letter::Landed { pool, hash }));
        // One letter for all of a worker who wait for the same.
        let waits = self.nearby.parked.expects(pool, hash) || near.wait(name, wake);
        let mut waiter = Waiter { whom: wish.whom, form: wish.form, abroad: false };
        self.nearby.keep_abroad(&mut waiter);
        let released = Released { pool, key: key.to_vec(), question, waiter };
        let place = Place { released, hash, due: turn.now + WAIT_MOST, for_another: true };
        self.metrics.pools[pool as usize].add(PoolMetric::NearJoined, 1);
        if waits {
            self.nearby.parked.add(place);
        } else {
            self.unpark(turn, place);
        }
        None
    }

    /// What another worker has asked for is there, or will not come.
    pub fn landed<C: Clients>(&mut self, turn: &mut Turn<'_, C>, pool: u16, hash: u64) {
        for place in self.nearby.parked.take(pool, hash) {
            self.unpark(turn, place);
        }
    }

    /// Those who have waited long enough go on.
    pub(in crate::service) fn end_parking<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        for place in self.nearby.parked.take_due(turn.now) {
            self.unpark(turn, place);
        }
    }

    /// Answers from what is there by now, or asks.
    fn unpark<C: Clients>(&mut self, turn: &mut Turn<'_, C>, place: Place) {
        let Place { mut released, for_another, .. } = place;
        let mut reply = Vec::new();
        let (pool, question) = (released.pool, released.question);
        let near = self.nearby.of(pool).cloned();
        let found = near.as_ref().and_then(|near| look(near, turn.now, &released, &mut reply));
        if std::mem::take(&mut released.waiter.abroad)
            && let Some(ticket) = released.waiter.whom.ticket()
        {
            self.nearby.come_home(ticket.session);
        }
        if let Some(outcome) = found {
            return self.hand_over(turn, pool, released.waiter.whom, (&reply, outcome));
        }
        let name = near.as_ref().and_then(|near| question.name_in(near, &released.key));
        let now = near.as_ref().map(|near| near.time(turn.now)).unwrap_or_default();
        let useful =
            near.as_ref().zip(name).is_some_and(|(near, name)| !near.is_shunned(name, now));
        if for_another && useful {
            let Released { key, waiter, .. } = released;
            let session = waiter.whom.ticket().map_or(0, |ticket| ticket.session);
            let lane = Lane { session, resp3: waiter.form.is_resp3() };
            let (whom, form) = (waiter.whom, waiter.form);
            let wish = Wish { pool, lane, key: &key, question, whom, form };
            let Some(wish) = self.join_or_fill(turn, wish, false) else { return };
            let waiter = Waiter { whom: wish.whom, form: wish.form, abroad: false };
            released = Released { pool, key, question, waiter };
        }
        self.ask_alone(turn, released);
    }

    /// Gives somebody his reply.
    pub(super) fn hand_over<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        whom: Whom,
        (reply, outcome): (&[u8], Outcome),
    ) {
        match whom {
            Whom::Client(ticket) => {
                count_lookup(&self.metrics.pools[pool as usize], outcome);
                turn.clients.reply(turn.io, ticket, reply, true);
            }
            Whom::Part { gather, serial, part, .. } => {
                if self.gathers.take_in((gather, serial), part, reply, Some(outcome)) {
                    self.complete(turn, gather);
                }
            }
        }
    }
}

/// What is there now for somebody who has waited.
fn look(near: &Near, now: Instant, released: &Released, reply: &mut Vec<u8>) -> Option<Outcome> {
    let Released { key, question, waiter, .. } = released;
    let now = near.time(now);
    let mut shown = |name| {
        let show = |entry: &Entry<'_>| waiter.form.show((*question, key), entry, reply);
        match near.look(name, now, show) {
            Look::Hit(outcome) => Some(outcome),
            _ => None,
        }
    };
    let name = question.name_in(near, key)?;
    // That there is nothing is known of the whole key.
    shown(name).or_else(|| shown(near.key(question.key_in(key))?))
}

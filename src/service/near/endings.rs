//! Fills that fail, and requests that have waited in vain: each asks for itself, or is told.
//!
//! ```text
//!  failed ─┬─ whose request it was ─▶ an entry that is young enough, or the failure
//!          └─ all others ─▶ parked, each for its turn ─▶ the usual way
//! ```

use super::brought::words;
use super::fields;
use super::filling::{CHECK, VALUE};
use super::fills::{Question, Released, Waiter, Whom};
use super::forms::{self, Answer, Form};
use super::looks::Looked;
use crate::backend::{Ask, Failure, To};
use crate::cache::near::Kind;
use crate::metrics::PoolMetric;
use crate::protocol::{Expect, Outcome, Span, memcache, redis};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Lane, Proxy};
use crate::service::replies::Clients;
use crate::service::route::Astray;

impl Proxy {
    /// One of a fill's questions has failed.
    pub(in crate::service) fn fill_failed<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        (place, serial, step): (u32, u32, u8),
        failure: Failure,
    ) {
        if step == CHECK {
            return self.nearby.verify.give_up(serial);
        }
        let Some(it) = self.nearby.fills.get(place, serial) else { return };
        if step != VALUE {
            it.spoilt = true;
            if it.answered {
                self.nearby.finish(place);
            }
            return;
        }
        let (passing, question) = (it.passing, it.question);
        let name = std::mem::take(&mut it.key);
        let first = if it.waiters.is_empty() { None } else { Some(it.waiters.remove(0)) };
        if let Some(it) = self.nearby.fills.get(place, serial) {
            it.key.clone_from(&name);
        }
        let others = self.nearby.fills.take_waiters(place, 0);
        self.nearby.spread(turn.now, others);
        self.nearby.finish(place);
        self.metrics.pools[pool as usize].add(PoolMetric::FillsFailed, 1);
        if let Some(waiter) = first {
            let entry = matches!(question, Question::Version(_)).then_some(&name[..]);
            if !entry.is_some_and(|name| self.serve_old(turn, pool, &waiter, name)) {
                self.fail_waiter(turn, (pool, question), &waiter, (passing, failure));
            }
        }
        self.answer_released(turn);
    }

    /// The server cannot say whether an entry is still good; as long as it is young enough it is
    /// served.
    fn serve_old<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        waiter: &Waiter,
        name: &[u8],
    ) -> bool {
        let Whom::Client(ticket) = waiter.whom else { return false };
        let mut reply = Vec::new();
        let looked = self.look_near((pool, turn.now), (name, None), |entry| {
            let found = (entry.kind == Kind::Plain).then_some((entry.value, entry.flags));
            forms::write_get(name, found, &mut reply);
            Some(())
        });
        let Looked::Hit(seen) = looked else { return false };
        if waiter.abroad {
            self.nearby.come_home(ticket.session);
        }
        self.count_hit(pool, &seen);
        turn.clients.reply(turn.io, ticket, &reply, true);
        true
    }

    fn fail_waiter<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (pool, question): (u16, Question),
        waiter: &Waiter,
        (passing, failure): (bool, Failure),
    ) {
        match waiter.whom {
            Whom::Client(ticket) => {
                if waiter.abroad {
                    self.nearby.come_home(ticket.session);
                }
                if passing {
                    return turn.clients.cut(ticket);
                }
                let resp3 = waiter.form.is_resp3();
                let miss = question.may_miss().then(|| waiter.form.expects());
                self.fail_client(turn, (pool, resp3), (ticket, miss), failure);
            }
            Whom::Part { gather, serial, part, ticket } => {
                if let Some(ticket) = ticket.filter(|_| waiter.abroad) {
                    self.nearby.come_home(ticket.session);
                }
                self.fail(turn, pool, To::Part { gather, serial, part }, failure);
            }
        }
    }

    /// Has those who waited in vain ask for themselves.
    pub(in crate::service) fn answer_released<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        if self.nearby.fills.released.is_empty() {
            return;
        }
        for released in std::mem::take(&mut self.nearby.fills.released) {
            self.ask_alone(turn, released);
        }
    }

    /// Has somebody ask for himself.
    pub(super) fn ask_alone<C: Clients>(&mut self, turn: &mut Turn<'_, C>, released: Released) {
        let Released { pool, key, question, waiter } = released;
        let to = match waiter.whom {
            Whom::Client(ticket) => To::Client(ticket),
            Whom::Part { gather, serial, part, .. } => To::Part { gather, serial, part },
        };
        let session = waiter.whom.ticket().map_or(0, |ticket| ticket.session);
        if waiter.abroad {
            self.nearby.come_home(session);
        }
        let server = match self.pools[pool as usize].lasting_place(question.key_in(&key)) {
            Ok(server) => server,
            // Whether there is such a key is not known here.
            Err(Astray::Moved { .. }) if self.pools[pool as usize].speaks_redis() => {
                return self.fail(turn, pool, to, Failure::Fenced);
            }
            Err(Astray::Moved { .. }) => return self.miss(turn, pool, (&key, &waiter)),
            Err(_) => return self.fail(turn, pool, to, Failure::NoServer),
        };
        let link = self.connection(pool, server, Lane { session, resp3: waiter.form.is_resp3() });
        let (wire, expect, place) = plain_request(&waiter.form, (question, &key), to);
        let may_miss = question.may_miss();
        let ask = Ask { to, expect, read: true, key: place, may_miss, patient: false, mark: 0 };
        self.send(turn, link, ask, &[&wire]);
    }
}

impl Proxy {
    /// Answers somebody whose key has begun to move while he waited: there is nothing, as any get
    /// may be told then.
    fn miss<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        (key, waiter): (&[u8], &Waiter),
    ) {
        let mut reply = Vec::new();
        match &waiter.form {
            Form::Meta(line) => {
                let nothing = Answer::Absent { says_more: false };
                forms::write_meta((line, &words(line)), &nothing, &mut reply);
            }
            _ => forms::write_get(key, None, &mut reply),
        }
        self.hand_over(turn, pool, waiter.whom, (&reply, Outcome::Miss));
    }
}

/// The request of somebody who no longer waits for a fill, as the server gets it.
pub(super) fn plain_request(
    form: &Form,
    (question, key): (Question, &[u8]),
    to: To,
) -> (Vec<u8>, Expect, Span) {
    let mut wire = Vec::new();
    let mut place = Span::default();
    let expect = match form {
        Form::Get => {
            wire.extend_from_slice(b"get ");
            place = Span { start: 4, end: 4 + key.len() as u32 };
            wire.extend_from_slice(key);
            wire.extend_from_slice(b"\r\n");
            if matches!(to, To::Part { .. }) { Expect::Values } else { Expect::Value }
        }
        Form::Meta(line) => {
            wire.extend_from_slice(line);
            let expect = form.expects();
            if expect == Expect::MetaQuiet {
                wire.extend_from_slice(memcache::NOOP);
            }
            expect
        }
        Form::Element { .. } => {
            redis::write_command([b"MGET".as_slice(), key].into_iter(), &mut wire);
            Expect::Resp
        }
        Form::Field { .. } | Form::Redis { .. } if question == Question::Fields => {
            fields::write_request(matches!(form, Form::Field { .. }), key, &mut wire);
            Expect::Resp
        }
        Form::Field { .. } | Form::Redis { .. } => {
            let word: &[u8] = if question == Question::Hash { b"HGETALL" } else { b"GET" };
            redis::write_command([word, key].into_iter(), &mut wire);
            Expect::Resp
        }
    };
    (wire, expect, place)
}

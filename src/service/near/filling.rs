//! What comes of a fill: its reply goes to all who wait, and into the near cache if it may.
//!
//! ```text
//!  CACHING YES ─▶ permitted? ┐
//!  GET, mg     ─▶ answered ──┼─▶ everybody's reply, in the form in which each has asked
//!  PTTL        ─▶ left ──────┴─▶ Near::settle
//! ```

use super::brought::{Shown, begin_of, fill_of, is_error, is_key, left, show_meta};
use super::fills::{Question, Released, Whom};
use super::forms::{self, Form};
use crate::backend::{Flow, Io};
use crate::cache::near::{Fill, Kind, Look, Settled};
use crate::metrics::PoolMetric;
use crate::protocol::{Outcome, memcache, redis};
use crate::service::replies::{Clients, Sink, count_lookup};

/// The questions of a fill: that the next one's key is to be told of, the value, the time left.
pub(super) const PERMIT: u8 = 0;
pub(super) const VALUE: u8 = 1;
pub(super) const LEFT: u8 = 2;
/// No fill's: what the server has of a hit that is checked.
pub(super) const CHECK: u8 = 3;

/// Bytes of a reply that are not its value.
const FRAME: usize = 1024;

impl<C: Clients> Sink<'_, C> {
    /// Takes the next stretch of the reply to one of a fill's questions.
    pub(in crate::service) fn fill(
        &mut self,
        io: &mut Io,
        (place, serial, step): (u32, u32, u8),
        (bytes, end): (&[u8], Option<Outcome>),
    ) -> Flow {
        let Some(near) = self.nearby.nears.get(self.pool as usize).and_then(Option::as_ref) else {
            return Flow::Go;
        };
        if step == CHECK {
            self.checked(serial, bytes, end);
            return Flow::Go;
        }
        let most = usize::try_from(near.settings().max_value).unwrap_or(usize::MAX);
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        match step {
            PERMIT => {
                let refused = !bytes.starts_with(b"+");
                it.spoilt |= refused;
                self.untold |= refused;
            }
            VALUE if it.passing => return self.pass_on(io, (place, serial), bytes, end),
            VALUE => {
                it.reply.extend_from_slice(bytes);
                match end {
                    Some(outcome) => return self.answered(io, (place, serial), outcome),
                    None if it.reply.len() > most + FRAME => {
                        return self.begin_passing(io, (place, serial));
                    }
                    None => {}
                }
            }
            _ if end.is_some() => self.settle(place, serial, redis::integer(bytes)),
            _ => {}
        }
        Flow::Go
    }

    /// The value is too large to be kept: it goes on as it comes to the one whose request it is.
    fn begin_passing(&mut self, io: &mut Io, (place, serial): (u32, u32)) -> Flow {
        self.metrics.add(PoolMetric::FillsTooBig, 1);
        let Some(near) = self.nearby.nears.get(self.pool as usize).and_then(Option::as_ref) else {
            return Flow::Go;
        };
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        if let Some(key) = it.question.name_in(near, &it.key) {
            near.shun(key, near.time(self.now));
        }
        it.passing = true;
        let flight = it.flight.take();
        // What is missing among several fields is written in one version of the protocol only.
        let form = it.waiters.first().map(|waiter| &waiter.form);
        let fits = it.question != Question::Fields || matches!(form, Some(Form::Field { .. }));
        self.nearby.fills.release(place, usize::from(fits));
        self.nearby.end_flight(self.pool, flight);
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        let reply = std::mem::take(&mut it.reply);
        let mut begun = Vec::new();
        let rest = match it.waiters.first() {
            Some(waiter) => begin_of(it.question, &it.key, &waiter.form, &reply, &mut begun),
            None => &[],
        };
        begun.extend_from_slice(rest);
        self.pass_on(io, (place, serial), &begun, None)
    }

    fn pass_on(
        &mut self,
        io: &mut Io,
        (place, serial): (u32, u32),
        bytes: &[u8],
        end: Option<Outcome>,
    ) -> Flow {
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        let Some(first) = it.waiters.first() else {
            if end.is_some() {
                self.nearby.finish(place);
            }
            return Flow::Go;
        };
        let (whom, abroad) = (first.whom, first.abroad);
        let with_end;
        let closes = end.is_some() && matches!(first.form, Form::Get);
        let bytes = if closes {
            with_end = [bytes, b"END\r\n"].concat();
            &with_end[..]
        } else {
            bytes
        };
        if end.is_some() {
            self.nearby.finish(place);
        }
        self.give(io, (whom, abroad), (bytes, end))
    }

    /// The value is there: everybody who waits gets it.
    fn answered(&mut self, io: &mut Io, (place, serial): (u32, u32), outcome: Outcome) -> Flow {
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        it.answered = true;
        let waiters = std::mem::take(&mut it.waiters);
        let (key, reply) = (std::mem::take(&mut it.key), std::mem::take(&mut it.reply));
        if let Question::Version(cas) = it.question {
            self.renew(place, (&key, cas), &reply);
        }
        let mut flow = Flow::Go;
        let mut out = Vec::new();
        for (rank, waiter) in waiters.into_iter().enumerate() {
            out.clear();
            match self.show((place, rank), &waiter.form, (&key, &reply, outcome), &mut out) {
                Shown::Reply(shown) => {
                    if matches!(waiter.whom, Whom::Client(_)) {
                        count_lookup(self.metrics, shown);
                    }
                    let paused = self.give(io, (waiter.whom, waiter.abroad), (&out, Some(shown)));
                    flow = if paused == Flow::Pause { paused } else { flow };
                }
                Shown::Again => {
                    let (pool, key) = (self.pool, key.clone());
                    let question = self.nearby.fills.question(place);
                    let released = Released { pool, key, question, waiter };
                    self.nearby.fills.released.push(released);
                }
            }
        }
        let Some(it) = self.nearby.fills.get(place, serial) else { return flow };
        (it.key, it.reply) = (key, reply);
        match it.question {
            Question::Meta => self.settle(place, serial, None),
            Question::Version(_) => self.nearby.finish(place),
            _ if is_error(outcome) || it.spoilt => self.settle(place, serial, None),
            // The time left is still to come.
            Question::Value | Question::Hash | Question::Fields => {}
        }
        flow
    }

    /// Writes what a waiter gets.
    fn show(
        &mut self,
        (place, rank): (u32, usize),
        form: &Form,
        (key, reply, outcome): (&[u8], &[u8], Outcome),
        out: &mut Vec<u8>,
    ) -> Shown {
        let question = self.nearby.fills.question(place);
        if is_error(outcome) {
            let wrong_type =
                matches!(form, Form::Element { .. }) && reply.starts_with(b"-WRONGTYPE");
            if wrong_type {
                // MGET takes what is no string for absent.
                out.extend_from_slice(b"*1\r\n");
                forms::write_value(None, form.is_resp3(), out);
                return Shown::Reply(Outcome::Hit);
            }
            out.extend_from_slice(reply);
            return Shown::Reply(outcome);
        }
        match (question, form) {
            (Question::Version(cas), _) => self.show_version(cas, form, (key, reply), out),
            (Question::Meta, _) => show_meta(rank, form, (key, reply), out),
            (Question::Value, Form::Element { resp3 }) => {
                out.extend_from_slice(b"*1\r\n");
                forms::write_value(redis::bulk_text(reply), *resp3, out);
                Shown::Reply(Outcome::Hit)
            }
            (Question::Value, _) => {
                let found = redis::bulk_text(reply);
                forms::write_value(found, form.is_resp3(), out);
                Shown::Reply(if found.is_some() { Outcome::Hit } else { Outcome::Miss })
            }
            (Question::Fields, Form::Field { resp3 }) => {
                let Some(value) = forms::first_of(reply) else { return Shown::Again };
                forms::write_value(value, *resp3, out);
                Shown::Reply(if value.is_some() { Outcome::Hit } else { Outcome::Miss })
            }
            (Question::Fields, _) => match forms::write_all(reply, form.is_resp3(), out) {
                Some(()) => Shown::Reply(Outcome::Hit),
                None => Shown::Again,
            },
            (Question::Hash, _) => {
                let Some((count, pairs)) = forms::pairs(reply) else { return Shown::Again };
                forms::write_hash(count, pairs, form.is_resp3(), out);
                Shown::Reply(Outcome::Hit)
            }
        }
    }

    /// The server has said whether an entry's version is still its own.
    fn show_version(
        &mut self,
        cas: u64,
        form: &Form,
        (key, reply): (&[u8], &[u8]),
        out: &mut Vec<u8>,
    ) -> Shown {
        let Some(now) = memcache::meta_reply(reply) else {
            forms::write_get(key, None, out);
            return Shown::Reply(Outcome::Miss);
        };
        if now.won {
            // Whoever is told that there is nothing makes the value anew, as the server wants.
            forms::write_get(key, None, out);
            return Shown::Reply(Outcome::Miss);
        }
        let Some(near) = self.nearby.nears[self.pool as usize].as_ref() else {
            return Shown::Again;
        };
        let (Some(stored), Form::Get) = (near.key(key), form) else { return Shown::Again };
        let shown = near.look(stored, near.time(self.now), |entry| {
            (entry.cas == cas && now.cas == cas && entry.kind == Kind::Plain)
                .then(|| forms::write_get(key, Some((entry.value, entry.flags)), out))
        });
        match shown {
            Look::Hit(()) => Shown::Reply(Outcome::Hit),
            _ => Shown::Again,
        }
    }

    /// Lets an entry live on whose version is still the server's.
    fn renew(&mut self, place: u32, (key, cas): (&[u8], u64), reply: &[u8]) {
        let Some(near) = self.nearby.nears[self.pool as usize].as_ref() else { return };
        let Some(token) = self.nearby.fills.token(place) else { return };
        let (Some(stored), Some(now)) = (near.key(key), memcache::meta_reply(reply)) else {
            return;
        };
        let good = now.cas == cas && !now.won && !now.stale && is_key(&now, key);
        if good && near.renew(stored, &token, (cas, left(&now)), near.time(self.now)) {
            self.metrics.add(PoolMetric::FillsRenewed, 1);
        } else {
            near.forget(stored, near.time(self.now));
        }
    }

    /// Stores what has come, if it may be stored, and ends the fill. Redis has said how many
    /// milliseconds are left.
    fn settle(&mut self, place: u32, serial: u32, millis: Option<i64>) {
        let Some(near) = self.nearby.nears[self.pool as usize].as_ref() else { return };
        let Some(it) = self.nearby.fills.get(place, serial) else { return };
        let mut settled = None;
        let name = it.question.name_in(near, &it.key);
        if let (Some(token), Some(name), true) = (it.token, name, it.answered)
            && let Some(fill) = fill_of(it.question, &it.key, &it.reply, millis)
            && !it.spoilt
        {
            let value: [&[u8]; 1] = [fill.0];
            let fill = Fill { value: &value, tracked: it.tracked, ..fill.1 };
            near.weigh(name, value[0].len());
            // That there is nothing concerns the whole key.
            let key = near.key(it.question.key_in(&it.key));
            let name = if fill.kind == Kind::Absent { key } else { Some(name) };
            if let Some(name) = name
                && (fill.kind != Kind::Absent || !near.settings().negative.is_zero())
            {
                settled = Some(near.settle(name, &token, &fill, near.time(self.now)));
            }
        }
        if let (None | Some(Settled::TooBig), Some(name)) = (settled, name) {
            near.shun(name, near.time(self.now));
        }
        self.metrics.add(
            match settled {
                Some(Settled::Stored) => PoolMetric::FillsStored,
                Some(Settled::Raced) => PoolMetric::FillsRaced,
                Some(Settled::TooBig) => PoolMetric::FillsTooBig,
                Some(Settled::Full) => PoolMetric::FillsFull,
                Some(Settled::Expired) | None => PoolMetric::FillsUnfit,
            },
            1,
        );
        self.nearby.finish(place);
    }

    /// Hands a reply, or the next stretch of it, to one who waits.
    fn give(
        &mut self,
        io: &mut Io,
        (whom, abroad): (Whom, bool),
        (bytes, end): (&[u8], Option<Outcome>),
    ) -> Flow {
        match whom {
            Whom::Client(ticket) => {
                if abroad && end.is_some() {
                    self.nearby.come_home(ticket.session);
                }
                let flow = self.clients.reply(io, ticket, bytes, end.is_some());
                if flow == Flow::Pause {
                    self.paused = Some(ticket);
                }
                flow
            }
            Whom::Part { gather, serial, part, ticket } => {
                if let Some(ticket) = ticket.filter(|_| abroad && end.is_some()) {
                    self.nearby.come_home(ticket.session);
                }
                if self.gathers.take_in((gather, serial), part, bytes, end) {
                    self.complete.push(gather);
                }
                Flow::Go
            }
        }
    }
}

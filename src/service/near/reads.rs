//! Requests that the near cache may answer: looked up, joined to a fill, or made one.
//!
//! ```text
//!  look ─┬─ hit ─┬─ fresh ───────────────▶ reply
//!        │       └─ growing old ─▶ fill: is the version still the same?
//!        └─ miss ─▶ admits? ─┬─ a fill is under way ─▶ wait for it; of another worker ─▶ parked
//!                            ├─ none ─▶ fill
//!                            └─ cold ─▶ the usual way
//! ```

use std::time::Instant;

use super::fields;
use super::filling::{LEFT, PERMIT, VALUE};
use super::fills::{Question, Waiter, Whom, Wish};
use super::forms::{self, Asked, Form};
use super::looks::{Glance, Looked};
use super::{Role, Wanted};
use crate::backend::{Ask, To};
use crate::cache::near::Kind;
use crate::config::Protocol;
use crate::metrics::PoolMetric;
use crate::protocol::{Expect, Plan, Request, Span, memcache, redis};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Caller, Lane, Proxy};
use crate::service::replies::Clients;

impl Proxy {
    /// Sees to a request of a pool with a near cache; `None` if it needs nothing more, else the mark
    /// with which it goes the usual way.
    pub(in crate::service) fn near_first<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
    ) -> Option<u32> {
        let role = Role::of(request.head.command);
        if self.is_spared(caller.pool, role, request) {
            return Some(0);
        }
        if matches!(role, Role::Read(_) | Role::Several) && self.any_moves(caller.pool, request) {
            let writes = role == Role::Read(Wanted::Meta) && memcache::may_write(request);
            return Some(if writes {
                self.mark_writes(caller.pool, 0, request, turn.now)
            } else {
                0
            });
        }
        match role {
            Role::Read(Wanted::Get) if request.args.len() > 2 => {
                self.near_several(turn, caller, request)
            }
            Role::Several => self.near_several(turn, caller, request),
            Role::Read(Wanted::Existence) if request.args.len() > 2 => Some(0),
            Role::Read(Wanted::Meta) if !memcache::only_reads(request) => {
                if memcache::may_write(request) {
                    return Some(self.mark_writes(caller.pool, 0, request, turn.now));
                }
                Some(0)
            }
            Role::Read(wanted) => self.near_one(turn, caller, request, wanted),
            Role::Flush if !self.pools[caller.pool as usize].settings.allow_flush => Some(0),
            Role::Flush | Role::Write => Some(self.mark_writes(caller.pool, 0, request, turn.now)),
            Role::Other => Some(0),
        }
    }

    /// Whether a key of a read is on its way between two servers: as long as the ways of both have
    /// not ended, only they know it.
    #[inline]
    fn any_moves(&self, pool: u16, request: &Request<'_>) -> bool {
        #[cfg(test)]
        if self.nearby.wrong == Some(super::Wrong::ServedBetween) {
            return false;
        }
        let owner = &self.pools[pool as usize];
        let Some(rings) = owner.rings.as_ref().filter(|rings| rings.phase().is_between()) else {
            return false;
        };
        let moves = |at| {
            let key = request.arg(at);
            let binary = memcache::binary_key(request, key);
            rings.moved(binary.as_deref().unwrap_or(key)).is_some()
        };
        if !request.keys().any(moves) {
            return false;
        }
        self.metrics.pools[pool as usize].add(PoolMetric::NearMoving, 1);
        true
    }

    /// A read of one key.
    fn near_one<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
        wanted: Wanted,
    ) -> Option<u32> {
        let pool = caller.pool;
        let written = request.arg(1);
        let binary =
            if wanted == Wanted::Meta { memcache::binary_key(request, written) } else { None };
        let name = binary.as_deref().unwrap_or(written);
        let (key, now) = match self.glance((pool, turn.now), name, !wanted.is_of_hash()) {
            Glance::Known(Looked::Hot)
                if self.fill_for(turn, caller, request, (wanted, (name, None))) =>
            {
                return None;
            }
            Glance::Known(_) => return Some(0),
            Glance::Perhaps(key, now) => (key, now),
        };
        let asked = Asked { wanted, request, resp3: caller.resp3 };
        let mut reply = std::mem::take(&mut self.merged);
        reply.clear();
        let mut part = std::mem::take(&mut self.nearby.part);
        let words = || request.args.iter().skip(1).map(|word| word.of(request.bytes));
        let parted = wanted.is_of_hash() && fields::write_name(words(), &mut part);
        let parts = parted.then_some(&part[..]);
        let looked =
            self.look_closely((pool, now), (key, parts), |entry| asked.show(entry, &mut reply));
        let name = (name, parts);
        let done = match looked {
            Looked::Hit(seen) => {
                let old = self.is_old(pool, wanted, &seen);
                if !old || !self.refresh(turn, caller, request, seen.cas) {
                    self.count_hit(pool, &seen);
                    turn.clients.reply(turn.io, caller.ticket, &reply, true);
                    self.verify_if_due(turn, caller, (name, seen.kind));
                }
                None
            }
            Looked::Hot if self.fill_for(turn, caller, request, (wanted, name)) => None,
            Looked::Hot | Looked::There => Some(0),
        };
        self.nearby.part = part;
        self.merged = reply;
        done
    }

    /// Has one in so many hits checked, whatever was wanted of the entry.
    #[inline]
    pub(super) fn verify_if_due<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        ((name, part), kind): ((&[u8], Option<&[u8]>), Kind),
    ) {
        let every = self.nearby.of(caller.pool).map_or(0, |near| near.settings().verify);
        if every == 0 || !self.nearby.verify.is_due(every) {
            return;
        }
        match (kind, part) {
            (Kind::Fields, Some(part)) => self.verify(turn, caller, (part, kind)),
            _ => self.verify(turn, caller, (name, kind)),
        }
    }

    /// Asks the server whether a version is still its own, with this request to wait for the answer;
    /// false if somebody does already, or that cannot be asked.
    fn refresh<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
        cas: u64,
    ) -> bool {
        let Some(near) = self.nearby.of(caller.pool) else { return false };
        let name = request.arg(1);
        let Some(key) = near.key(name) else { return false };
        // Another worker may be at it.
        let (flies, hash) = (near.flies(key), key.hash());
        if flies || self.nearby.fills.of(caller.pool, (name, hash)).is_some() {
            return false;
        }
        let wish = Wish {
            pool: caller.pool,
            lane: caller.lane(),
            key: name,
            question: Question::Version(cas),
            whom: Whom::Client(caller.ticket),
            form: Form::Get,
        };
        self.begin_fill(turn, wish).is_none()
    }

    /// Has a request wait for a fill, one that is under way or its own; false if it must go the
    /// usual way.
    fn fill_for<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
        (wanted, (name, part)): (Wanted, (&[u8], Option<&[u8]>)),
    ) -> bool {
        let wants_value = || request.args.iter().skip(2).any(|it| it.of(request.bytes) == b"v");
        let (question, form) = match wanted {
            // Nobody is to wait for a value that he does not want.
            Wanted::Meta if !wants_value() => return false,
            Wanted::Get => (Question::Meta, Form::Get),
            Wanted::Meta => (Question::Meta, Form::Meta(request.bytes.into())),
            Wanted::Value => (Question::Value, Form::Redis { resp3: caller.resp3 }),
            Wanted::Hash => (Question::Hash, Form::Redis { resp3: caller.resp3 }),
            Wanted::Field if part.is_some() => {
                (Question::Fields, Form::Field { resp3: caller.resp3 })
            }
            Wanted::Fields if part.is_some() => {
                (Question::Fields, Form::Redis { resp3: caller.resp3 })
            }
            // These are answered from entries that others have filled.
            Wanted::Length | Wanted::Existence | Wanted::Range | Wanted::Field | Wanted::Fields => {
                return false;
            }
        };
        let name = part.unwrap_or(name);
        let (pool, lane, whom) = (caller.pool, caller.lane(), Whom::Client(caller.ticket));
        let wish = Wish { pool, lane, key: name, question, whom, form };
        self.join_or_fill(turn, wish, true).is_none()
    }

    /// Has somebody wait for a fill, in this worker or, if `patient`, in another; given back if that
    /// cannot be.
    pub(super) fn join_or_fill<'k, C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        wish: Wish<'k>,
        patient: bool,
    ) -> Option<Wish<'k>> {
        let Wish { pool, lane, key, question, .. } = wish;
        let Some(near) = self.nearby.nears.get(pool as usize).and_then(Option::as_ref) else {
            return Some(wish);
        };
        let Some(name) = question.name_in(near, key) else { return Some(wish) };
        let Some(it) = self.nearby.fills.of(pool, (key, name.hash())) else {
            if patient && near.flies(name) && self.nearby.parked.has_room() {
                return self.park(turn, wish);
            }
            return self.begin_fill(turn, wish);
        };
        if !it.may_be_joined(near, question, turn.now) {
            return Some(wish);
        }
        let (link, hash) = (it.link, name.hash());
        let abroad = self.home_of(pool, link, lane) != link;
        if let Some(it) = self.nearby.fills.of(pool, (key, hash)) {
            it.waiters.push(Waiter { whom: wish.whom, form: wish.form, abroad });
        }
        if abroad {
            self.nearby.leave_home(lane.session);
        }
        self.metrics.pools[pool as usize].add(PoolMetric::NearJoined, 1);
        None
    }

    /// The connection to the server of `link` that a session's other requests go on.
    fn home_of(&mut self, pool: u16, link: u32, lane: Lane) -> u32 {
        let server = self.links[link as usize].server as usize;
        self.connection(pool, server, lane)
    }

    /// Begins a fill; given back if its server cannot be asked in this way now.
    pub(super) fn begin_fill<'k, C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        wish: Wish<'k>,
    ) -> Option<Wish<'k>> {
        let Wish { pool, lane, key, question, .. } = wish;
        let owner = &self.pools[pool as usize];
        let Ok(server) = owner.lasting_place(question.key_in(key)) else { return Some(wish) };
        #[cfg(test)]
        let server = self.nearby.wrong_server(owner, question.key_in(key)).unwrap_or(server);
        let Some((link, lease, tracked)) = self.trusted_link(turn, (pool, server), lane) else {
            self.metrics.pools[pool as usize].add(PoolMetric::FillsPaused, 1);
            return Some(wish);
        };
        let Some(near) = self.nearby.of(pool) else { return Some(wish) };
        let Some(name) = question.name_in(near, key) else { return Some(wish) };
        let Some(token) = near.token(name, lease, near.time(turn.now)) else { return Some(wish) };
        let (hash, flight) = (name.hash(), near.begin_flight(name));
        let abroad = self.home_of(pool, link, lane) != link;
        if abroad {
            self.nearby.leave_home(lane.session);
        }
        // What its fields' times mean the server does not tell.
        let kept = !self.links[link as usize].connection.has_field_times();
        let told = tracked && (kept || !matches!(question, Question::Hash | Question::Fields));
        let asked = (question, token, told);
        let begun = self.nearby.fills.begin((pool, link), (key, hash), asked, flight);
        if let Some(it) = self.nearby.fills.get(begun.0, begun.1) {
            it.waiters.push(Waiter { whom: wish.whom, form: wish.form, abroad });
        }
        self.send_questions(turn, link, begun, (question, key, tracked));
        None
    }

    /// Sends the questions of a fill, one right after the other.
    fn send_questions<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        (fill, serial): (u32, u32),
        (question, name, tracked): (Question, &[u8], bool),
    ) {
        let mut wire = Vec::with_capacity(name.len() + 32);
        let mut say = |proxy: &mut Self, step, read, expect, wire: &[u8]| {
            let ask = Ask {
                to: To::Fill { fill, serial, step },
                expect,
                read,
                key: Span::default(),
                may_miss: step == VALUE && question.may_miss(),
                patient: false,
                mark: 0,
            };
            proxy.send(turn, link, ask, &[wire]);
        };
        match question {
            Question::Meta => {
                forms::ask_meta(name, b" f t c v", &mut wire);
                return say(self, VALUE, true, Expect::Meta, &wire);
            }
            Question::Version(_) => {
                forms::ask_meta(name, b" c t", &mut wire);
                return say(self, VALUE, true, Expect::Meta, &wire);
            }
            Question::Value | Question::Hash | Question::Fields => {}
        }
        if tracked {
            let words = [b"CLIENT".as_slice(), b"CACHING", b"YES"];
            redis::write_command(words.into_iter(), &mut wire);
            say(self, PERMIT, false, Expect::Resp, &wire);
        }
        wire.clear();
        match question {
            Question::Fields => fields::write_request(false, name, &mut wire),
            Question::Hash => redis::write_command([b"HGETALL", name].into_iter(), &mut wire),
            _ => redis::write_command([b"GET", name].into_iter(), &mut wire),
        }
        say(self, VALUE, true, Expect::Resp, &wire);
        wire.clear();
        redis::write_command([b"PTTL", question.key_in(name)].into_iter(), &mut wire);
        say(self, LEFT, true, Expect::Resp, &wire);
    }

    /// Whether a fill of a request's key is under way on another connection that the request cannot
    /// join: its reply could be older than the fill's.
    #[inline]
    pub fn must_wait(
        &mut self,
        pool: u16,
        (session, now): (u32, Instant),
        request: &Request<'_>,
    ) -> bool {
        self.nearby.is_abroad(session) && self.may_overtake(pool, now, request)
    }

    /// The same of a session that waits for a fill already.
    fn may_overtake(&mut self, pool: u16, now: Instant, request: &Request<'_>) -> bool {
        let plain = matches!(request.head.command.plan, Plan::Values | Plan::Forward);
        let single = Role::of(request.head.command) == Role::Read(Wanted::Value)
            || Role::of(request.head.command) == Role::Read(Wanted::Get) && request.args.len() == 2;
        if !plain || !single {
            return true;
        }
        let Some(near) = self.nearby.nears.get(pool as usize).and_then(Option::as_ref) else {
            return false;
        };
        let Some(key) = near.key(request.arg(1)) else { return false };
        let asks = match self.pools[pool as usize].settings.protocol {
            Protocol::Redis => Question::Value,
            Protocol::Memcache | Protocol::Ping => Question::Meta,
        };
        if self.nearby.parked.has(pool, key.hash()) {
            return true;
        }
        let fill = self.nearby.fills.of(pool, (request.arg(1), key.hash()));
        fill.is_some_and(|it| !it.may_be_joined(near, asks, now))
    }
}

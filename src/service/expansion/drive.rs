//! Machines on the connections of a worker: their requests sent, their replies brought back.
//!
//! ```text
//!  expand, expand_part ─▶ begin ─▶ act ─▶ send ─▶ connection ─▶ … Slots::take_in ─▶ go_on ─▶ act
//!                                   │                            step_failed ─────────────────┘
//!                                   └─▶ finish ─▶ client, or part of a split request
//! ```

use std::time::Instant;

use super::answer;
use super::machine::Machine;
use super::operation::Operation;
use super::slots::{Begun, State};
use super::step::{Event, Lost, Send, Side, Step};
use crate::backend::{Ask, Failure, Flow, Phase as Life, Ticket, To};
use crate::config::Dead;
use crate::metrics::PoolMetric;
use crate::protocol::{Expect, Malformed, Outcome, Request};
use crate::service::dispatch::Turn;
use crate::service::fragment::{Merge, New};
use crate::service::proxy::{Caller, Lane, Proxy};
use crate::service::replies::{Clients, count_lookup};
use crate::service::route::Astray;

/// What a client is told whose request the fence has held up for too long.
const FENCED: &str = "the pool changes its servers, try again";

impl Proxy {
    /// Whether the key of a request that goes to one server moves.
    pub fn moves(&self, pool: u16, request: &Request<'_>) -> bool {
        let owner = &self.pools[pool as usize];
        owner.rings.is_some() && matches!(owner.server_of(request, 1), Err(Astray::Moved { .. }))
    }

    /// Sees to a request whose key moves between two servers.
    #[cold]
    pub(in crate::service) fn expand<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
        servers: [usize; 2],
    ) -> Flow {
        let op = Operation::of(&request);
        let (pool, lane) = (caller.pool, caller.lane());
        if self.is_plain((pool, lane), &op) {
            let key_at = request.keys().first();
            return self.forward(turn, caller, request, (Ok(servers[0]), key_at));
        }
        let quiet = request.head.noreply;
        let to = if quiet { To::Nobody } else { To::Client(caller.ticket) };
        self.admit(turn, (pool, lane, to), op, servers);
        if !quiet {
            return Flow::Go;
        }
        let link = self.connection(pool, servers[0], lane);
        self.slow_down(link, caller.ticket)
    }

    /// The same for one key of a request that was split; `wire` is the request for it alone.
    #[cold]
    pub(in crate::service) fn expand_part<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        from: (u16, Lane, To),
        wire: &[u8],
        servers: [usize; 2],
    ) {
        let line = wire.strip_suffix(b"\r\n").unwrap_or(wire);
        let cut = line.iter().rposition(|byte| *byte == b' ').unwrap_or(0);
        let op = Operation::on(&line[..cut], line.get(cut + 1..).unwrap_or_default());
        self.admit(turn, from, op, servers);
    }

    /// Whether an operation is a request for the old server like any other.
    fn is_plain(&self, (pool, lane): (u16, Lane), op: &Operation) -> bool {
        let plain = self.pools[pool as usize].reads_old(op.asks_token());
        op.is_read() && plain && !self.slots.has(pool, lane.session, &op.key)
    }

    fn admit<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (pool, lane, to): (u16, Lane, To),
        op: Operation,
        servers: [usize; 2],
    ) {
        if self.slots.len() >= self.pools[pool as usize].settings.limits.server_queue {
            return self.fail(turn, pool, to, Failure::QueueFull);
        }
        self.metrics.pools[pool as usize].add(PoolMetric::Expanding, 1);
        let mark = std::mem::take(&mut self.mark);
        let begun = Begun { pool, lane, to, servers, at: turn.now, mark };
        let (place, free) = self.slots.open(begun, op);
        if free {
            self.begin(turn, place);
        }
    }

    fn begin<C: Clients>(&mut self, turn: &mut Turn<'_, C>, place: u32) -> Option<Ticket> {
        let slot = self.slots.at(place);
        let State::Waiting(op) = std::mem::replace(&mut slot.state, State::Gone) else {
            return None;
        };
        let owner = &self.pools[slot.begun.pool as usize];
        let (machine, step) =
            Machine::start(op, owner.phase_of(slot.begun.servers[0]), &owner.context(turn.now));
        slot.era = owner.passage.era;
        slot.pass = owner.pass();
        slot.state = State::Running(Box::new(machine));
        self.act(turn, place, step)
    }

    /// Does what a machine says. Returns whom the servers should wait for, if its client has enough
    /// for now.
    pub(super) fn act<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        place: u32,
        step: Step,
    ) -> Option<Ticket> {
        let step = if self.is_fenced(place) { self.fenced(place) } else { step };
        match step {
            Step::Send(send) => {
                if let Err(failure) = self.ask(turn, place, send) {
                    return self.lost(turn, place, (Lost::Unsent, failure));
                }
                None
            }
            Step::Answer(answer) => self.finish(turn, place, &answer),
            Step::Park => {
                let pool = self.slots.at(place).begun.pool as usize;
                let most = self.pools[pool].expansion().fence;
                self.slots.park(place, turn.now, most);
                None
            }
        }
    }

    /// Whether an operation may neither take its next step nor be acknowledged. The clock is read
    /// anew, see [`Pool::may_act`](crate::service::pool::Pool).
    fn is_fenced(&mut self, place: u32) -> bool {
        self.slots.at(place).pass.as_ref().is_some_and(|pass| !pass.holds(Instant::now()))
    }

    /// How it ends then.
    #[cold]
    fn fenced(&mut self, place: u32) -> Step {
        let slot = self.slots.at(place);
        let pool = slot.begun.pool as usize;
        let State::Running(machine) = &slot.state else { return Step::Answer(Vec::new()) };
        self.metrics.pools[pool].add(PoolMetric::SelfFenced, 1);
        Step::Answer(answer::fenced(machine.op()))
    }

    /// Sends a machine's request.
    ///
    /// # Errors
    /// It cannot be sent.
    fn ask<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        place: u32,
        send: Send,
    ) -> Result<(), Failure> {
        let serial = self.slots.serial(place);
        let slot = self.slots.at(place);
        let side = usize::from(send.side == Side::New);
        let State::Running(machine) = &slot.state else { return Ok(()) };
        let (expect, key) = machine.expect(send.expect);
        let heard = slot.heard[side];
        let Begun { pool, lane, servers, .. } = slot.begun;
        slot.asked = Some(send.side);
        if servers[side] >= self.pools[pool as usize].servers.len() {
            return Err(Failure::NoServer);
        }
        let link = self.connection(pool, servers[side], lane);
        let at = &self.links[link as usize];
        let same = heard == Some((link, at.attempt)) && at.connection.phase() == Life::Ready;
        if send.bound && !same {
            return Err(Failure::Reset);
        }
        if at.connection.depth() >= self.pools[pool as usize].settings.limits.server_queue {
            return Err(Failure::QueueFull);
        }
        self.reach(link, turn.now)?;
        let to = To::Step { slot: place, serial, bound: send.bound };
        let read = send.read;
        let ask = Ask { to, expect, read, key, may_miss: false, patient: false, mark: 0 };
        self.send(turn, link, ask, &[&send.bytes]);
        Ok(())
    }

    /// Replies to machines have come on a connection.
    pub(in crate::service) fn go_on<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
    ) -> Option<Ticket> {
        let mut paused = None;
        if self.slots.ready.is_empty() {
            return paused;
        }
        let attempt = self.links[link as usize].attempt;
        for place in std::mem::take(&mut self.slots.ready) {
            let slot = self.slots.at(place);
            let Some(side) = slot.asked else { continue };
            slot.heard[usize::from(side == Side::New)] = Some((link, attempt));
            paused = self.replied(turn, place).or(paused);
        }
        paused
    }

    fn replied<C: Clients>(&mut self, turn: &mut Turn<'_, C>, place: u32) -> Option<Ticket> {
        let Some(reply) = self.slots.take_reply(place) else {
            let oversize = Failure::BadReply(Malformed::Oversize);
            return self.lost(turn, place, (Lost::Unknown, oversize));
        };
        let slot = self.slots.at(place);
        let pool = slot.begun.pool as usize;
        let context = self.pools[pool].context(turn.now);
        let State::Running(machine) = &mut slot.state else { return None };
        let step = machine.reply(&reply, &context);
        let event = machine.take_event();
        self.note_event(pool, event);
        self.act(turn, place, step)
    }

    /// A machine's request has failed on its connection.
    pub(in crate::service) fn step_failed<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        id: (u32, u32),
        failure: Failure,
    ) {
        let Some(place) = self.slots.find(id) else { return };
        if self.slots.at(place).asked.is_none() {
            return;
        }
        let unsent = matches!(failure, Failure::Refused | Failure::Unresolved | Failure::Tls);
        let why = if unsent { Lost::Unsent } else { Lost::Unknown };
        self.lost(turn, place, (why, failure));
    }

    fn lost<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        place: u32,
        (why, failure): (Lost, Failure),
    ) -> Option<Ticket> {
        self.slots.take_reply(place);
        let text = failure.text(self.compat);
        let slot = self.slots.at(place);
        let pool = slot.begun.pool as usize;
        let owner = &self.pools[pool];
        let context = owner.context(turn.now);
        let State::Running(machine) = &mut slot.state else { return None };
        let mut step = machine.failed(why, text, &context);
        let event = machine.take_event();
        let ends = matches!(step, Step::Answer(_));
        if ends && owner.settings.dead == Dead::Miss && machine.op().is_lookup() {
            step = Step::Answer(b"END\r\n".to_vec());
        }
        self.note_event(pool, event);
        self.act(turn, place, step)
    }

    /// Ends operations that the fence has held up for too long.
    pub(in crate::service) fn end_waiting<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        while let Some(place) = self.slots.next_overdue(turn.now) {
            let slot = self.slots.at(place);
            let pool = slot.begun.pool as usize;
            let since = slot.parked.take().unwrap_or(turn.now);
            let context = self.pools[pool].context(turn.now);
            let State::Running(machine) = &mut slot.state else { continue };
            let step = machine.failed(Lost::Unsent, FENCED, &context);
            let waited = turn.now.saturating_duration_since(since);
            self.metrics.pools[pool].parked.record(waited);
            self.act(turn, place, step);
        }
    }

    /// An operation has ended: its client is told, and the one behind it begins.
    fn finish<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        place: u32,
        answer: &[u8],
    ) -> Option<Ticket> {
        let slot = self.slots.at(place);
        let begun = slot.begun;
        let State::Running(machine) = std::mem::replace(&mut slot.state, State::Gone) else {
            return None;
        };
        let next = self.slots.close(place, &machine.op().key);
        let outcome = outcome_of(answer);
        self.count_end(turn.now, &begun, (machine.op(), outcome));
        // What has failed may have been done nevertheless.
        if outcome == Outcome::Error {
            self.linger(begun.mark, turn.now);
        } else {
            self.nearby.marks.end(begun.mark);
        }
        let mut paused = match begun.to {
            To::Client(ticket) => {
                let flow = turn.clients.reply(turn.io, ticket, answer, true);
                (flow == Flow::Pause).then_some(ticket)
            }
            To::Part { gather, serial, part } => {
                let whole = self.gathers.take_in((gather, serial), part, answer, Some(outcome));
                if whole { self.complete(turn, gather) } else { None }
            }
            // Nobody, or who does not ask for keys that move.
            _ => None,
        };
        if let Some(next) = next {
            paused = self.begin(turn, next).or(paused);
        }
        paused
    }

    fn count_end(&self, now: Instant, begun: &Begun, (op, outcome): (&Operation, Outcome)) {
        let metrics = &self.metrics.pools[begun.pool as usize];
        metrics.sub(PoolMetric::Expanding, 1);
        if !matches!(begun.to, To::Client(_)) {
            return;
        }
        let took = now.saturating_duration_since(begun.at);
        if op.is_lookup() {
            count_lookup(metrics, outcome);
            metrics.reads.record(took);
        } else {
            metrics.writes.record(took);
        }
        if outcome == Outcome::Error {
            metrics.add(PoolMetric::ForwardErrors, 1);
        }
    }

    fn note_event(&self, pool: usize, event: Option<Event>) {
        let Some(event) = event else { return };
        let metric = match event {
            Event::FallbackHit => PoolMetric::FallbackHits,
            Event::FallbackMiss => PoolMetric::FallbackMisses,
            Event::FillWon => PoolMetric::FillsWon,
            Event::FillLost => PoolMetric::FillsLost,
            Event::ClearFailed => PoolMetric::OldDeleteFailures,
        };
        self.metrics.pools[pool].add(metric, 1);
    }

    /// All servers of the old ring are flushed: now those of the new one; or the other way round if
    /// keys go back.
    pub(in crate::service) fn flush_new<C: Clients>(&mut self, turn: &mut Turn<'_, C>, place: u32) {
        let gather = self.gathers.at(place);
        let new = New { merge: Merge::Same, now: gather.begun, ..gather.as_new() };
        let wire = gather.parts().first().map_or_else(Vec::new, |part| part.wire.clone());
        self.gathers.finish(place);
        let (place, serial) = self.gathers.begin(new);
        let gather = self.gathers.at(place);
        let owner = &self.pools[new.pool as usize];
        for server in owner.reached(Some(owner.flushed_last())) {
            gather.add_part(server, &wire);
        }
        let moves_keys = owner.speaks_redis();
        if moves_keys && !owner.may_act() {
            return self.fail_whole(turn, place, Failure::OutOfSight);
        }
        let expect = if moves_keys { Expect::Resp } else { Expect::Ok };
        self.wary = moves_keys.then_some(new.pool);
        self.send_all(turn, (place, serial), (expect, false));
        self.wary = None;
    }
}

/// What an answer says, as servers' replies are judged.
fn outcome_of(answer: &[u8]) -> Outcome {
    let is = |word: &[u8]| answer.starts_with(word);
    if is(b"SERVER_ERROR") || is(b"CLIENT_ERROR") || is(b"ERROR") {
        Outcome::Error
    } else if is(b"VALUE") || is(b"VA") {
        Outcome::Hit
    } else if is(b"END") || is(b"EN") || is(b"NF") || is(b"NOT_FOUND") {
        Outcome::Miss
    } else {
        Outcome::Done
    }
}

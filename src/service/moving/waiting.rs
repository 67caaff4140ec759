//! Requests that ask whether their keys are in place, and sessions that come and go at the gate.
//!
//! ```text
//!  gate ─┬─ none of its keys moves ─▶ Open
//!        ├─ the pool follows ZooKeeper, and that is out of sight ─▶ Refused
//!        ├─ all of them are known to be in place ─▶ Open: the answer needs the permit as well
//!        ├─ phase fence ─▶ parked
//!        └─ otherwise ─▶ each key is handed over (`handing`)
//! ```
//! The session is not read from meanwhile, so that its requests keep their order; whatever it asks
//! for next, be it a transaction or a command that blocks, finds its keys in place.

use std::time::{Duration, Instant};

use super::gate::{Gated, Key, State, Wait};
use super::way::Way;
use crate::backend::{Failure, Ticket, To};
use crate::config::Expansion;
use crate::metrics::PoolMetric;
use crate::protocol::{Access, Plan, Request};
use crate::routing::Phase;
use crate::service::dispatch::Turn;
use crate::service::pool::Pool;
use crate::service::proxy::{Caller, Proxy};
use crate::service::replies::Clients;

impl Proxy {
    /// Whether requests of a pool have to ask [`Proxy::gate`] first.
    #[inline]
    pub fn is_gated(&self, pool: u16) -> bool {
        self.pools[pool as usize].is_gated()
    }

    /// Whether a request may be served now: all of its keys are where they are to be used. If not,
    /// they are brought there.
    pub fn gate<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
    ) -> Gated {
        self.wary = None;
        let era = self.pools[caller.pool as usize].passage.era();
        let outcome = self.gate.outcome(caller.ticket, era);
        if let Some(gated) = outcome.clone().filter(|gated| *gated != Gated::Open) {
            return gated;
        }
        if !self.concerns_moved(caller.pool, request) {
            return Gated::Open;
        }
        if !self.pools[caller.pool as usize].may_act() {
            // What sessions have begun about such keys is over.
            self.break_conversations(turn, caller.pool, Failure::OutOfSight);
            // The end of a conversation is told by itself.
            let ends = matches!(request.head.command.plan, Plan::Dedicated(_))
                && request.keys().first().is_none();
            return if ends { Gated::Open } else { Gated::Refused(self.rest(caller.pool)) };
        }
        let keys = self.keys_elsewhere(caller.pool, request);
        if outcome.is_some() || keys.is_empty() {
            self.wary = Some(caller.pool);
            return Gated::Open;
        }
        let owner = &self.pools[caller.pool as usize];
        let parks = owner.phase() == Phase::Fence;
        let state = if parks { State::Parked } else { State::Moving };
        let (ticket, lane, left) = (caller.ticket, caller.lane(), keys.len());
        let (pool, since) = (caller.pool, turn.now);
        let wait = Wait { serial: 0, ticket, pool, lane, era, since, state, keys, left };
        let serial = self.gate.insert(wait);
        self.metrics.pools[caller.pool as usize].add(PoolMetric::Expanding, 1);
        if parks {
            let until = turn.now + self.pools[caller.pool as usize].fence_time();
            self.gate.parked.push_back((until, ticket.session, serial));
            return Gated::Wait;
        }
        for key in 0..left as u32 {
            self.move_key(turn, (ticket.session, serial, key));
        }
        // If a server is out of reach that is known by now.
        self.gate.outcome(ticket, era).unwrap_or(Gated::Wait)
    }

    /// Whether a request is about keys that move, or about all there are.
    fn concerns_moved(&self, pool: u16, request: &Request<'_>) -> bool {
        let command = request.head.command;
        let channels = command.access == Access::None && command.plan == Plan::Forward;
        let owner = &self.pools[pool as usize];
        let Some(rings) = owner.rings.as_ref().filter(|_| !channels) else { return false };
        let mut keys = request.keys();
        match command.plan {
            Plan::PubSub(_)
            | Plan::Local(_)
            | Plan::Script
            | Plan::Function
            | Plan::Listeners
            | Plan::Stats => false,
            Plan::Flush | Plan::Concat | Plan::AnyOne | Plan::Scan => true,
            // Of a conversation that knows its keys; what it has begun ends without the permit.
            Plan::Dedicated(_) if keys.first().is_none() => !owner.may_act(),
            _ if keys.first().is_none() => true,
            _ => keys.any(|at| rings.moved(request.arg(at)).is_some()),
        }
    }

    /// What a client is told of keys that move without the permit.
    #[cold]
    fn rest(&mut self, pool: u16) -> Vec<u8> {
        let metrics = &self.metrics.pools[pool as usize];
        metrics.add(PoolMetric::SelfFenced, 1);
        metrics.add(PoolMetric::ForwardErrors, 1);
        self.failure_line(pool, Failure::OutOfSight)
    }

    /// Tells whoever waits for an answer about keys that move that it counts for nothing: it came
    /// without the permit.
    pub(in crate::service) fn out_of_sight<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        to: To,
    ) {
        self.metrics.pools[pool as usize].add(PoolMetric::SelfFenced, 1);
        self.fail(turn, pool, to, Failure::OutOfSight);
    }

    /// The keys of a request that may not be where they are to be used.
    fn keys_elsewhere(&mut self, pool: u16, request: &Request<'_>) -> Vec<Key> {
        let owner = &self.pools[pool as usize];
        let mut keys = Vec::new();
        let Some(rings) = owner.rings.as_ref() else { return keys };
        let value_bytes = owner.carries().unwrap_or_default();
        for name in request.keys().map(|at| request.arg(at)) {
            let Some(servers) = rings.moved(name) else { continue };
            if !self.gate.placed.has(pool, name) {
                let servers = owner.way_of_servers(servers);
                let token = owner.carries().map(|_| self.gate.tokens.next());
                let (name, way, answer) = (name.to_vec(), Way::new(token), Vec::new());
                keys.push(Key { name, servers, way, value_bytes, answer });
            }
        }
        keys
    }

    /// The session asks again; what it asks about is settled.
    pub(super) fn let_through<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        ticket: Ticket,
    ) {
        self.metrics.pools[pool as usize].sub(PoolMetric::Expanding, 1);
        turn.clients.resume(turn.io, ticket);
    }

    /// All that are parked are looked at again: the phase has changed.
    pub(super) fn unpark_sessions<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        for (_, session, serial) in std::mem::take(&mut self.gate.parked) {
            if self.end_park(turn.now, (session, serial)).is_some() {
                self.look_again(turn, session);
            }
        }
    }

    /// What a session waits for is settled otherwise: it asks anew.
    pub(super) fn look_again<C: Clients>(&mut self, turn: &mut Turn<'_, C>, session: u32) {
        let Some(wait) = self.gate.remove(session) else { return };
        if matches!(wait.state, State::Parked | State::Moving) {
            self.let_through(turn, wait.pool, wait.ticket);
        }
    }

    /// The same of all who wait for keys of a pool: its servers have other numbers.
    pub(super) fn look_at_all_again<C: Clients>(&mut self, turn: &mut Turn<'_, C>, pool: u16) {
        let waits = self.gate.waits.iter().filter(|(_, wait)| wait.pool == pool);
        let sessions: Vec<u32> = waits.map(|(session, _)| *session).collect();
        for session in sessions {
            self.look_again(turn, session);
        }
    }

    /// A session that is parked waits no longer: its pool, and its ticket.
    fn end_park(&mut self, now: Instant, (session, serial): (u32, u32)) -> Option<(u16, Ticket)> {
        let wait = self.gate.wait(session, serial)?;
        if !matches!(wait.state, State::Parked) {
            return None;
        }
        let waited = now.saturating_duration_since(wait.since);
        self.metrics.pools[wait.pool as usize].parked.record(waited);
        Some((wait.pool, wait.ticket))
    }

    /// Refuses the requests of those who have been parked for too long.
    pub(in crate::service) fn end_parked<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        while let Some((until, session, serial)) = self.gate.parked.front().copied() {
            if until > turn.now {
                return;
            }
            self.gate.parked.pop_front();
            let ended = self.end_park(turn.now, (session, serial));
            let Some((pool, ticket)) = ended else { continue };
            let line = self.failure_line(pool, Failure::Fenced);
            self.metrics.pools[pool as usize].add(PoolMetric::ForwardErrors, 1);
            if let Some(wait) = self.gate.wait(session, serial) {
                wait.state = State::Failed(line);
            }
            self.let_through(turn, pool, ticket);
        }
    }

    /// A session has gone.
    pub fn forget(&mut self, session: u32) {
        let Some(wait) = self.gate.remove(session) else { return };
        if matches!(wait.state, State::Parked | State::Moving) {
            self.metrics.pools[wait.pool as usize].sub(PoolMetric::Expanding, 1);
        }
    }
}

impl Pool {
    /// How long requests may wait in phase fence.
    fn fence_time(&self) -> Duration {
        let default = || Expansion::default().fence;
        self.settings.expansion.as_ref().map_or_else(default, |expansion| expansion.fence)
    }
}

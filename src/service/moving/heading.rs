//! Which way keys go in a phase, and what becomes of everything else when that changes.
//!
//! | phase | who serves a key that moves | keys go |
//! |---|---|---|
//! | stable, prepare | the old server | – |
//! | prepare, on the way back | the old server | from the new to the old one |
//! | fence | nobody: requests wait | – |
//! | warm, drain | the new server | from the old to the new one |
//! | new | the new server | – |
//!
//! Prepare on the way forwards needs nothing, since the new servers have nothing that moves; whoever
//! cannot know that (the process was started in this phase, has seen a later one, or follows a fleet
//! that may have) has keys come back from them. The phases next to the ends are settled when the servers that keys come from
//! have been looked through twice and had none.

use std::time::Instant;

use crate::backend::Failure;
use crate::config::{Data, Protocol};
use crate::protocol::{Positions, Request};
use crate::routing::Phase;
use crate::service::dispatch::Turn;
use crate::service::expansion::Side;
use crate::service::pool::Pool;
use crate::service::proxy::{Duty, Link, Proxy};
use crate::service::replies::Clients;

/// A pool's phase, and the term of its permit.
#[derive(Clone, Copy, Debug)]
pub(in crate::service) struct Standing {
    phase: Phase,
    term: Option<u64>,
}

impl Pool {
    /// Whether its keys are moved, not copied, when it has two rings.
    pub(in crate::service) fn speaks_redis(&self) -> bool {
        self.settings.protocol == Protocol::Redis
    }

    /// Whether its keys are moved between two rings.
    #[inline]
    pub(in crate::service) fn moves_keys(&self) -> bool {
        self.rings.is_some() && self.speaks_redis()
    }

    /// Whether the proxy carries values between two rings itself, since the pool is a cache: the
    /// bytes of a value at most.
    pub(super) fn carries(&self) -> Option<usize> {
        let moving = &self.settings.expansion.as_ref()?.moving;
        (moving.data == Data::Cache)
            .then(|| usize::try_from(moving.big_key_bytes).unwrap_or(usize::MAX))
    }

    /// What it was in when other rings come.
    pub(in crate::service) fn standing(&self) -> Standing {
        Standing { phase: self.phase(), term: self.term() }
    }

    /// The side that keys come from, if they go anywhere.
    pub(super) fn heading(&self) -> Option<Side> {
        if !self.moves_keys() {
            return None;
        }
        match self.phase() {
            Phase::Warm | Phase::Drain => Some(Side::Old),
            Phase::Prepare if !self.passage.new_is_empty() => Some(Side::New),
            _ => None,
        }
    }

    /// Whether keys go from the new side to the old one.
    pub(in crate::service) fn sends_back(&self) -> bool {
        self.heading() == Some(Side::New)
    }

    /// Whether a request must be looked at before it is served.
    #[inline]
    pub(super) fn is_gated(&self) -> bool {
        let Some(rings) = self.rings.as_ref().filter(|_| self.speaks_redis()) else { return false };
        let follows = rings.pass().is_some() && rings.phase().is_between();
        follows || rings.phase() == Phase::Fence || self.heading().is_some()
    }

    /// The server that a key comes from and the one that it goes to, of its old and its new one.
    pub(super) fn way_of_servers(&self, [old, new]: [usize; 2]) -> [usize; 2] {
        if self.heading() == Some(Side::New) { [new, old] } else { [old, new] }
    }

    /// Whether the phase is settled only when the servers that keys come from are empty.
    pub(in crate::service) fn ends_empty(&self) -> bool {
        self.heading().is_some() && self.phase() != Phase::Warm
    }

    /// Whether one server has every key there is, so that no key need say which.
    pub(in crate::service) fn is_alone(&self) -> bool {
        let Some(rings) = &self.rings else { return self.servers.len() == 1 };
        let [old, new] = rings.rings();
        let ring = match rings.phase() {
            Phase::Stable => old,
            Phase::Prepare if self.passage.new_is_empty() => old,
            Phase::New => new,
            _ => return self.servers.len() == 1,
        };
        ring.shares().iter().filter(|share| **share > 0.0).count() == 1
    }

    /// The servers that together have all keys, those first that keys go away from: who asks one
    /// after the other then misses none that moves meanwhile.
    pub(in crate::service) fn keepers(&self) -> Vec<usize> {
        let Some(rings) = self.rings.as_ref().filter(|_| self.moves_keys()) else {
            return (0..self.count()).collect();
        };
        let from = self.heading().unwrap_or(Side::Old);
        let to = if from == Side::Old { Side::New } else { Side::Old };
        let first = self.reached(Some(from));
        if matches!(rings.phase(), Phase::Stable | Phase::New) {
            return first;
        }
        let gains = |server: &usize| self.gains(*server, to);
        let (mut last, mut all): (Vec<usize>, Vec<usize>) = first.iter().partition(|it| gains(it));
        let more = self.reached(Some(to)).into_iter().filter(|it| !first.contains(it));
        last.extend(more);
        all.extend(last);
        all
    }

    /// Whether keys go to a server when they go to this side.
    fn gains(&self, server: usize, side: Side) -> bool {
        let Some(rings) = &self.rings else { return false };
        let name = &self.settings.servers[server].name;
        let moves = rings.moves().servers.iter().find(|moves| moves.name == *name);
        moves.is_some_and(|it| if side == Side::New { it.gains > 0.0 } else { it.loses > 0.0 })
    }

    /// Whether a key of a request moves between the rings, or may.
    fn may_wander(&self, request: &Request<'_>, mut keys: Positions) -> bool {
        let Some(rings) = &self.rings else { return true };
        keys.any(|at| rings.moved(request.arg(at)).is_some())
    }
}

impl Proxy {
    /// Notes what a connection that a session has for itself is used for.
    pub(in crate::service) fn note_keys(&mut self, link: u32, request: &Request<'_>) {
        let place = &mut self.links[link as usize];
        if !place.wanders {
            place.wanders = self.pools[place.pool as usize].may_wander(request, request.keys());
        }
    }

    /// A pool has come into another phase: what was known of its keys, and what waited for it.
    pub(in crate::service) fn change_heading<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        Standing { phase: before, term }: Standing,
    ) {
        let owner = &self.pools[pool as usize];
        if !owner.speaks_redis() {
            return;
        }
        self.gate.placed.clear();
        let (now, turned) = (owner.phase(), owner.phase().new_serves() != before.new_serves());
        // In another term others may have come by the fence meanwhile, or have been there and back.
        let anew = term.is_some() && owner.term().is_some() && owner.term() != term;
        if anew {
            self.drop_sweepers(pool);
        }
        if now == Phase::Fence && before != Phase::Fence || anew {
            self.break_conversations(turn, pool, Failure::Fenced);
        }
        if turned {
            let stay = (0..self.pools[pool as usize].servers.len()).map(Some).collect();
            self.follow_topics(turn, pool as usize, (&stay, &[]));
        }
        self.set_sweepers(turn.now, pool);
        self.unpark_sessions(turn);
    }

    /// The servers of a pool have other numbers: what was to be asked of them is looked at anew.
    pub(in crate::service) fn renumber_moves<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
    ) {
        self.drop_sweepers(pool);
        self.look_at_all_again(turn, pool);
        if self.pools[pool as usize].moves_keys() {
            self.set_sweepers(turn.now, pool);
        }
    }

    /// Ends what sessions have begun with servers about keys that move: watched keys, queued
    /// commands, commands that wait. Only what is being executed is waited for.
    pub(super) fn break_conversations<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        failure: Failure,
    ) {
        let begun = |link: &Link| {
            let executes = matches!(link.duty, Duty::Lent { over: true, .. });
            let lent = matches!(link.duty, Duty::Lent { .. });
            link.pool == pool && link.wanders && lent && (!executes || link.connection.is_patient())
        };
        let all = 0..self.links.len() as u32;
        let broken: Vec<u32> = all.filter(|&link| begun(&self.links[link as usize])).collect();
        for link in broken {
            self.break_off(turn, link, failure);
        }
    }

    /// Whether anything of a pool that was begun before this time may still be executed, be it that
    /// nobody waits for it any more; what sessions do with connections of their own counts if it
    /// is about keys that move.
    pub(in crate::service) fn owes_from_before(&self, pool: u16, at: Instant) -> bool {
        let counts = |link: &Link| match link.duty {
            Duty::Lent { .. } => link.wanders && !link.connection.is_patient(),
            _ => true,
        };
        // Of what was queued in this very moment nobody knows whether it was before.
        let owed = |link: &Link| link.connection.owed_since().is_some_and(|queued| queued <= at);
        self.links.iter().any(|link| link.pool == pool && counts(link) && owed(link))
    }
}

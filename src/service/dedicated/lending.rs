//! Connections beside those that all sessions share: opened, lent, taken back, closed.

use crate::backend::{Failure, Phase};
use crate::metrics::ServerMetric;
use crate::service::dispatch::Turn;
use crate::service::proxy::{Caller, Duty, Link, Proxy};
use crate::service::replies::Clients;

/// Connections to one server that are kept for the next sessions.
const SPARE: usize = 8;

/// The places of connections beside the shared ones.
#[derive(Debug)]
pub(in crate::service) struct Extra {
    free: Vec<u32>,
    loans: u32,
}

/// A connection that a session has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lent {
    pub(super) link: u32,
    /// Tells this loan from others of the same connection.
    loan: u32,
}

impl Extra {
    /// None.
    pub(in crate::service) const fn new() -> Self {
        Self { free: Vec::new(), loans: 0 }
    }
}

impl Proxy {
    /// A closed connection for `duty`.
    pub(in crate::service) fn open_extra(
        &mut self,
        (pool, server): (u16, u16),
        duty: Duty,
        resp3: bool,
    ) -> u32 {
        let link = self.extra.free.pop().unwrap_or(self.links.len() as u32);
        let mut fresh = Link::new(&self.pools[pool as usize], (pool, server), resp3);
        fresh.duty = duty;
        match self.links.get_mut(link as usize) {
            Some(place) => {
                fresh.attempt = place.attempt;
                *place = fresh;
            }
            None => self.links.push(fresh),
        }
        link
    }

    /// The place of a closed connection is free.
    pub(in crate::service) fn free_extra(&mut self, link: u32) {
        self.report(link);
        self.links[link as usize].duty = Duty::Gone;
        self.extra.free.push(link);
    }

    /// Lends a session a connection to a server of its pool.
    pub(super) fn lend<C>(
        &mut self,
        turn: &Turn<'_, C>,
        caller: Caller,
        server: usize,
    ) -> Result<Lent, Failure> {
        let Caller { pool, resp3, .. } = caller;
        let owner = &mut self.pools[pool as usize];
        let most = owner.settings.limits.dedicated_connections;
        let place = &mut owner.servers[server];
        if !place.health.is_up() || !place.health.may_connect(turn.now) {
            return Err(place.health.last_failure());
        }
        if place.lent >= most {
            return Err(Failure::NoConnection);
        }
        place.lent += 1;
        let spare = place.spare[usize::from(resp3)].pop();
        self.extra.loans = self.extra.loans.wrapping_add(1);
        let loan = self.extra.loans;
        let duty = Duty::Lent { loan, over: false };
        let link = spare.unwrap_or_else(|| self.open_extra((pool, server as u16), duty, resp3));
        self.links[link as usize].duty = duty;
        self.links[link as usize].wanders = false;
        self.metrics.pools[pool as usize].servers[server].add(ServerMetric::Dedicated, 1);
        Ok(Lent { link, loan })
    }

    /// Whether a session still has the connection that it was lent.
    pub(super) fn has(&self, lent: Lent) -> bool {
        matches!(self.links[lent.link as usize].duty, Duty::Lent { loan, .. } if loan == lent.loan)
    }

    /// The session needs the connection only for the replies that it waits for.
    pub(super) fn end_loan<C: Clients>(&mut self, turn: &mut Turn<'_, C>, lent: Lent) {
        if self.has(lent) {
            self.links[lent.link as usize].duty = Duty::Lent { loan: lent.loan, over: true };
            self.end_if_done(turn, lent.link);
        }
    }

    /// The session has gone: nobody may use what it has begun.
    pub(super) fn revoke<C: Clients>(&mut self, turn: &mut Turn<'_, C>, lent: Lent) {
        if self.has(lent) {
            let left = self.links[lent.link as usize].connection.abandon();
            left.iter().for_each(|entry| self.linger(entry.ask.mark, turn.now));
            self.close_unused(turn, lent.link);
            self.take_back(lent.link);
            self.free_extra(lent.link);
        }
    }

    /// Looks whether a connection that is not shared has served its purpose.
    pub(in crate::service) fn end_if_done<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
    ) {
        let place = &self.links[link as usize];
        match place.duty {
            Duty::Upload(_) => self.end_upload_if_done(turn, link),
            Duty::Leaving => self.end_if_left(turn, link),
            Duty::Lent { over: true, .. }
                if place.connection.depth() == 0 && place.connection.phase() == Phase::Ready =>
            {
                self.take_back(link);
                let (pool, server) = place_of(&self.links[link as usize]);
                let left = self.is_leaving((pool, server));
                let place = &mut self.links[link as usize];
                let spare = &mut self.pools[pool].servers[server].spare[usize::from(place.resp3)];
                if !left && spare.len() < SPARE {
                    place.duty = Duty::Spare;
                    spare.push(link);
                } else {
                    self.close_unused(turn, link);
                    self.free_extra(link);
                }
            }
            _ => {}
        }
    }

    /// Such a connection has failed: so has what waits on it.
    pub(in crate::service) fn end_lent<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        failure: Failure,
    ) {
        let (pool, server) = place_of(&self.links[link as usize]);
        let waiting = self.links[link as usize].connection.abandon();
        match self.links[link as usize].duty {
            Duty::Spare => {
                let spare = &mut self.pools[pool].servers[server].spare;
                spare.iter_mut().for_each(|lane| lane.retain(|spare| *spare != link));
            }
            _ => self.take_back(link),
        }
        self.free_extra(link);
        for entry in waiting {
            self.fail_asked(turn, link, &entry.ask, failure);
        }
    }

    /// Ends a loan that its session has not ended: what waits on it fails.
    pub(in crate::service) fn break_off<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        failure: Failure,
    ) {
        let left = self.links[link as usize].connection.abandon();
        self.close_unused(turn, link);
        self.take_back(link);
        self.free_extra(link);
        for entry in left {
            self.fail_asked(turn, link, &entry.ask, failure);
        }
    }

    fn take_back(&mut self, link: u32) {
        let (pool, server) = place_of(&self.links[link as usize]);
        self.pools[pool].servers[server].lent -= 1;
        self.metrics.pools[pool].servers[server].sub(ServerMetric::Dedicated, 1);
    }
}

fn place_of(link: &Link) -> (usize, usize) {
    (link.pool as usize, link.server as usize)
}

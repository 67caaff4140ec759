//! Servers that the configuration does not name any more, or names under another address.
//!
//! ```text
//!  leave_server ─▶ shared: Leaving ─ its last reply ─▶ Gone     spare: Gone
//!               ├▶ lent, upload: as before, until they are over
//!               └▶ subscriber: a moment longer, for what is on its way
//! ```
//! Nothing is cut: what was sent to such a server is answered by it.

use std::time::{Duration, Instant};

use crate::backend::Phase;
use crate::service::dispatch::Turn;
use crate::service::pool::Server;
use crate::service::proxy::{Duty, Link, Proxy};
use crate::service::replies::Clients;

/// How long a session may go on with what it has begun on a connection of its own to a server that
/// is leaving.
const LOAN: Duration = Duration::from_secs(60);

/// How long messages of a server that is leaving are still passed on.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

impl Proxy {
    /// Has the connections of a server that is leaving closed as soon as each owes nothing.
    pub(in crate::service) fn leave_server<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (pool, server): (usize, usize),
    ) {
        let here = |link: &Link| (link.pool as usize, link.server as usize) == (pool, server);
        for number in 0..self.links.len() as u32 {
            let link = &mut self.links[number as usize];
            if !here(link) {
                continue;
            }
            match link.duty {
                Duty::Shared => {
                    link.duty = Duty::Leaving;
                    self.end_if_done(turn, number);
                }
                Duty::Spare => self.drop_extra(turn, number),
                Duty::Lent { over: false, .. } if link.connection.phase() != Phase::Closed => {
                    self.end_by(number, turn.now + LOAN);
                }
                Duty::Subscriber => self.end_by(number, turn.now + LAST_MESSAGES),
                Duty::Lent { .. } | Duty::Upload(_) | Duty::Leaving | Duty::Gone => {}
            }
        }
        let server = &mut self.pools[pool].servers[server];
        server.spare.iter_mut().for_each(Vec::clear);
    }

    /// A server that comes may be one that has not left yet: what it would say to the subscriber
    /// connection of before it says to the new one.
    pub(in crate::service) fn end_former<C>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (pool, server): (usize, usize),
    ) {
        let owner = &self.pools[pool];
        let nodes = &owner.settings.servers;
        let former = (owner.count()..nodes.len())
            .filter(|&leaving| nodes[leaving].address == nodes[server].address)
            .filter_map(|leaving| owner.servers[leaving].subscriber);
        for link in former.collect::<Vec<_>>() {
            self.end_last_messages(turn, link);
        }
    }

    fn end_by(&mut self, link: u32, by: Instant) {
        let due_by = &mut self.links[link as usize].due_by;
        let by = due_by.map_or(by, |due| due.min(by));
        *due_by = Some(by);
        self.arm(link, Some(by));
    }

    /// Closes the connection of a server that is leaving if nothing is owed on it.
    pub(in crate::service) fn end_if_left<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &self.links[link as usize];
        if place.duty == Duty::Leaving && place.connection.depth() == 0 {
            self.close_unused(turn, link);
            self.report(link);
            self.links[link as usize].duty = Duty::Gone;
        }
    }

    /// Whether that is so of a subscriber connection to a server that is leaving.
    pub(super) fn has_had_its_time(&self, link: u32, now: Instant) -> bool {
        let place = &self.links[link as usize];
        self.is_leaving((place.pool.into(), place.server.into()))
            && place.due_by.is_some_and(|by| now >= by)
    }

    /// Whether a server is not one of its pool's any more.
    pub(in crate::service) fn is_leaving(&self, (pool, server): (usize, usize)) -> bool {
        server >= self.pools[pool].count()
    }

    /// A subscriber connection to a server that is leaving has had its time: nobody is told.
    pub(super) fn end_last_messages<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        let (pool, server) = (place.pool as usize, place.server as usize);
        place.asked.clear();
        self.pools[pool].servers[server].subscriber = None;
        self.drop_extra(turn, link);
    }

    fn drop_extra<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        self.close_unused(turn, link);
        self.free_extra(link);
    }

    /// Whether a server that is leaving has no connection left.
    pub(in crate::service) fn has_left(&self, pool: usize, server: usize) -> bool {
        let here = |link: &&Link| (link.pool as usize, link.server as usize) == (pool, server);
        self.links.iter().filter(here).all(|link| link.duty == Duty::Gone)
    }

    /// Places for the shared connections to a server that comes: the number of the first,
    /// and how many.
    pub(in crate::service) fn new_block(
        &mut self,
        pool: usize,
        (server, resp3): (usize, bool),
    ) -> (u32, u32) {
        let count = self.pools[pool].settings.server_connections;
        let free = self.blocks.iter().position(|&(_, has)| has == count);
        let first = free.map_or(self.links.len() as u32, |index| self.blocks.swap_remove(index).0);
        for number in first..first + count {
            let owner = &self.pools[pool];
            let mut link = Link::new(owner, (pool as u16, server as u16), resp3);
            match self.links.get_mut(number as usize) {
                Some(place) => {
                    // What comes of attempts before is nobody's.
                    link.attempt = place.attempt;
                    *place = link;
                }
                None => self.links.push(link),
            }
        }
        (first, count)
    }

    /// The places of a server's shared connections are free.
    pub(in crate::service) fn give_blocks_back(&mut self, server: &Server) {
        let blocks = [Some(server.first), server.first_resp3].into_iter().flatten();
        self.blocks.extend(blocks.map(|first| (first, server.connections)));
    }
}

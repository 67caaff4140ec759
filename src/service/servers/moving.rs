//! A Redis server that may not be written to any more: if its name leads elsewhere by now, so do we.
//!
//! ```text
//!  -READONLY ─▶ recheck ─▶ Resolver ─ other addresses ─▶ moved ─▶ the old one owes nothing: dial
//! ```
//! Only an answer that leaves the old address out ends a connection: a replica that stays one is
//! asked about once a second, and kept (faults F12).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::DIAL_LIMIT;
use crate::backend::{Phase, Stream, name_of, recheck_server};
use crate::config::Protocol;
use crate::service::dispatch::Turn;
use crate::service::pool::Pool;
use crate::service::proxy::{Duty, Proxy};
use crate::service::replies::Clients;

/// How often it is asked about one connection whether its server has moved.
const RECHECK: Duration = Duration::from_secs(1);

/// How long an old server may take over what it was sent before (faults F60).
const LEAVE: Duration = Duration::from_secs(60);

/// The address that [`Proxy::recheck`] compares; none for what does not move: a literal address, a
/// unix socket, a server that never says READONLY. twemproxy does not ask.
pub(super) fn watched_peer(pool: &Pool, server: usize, stream: &Stream) -> Option<IpAddr> {
    let settings = &pool.settings;
    let named = name_of(&settings.servers[server].address).is_some();
    let watched = named && settings.protocol == Protocol::Redis && !pool.compat;
    stream.peer().filter(|_| watched)
}

impl Proxy {
    /// A server has refused a write because it is a replica: asks whether its name leads to
    /// another one now.
    pub(super) fn recheck(&mut self, link: u32, now: Instant) {
        let place = &mut self.links[link as usize];
        let asked = place.rechecked.is_some_and(|at| now < at + RECHECK);
        let Some(peer) = place.peer.filter(|_| !asked && place.duty == Duty::Shared) else {
            return;
        };
        place.rechecked = Some(now);
        let address =
            &self.pools[place.pool as usize].settings.servers[place.server as usize].address;
        let (attempt, to) = ((link, place.attempt), (address, peer));
        recheck_server((&self.inbox, &self.resolver), attempt, to, DIAL_LIMIT);
    }

    /// The name of a server leads elsewhere: connections to the old address get nothing new, and
    /// each is replaced when all that was sent on it is answered.
    pub fn moved<C: Clients>(&mut self, turn: &mut Turn<'_, C>, (link, attempt): (u32, u32)) {
        let Some(place) = self.links.get(link as usize) else { return };
        if place.attempt != attempt || place.connection.phase() != Phase::Ready {
            return;
        }
        let pool = &self.pools[place.pool as usize];
        let server = &pool.servers[place.server as usize];
        let (peer, first) = (place.peer, server.first);
        for link in first..first + server.connections {
            if self.links[link as usize].peer == peer {
                self.leave(turn, link);
            }
        }
    }

    fn leave<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        if place.connection.phase() != Phase::Ready {
            return;
        }
        place.connection.leave();
        place.due_by = Some(turn.now + LEAVE);
        self.arm(link, Some(turn.now + LEAVE));
        self.replace_if_left(turn, link);
    }

    /// Dials anew once a connection that is being left owes nothing; what waits goes on the next.
    pub(super) fn replace_if_left<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &self.links[link as usize];
        if place.connection.phase() != Phase::Ready || !place.connection.may_close() {
            return;
        }
        let settings = &self.pools[place.pool as usize].settings;
        let name = &settings.servers[place.server as usize].name;
        tracing::info!(pool = settings.name, server = name, "server has moved");
        self.close_unused(turn, link);
        self.dial(link);
    }
}

//! The connections that entries are filled over: opened, asked whether they still hear, lost.
//!
//! ```text
//!  fit ─▶ lease ─▶ PING … PONG ─▶ believed until the PING's sending + lease ─▶ PING …
//!                  push ─▶ forgotten here, at once
//!  broken, another role ─▶ all that came over it is gone
//! ```
//! What a server tells comes in the order in which it happened, before the answer to whatever was
//! asked afterwards: the answer to a PING proves that nothing said before it is missing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Ask, Entry, Phase, To};
use crate::cache::near::{Lease, Near, Time};
use crate::config::Protocol;
use crate::metrics::PoolMetric;
use crate::protocol::{Expect, Outcome, Span, redis};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Duty, Hearing, Lane, Proxy};
use crate::service::replies::{Clients, Sink};

/// Questions in the time of a lease.
const PROOFS_PER_LEASE: u32 = 3;

/// After which writes that wait for ever are taken to have ended, when a near cache begins.
const WRITES_END: Duration = Duration::from_secs(10);

/// Where no one has to be heard of, because age alone counts.
const FOR_EVER: Time = Time::from_millis(u64::MAX);

impl Proxy {
    /// A new connection is fit for use: what comes over it may be kept.
    pub(in crate::service) fn trust<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &self.links[link as usize];
        let (pool, server) = (place.pool, place.server as usize);
        if place.duty != Duty::Shared {
            return;
        }
        let Some(near) = self.nearby.of(pool) else { return };
        let lease = near.open();
        let (tracking, wants) = (place.connection.is_tracking(), near.wants_tracking());
        if let (Some(lease), false) = (lease, tracking) {
            near.extend(lease, FOR_EVER);
        }
        self.links[link as usize].lease = lease;
        let place = &self.links[link as usize];
        if wants && place.resp3 {
            self.note_tracking(turn.now, (pool, server), place.connection.is_tracking());
        } else if wants
            && self.pools[pool as usize].servers[server].refuses_tracking
            && !self.speaks_resp3(pool, server)
        {
            // It may be another version by now.
            self.pools[pool as usize].servers[server].refuses_tracking = false;
        }
        if tracking {
            self.hears(link, Hearing::Now);
            self.prove(turn, link);
        }
    }

    /// Whether there is a connection on which a server has said in RESP3 whether it tells.
    fn speaks_resp3(&self, pool: u16, server: usize) -> bool {
        self.links.iter().any(|link| {
            (link.pool, link.server as usize, link.duty) == (pool, server, Duty::Shared)
                && link.resp3
                && link.connection.phase() == Phase::Ready
        })
    }

    /// A server tells of changes, or will not: then age alone bounds what is kept of it.
    pub(in crate::service) fn note_tracking(
        &mut self,
        now: Instant,
        (pool, server): (u16, usize),
        tells: bool,
    ) {
        let metrics = &self.metrics.pools[pool as usize];
        let place = &mut self.pools[pool as usize].servers[server];
        if place.refuses_tracking != tells {
            return;
        }
        place.refuses_tracking = !tells;
        if !tells {
            metrics.add(PoolMetric::TrackingRefused, 1);
            metrics.set(PoolMetric::NearCoherent, 0);
            self.note_refused_tracking(now, (pool as usize, server));
        }
    }

    /// Asks a server that tells of changes whether it is still there.
    pub(in crate::service) fn prove<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        place.prove_at = None;
        let ready = place.connection.phase() == Phase::Ready && place.connection.is_tracking();
        if !ready || place.lease.is_none() {
            return;
        }
        let Some(near) = self.nearby.of(place.pool) else { return };
        let again = turn.now + near.settings().lease / PROOFS_PER_LEASE;
        place.prove_at = Some(again);
        let ask = Ask {
            to: To::Proof,
            expect: Expect::Resp,
            read: false,
            key: Span::default(),
            may_miss: false,
            patient: false,
            mark: 0,
        };
        self.arm(link, Some(again));
        let mut ping = Vec::new();
        redis::write_command([b"PING".as_slice()].into_iter(), &mut ping);
        self.send(turn, link, ask, &[&ping]);
    }

    /// Nothing that came over a connection is believed any more.
    pub(in crate::service) fn distrust(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        place.prove_at = None;
        let Some(lease) = place.lease.take() else { return };
        let pool = place.pool;
        if place.hearing == Hearing::Now {
            self.hears(link, Hearing::Before);
        }
        if let Some(near) = self.nearby.of(pool) {
            near.close(lease);
            self.metrics.pools[pool as usize].add(PoolMetric::NearEpochs, 1);
        }
    }

    /// Notes whether a server is heard over a connection, and whether all are that should be.
    fn hears(&mut self, link: u32, hearing: Hearing) {
        let place = &mut self.links[link as usize];
        let pool = place.pool as usize;
        let owner = &mut self.pools[pool];
        match (std::mem::replace(&mut place.hearing, hearing), hearing) {
            (Hearing::Before, Hearing::Now) => owner.unheard -= 1,
            (Hearing::Now, Hearing::Before) => owner.unheard += 1,
            _ => {}
        }
        let refused = owner.servers.iter().any(|server| server.refuses_tracking);
        let coherent = owner.unheard == 0 && !refused;
        self.metrics.pools[pool].set(PoolMetric::NearCoherent, u64::from(coherent));
    }

    /// A pool may have another near cache, and its keys other servers.
    pub(in crate::service) fn change_near<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: usize,
        (near, same_ring): (Option<&Arc<Near>>, bool),
    ) {
        self.nearby.nears.resize(self.pools.len().max(pool + 1), None);
        let before = self.nearby.nears[pool].clone();
        if before.as_ref().map(Arc::as_ptr) == near.map(Arc::as_ptr) {
            if !same_ring {
                self.ring_changed(pool as u16);
            }
            return;
        }
        let links: Vec<u32> = (0..)
            .zip(&self.links)
            .filter(|(_, link)| link.pool as usize == pool && link.duty == Duty::Shared)
            .filter(|(_, link)| link.connection.phase() == Phase::Ready)
            .map(|(number, _)| number)
            .collect();
        links.iter().for_each(|link| self.distrust(*link));
        self.nearby.nears[pool] = near.cloned();
        if let Some(near) = near {
            // Writes that are under way are marked elsewhere, if at all.
            let timeout = self.pools[pool].settings.timeout.unwrap_or(WRITES_END);
            self.nearby.hold_off(near, turn.now + timeout);
        }
        links.iter().for_each(|link| self.trust(turn, *link));
    }

    /// Keys have other servers now.
    pub(in crate::service) fn ring_changed(&mut self, pool: u16) {
        #[cfg(test)]
        if self.nearby.errs_at_rings(pool) {
            return;
        }
        if let Some(near) = self.nearby.of(pool) {
            near.flush();
        }
    }

    /// The server of a connection is another one now, or not what it was: what it said before does
    /// not count.
    pub(in crate::service) fn trust_anew<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        if self.links[link as usize].lease.is_some() {
            self.distrust(link);
            self.trust(turn, link);
        }
    }

    /// The connection over which a fill for a session may go now, what it stands for, and whether
    /// the server tells of changes on it.
    pub(super) fn trusted_link<C>(
        &mut self,
        turn: &Turn<'_, C>,
        (pool, server): (u16, usize),
        lane: Lane,
    ) -> Option<(u32, Lease, bool)> {
        let owner = &self.pools[pool as usize];
        let wants = self.nearby.of(pool)?.wants_tracking();
        let tells = wants && !owner.servers[server].refuses_tracking;
        let lane = if tells { Lane { resp3: true, ..lane } } else { lane };
        let memcache = owner.settings.protocol == Protocol::Memcache;
        let link = self.connection(pool, server, lane);
        if self.links[link as usize].connection.phase() == Phase::Closed {
            // The next one may find it open; whoever asks now goes the usual way.
            let _ = self.reach(link, turn.now);
            return None;
        }
        let place = &self.links[link as usize];
        let ready = place.connection.phase() == Phase::Ready && !place.connection.is_left();
        let able = if memcache { place.connection.speaks_meta() } else { true };
        let tracked = place.connection.is_tracking();
        (ready && able && (tracked || !tells)).then_some((link, place.lease?, tracked))
    }
}

impl<C: Clients> Sink<'_, C> {
    /// A server has answered whether it is still there.
    pub(in crate::service) fn proven(&mut self, entry: &Entry, end: Option<Outcome>) {
        let good = matches!(end, Some(Outcome::Hit | Outcome::Done));
        let Some(near) = self.nearby.of(self.pool).filter(|_| good) else { return };
        if let Some(lease) = self.lease {
            let sent = near.time(entry.queued);
            near.extend(lease, sent.after(near.settings().lease.as_millis() as u64));
        }
    }

    /// A server tells what has changed: `>2 invalidate [keys]`, or nil for everything.
    pub(in crate::service) fn told(&mut self, push: &[u8]) {
        let Some(near) = self.nearby.of(self.pool) else { return };
        let forgotten = match invalidated(push) {
            Some(Invalid::Keys(keys)) => forget_all(near, keys, near.time(self.now)),
            Some(Invalid::Everything) => {
                near.flush();
                1
            }
            None => 0,
        };
        self.metrics.add(PoolMetric::NearPushes, forgotten);
    }
}

fn forget_all<'p>(near: &Near, keys: impl Iterator<Item = &'p [u8]>, now: Time) -> u64 {
    let mut count = 0;
    for name in keys {
        if let Some(key) = near.key(name) {
            near.forget(key, now);
            count += 1;
        }
    }
    count
}

enum Invalid<I> {
    Keys(I),
    Everything,
}

/// What a push says has changed; `None` if it is about something else.
fn invalidated(push: &[u8]) -> Option<Invalid<impl Iterator<Item = &[u8]>>> {
    let mut parts = redis::push_elements(push)?;
    let kind = parts.next()?.of(push);
    match redis::bulk_text(kind)? {
        b"invalidate" => {}
        // A connection that invalidations were to go to is gone: nothing is known any more.
        b"tracking-redir-broken" => return Some(Invalid::Everything),
        _ => return None,
    }
    let keys = parts.next()?.of(push);
    match redis::elements(keys) {
        Some(names) => {
            Some(Invalid::Keys(names.filter_map(move |name| redis::bulk_text(name.of(keys)))))
        }
        None => Some(Invalid::Everything),
    }
}

#[cfg(test)]
mod tests {
    use super::{Invalid, invalidated};

    fn keys(push: &[u8]) -> Option<Vec<Vec<u8>>> {
        match invalidated(push)? {
            Invalid::Keys(keys) => Some(keys.map(<[u8]>::to_vec).collect()),
            Invalid::Everything => None,
        }
    }

    #[test]
    fn pushes_are_read_as_redis_writes_them() {
        // As captured from redis-server 7.0.15.
        let one = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
        assert_eq!(keys(one), Some(vec![b"k".to_vec()]));
        let two = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\nk\r\n$3\r\n\r\n\0\r\n";
        assert_eq!(keys(two), Some(vec![b"k".to_vec(), b"\r\n\0".to_vec()]));
        let all = invalidated(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        assert!(matches!(all, Some(Invalid::Everything)));
        assert!(invalidated(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n").is_none());
    }
}

//! The router of a pool: which server has a key, and why.

use std::sync::Arc;

use crate::config::{Distribution, Routing};
use crate::routing::key::KeyHash;
use crate::routing::points::{self, Member, Point};
use crate::routing::ring::Ring;
use crate::routing::slots::{Random, Slots};
use crate::topology::Server;

/// Gives each key a server. Immutable; a change of liveness makes another one. A clone costs next to
/// nothing: it shares the ring.
///
/// Servers are known by their index in the list that the router was made from.
#[derive(Clone, Debug)]
pub struct Router {
    keys: KeyHash,
    distribution: Distribution,
    /// All servers, dead ones too.
    servers: Arc<[Member]>,
    /// The only live server, if there is but one: it has every key, and nothing is hashed.
    sole: Option<u32>,
    table: Table,
}

#[derive(Clone, Debug)]
enum Table {
    Ring(Ring),
    Slots(Slots),
    Random(Random),
}

/// How a key came to its server, for the operator who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<'k> {
    /// The part of the key that counts: what the hash tag leaves of it.
    pub counted: &'k [u8],
    /// Its hash. Nobody asks for it if only one server is live or the distribution is random.
    pub hash: u32,
    /// The point of the ring that has the hash; `None` without a ring.
    pub point: Option<u32>,
    /// Index of the server; `None` if no server is live.
    pub server: Option<usize>,
}

impl Router {
    /// A router over `servers`, all live. They stand in ring order (`topology::ring_order`), or
    /// modula slots and shared points go to the wrong ones.
    pub fn new(routing: &Routing, servers: &[Server]) -> Self {
        let member = |(server, known): (u32, &Server)| Member {
            server,
            name: known.name.as_bytes().into(),
            weight: known.weight,
        };
        let servers: Arc<[Member]> = (0..).zip(servers).map(member).collect();
        let live = servers.to_vec();
        Self::over(&live, KeyHash::new(routing), routing.distribution, servers)
    }

    /// A router over `some` servers, which are known by their index in the list `all`: the one of
    /// the same name. Those that are not in it get no keys. Both stand in ring order.
    pub fn within(routing: &Routing, all: &[Server], some: &[Server]) -> Self {
        let members = Self::new(routing, all).servers;
        let place = |known: &Server| {
            let (server, _) = (0..).zip(all).find(|(_, other)| other.name == known.name)?;
            Some(Member { server, name: known.name.as_bytes().into(), weight: known.weight })
        };
        let live: Vec<Member> = some.iter().filter_map(place).collect();
        Self::over(&live, KeyHash::new(routing), routing.distribution, members)
    }

    /// The same pool with only those servers that are true in `live`, one entry per server; servers
    /// past its end count as dead. Shares of the ring are worked out anew over the live ones.
    pub fn with_live(&self, live: &[bool]) -> Self {
        let alive = self.servers.iter().zip(live).filter(|(_, live)| **live);
        let members: Vec<Member> = alive.map(|(member, _)| member.clone()).collect();
        let servers = Arc::clone(&self.servers);
        Self::over(&members, self.keys, self.distribution, servers)
    }

    fn over(
        live: &[Member],
        keys: KeyHash,
        distribution: Distribution,
        servers: Arc<[Member]>,
    ) -> Self {
        let table = match distribution {
            Distribution::Ketama => Table::Ring(Ring::new(points::ketama(live))),
            Distribution::KetamaFnv { points, name_cut } => {
                Table::Ring(Ring::new(points::fnv(live, points, name_cut)))
            }
            Distribution::Modula => Table::Slots(Slots::new(live)),
            Distribution::Random => Table::Random(Random::new(live)),
        };
        let sole = match live {
            [only] => Some(only.server),
            _ => None,
        };
        Self { keys, distribution, servers, sole, table }
    }

    /// Index of the server that has the key; `None` only if no server is live.
    #[inline]
    pub fn server_of(&self, key: &[u8]) -> Option<usize> {
        let server = match (self.sole, &self.table) {
            (Some(sole), _) => Some(sole),
            (None, Table::Ring(ring)) => ring.at(self.keys.of(key)).map(|point| point.server),
            (None, Table::Slots(slots)) => slots.at(self.keys.of(key)),
            (None, Table::Random(random)) => random.draw(),
        };
        server.map(|server| server as usize)
    }

    /// The hash of a key, for [`Router::server_of_hash`] of every router that hashes alike.
    #[inline]
    pub(super) fn hash_of(&self, key: &[u8]) -> u32 {
        self.keys.of(key)
    }

    /// Index of the server that has a hash; `None` if no server is live or the distribution is
    /// random.
    #[inline]
    pub(crate) fn server_of_hash(&self, hash: u32) -> Option<usize> {
        let server = match (self.sole, &self.table) {
            (_, Table::Random(_)) => None,
            (Some(sole), _) => Some(sole),
            (None, Table::Ring(ring)) => ring.at(hash).map(|point| point.server),
            (None, Table::Slots(slots)) => slots.at(hash),
        };
        server.map(|server| server as usize)
    }

    /// Whether the same key always goes to the same server.
    pub const fn places_keys(&self) -> bool {
        self.sole.is_some() || !matches!(self.table, Table::Random(_))
    }

    /// The hash tag of a key, if it has one that counts.
    pub fn tag_of<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let counted = self.keys.counted(key);
        (counted.len() < key.len()).then_some(counted)
    }

    /// The same with every step on the way. Under random each question is a draw of its own.
    pub fn explain<'k>(&self, key: &'k [u8]) -> Located<'k> {
        let hash = self.keys.of(key);
        Located {
            counted: self.keys.counted(key),
            hash,
            point: match &self.table {
                Table::Ring(ring) => ring.at(hash).map(|point| point.value),
                Table::Slots(_) | Table::Random(_) => None,
            },
            server: self.server_of(key),
        }
    }

    /// The points of the ring as (value, server index), by value; none for modula and random.
    pub fn points(&self) -> impl Iterator<Item = (u32, usize)> {
        self.ring_points().iter().map(|point| (point.value, point.server as usize))
    }

    /// How many points each server has on the ring, by server index; 0 for dead ones, and for all
    /// under modula and random.
    pub fn point_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.servers.len()];
        for (_, server) in self.points() {
            counts[server] += 1;
        }
        counts
    }

    /// Each server's part of all keys, by server index, 1 in all (0 if no server is live), for keys
    /// whose hashes spread evenly over 32 bits: those of `crc32` do not.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.servers.len()];
        match &self.table {
            Table::Ring(ring) => ring.add_shares(&mut shares),
            Table::Slots(slots) => slots.add_shares(&mut shares),
            Table::Random(random) => random.add_shares(&mut shares),
        }
        shares
    }

    fn ring_points(&self) -> &[Point] {
        match &self.table {
            Table::Ring(ring) => ring.points(),
            Table::Slots(_) | Table::Random(_) => &[],
        }
    }
}

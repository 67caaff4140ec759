//! What a source gives a pool in the place of what the file says: servers, and perhaps two rings.

use crate::config::{Expansion, Pool};
use crate::topology::{DeadOld, Phase, Server, ring_order};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The servers, of both rings if there are two, names unique.
    pub servers: Vec<Server>,
    /// The way from one ring to the other.
    pub walk: Option<Walk>,
}

/// Two rings, and how far the pool has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// How far.
    pub phase: Phase,
    /// See [`Expansion::term`].
    pub term: u64,
    /// The old ring.
    pub current: Vec<Server>,
    /// The new one.
    pub target: Vec<Server>,
    /// Which old servers are given up.
    pub dead_old: DeadOld,
    /// Keys that stay at their old servers.
    pub pin: Vec<Vec<u8>>,
}

impl Given {
    /// The servers of a pool, as they are.
    pub(in crate::control) fn of(pool: &Pool) -> Self {
        Self { servers: pool.servers.clone(), walk: None }
    }

    /// Gives it to the pool, which keeps its times.
    pub fn put(&self, pool: &mut Pool) {
        let ordered = |servers: &[Server]| {
            let mut servers = servers.to_vec();
            ring_order(&mut servers);
            servers
        };
        pool.servers = ordered(&self.servers);
        let mut times = pool.expansion.take().unwrap_or_default();
        times.moving.pin = self.walk.as_ref().map(|walk| walk.pin.clone()).unwrap_or_default();
        pool.expansion = Some(match &self.walk {
            Some(Walk { phase, term, current, target, dead_old, .. }) => Expansion {
                phase: *phase,
                term: *term,
                current: ordered(current),
                target: ordered(target),
                dead_old: dead_old.clone(),
                ..times
            },
            None => times.without_rings(),
        });
    }
}

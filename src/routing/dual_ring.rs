//! Two rings side by side: the servers of a key while a pool goes from the one to the other.
//!
//! ```text
//!             ┌─▶ old ring ─▶ server ┐
//!  key ─▶ hash┤                      ├─ the same: all is as ever │ not: the key moves
//!             └─▶ new ring ─▶ server ┘
//! ```
//! The servers of both stand in one list, by node name: one that is in both is one server.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::Routing;
use crate::routing::moves::Moves;
use crate::routing::permit::Pass;
use crate::routing::router::Router;
use crate::topology::{DeadOld, GivenUp, Phase, Server};

/// Two rings and how far the pool has come from the old to the new one. Immutable.
#[derive(Debug)]
pub struct DualRing {
    phase: Phase,
    old: Arc<Router>,
    new: Arc<Router>,
    moves: Arc<Moves>,
    pass: Option<Pass>,
    /// Keys that stay at their old server.
    pinned: Arc<HashSet<Vec<u8>>>,
    /// Servers of the old ring that are given up, by their indices.
    given_up: Vec<(usize, GivenUp)>,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this server alone.
    One(usize),
    /// It moves.
    Moved {
        /// Index of the server that has had it.
        old: usize,
        /// Index of the server that gets it.
        new: usize,
    },
}

impl DualRing {
    /// Rings over the servers `old` and `new`, all of which are in the list `all`, each list in
    /// ring order. Both hash keys as `routing` says.
    pub fn new(
        routing: &Routing,
        all: &[Server],
        (old, new): (&[Server], &[Server]),
        phase: Phase,
    ) -> Self {
        let moves = Arc::new(Moves::between(routing, old, new));
        let [old, new] = [old, new].map(|ring| Arc::new(Router::within(routing, all, ring)));
        Self { phase, old, new, moves, pass: None, pinned: Arc::default(), given_up: Vec::new() }
    }

    /// The same rings, but these keys stay where the old one has them, in every phase.
    pub fn pinning(self, keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { pinned: Arc::new(keys.into_iter().collect()), ..self }
    }

    /// The same rings over the servers `all`, of which these old ones are given up, and no others.
    pub fn giving_up(self, all: &[Server], dead_old: &DeadOld) -> Self {
        let servers = all.iter().enumerate();
        let given_up =
            servers.filter_map(|(at, it)| Some((at, *dead_old.get(&it.name)?))).collect();
        Self { given_up, ..self }
    }

    /// The servers that are given up, by their indices, and how far.
    pub fn given_up(&self) -> &[(usize, GivenUp)] {
        &self.given_up
    }

    /// The keys that stay.
    pub fn pinned(&self) -> impl Iterator<Item = &[u8]> {
        self.pinned.iter().map(Vec::as_slice)
    }

    /// The same rings in another phase.
    pub fn at_phase(&self, phase: Phase) -> Self {
        let [old, new] = [&self.old, &self.new].map(Arc::clone);
        let (moves, pinned) = (Arc::clone(&self.moves), Arc::clone(&self.pinned));
        let given_up = self.given_up.clone();
        Self { phase, old, new, moves, pass: self.pass.clone(), pinned, given_up }
    }

    /// The same rings by another permit; `None`: by nobody's.
    pub fn with_pass(self, pass: Option<Pass>) -> Self {
        Self { pass, ..self }
    }

    /// By which permit keys that move are acted on, if one is needed.
    pub fn pass(&self) -> Option<&Pass> {
        self.pass.as_ref()
    }

    /// How far the pool has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The phase that keys are in which move away from the server of this index: ahead of the
    /// others' if it is given up.
    pub fn phase_of(&self, old: usize) -> Phase {
        let given_up = self.given_up.iter().find(|(at, _)| *at == old);
        given_up.map_or(self.phase, |(_, it)| it.phase(self.phase))
    }

    /// The phases that keys are in.
    pub fn phases(&self) -> impl Iterator<Item = Phase> {
        let ahead = self.given_up.iter().map(|(_, it)| it.phase(self.phase));
        std::iter::once(self.phase).chain(ahead)
    }

    /// The old ring, and the new one.
    pub fn rings(&self) -> [&Router; 2] {
        [&self.old, &self.new]
    }

    /// The place of a key; `None` only if a ring has no servers.
    #[inline]
    pub fn place(&self, key: &[u8]) -> Option<Place> {
        match self.phase {
            Phase::Stable => self.old.server_of(key).map(Place::One),
            _ if self.is_pinned(key) => self.old.server_of(key).map(Place::One),
            Phase::New => self.new.server_of(key).map(Place::One),
            _ => self.both(self.old.hash_of(key)),
        }
    }

    /// The server that serves a key where each key has but one: the old one until phase warm, then
    /// the new one. `None` only if that ring has no servers.
    #[inline]
    pub fn serving(&self, key: &[u8]) -> Option<usize> {
        let new = self.phase.new_serves() && !self.is_pinned(key);
        if new { self.new.server_of(key) } else { self.old.server_of(key) }
    }

    /// The old and the new server of a key that moves, whatever the phase; `None` if it does not.
    #[inline]
    pub fn moved(&self, key: &[u8]) -> Option<[usize; 2]> {
        match self.both(self.old.hash_of(key))? {
            Place::Moved { old, new } if !self.is_pinned(key) => Some([old, new]),
            _ => None,
        }
    }

    #[inline]
    fn is_pinned(&self, key: &[u8]) -> bool {
        !self.pinned.is_empty() && self.pinned.contains(key)
    }

    #[inline]
    fn both(&self, hash: u32) -> Option<Place> {
        let (old, new) = (self.old.server_of_hash(hash)?, self.new.server_of_hash(hash)?);
        Some(if old == new { Place::One(old) } else { Place::Moved { old, new } })
    }

    /// How much moves between the rings, whatever the phase.
    pub fn moves(&self) -> &Moves {
        &self.moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Distribution, Hash, HashChar};
    use crate::topology::ring_order;

    fn routing(distribution: Distribution) -> Routing {
        let (hash, hash_char) = (Hash::Md5, HashChar::Signed);
        Routing { hash, hash_char, hash_tag: None, distribution }
    }

    fn servers(names: &[&str]) -> Vec<Server> {
        let entry = |name: &&str| format!("10.0.0.1:11211:1 {name}").parse().unwrap();
        let mut servers: Vec<Server> = names.iter().map(entry).collect();
        ring_order(&mut servers);
        servers
    }

    const DISTRIBUTIONS: [Distribution; 2] = [Distribution::Ketama, Distribution::Modula];

    #[test]
    fn each_ring_is_the_one_that_its_servers_alone_make() {
        let all = servers(&["a", "b", "c", "dd", "e"]);
        let (old, new) = (servers(&["a", "c", "e", "dd"]), servers(&["a", "b", "c", "e"]));
        for distribution in DISTRIBUTIONS {
            let routing = routing(distribution);
            let rings = DualRing::new(&routing, &all, (&old, &new), Phase::Warm);
            let [stable, ended] = [Phase::Stable, Phase::New].map(|phase| rings.at_phase(phase));
            let alone = [&old, &new].map(|ring| Router::new(&routing, ring));
            for number in 0..400 {
                let key = format!("key:{number}");
                let name = |ring: &[Server], router: &Router| {
                    ring[router.server_of(key.as_bytes()).unwrap()].name.clone()
                };
                let wanted = [name(&old, &alone[0]), name(&new, &alone[1])];
                let found = |rings: &DualRing| match rings_at(rings, &key) {
                    Place::One(at) => [all[at].name.clone(), all[at].name.clone()],
                    Place::Moved { old, new } => [all[old].name.clone(), all[new].name.clone()],
                };
                assert_eq!(found(&rings), wanted);
                assert_eq!(found(&stable), [wanted[0].clone(), wanted[0].clone()]);
                assert_eq!(found(&ended), [wanted[1].clone(), wanted[1].clone()]);
            }
        }
    }

    fn rings_at(rings: &DualRing, key: &str) -> Place {
        rings.place(key.as_bytes()).unwrap()
    }

    #[test]
    fn the_moved_share_is_what_keys_show() {
        let all = servers(&["a", "b", "c", "d", "e"]);
        let old = servers(&["a", "b", "c", "d"]);
        for distribution in DISTRIBUTIONS {
            let rings = DualRing::new(&routing(distribution), &all, (&old, &all), Phase::Warm);
            let moves = rings.moves();
            let keys = 40_000;
            let (mut moved, mut to) = (0, vec![0; 5]);
            for number in 0..keys {
                if let Place::Moved { new, .. } = rings_at(&rings, &format!("key:{number}")) {
                    moved += 1;
                    to[new] += 1;
                }
            }
            let close = |share: f64, count: i32| (share - f64::from(count) / f64::from(keys)).abs();
            assert!(close(moves.share, moved) < 0.01, "{moves:?} {moved}");
            for (server, count) in moves.servers.iter().zip(to) {
                assert!(close(server.gains, count) < 0.01, "{moves:?}");
            }
            if distribution == Distribution::Ketama {
                assert!((0.1..0.3).contains(&moves.share), "one of five: {moves:?}");
            }
        }
    }

    #[test]
    fn a_pinned_key_stays_and_no_other() {
        let all = servers(&["a", "b", "c"]);
        let rings =
            DualRing::new(&routing(Distribution::Ketama), &all, (&all[..2], &all), Phase::Warm);
        let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
        let moved = |rings: &DualRing| -> Vec<String> {
            keys.iter().filter(|key| rings.moved(key.as_bytes()).is_some()).cloned().collect()
        };
        let before = moved(&rings);
        let (pinned, old) = (&before[0], rings.moved(before[0].as_bytes()).unwrap()[0]);
        let rings = rings.pinning([pinned.clone().into_bytes()]);
        assert_eq!(moved(&rings), before[1..]);
        for phase in Phase::ALL {
            let rings = rings.at_phase(phase);
            assert_eq!(rings.place(pinned.as_bytes()), Some(Place::One(old)), "{phase:?}");
            assert_eq!(rings.serving(pinned.as_bytes()), Some(old), "{phase:?}");
            let [old, new] = rings.moved(before[1].as_bytes()).unwrap();
            let serving = if phase.new_serves() { new } else { old };
            assert_eq!(rings.serving(before[1].as_bytes()), Some(serving), "{phase:?}");
        }
    }

    #[test]
    fn a_pool_of_one_server_grows() {
        let (all, old) = (servers(&["a", "b"]), servers(&["a"]));
        let routing = routing(Distribution::Ketama);
        let rings = DualRing::new(&routing, &all, (&old, &all), Phase::Prepare);
        let place = |number: i32| rings_at(&rings, &format!("key:{number}"));
        assert!((0..100).any(|number| place(number) == Place::One(0)));
        assert!((0..100).any(|number| place(number) == Place::Moved { old: 0, new: 1 }));
    }
}

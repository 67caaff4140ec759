//! How many keys change their server when a pool's servers change.

use std::collections::HashMap;

use crate::config::{Distribution, Routing};
use crate::routing::router::Router;
use crate::topology::{Server, ring_order};

/// Parts of all hashes, 0 to 1, for keys whose hashes spread evenly over 32 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Moves {
    /// What changes its server.
    pub share: f64,
    /// For each server of either list, in ring order.
    pub servers: Vec<ServerMoves>,
}

/// A server's part in it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerMoves {
    /// Its name.
    pub name: String,
    /// What it has before and after.
    pub shares: (f64, f64),
    /// What it gets from others.
    pub gains: f64,
    /// What others get from it.
    pub loses: f64,
}

/// Hashes looked at where there is no ring: all of the period, if it has no more than these.
const SAMPLES: u64 = 1 << 20;
const SPACE: u64 = 1 << 32;

impl Moves {
    /// From the servers `old` to `new`, names unique in each. Under random no key has a server, so
    /// none moves.
    pub fn between(routing: &Routing, old: &[Server], new: &[Server]) -> Self {
        let sorted = |servers: &[Server]| {
            let mut servers = servers.to_vec();
            ring_order(&mut servers);
            servers
        };
        let (old, new) = (sorted(old), sorted(new));
        let routers = (Router::new(routing, &old), Router::new(routing, &new));
        let mut tally = Tally::new(&old, &new);
        match routing.distribution {
            Distribution::Ketama | Distribution::KetamaFnv { .. } => {
                let mut ends: Vec<u32> = [&routers.0, &routers.1]
                    .iter()
                    .flat_map(|router| router.points().map(|(value, _)| value))
                    .collect();
                // Hashes past the last point, which go to the first.
                ends.push(u32::MAX);
                ends.sort_unstable();
                ends.dedup();
                let mut begin = 0_u64;
                for end in ends {
                    let next = u64::from(end) + 1;
                    tally.add(&routers, end, next - begin);
                    begin = next;
                }
            }
            Distribution::Modula => {
                let period = period(&old, &new);
                let step = if period <= SAMPLES { 1 } else { SPACE / SAMPLES };
                for sample in 0..period.min(SAMPLES) {
                    tally.add(&routers, (sample * step) as u32, 1);
                }
            }
            Distribution::Random => {}
        }
        tally.moves()
    }
}

/// After so many hashes modula's answers repeat.
fn period(old: &[Server], new: &[Server]) -> u64 {
    let weight = |servers: &[Server]| -> u64 {
        servers.iter().map(|server| u64::from(server.weight)).sum::<u64>().max(1)
    };
    let (a, b) = (weight(old), weight(new));
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}

/// Hashes by who has them before and after.
struct Tally {
    /// Names in ring order, and each list's servers as places in them.
    names: Vec<String>,
    old: Vec<usize>,
    new: Vec<usize>,
    /// Before, after, gained, lost.
    counts: Vec<[u64; 4]>,
    moved: u64,
    all: u64,
}

impl Tally {
    fn new(old: &[Server], new: &[Server]) -> Self {
        let mut union: Vec<Server> = old.to_vec();
        let known: HashMap<&str, ()> = old.iter().map(|it| (it.name.as_str(), ())).collect();
        union.extend(new.iter().filter(|it| !known.contains_key(it.name.as_str())).cloned());
        ring_order(&mut union);
        let names: Vec<String> = union.into_iter().map(|server| server.name).collect();
        let places: HashMap<&str, usize> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let place = |server: &Server| places.get(server.name.as_str()).copied().unwrap_or_default();
        let (old, new) = (old.iter().map(place).collect(), new.iter().map(place).collect());
        let counts = vec![[0; 4]; names.len()];
        Self { old, new, counts, moved: 0, all: 0, names }
    }

    /// Counts `count` hashes that share their servers with `hash`.
    fn add(&mut self, (old, new): &(Router, Router), hash: u32, count: u64) {
        let before = old.server_of_hash(hash).map(|server| self.old[server]);
        let after = new.server_of_hash(hash).map(|server| self.new[server]);
        self.all += count;
        let mut note = |place: Option<usize>, what: usize| {
            if let Some(place) = place {
                self.counts[place][what] += count;
            }
        };
        note(before, 0);
        note(after, 1);
        if before != after {
            note(after, 2);
            note(before, 3);
            self.moved += count;
        }
    }

    fn moves(self) -> Moves {
        let all = self.all.max(1) as f64;
        let servers = self.names.into_iter().zip(self.counts).map(|(name, counts)| {
            let [before, after, gains, loses] = counts.map(|count| count as f64 / all);
            ServerMoves { name, shares: (before, after), gains, loses }
        });
        Moves { share: self.moved as f64 / all, servers: servers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::Moves;
    use crate::config::{Distribution, Hash, HashChar, Points, Routing};
    use crate::routing::Router;
    use crate::topology::Server;

    fn routing(distribution: Distribution) -> Routing {
        Routing { hash: Hash::Fnv1a64, hash_char: HashChar::Signed, hash_tag: None, distribution }
    }

    fn servers(count: usize) -> Vec<Server> {
        (1..=count).map(|n| format!("10.0.0.{n}:11211:1 cache{n:02}").parse().unwrap()).collect()
    }

    #[test]
    fn the_share_is_what_keys_do() {
        let fnv = Distribution::KetamaFnv { points: Points::Fixed, name_cut: None };
        for distribution in [Distribution::Ketama, fnv, Distribution::Modula] {
            let routing = routing(distribution);
            let (old, new) = (servers(4), servers(5));
            let moves = Moves::between(&routing, &old, &new);
            let routers = (Router::new(&routing, &old), Router::new(&routing, &new));
            let keys = 0..100_000;
            let moved = keys.clone().filter(|key| {
                let key = format!("user:{key}:profile");
                let name = |router: &Router, servers: &[Server]| {
                    servers[router.server_of(key.as_bytes()).unwrap()].name.clone()
                };
                name(&routers.0, &old) != name(&routers.1, &new)
            });
            let counted = moved.count() as f64 / keys.len() as f64;
            assert!((moves.share - counted).abs() < 0.02, "{} {counted}", moves.share);
            let sum =
                |of: fn(&super::ServerMoves) -> f64| moves.servers.iter().map(of).sum::<f64>();
            assert!((sum(|it| it.shares.0) - 1.0).abs() < 1e-9);
            assert!((sum(|it| it.shares.1) - 1.0).abs() < 1e-9);
            assert!((sum(|it| it.gains) - moves.share).abs() < 1e-9);
            assert!((sum(|it| it.loses) - moves.share).abs() < 1e-9);
        }
    }

    #[test]
    fn on_a_ring_only_the_new_server_gains() {
        let moves = Moves::between(&routing(Distribution::Ketama), &servers(4), &servers(5));
        let gaining: Vec<&str> =
            moves.servers.iter().filter(|it| it.gains > 0.01).map(|it| it.name.as_str()).collect();
        assert_eq!(gaining, ["cache05"]);
        assert!((0.15..0.25).contains(&moves.share), "{}", moves.share);
    }

    #[test]
    fn nothing_moves_where_nothing_changes_and_all_moves_from_nowhere() {
        for distribution in [Distribution::Ketama, Distribution::Modula] {
            let routing = routing(distribution);
            assert_eq!(Moves::between(&routing, &servers(4), &servers(4)).share, 0.0);
            assert_eq!(Moves::between(&routing, &[], &servers(4)).share, 1.0);
            assert_eq!(Moves::between(&routing, &servers(1), &servers(1)).share, 0.0);
        }
        let random = Moves::between(&routing(Distribution::Random), &servers(4), &servers(5));
        assert_eq!((random.share, random.servers.len()), (0.0, 5));
    }
}

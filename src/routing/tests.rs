//! Routers against stored answers, and what must hold for any of them.

use std::collections::{HashMap, HashSet};

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest};

use crate::config::{Distribution, Hash, HashChar, Points, Routing};
use crate::routing::Router;
use crate::routing::hash::tests::{NAMED, unhex};
use crate::topology::{Address, Server, ring_order};

const RINGS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/rings.json"));

const WAYFAIR_TWEMPROXY: Distribution =
    Distribution::KetamaFnv { points: Points::Fixed, name_cut: Some(85) };
const WAYFAIR_LIBKETAMA: Distribution =
    Distribution::KetamaFnv { points: Points::Weighted, name_cut: None };

#[derive(serde::Deserialize)]
struct Rings {
    pools: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    pool: String,
    distribution: String,
    hash: String,
    hash_tag: Option<String>,
    servers: Vec<Entry>,
    #[serde(default)]
    eject: Vec<String>,
    expect: Expected,
}

#[derive(serde::Deserialize)]
struct Entry {
    entry: String,
    host: Option<String>,
    port: Option<u16>,
    path: Option<String>,
    weight: u32,
    name: Option<String>,
}

#[derive(serde::Deserialize)]
struct Expected {
    order: Vec<String>,
    points: Vec<usize>,
    total: usize,
    #[serde(default)]
    first: Vec<(u32, usize)>,
    #[serde(default)]
    last: Vec<(u32, usize)>,
    place: HashMap<String, usize>,
}

impl Case {
    fn routing(&self) -> Routing {
        let named = NAMED.iter().find(|(name, _)| *name == self.hash).unwrap();
        Routing {
            hash_tag: self.hash_tag.as_ref().map(|tag| tag.as_bytes().try_into().unwrap()),
            ..routing(
                named.1,
                match self.distribution.as_str() {
                    "ketama" => Distribution::Ketama,
                    "modula" => Distribution::Modula,
                    "ketama_fnv" => WAYFAIR_TWEMPROXY,
                    "ketama_fnv_weighted" => WAYFAIR_LIBKETAMA,
                    other => panic!("no distribution {other}"),
                },
            )
        }
    }

    fn servers(&self) -> Vec<Server> {
        servers(self.servers.iter().map(|server| server.entry.as_str()))
    }

    fn router(&self) -> Router {
        let router = Router::new(&self.routing(), &self.servers());
        if self.eject.is_empty() {
            return router;
        }
        let order = self.expect.order.iter();
        let live: Vec<bool> = order.map(|name| !self.eject.contains(name)).collect();
        router.with_live(&live)
    }
}

fn cases() -> Vec<Case> {
    let pools = serde_json::from_str::<Rings>(RINGS).unwrap().pools;
    assert_eq!(pools.len(), 42);
    pools
}

fn routing(hash: Hash, distribution: Distribution) -> Routing {
    Routing { hash, hash_char: HashChar::Signed, hash_tag: None, distribution }
}

/// Servers from entries in any order, put in ring order.
fn servers<'e>(entries: impl IntoIterator<Item = &'e str>) -> Vec<Server> {
    let entries = entries.into_iter();
    let mut servers: Vec<Server> = entries.map(|entry| entry.parse().unwrap()).collect();
    ring_order(&mut servers);
    servers
}

#[test]
fn entries_are_read_into_their_stored_parts() {
    for entry in cases().into_iter().flat_map(|case| case.servers) {
        let server: Server = entry.entry.parse().unwrap();
        let address = match (entry.host, entry.port, entry.path) {
            (Some(host), Some(port), None) => Address::Tcp { host, port },
            (None, None, Some(path)) => Address::Unix(path.into()),
            _ => panic!("{}: neither address nor path", entry.entry),
        };
        assert_eq!(server.address, address);
        assert_eq!(server.weight, entry.weight);
        assert_eq!(server.named, entry.name.is_some());
        assert!(entry.name.is_none_or(|name| name == server.name));
    }
}

#[test]
fn servers_stand_in_the_stored_order() {
    for case in cases() {
        let names: Vec<String> = case.servers().into_iter().map(|s| s.name).collect();
        assert_eq!(names, case.expect.order, "{}", case.pool);
    }
}

#[test]
fn rings_have_the_stored_points() {
    for case in cases().iter().filter(|case| case.distribution != "modula") {
        let router = case.router();
        let points: Vec<(u32, usize)> = router.points().collect();
        assert_eq!(points.len(), case.expect.total, "{}", case.pool);
        assert_eq!(router.point_counts(), case.expect.points, "{}", case.pool);
        assert_eq!(points[..10], case.expect.first, "{}", case.pool);
        assert_eq!(points[points.len() - 3..], case.expect.last, "{}", case.pool);
    }
}

#[test]
fn modula_deals_the_stored_slots() {
    for case in cases().iter().filter(|case| case.distribution == "modula") {
        let router = case.router();
        assert_eq!(router.points().count(), 0);
        let total = case.expect.total as f64;
        let slots = case.expect.points.iter().map(|&slots| slots as f64 / total);
        assert_eq!(router.shares(), slots.collect::<Vec<_>>(), "{}", case.pool);
    }
}

#[test]
fn keys_lie_where_the_stored_answers_say() {
    for case in cases() {
        let router = case.router();
        assert_eq!(case.expect.place.len(), 100);
        for (key, &server) in &case.expect.place {
            let key = unhex(key);
            assert_eq!(router.server_of(&key), Some(server), "{}: {key:?}", case.pool);
            assert_eq!(router.explain(&key).server, Some(server));
        }
    }
}

/// twemproxy's placements for a few small pools, by the end of the server's name.
#[test]
fn well_known_keys_lie_where_twemproxy_puts_them() {
    let keys = ["foo", "bar", "key-1", "key-2", "key-3", "kkk-3", "user:1", "a", "the quick"];
    let ten: Vec<String> = (11214..11224).map(|p| format!("127.0.0.1:{p}:1")).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    let cases: [(_, &[&str], _); 5] = [
        (Distribution::Ketama, &["127.0.0.1:11212:1", "127.0.0.1:11213:1"], "2 3 2 2 2 2 3 2 2"),
        (Distribution::Ketama, &ten, "15 20 22 22 22 20 21 15 21"),
        (
            Distribution::Ketama,
            &["h:1:1 server1", "h:2:1 server2", "h:3:1 server3", "h:4:1 server4"],
            "1 4 3 3 3 3 3 3 1",
        ),
        (Distribution::Ketama, &["10.0.0.1:11211:1", "10.0.0.2:11212:1"], "2 1 1 1 1 2 1 2 1"),
        (
            Distribution::Modula,
            &["h:2100:1 redis-2100", "h:2101:1 redis-2101"],
            "1 0 0 1 0 0 1 0 1",
        ),
    ];
    for (distribution, entries, owners) in cases {
        let servers = servers(entries.iter().copied());
        let router = Router::new(&routing(Hash::Fnv1a64, distribution), &servers);
        for (key, owner) in keys.into_iter().zip(owners.split(' ')) {
            let name = &servers[router.server_of(key.as_bytes()).unwrap()].name;
            // 10.0.0.2:11212 is known by its host here, as 10.0.0.1 is.
            let name = name.strip_prefix("10.0.0.").map_or(name.as_str(), |n| &n[..1]);
            assert!(name.ends_with(owner), "{key} is on {name}, not {owner}");
        }
    }
}

/// The ring and the placements of Wayfair's own regression script: four nodes of weight 1000.
#[test]
fn wayfair_keys_lie_where_libketama_puts_them() {
    let nodes: [&str; 4] = ["h:1:1000 node1", "h:2:1000 node2", "h:3:1000 node3", "h:4:1000 node4"];
    for distribution in [WAYFAIR_TWEMPROXY, WAYFAIR_LIBKETAMA] {
        let router = Router::new(&routing(Hash::Fnv1a32, distribution), &servers(nodes));
        let points: Vec<(u32, usize)> = router.points().collect();
        assert_eq!(points.len(), 640);
        let first = [(0xbe6dc5, 1), (0xc5a8c5, 1), (0xcb65b1, 0), (0xcc8ad7, 2)];
        assert_eq!(points[..4], first);
        for own in [256780404, 2626247283, 4228654966] {
            assert!(points.contains(&(own, 0)), "{own} is a point of node1");
        }
        let places: Vec<usize> =
            (0..100).map(|n| router.server_of(format!("aab{n}").as_bytes()).unwrap() + 1).collect();
        assert_eq!(places[..12], [3, 1, 2, 1, 1, 2, 2, 1, 4, 4, 3, 1]);
        let has = |node| places.iter().filter(|&&place| place == node).count();
        assert_eq!([1, 2, 3, 4].map(has), [29, 22, 30, 19]);
    }
}

/// Keys of 20,000 that another implementation, the `ketama` crate, places elsewhere.
fn differing_from_the_ketama_crate(count: usize) -> usize {
    let entries: Vec<String> = (0..count).map(|i| format!("10.0.0.{i}:11211:1")).collect();
    let servers = servers(entries.iter().map(String::as_str));
    let router = Router::new(&routing(Hash::Md5, Distribution::Ketama), &servers);
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let other = ketama::Ring::build(&names);
    let keys = (0..20_000).map(|n| format!("key:{n}"));
    keys.filter(|key| router.server_of(key.as_bytes()) != Some(other.route(key.as_bytes()))).count()
}

#[test]
fn the_ketama_crate_agrees_for_equal_weights() {
    for count in [1, 2, 3, 10, 24, 40] {
        assert_eq!(differing_from_the_ketama_crate(count), 0, "{count} servers");
    }
}

/// It counts points without single precision: 160 a server where C programs have 156. If this fails
/// the crate was mended, and the two numbers can move to the test above.
#[test]
fn the_ketama_crate_disagrees_where_single_precision_rounds_down() {
    for count in [25, 50] {
        assert!(differing_from_the_ketama_crate(count) > 0, "{count} servers");
    }
}

#[test]
fn equal_servers_lose_a_hash_where_single_precision_rounds_down() {
    let rounded_down = |&count: &u32| {
        let entries: Vec<String> = (0..count).map(|i| format!("s{i}:11211:1")).collect();
        let servers = servers(entries.iter().map(String::as_str));
        let router = Router::new(&routing(Hash::Md5, Distribution::Ketama), &servers);
        let counts = router.point_counts();
        assert!(counts.iter().all(|points| *points == counts[0]));
        assert!(counts[0] == 160 || counts[0] == 156);
        counts[0] == 156
    };
    let found: Vec<u32> = (1..123).filter(rounded_down).collect();
    assert_eq!(found, [25, 47, 50, 55, 61, 71, 94, 100, 107, 109, 110, 115, 122]);
}

#[test]
fn a_weight_sum_above_32_bits_is_cut_only_if_the_points_stay_few() {
    let points = |count, weight: u32| {
        let entries: Vec<String> = (0..count).map(|i| format!("s{i}:11211:{weight}")).collect();
        let servers = servers(entries.iter().map(String::as_str));
        Router::new(&routing(Hash::Md5, Distribution::Ketama), &servers).point_counts()
    };
    // 3 × (2³¹ − 1) leaves 2³¹ − 3 in 32 bits: each server then counts as the whole.
    assert_eq!(points(3, 2_147_483_647), [480; 3]);
    // 4 × 2³⁰ leaves nothing.
    assert_eq!(points(4, 1 << 30), [160; 4]);
}

#[test]
fn a_point_text_is_cut_at_272_bytes() {
    let values = |length| {
        let long = format!("10.0.0.1:11211:1 {}", "n".repeat(length));
        let servers = servers([long.as_str(), "10.0.0.2:11211:1"]);
        let router = Router::new(&routing(Hash::Md5, Distribution::Ketama), &servers);
        let own = router.points().filter(|&(_, server)| server == 1);
        own.map(|(value, _)| value).collect::<HashSet<_>>().len()
    };
    assert_eq!(values(269), 160, "-0 to -39 all fit");
    assert_eq!(values(270), 40, "one digit is left");
    assert_eq!(values(271), 4, "no digit is left");
}

#[test]
fn a_key_is_explained_step_by_step() {
    let two = servers(["127.0.0.1:11212:1", "127.0.0.1:11213:1"]);
    let tagged = Routing { hash_tag: Some(*b"{}"), ..routing(Hash::Fnv1a64, Distribution::Ketama) };
    let located = Router::new(&tagged, &two).explain(b"x{foo}y");
    assert_eq!(located.counted, b"foo");
    assert_eq!(located.hash, 4275688823);
    // The last point of these two servers: 4289954118.
    assert!(located.point.is_some_and(|p| (4275688823..=4289954118).contains(&p)));
    assert_eq!(located.server, Some(0));
    let modula = Router::new(&routing(Hash::Fnv1a64, Distribution::Modula), &two);
    let empty = modula.explain(b"");
    assert_eq!((empty.hash, empty.point, empty.server), (0, None, Some(0)));
}

#[test]
fn random_draws_every_live_server_about_as_often() {
    let three = servers(["a:1:1", "b:1:5", "c:1:9"]);
    let all = Router::new(&routing(Hash::Fnv1a64, Distribution::Random), &three);
    let router = all.with_live(&[true, false, true]);
    assert_eq!(router.shares(), [0.5, 0.0, 0.5]);
    let mut drawn = [0_u32; 3];
    for _ in 0..10_000 {
        drawn[router.server_of(b"the same key").unwrap()] += 1;
    }
    assert_eq!(drawn[1], 0);
    assert!(drawn[0].abs_diff(drawn[2]) < 500, "{drawn:?}");
}

/// 1 to 12 servers of different names, in ring order.
fn some_servers() -> impl Strategy<Value = Vec<Server>> {
    prop::collection::btree_map("[a-z]{1,8}", 1_u32..20, 1..12).prop_map(|servers| {
        let entries = servers.iter().map(|(name, weight)| format!("{name}:1:{weight} {name}"));
        let mut servers: Vec<Server> = entries.map(|entry| entry.parse().unwrap()).collect();
        ring_order(&mut servers);
        servers
    })
}

fn some_routing() -> impl Strategy<Value = Routing> {
    let distribution = prop_oneof![
        Just(Distribution::Ketama),
        Just(Distribution::Modula),
        Just(Distribution::Random),
        Just(WAYFAIR_TWEMPROXY),
        Just(WAYFAIR_LIBKETAMA),
    ];
    (0..NAMED.len(), distribution).prop_map(|(at, distribution)| routing(NAMED[at].1, distribution))
}

fn some_keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..100)
}

/// One of the distributions under which a lost server's keys, and no others, find new places.
fn some_consistent_distribution() -> impl Strategy<Value = Distribution> {
    prop_oneof![Just(Distribution::Ketama), Just(WAYFAIR_TWEMPROXY)]
}

proptest! {
    #[test]
    fn every_key_gets_a_live_server_if_there_is_one(
        servers in some_servers(),
        routing in some_routing(),
        live in prop::collection::vec(any::<bool>(), 12),
        keys in some_keys(),
    ) {
        let live = &live[..servers.len()];
        let router = Router::new(&routing, &servers).with_live(live);
        for key in keys {
            match router.server_of(&key) {
                Some(server) => prop_assert!(live[server]),
                None => prop_assert!(!live.contains(&true)),
            }
        }
        let whole: f64 = router.shares().iter().sum();
        let expected = f64::from(u8::from(live.contains(&true)));
        prop_assert!((whole - expected).abs() < 1e-9, "shares add up to {}", whole);
    }

    #[test]
    fn the_order_of_the_entries_is_of_no_account(
        servers in some_servers(),
        shuffled in any::<prop::sample::Index>(),
        mut routing in some_routing(),
        keys in some_keys(),
    ) {
        if routing.distribution == Distribution::Random {
            routing.distribution = Distribution::Modula;
        }
        let mut turned = servers.clone();
        turned.rotate_left(shuffled.index(servers.len()));
        turned.reverse();
        ring_order(&mut turned);
        let (a, b) = (Router::new(&routing, &servers), Router::new(&routing, &turned));
        for key in keys {
            prop_assert_eq!(a.server_of(&key), b.server_of(&key));
        }
    }

    /// Up to 20 equal servers have 160 points each, so that the others' points stay. From 25 on, and
    /// with unequal weights, a server's share of ketama depends on who else is there.
    #[test]
    fn losing_one_of_equal_servers_moves_only_its_keys(
        count in 2_usize..20,
        lost in any::<prop::sample::Index>(),
        distribution in some_consistent_distribution(),
        keys in some_keys(),
    ) {
        let entries: Vec<String> = (0..count).map(|i| format!("10.0.0.{i}:11212:1")).collect();
        let servers = servers(entries.iter().map(String::as_str));
        let lost = lost.index(count);
        let live: Vec<bool> = (0..count).map(|server| server != lost).collect();
        let all = Router::new(&routing(Hash::Fnv1a64, distribution), &servers);
        let rest = all.with_live(&live);
        for key in keys {
            let before = all.server_of(&key);
            if before != Some(lost) {
                prop_assert_eq!(rest.server_of(&key), before);
            }
        }
        let again = rest.with_live(&vec![true; count]);
        prop_assert!(again.points().eq(all.points()));
    }

    /// Modula knows no mercy: a lost server renumbers the slots of all.
    #[test]
    fn modula_is_the_hash_modulo_the_live_weight(
        servers in some_servers(),
        live in prop::collection::vec(any::<bool>(), 12),
        keys in some_keys(),
    ) {
        prop_assume!(live[..servers.len()].contains(&true));
        let router = Router::new(&routing(Hash::Murmur, Distribution::Modula), &servers);
        let router = router.with_live(&live[..servers.len()]);
        let slots: Vec<usize> = (0..servers.len())
            .filter(|&server| live[server])
            .flat_map(|server| vec![server; servers[server].weight as usize])
            .collect();
        for key in keys {
            let hash = router.explain(&key).hash as usize;
            prop_assert_eq!(router.server_of(&key), Some(slots[hash % slots.len()]));
        }
    }

    #[test]
    fn keys_of_one_tag_stay_together(
        servers in some_servers(),
        mut routing in some_routing(),
        tag in "[a-z]{1,10}",
        rest in prop::collection::vec("[^{}]{0,10}", 1..20),
    ) {
        if routing.distribution == Distribution::Random {
            routing.distribution = Distribution::Ketama;
        }
        let bare = Router::new(&routing, &servers);
        routing.hash_tag = Some(*b"{}");
        let router = Router::new(&routing, &servers);
        for rest in rest {
            let key = format!("{rest}{{{tag}}}{rest}{{other}}");
            prop_assert_eq!(router.server_of(key.as_bytes()), bare.server_of(tag.as_bytes()));
        }
    }
}

//! Three proxies, five memcached and an ensemble of three ZooKeepers: a pool grows, and another comes
//! back, under load, while everything breaks that may.
//!
//! One proxy is stopped over several phases, one cut off from ZooKeeper, a memcached dies, the ensemble
//! hangs in every phase. What must hold at every moment: a get returns no value that was dead when it
//! began, no number is counted to twice, and keys that do not move are served.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use twinring::routing::Phase::Stable;

use crate::expansion::{History, count, delete, get, moving, rings, set};
use crate::fleet::{WEB, acks, following_for, memcacheds, metric, on_the_way};
use crate::leading::{expand, list};
use crate::support::{Client, Ensemble, LONG, Memcached, Proxy, Relay, Scratch, Zoo, wait_until};

/// Longer than anything is stopped or cut off.
const PATIENCE: Duration = Duration::from_secs(60);
/// A Java machine that was stopped, and perhaps elects anew.
const ELECTION: Duration = LONG.saturating_mul(3);
/// Keys that are changed all the time, and those that are changed when it hurts most.
const HOT: usize = 6;
const COLD: usize = 40;

/// All that there is, and what is known of each key.
struct Scene {
    servers: Vec<Memcached>,
    ensemble: Ensemble,
    zoo: Zoo,
    /// What the third proxy reaches ZooKeeper by.
    relay: Relay,
    proxies: Vec<Proxy>,
    scratch: Scratch,
    ports: Vec<u16>,
    keys: Vec<(String, Mutex<History>)>,
    next: AtomicU64,
    stop: AtomicBool,
    found: AtomicU64,
    numbers: Mutex<BTreeSet<u64>>,
}

impl Scene {
    fn new() -> Self {
        let (servers, ports) = memcacheds();
        let ensemble = Ensemble::of(3);
        let zoo = ensemble.client();
        zoo.publish(WEB, &on_the_way(1, Stable, &ports));
        let relay = Relay::to(ensemble.port(2));
        let ways = [ensemble.connect(), ensemble.connect(), format!("127.0.0.1:{}", relay.port())];
        let proxies = ways.iter().map(|way| Proxy::twinring(following_for(2, way, "off")));
        let proxies: Vec<Proxy> = proxies.collect();
        let keys = moving(HOT + 1 + COLD).into_iter().enumerate();
        // The one between is the counters'.
        let keys = keys.filter(|(number, _)| *number != HOT);
        let scene = Self {
            keys: keys.map(|(_, (key, ..))| (key, Mutex::default())).collect(),
            scratch: Scratch::new(),
            next: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            found: AtomicU64::new(0),
            numbers: Mutex::default(),
            servers,
            ensemble,
            zoo,
            relay,
            proxies,
            ports,
        };
        scene.there(3, 1);
        scene
    }

    fn client(&self, proxy: usize) -> Client {
        self.proxies[proxy].client().patience(PATIENCE)
    }

    fn cold(&self) -> &[(String, Mutex<History>)] {
        &self.keys[HOT..]
    }

    /// Waits until so many proxies are there, all with this epoch.
    fn there(&self, count: usize, epoch: u64) {
        let all = || {
            let acks = acks(&self.zoo);
            acks.len() == count && acks.iter().all(|ack| ack["epoch"] == epoch)
        };
        assert!(wait_until(ELECTION, all), "{epoch}: {:?}", acks(&self.zoo));
    }

    /// A step that the operator takes.
    fn step(&self, args: &[&str], part: &str) {
        let file = self.proxies[0].config().display().to_string();
        let (code, text) = expand(&[args, &["-c", &file]].concat());
        assert!(code == 0 && text.contains(part), "{args:?}: {code} {text}");
    }

    fn start(&self) {
        let target = list(&self.scratch, &self.ports);
        let args = ["start", &target, "--format", "list", "--proxies", "3"];
        self.step(&args, "epoch 2, acknowledged by all 3 proxies");
    }

    /// The ensemble hangs until all who can have noticed; `there` of them come back.
    fn hang(&self, (there, epoch): (usize, u64)) {
        self.ensemble.freeze();
        let fenced = |proxy: &Proxy| metric(proxy, "twinring_topology_self_fenced") == 1.0;
        assert!(wait_until(LONG, || fenced(&self.proxies[0])), "{}", self.output(0));
        let mut client = self.client(0);
        client.ask(format!("get {}\r\n", self.keys[0].0), "END\r\n");
        self.ensemble.thaw();
        let back = wait_until(ELECTION, || !fenced(&self.proxies[0]));
        assert!(back, "{}", self.output(0));
        self.there(there, epoch);
    }

    fn output(&self, proxy: usize) -> String {
        self.proxies[proxy].process.output()
    }

    /// Changes the keys that nobody else does, at the first proxy.
    fn write_cold(&self, deletes: bool) {
        let mut client = self.client(0);
        for (number, (key, history)) in self.cold().iter().enumerate() {
            if deletes && number % 2 == 0 {
                delete(&mut client, key, history);
            } else {
                set(&mut client, key, history, &self.next);
            }
            let done = !history.lock().unwrap().dead.is_empty() || !deletes;
            assert!(done, "the change was acknowledged");
        }
    }

    /// Reads them there; what is found was not dead before. `before_reply` comes between.
    fn read_cold(&self, proxy: usize, before_reply: impl FnOnce()) -> usize {
        let mut client = self.client(proxy);
        let dead = |(_, history): &(String, Mutex<History>)| history.lock().unwrap().dead.clone();
        let dead: Vec<BTreeSet<u64>> = self.cold().iter().map(dead).collect();
        for (key, _) in self.cold() {
            client.send(format!("get {key}\r\n"));
        }
        before_reply();
        let mut found = 0;
        for ((key, _), dead) in self.cold().iter().zip(dead) {
            let reply = String::from_utf8(client.memcache_reply()).unwrap();
            if let Some(value) = reply.lines().nth(1) {
                let value = value.parse().unwrap();
                assert!(!dead.contains(&value), "{key}: {value} was dead, proxy {proxy}");
                found += 1;
            }
        }
        found
    }

    /// What clients do, each on its own.
    fn load(&self, thread: u64) {
        let mut client = self.client(thread as usize % 3);
        let mut seed = thread * 7919 + 1;
        while !self.stop.load(Ordering::Relaxed) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (key, history) = &self.keys[(seed >> 33) as usize % HOT];
            match (seed >> 40) % 8 {
                0 | 1 => set(&mut client, key, history, &self.next),
                2 => delete(&mut client, key, history),
                3 => count(&mut client, &self.numbers),
                _ => get(&mut client, key, history, &self.found),
            }
        }
    }

    /// A key that does not move, at a server that stays: it is served whatever happens.
    fn load_resting(&self, proxy: usize) {
        let rings = rings();
        let rests = |key: &String| {
            let place = rings.place(key.as_bytes());
            matches!(place, Some(twinring::routing::Place::One(server)) if server != 0)
        };
        let key = (0..).map(|number| format!("rests{proxy}{number}")).find(rests).unwrap();
        let mut client = self.client(proxy);
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let text = format!("{number:09}");
            client.ask(format!("set {key} 0 0 9\r\n{text}\r\n"), "STORED\r\n");
            let value = format!("VALUE {key} 0 9\r\n{text}\r\nEND\r\n");
            client.ask(format!("get {key}\r\n"), value);
        }
    }

    /// The walk, under load.
    fn under_load(&mut self, walk: impl FnOnce(&Self)) {
        let scene = &*self;
        std::thread::scope(|scope| {
            (0..6).for_each(|thread| drop(scope.spawn(move || scene.load(thread))));
            for proxy in [0, 2] {
                scope.spawn(move || scene.load_resting(proxy));
            }
            // The threads end, whatever happens.
            let stop = Stop(&scene.stop);
            walk(scene);
            drop(stop);
        });
        let (found, counted) =
            (self.found.load(Ordering::Relaxed), self.numbers.lock().unwrap().len());
        assert!(
            found > 100 && counted > 100,
            "{found} gets that found something, {counted} counts"
        );
        for proxy in &self.proxies {
            assert!(metric(proxy, "twinring_expansion_self_fenced_total") > 0.0);
        }
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_pool_grows_while_everything_breaks_and_no_get_finds_a_dead_value() {
    let mut scene = Scene::new();
    scene.write_cold(false);
    scene.under_load(|scene| {
        scene.start();
        scene.hang((3, 2));
        scene.step(&["advance", "--to", "fence"], "acknowledged by all 3");
        scene.proxies[1].process.freeze();
        scene.there(2, 3);
        scene.hang((2, 3));
        scene.step(&["advance", "--to", "warm"], "acknowledged by all 2");
        // A copy is made of what is found, and the old one stays.
        assert_eq!(scene.read_cold(0, || ()), COLD);
        scene.servers[0].process.signal(rustix::process::Signal::KILL);
        scene.hang((2, 4));
        scene.relay.cut();
        scene.there(1, 4);
        scene.step(&["advance", "--to", "drain"], "acknowledged by all 1");
        scene.hang((1, 5));
        scene.step(&["advance", "--to", "new"], "acknowledged by all 1");
        // From here on old copies are not deleted: who still acts in a phase before finds them.
        scene.write_cold(true);
        assert_eq!(scene.read_cold(2, || ()), 0, "cut off in warm");
        scene.read_cold(1, || scene.proxies[1].process.thaw());
        scene.relay.heal();
        scene.there(3, 6);
        scene.read_cold(1, || ());
        scene.read_cold(2, || ());
        scene.step(&["finish"], "acknowledged by all 3");
    });
}

#[test]
fn a_pool_comes_back_while_everything_breaks_and_no_get_finds_a_dead_value() {
    let mut scene = Scene::new();
    scene.write_cold(false);
    scene.under_load(|scene| {
        scene.start();
        for phase in ["fence", "warm"] {
            scene.step(&["advance", "--to", phase], "acknowledged by all 3");
        }
        assert_eq!(scene.read_cold(0, || ()), COLD);
        scene.proxies[1].process.freeze();
        scene.relay.cut();
        scene.there(1, 4);
        scene.step(&["rollback", "--to", "fence"], "acknowledged by all 1");
        scene.hang((1, 5));
        scene.step(&["rollback", "--to", "prepare"], "acknowledged by all 1");
        scene.hang((1, 6));
        scene.step(&["rollback", "--to", "stable"], "acknowledged by all 1");
        // The new server has copies that nobody deletes any more.
        scene.write_cold(true);
        assert_eq!(scene.read_cold(2, || ()), 0, "cut off in warm");
        scene.read_cold(1, || scene.proxies[1].process.thaw());
        scene.relay.heal();
        scene.there(3, 7);
        assert_eq!(scene.read_cold(1, || ()), COLD / 2);
        assert_eq!(scene.read_cold(2, || ()), COLD / 2);
    });
}

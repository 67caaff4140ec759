//! Redis pools that walk by ZooKeeper: several proxies, led there and back under load; and who is cut
//! off or stopped while the others go on, does nothing about keys that move.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{ask, moving, staying};
use crate::fleet::{WEB, acks, metric};
use crate::leading::{expand, list};
use crate::support::{
    Client, Ensemble, LONG, PoolSpec, Proxy, Redis, Relay, Scratch, Zoo, version, wait_until,
};

/// What is said of keys that move out of ZooKeeper's sight.
pub(super) const RESTS: &str = "-ERR the key moves, and ZooKeeper is out of sight: try again\r\n";

/// Longer than anything is stopped or cut off.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three servers, of which two are in the ring at first; proxies that follow ZooKeeper, the last of
/// them by a relay.
pub(super) struct Led {
    pub(super) servers: Vec<Redis>,
    pub(super) proxies: Vec<Proxy>,
    zoo: Zoo,
    pub(super) relay: Relay,
    pub(super) scratch: Scratch,
    pub(super) ensemble: Ensemble,
}

impl Led {
    /// With sessions of so many seconds.
    pub(super) fn new(proxies: usize, seconds: u32) -> Self {
        Self::with(proxies, seconds, "{ fence: 10s, migrate_timeout: 5s, sweep: 200 }")
    }

    /// The same with other settings of the expansion.
    pub(super) fn with(proxies: usize, seconds: u32, expansion: &str) -> Self {
        let servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
        let ensemble = Ensemble::single();
        let (zoo, relay) = (ensemble.client(), Relay::to(ensemble.port(0)));
        let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
        zoo.publish(WEB, &version(1, &ports[..2]));
        let proxy = |number: usize| {
            let by_relay = format!("127.0.0.1:{}", relay.port());
            let connect = if number + 1 == proxies { by_relay } else { ensemble.connect() };
            let topology = format!(
                "{{ source: zookeeper, connect: \"{connect}\", path: {WEB}, \
                 session_timeout: {seconds}s, startup_wait: 1s, snapshot: off }}"
            );
            let pool = PoolSpec::redis(&[])
                .set("timeout", "20s")
                .set("allow_flush", true)
                .set("topology", topology)
                .set("expansion", expansion);
            Proxy::twinring_with(&["workers: 2"], vec![pool])
        };
        let proxies: Vec<Proxy> = (0..proxies).map(proxy).collect();
        let led = Self { servers, proxies, zoo, relay, scratch: Scratch::new(), ensemble };
        led.there(led.proxies.len(), 1);
        led
    }

    /// Waits until so many proxies are there, all with this epoch.
    pub(super) fn there(&self, count: usize, epoch: u64) {
        let all = || {
            let acks = acks(&self.zoo);
            acks.len() == count && acks.iter().all(|ack| ack["epoch"] == epoch)
        };
        if !wait_until(LONG * 3, all) {
            let output: Vec<String> = self.proxies.iter().map(|it| it.process.output()).collect();
            panic!("{epoch}: {:?}\n{}", acks(&self.zoo), output.join("\n"));
        }
    }

    pub(super) fn expand(&self, args: &[&str]) -> (i32, String) {
        let file = self.proxies[0].config().display().to_string();
        expand(&[args, &["-c", &file]].concat())
    }

    pub(super) fn step(&self, args: &[&str]) -> String {
        let (code, text) = self.expand(args);
        assert!(code == 0, "{args:?}: {code} {text}");
        text
    }

    /// Begins the way to all servers.
    pub(super) fn start(&self) -> (i32, String) {
        self.start_with(&[])
    }

    /// The same with further arguments.
    pub(super) fn start_with(&self, more: &[&str]) -> (i32, String) {
        self.expand(&[&["start", &self.all(), "--format", "list"], more].concat())
    }

    /// What that way is to be.
    pub(super) fn plan(&self) -> (i32, String) {
        self.expand(&["plan", &self.all(), "--format", "list"])
    }

    /// A list of all servers.
    fn all(&self) -> String {
        let ports: Vec<u16> = self.servers.iter().map(Redis::port).collect();
        list(&self.scratch, &ports)
    }

    pub(super) fn client(&self, proxy: usize) -> Client {
        self.proxies[proxy].client().patience(PATIENCE)
    }

    /// How many keys each server has.
    fn sizes(&self) -> Vec<String> {
        let size = |server: &Redis| ask(&mut Client::connect(server.port()), "DBSIZE");
        self.servers.iter().map(size).collect()
    }

    pub(super) fn fenced(&self, proxy: usize) -> bool {
        metric(&self.proxies[proxy], "twinring_topology_self_fenced") == 1.0
    }
}

/// What is known of a counter: what was acknowledged, and what nobody knows.
#[derive(Default)]
struct Count {
    done: AtomicU64,
    unknown: AtomicU64,
}

fn figure(reply: &str) -> u64 {
    reply.split("\r\n").filter_map(|line| line.trim_start_matches(':').parse().ok()).last().unwrap()
}

#[test]
fn a_fleet_walks_there_and_back_and_no_count_is_lost_or_doubled() {
    let led = Led::new(3, 10);
    let moved = moving(30).into_iter().map(|(key, ..)| key);
    let keys: Vec<String> = moved.chain(staying(10)).collect();
    let counts: Vec<Count> = keys.iter().map(|_| Count::default()).collect();
    let (over, seen) = (AtomicBool::new(false), Mutex::new(std::collections::BTreeSet::new()));
    let load = |number: usize| {
        let mut client = led.client(number % 3);
        for at in (0..keys.len()).cycle().skip(number * 7) {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let reply = ask(&mut client, &format!("INCR {}", keys[at]));
            if let Some(value) = reply.strip_prefix(':') {
                counts[at].done.fetch_add(1, Ordering::Relaxed);
                assert!(seen.lock().unwrap().insert((at, value.to_owned())), "{at} twice {value}");
            } else if reply == RESTS {
                // It may have come too late to be believed.
                counts[at].unknown.fetch_add(1, Ordering::Relaxed);
            } else {
                assert_eq!(reply, super::FENCED, "{}", keys[at]);
            }
        }
    };
    std::thread::scope(|scope| {
        (0..6).for_each(|number| drop(scope.spawn(move || load(number))));
        let done = || counts.iter().map(|it| it.done.load(Ordering::Relaxed)).sum::<u64>();
        let progress = || {
            let begun = done();
            assert!(wait_until(LONG, || done() >= begun + 300));
        };
        progress();
        let (code, text) = led.start();
        assert_eq!(code, 0, "{text}");
        progress();
        let there = ["fence", "warm", "drain", "new"].map(|phase| ("advance", phase));
        let back = ["drain", "warm", "fence", "prepare"].map(|phase| ("rollback", phase));
        for (way, phase) in there.into_iter().chain(back).chain(there) {
            led.step(&[way, "--to", phase]);
            if phase != "fence" {
                progress();
            }
        }
        led.step(&["finish"]);
        progress();
        over.store(true, Ordering::Relaxed);
    });
    let mut client = led.client(0);
    for (key, Count { done, unknown }) in keys.iter().zip(&counts) {
        let (done, unknown) = (done.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed));
        let found = figure(&ask(&mut client, &format!("GET {key}")));
        assert!((done..=done + unknown).contains(&found), "{key}: {found}, {done} and {unknown}");
    }
    let total: u64 = led.sizes().iter().map(|size| figure(size)).sum();
    assert_eq!((total, figure(&led.sizes()[2])), (40, 30), "each is at one server");
    let split = |proxy: &Proxy| metric(proxy, "twinring_expansion_split_brain_total");
    assert_eq!(led.proxies.iter().map(split).sum::<f64>(), 0.0);
}

#[test]
fn who_is_cut_off_in_warm_rests_on_keys_that_move_while_the_others_go_back() {
    let led = Led::new(3, 4);
    let (keys, rests) = (moving(3), staying(1).remove(0));
    let [key, other, third] = [0, 1, 2].map(|at| keys[at].0.as_str());
    let [mut first, mut stopped, mut cut] = [0, 1, 2].map(|proxy| led.client(proxy));
    let (code, text) = led.start();
    assert_eq!(code, 0, "{text}");
    led.step(&["advance", "--to", "fence"]);
    led.step(&["advance", "--to", "warm"]);
    for proxy in [&mut first, &mut stopped, &mut cut] {
        proxy.ask(format!("SET {rests} 1\r\n"), "+OK\r\n");
        for key in [key, other, third] {
            ask(proxy, &format!("INCR {key}"));
        }
    }
    // A transaction that has begun ends with the sight.
    cut.ask(format!("MULTI\r\nINCR {key}\r\n"), "+OK\r\n+QUEUED\r\n");
    led.relay.cut();
    led.proxies[1].process.freeze();
    // It is in the socket, and will be found when everything else has gone on.
    stopped.send(format!("INCR {other}\r\n"));
    led.there(1, 4);
    assert!(led.fenced(2));
    let mut fresh = led.client(2);
    for command in [
        format!("GET {key}"),
        format!("INCR {key}"),
        format!("MGET {key} {rests}"),
        format!("DEL {key} {other}"),
        "FLUSHALL".to_owned(),
    ] {
        assert_eq!(ask(&mut fresh, &command), RESTS, "{command}");
    }
    fresh.ask(format!("GET {rests}\r\n"), "$1\r\n1\r\n");
    let executed = ask(&mut cut, "EXEC");
    assert!(executed.starts_with("-EXECABORT"), "{executed}");
    led.step(&["rollback", "--to", "fence"]);
    led.step(&["rollback", "--to", "prepare"]);
    for key in [key, other, third] {
        first.ask(format!("INCR {key}\r\n"), ":4\r\n");
    }
    // What is at the old servers again is not taken away from there.
    assert_eq!(ask(&mut fresh, &format!("INCR {key}")), RESTS);
    led.proxies[1].process.thaw();
    let late = String::from_utf8(stopped.redis_reply()).unwrap();
    assert!([RESTS, ":5\r\n"].contains(&late.as_str()), "{late}");
    led.relay.heal();
    led.there(3, 6);
    assert_eq!(led.sizes()[2], ":0\r\n");
    for (proxy, client) in [&mut first, &mut stopped, &mut cut, &mut fresh].into_iter().enumerate()
    {
        for key in [key, third] {
            let mut reply = String::new();
            let mut sight = || {
                reply = ask(client, &format!("GET {key}"));
                reply != RESTS
            };
            assert!(wait_until(LONG, &mut sight), "{proxy}");
            assert_eq!(reply, "$1\r\n4\r\n", "{proxy}");
        }
    }
    let counted = ask(&mut first, &format!("GET {other}"));
    assert_eq!(figure(&counted), if late == RESTS { 4 } else { 5 });
    assert!(metric(&led.proxies[2], "twinring_expansion_self_fenced_total") >= 6.0);
}

#[test]
fn out_of_sight_keys_that_move_rest_in_every_phase() {
    let led = Led::new(1, 2);
    let (key, rests) = (moving(1).remove(0).0, staying(1).remove(0));
    let mut client = led.client(0);
    for key in [&key, &rests] {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    let (code, text) = led.start();
    assert_eq!(code, 0, "{text}");
    for phase in ["prepare", "fence", "warm", "drain"] {
        if phase != "prepare" {
            led.step(&["advance", "--to", phase]);
        }
        led.ensemble.freeze();
        assert!(wait_until(LONG, || led.fenced(0)), "{phase}");
        assert_eq!(ask(&mut client, &format!("GET {key}")), RESTS, "{phase}");
        assert_eq!(ask(&mut client, &format!("SET {key} 2")), RESTS, "{phase}");
        client.ask(format!("GET {rests}\r\n"), "$1\r\n1\r\n");
        led.ensemble.thaw();
        assert!(wait_until(LONG * 3, || !led.fenced(0)), "{phase}");
    }
    let found = || ask(&mut client, &format!("GET {key}")) == "$1\r\n1\r\n";
    assert!(wait_until(LONG, found));
}

#[test]
fn an_answer_that_comes_out_of_sight_is_not_believed() {
    let led = Led::new(1, 2);
    let (key, old, new) = moving(1).remove(0);
    let rings = super::rings();
    let at_old = |key: &String| rings.place(key.as_bytes()) == Some(super::Place::One(old));
    let rests = staying(50).into_iter().find(at_old).unwrap();
    let (code, text) = led.start();
    assert_eq!(code, 0, "{text}");
    led.step(&["advance", "--to", "fence"]);
    led.step(&["advance", "--to", "warm"]);
    let [mut one, mut many, mut other] = [0; 3].map(|proxy| led.client(proxy));
    // It is known to be there from now on.
    for client in [&mut one, &mut many, &mut other] {
        client.ask(format!("GET {key}\r\n"), "$-1\r\n");
        client.ask(format!("SET {rests} 1\r\n"), "+OK\r\n");
    }
    one.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    let held = [&led.servers[old], &led.servers[new]];
    held.iter().for_each(|server| server.process.freeze());
    one.send(format!("INCR {key}\r\n"));
    many.send(format!("MGET {key} {rests}\r\n"));
    other.send(format!("GET {rests}\r\n"));
    let sent = || metric(&led.proxies[0], "twinring_backend_inflight") >= 4.0;
    assert!(wait_until(LONG, sent), "{}", led.proxies[0].process.output());
    led.ensemble.freeze();
    assert!(wait_until(LONG, || led.fenced(0)));
    held.iter().for_each(|server| server.process.thaw());
    one.expect(RESTS);
    many.expect(RESTS);
    other.expect("$1\r\n1\r\n");
    led.ensemble.thaw();
    assert!(wait_until(LONG * 3, || !led.fenced(0)));
    one.ask(format!("GET {key}\r\n"), "$1\r\n2\r\n");
}

#[test]
fn servers_that_cannot_hand_keys_over_keep_a_fleet_from_the_fence() {
    let led = Led::new(1, 4);
    let mut new = Client::connect(led.servers[2].port());
    let (key, ..) = moving(1).remove(0);
    new.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    let (code, text) = led.start();
    assert!(
        code == 1 && text.contains("not to prepare") && text.contains("it has 1 keys"),
        "{text}"
    );
    new.ask("FLUSHALL\r\n", "+OK\r\n");
    assert_eq!(led.start().0, 0);
    new.ask("ACL SETUSER default -restore\r\n", "+OK\r\n");
    let (code, text) = led.expand(&["advance", "--to", "fence"]);
    assert!(code == 1 && text.contains("not to the fence") && text.contains("NOPERM"), "{text}");
    new.ask("ACL SETUSER default +@all\r\n", "+OK\r\n");
    led.step(&["advance", "--to", "fence"]);
}

#[test]
fn the_sweeper_rests_out_of_sight_and_goes_on_after_it() {
    let led = Led::new(1, 2);
    let (code, text) = led.start();
    assert_eq!(code, 0, "{text}");
    led.step(&["advance", "--to", "fence"]);
    // More than it moves before it is out of sight.
    let keys = moving(3000);
    let mut servers = [0, 1].map(|at| Client::connect(led.servers[at].port()));
    for (key, old, _) in &keys {
        servers[*old].ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    led.step(&["advance", "--to", "warm"]);
    led.ensemble.freeze();
    assert!(wait_until(LONG, || led.fenced(0)));
    let before = led.sizes();
    // Time passes.
    let rests = staying(1).remove(0);
    assert_eq!(ask(&mut led.client(0), &format!("BLPOP {rests} 2")), "*-1\r\n");
    assert_eq!(led.sizes(), before);
    assert_ne!(before[2], ":3000\r\n");
    led.ensemble.thaw();
    assert!(wait_until(LONG * 3, || led.sizes()[2] == ":3000\r\n"), "{:?}", led.sizes());
}

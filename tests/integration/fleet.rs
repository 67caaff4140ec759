//! Two rings out of ZooKeeper or a file: proxies that walk by what a topology says, acknowledge what
//! has settled, and rest when they cannot know how far the others are.

use std::path::Path;

use serde_json::{Value, json};

use twinring::routing::{Phase, Place};

use crate::expansion::{moving, rings};
use crate::support::{
    Client, Ensemble, LONG, Memcached, PoolSpec, Proxy, Scratch, Zoo, version, wait_until,
};

use Phase::{Drain, Fence, New, Prepare, Stable, Warm};

const POOL: &[(&str, &str)] = &[("pool", "pool0")];
pub(super) const WEB: &str = "/web";
/// Times that a test can wait for.
pub(super) const TIMES: &str = "{ cas_quarantine: 0, stub_ttl: 1s }";

/// Servers `server1` to `server5`, of which four are in the ring at first.
pub(super) fn memcacheds() -> (Vec<Memcached>, Vec<u16>) {
    let servers: Vec<Memcached> = (0..5).map(|_| Memcached::start()).collect();
    let ports = servers.iter().map(Memcached::port).collect();
    (servers, ports)
}

/// The version of an epoch from four servers to five.
pub(super) fn on_the_way(epoch: u64, phase: Phase, ports: &[u16]) -> Value {
    let mut there = version(epoch, &ports[..4]);
    there["phase"] = json!(phase.name());
    if phase != Stable {
        there["rings"]["target"] = version(epoch, ports)["rings"]["current"].clone();
    }
    there
}

fn following(connect: &str, snapshot: &str) -> PoolSpec {
    following_for(2, connect, snapshot)
}

/// The same with a session timeout of so many seconds.
pub(super) fn following_for(seconds: u32, connect: &str, snapshot: &str) -> PoolSpec {
    let topology = format!(
        "{{ source: zookeeper, connect: \"{connect}\", path: {WEB}, session_timeout: {seconds}s, \
         startup_wait: 1s, snapshot: {snapshot} }}"
    );
    PoolSpec::memcache(&[]).set("topology", topology).set("expansion", TIMES)
}

/// What all proxies that are there say.
pub(super) fn acks(zoo: &Zoo) -> Vec<Value> {
    let folder = format!("{WEB}/acks");
    let said =
        zoo.children(&folder).into_iter().filter_map(|id| zoo.get(&format!("{folder}/{id}")));
    said.filter_map(|text| serde_json::from_str(&text).ok()).collect()
}

pub(super) fn all_acknowledge(zoo: &Zoo, proxies: &[&Proxy], epoch: u64) {
    let all = || {
        let acks = acks(zoo);
        acks.len() == proxies.len() && acks.iter().all(|ack| ack["epoch"] == epoch)
    };
    if !wait_until(LONG, all) {
        let output: Vec<String> = proxies.iter().map(|it| it.process.output()).collect();
        panic!("{epoch}: {:?}\n{}", acks(zoo), output.join("\n"));
    }
}

pub(super) fn metric(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().sum(name, POOL).unwrap_or_default()
}

pub(super) fn get(client: &mut Client, key: &str) -> String {
    client.send(format!("get {key}\r\n"));
    String::from_utf8(client.memcache_reply()).unwrap()
}

pub(super) fn set(client: &mut Client, key: &str, value: &str) -> String {
    client.send(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
    String::from_utf8(client.read_line()).unwrap()
}

pub(super) fn value(key: &str, value: &str) -> String {
    format!("VALUE {key} 0 {}\r\n{value}\r\nEND\r\n", value.len())
}

/// A key that does not move.
pub(super) fn resting() -> String {
    let rings = rings();
    let mut keys = (0..).map(|number| format!("rests{number}"));
    keys.find(|key| matches!(rings.place(key.as_bytes()), Some(Place::One(_)))).unwrap()
}

#[test]
fn a_proxy_walks_by_what_zookeeper_says_and_acknowledges_each_phase() {
    let (servers, ports) = memcacheds();
    let ensemble = Ensemble::single();
    let zoo = ensemble.client();
    zoo.publish(WEB, &on_the_way(1, Stable, &ports));
    let settings = ["workers: 2"];
    let proxy = Proxy::twinring_with(&settings, vec![following(&ensemble.connect(), "off")]);
    all_acknowledge(&zoo, &[&proxy], 1);
    let mut client = proxy.client();
    let keys = moving(40);
    for (key, ..) in &keys {
        assert_eq!(set(&mut client, key, "a"), "STORED\r\n");
    }
    let ways = [Prepare, Fence, Warm, Fence, Prepare, Stable, Prepare, Fence, Warm, Drain, New];
    for (epoch, phase) in (2..).zip(ways) {
        zoo.publish(WEB, &on_the_way(epoch, phase, &ports));
        all_acknowledge(&zoo, &[&proxy], epoch);
        let ack = &acks(&zoo)[0];
        assert_eq!(ack["phase"], phase.name());
        assert!(ack["digest"].as_str().unwrap().starts_with("sha256:"), "{ack}");
        for (key, ..) in &keys {
            assert_eq!(get(&mut client, key), value(key, "a"), "{phase:?}");
        }
    }
    assert_eq!(metric(&proxy, "twinring_expansion_self_fenced_total"), 0.0);
    for (key, _, new) in &keys {
        assert_eq!(get(&mut servers[*new].client(), key), value(key, "a"), "it is there now");
    }
    let mut end = version(13, &ports);
    end["phase"] = json!("stable");
    zoo.publish(WEB, &end);
    all_acknowledge(&zoo, &[&proxy], 13);
    for (key, ..) in &keys {
        assert_eq!(get(&mut client, key), value(key, "a"));
    }
    let log = proxy.process.output();
    assert!(log.contains("msg=\"topology phase\" pool=pool0 from=drain to=new epoch=12"), "{log}");
}

#[test]
fn who_is_left_behind_by_more_than_a_phase_rests_until_the_others_are_back() {
    let (_servers, ports) = memcacheds();
    let ensemble = Ensemble::single();
    let zoo = ensemble.client();
    zoo.publish(WEB, &on_the_way(1, Stable, &ports));
    let proxy = Proxy::twinring(following(&ensemble.connect(), "off"));
    all_acknowledge(&zoo, &[&proxy], 1);
    let (key, rests) = (moving(1).remove(0).0, resting());
    let mut client = proxy.client();
    for key in [&key, &rests] {
        assert_eq!(set(&mut client, key, "a"), "STORED\r\n");
    }
    zoo.publish(WEB, &on_the_way(2, Prepare, &ports));
    all_acknowledge(&zoo, &[&proxy], 2);
    zoo.publish(WEB, &on_the_way(3, Warm, &ports));
    let rejected = || {
        let labels = [("pool", "pool0"), ("reason", "phase")];
        proxy.metrics().get("twinring_topology_rejected_total", &labels) >= 1.0
    };
    assert!(wait_until(LONG, rejected), "{}", proxy.process.output());
    assert_eq!(get(&mut client, &key), "END\r\n");
    let refused = "SERVER_ERROR the key moves, and ZooKeeper is out of sight: try again\r\n";
    assert_eq!(set(&mut client, &key, "b"), refused);
    assert_eq!(get(&mut client, &rests), value(&rests, "a"));
    assert_eq!(acks(&zoo)[0]["epoch"], 2, "{:?}", acks(&zoo));
    zoo.publish(WEB, &on_the_way(4, Fence, &ports));
    all_acknowledge(&zoo, &[&proxy], 4);
    assert_eq!(get(&mut client, &key), value(&key, "a"));
}

#[test]
fn out_of_zookeepers_sight_keys_that_move_rest_and_no_others() {
    let (_servers, ports) = memcacheds();
    let scratch = Scratch::new();
    let snapshot = scratch.path().join("topology.json").display().to_string();
    let mut ensemble = Ensemble::single();
    let zoo = ensemble.client();
    zoo.publish(WEB, &on_the_way(1, Prepare, &ports));
    let connect = ensemble.connect();
    let pool = || following(&connect, &snapshot);
    let proxy = Proxy::twinring(pool());
    all_acknowledge(&zoo, &[&proxy], 1);
    let (key, rests) = (moving(1).remove(0).0, resting());
    let mut client = proxy.client();
    for (epoch, phase) in (1..).zip([Prepare, Fence, Warm, Drain]) {
        zoo.publish(WEB, &on_the_way(epoch, phase, &ports));
        all_acknowledge(&zoo, &[&proxy], epoch);
        for key in [&key, &rests] {
            assert_eq!(set(&mut client, key, "a"), "STORED\r\n");
        }
        ensemble.freeze();
        let rest = || get(&mut client, &key) == "END\r\n";
        assert!(wait_until(LONG, rest), "{phase:?}");
        let refused = "SERVER_ERROR the key moves, and ZooKeeper is out of sight: try again\r\n";
        for request in [
            format!("set {key} 0 0 1\r\nb\r\n"),
            format!("delete {key}\r\n"),
            format!("incr {key} 1\r\n"),
            format!("md {key}\r\n"),
        ] {
            client.ask(request, refused);
        }
        client.ask(format!("mg {key} v\r\n"), "EN\r\n");
        client.ask(format!("get {key} {rests}\r\n"), value(&rests, "a"));
        assert!(wait_until(LONG, || metric(&proxy, "twinring_topology_self_fenced") == 1.0));
        ensemble.thaw();
        let back = || set(&mut client, &key, "c") == "STORED\r\n";
        assert!(wait_until(LONG, back), "{phase:?} {}", proxy.process.output());
        assert_eq!(get(&mut client, &key), value(&key, "c"));
    }
    assert!(metric(&proxy, "twinring_expansion_self_fenced_total") >= 20.0);
    let log = proxy.process.output();
    for line in ["self-fenced: no session with ZooKeeper", "the fence has fallen"] {
        assert!(log.contains(line), "{log}");
    }
    // A start from the snapshot knows the phase, but not whether it is so still.
    let kept = || std::fs::read_to_string(&snapshot).is_ok_and(|text| text.contains("\"drain\""));
    assert!(wait_until(LONG, kept));
    ensemble.kill(0);
    drop(proxy);
    let proxy = Proxy::twinring(pool());
    let mut client = proxy.client();
    assert_eq!(get(&mut client, &key), "END\r\n");
    assert_eq!(get(&mut client, &rests), value(&rests, "a"));
    assert_eq!(metric(&proxy, "twinring_topology_self_fenced"), 1.0);
    ensemble.restart(0, false);
    let back = || get(&mut client, &key) == value(&key, "c");
    assert!(wait_until(LONG * 3, back), "{}", proxy.process.output());
}

pub(super) fn put(file: &Path, version: &Value) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, version.to_string()).unwrap();
    std::fs::rename(&beside, file).unwrap();
}

#[test]
fn a_file_leads_one_proxy_as_fast_as_it_has_settled() {
    let (_servers, ports) = memcacheds();
    let scratch = Scratch::new();
    let file = scratch.path().join("topology.json");
    put(&file, &on_the_way(1, Stable, &ports));
    let topology = format!("{{ source: file, path: {} }}", file.display());
    let pool = PoolSpec::memcache(&[]).set("topology", topology).set("expansion", TIMES);
    let proxy = Proxy::twinring(pool);
    let mut client = proxy.client();
    let keys = moving(20);
    for (key, ..) in &keys {
        assert_eq!(set(&mut client, key, "a"), "STORED\r\n");
    }
    for (epoch, phase) in (2..).zip([Prepare, Fence, Warm, Drain, New]) {
        put(&file, &on_the_way(epoch, phase, &ports));
        let labels = [("pool", "pool0"), ("phase", phase.name())];
        let there = || proxy.metrics().get("twinring_topology_phase", &labels) == 1.0;
        assert!(wait_until(LONG, there), "{phase:?} {}", proxy.process.output());
        for (key, ..) in &keys {
            assert_eq!(get(&mut client, key), value(key, "a"), "{phase:?}");
        }
    }
    // Where phases come from elsewhere the admin listener sets none.
    let mut admin = Client::connect(proxy.admin_port());
    admin.send("POST /expansion?pool=pool0&phase=drain HTTP/1.1\r\nHost: x\r\n\r\n");
    let reply = String::from_utf8(admin.read_to_end()).unwrap();
    assert!(reply.contains("come from its topology"), "{reply}");
}

/// Nobody says that a phase is in force while something goes on that began before.
#[test]
fn a_phase_is_acknowledged_when_what_began_before_has_ended() {
    let (servers, ports) = memcacheds();
    let ensemble = Ensemble::single();
    let zoo = ensemble.client();
    let connect = ensemble.connect();
    zoo.publish(WEB, &on_the_way(1, Stable, &ports));
    zoo.publish("/other", &version(1, &ports));
    // The same session brings it news: when these are acknowledged, the others have had their turn.
    let topology = format!(
        "{{ source: zookeeper, connect: \"{connect}\", path: /other, session_timeout: 2s, \
         startup_wait: 1s, snapshot: off }}"
    );
    let other = PoolSpec::memcache(&[]).set("topology", topology);
    let pool = following(&connect, "off").set("timeout", "20s");
    let proxy = Proxy::twinring_with(&[], vec![pool, other]);
    all_acknowledge(&zoo, &[&proxy], 1);
    let (key, old, _) = moving(1).remove(0);
    let mut client = proxy.client();
    assert_eq!(set(&mut client, &key, "0"), "STORED\r\n");
    servers[old].process.freeze();
    client.send(format!("set {key} 0 0 1\r\na\r\n"));
    let sent = || metric(&proxy, "twinring_backend_inflight") >= 1.0;
    assert!(wait_until(LONG, sent), "{}", proxy.process.output());
    zoo.publish(WEB, &on_the_way(2, Prepare, &ports));
    for epoch in 2..5 {
        let mut news = version(epoch, &ports[..3 + (epoch % 2) as usize]);
        news["allow_shrink"] = json!(true);
        zoo.publish("/other", &news);
        let said = || {
            let folder = "/other/acks";
            let said = zoo.children(folder).into_iter().next();
            said.and_then(|id| zoo.get(&format!("{folder}/{id}"))).unwrap_or_default()
        };
        assert!(wait_until(LONG, || said().contains(&format!("\"epoch\":{epoch},"))), "{}", said());
    }
    let labels = [("pool", "pool0"), ("phase", "prepare")];
    assert_eq!(proxy.metrics().get("twinring_topology_phase", &labels), 1.0);
    assert_eq!(acks(&zoo)[0]["epoch"], 1, "the set goes on");
    servers[old].process.thaw();
    client.expect("STORED\r\n");
    all_acknowledge(&zoo, &[&proxy], 2);
}

//! F31 to F40: ZooKeeper goes, lies or comes back; what serves stays what was last good.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Ensemble, LONG, Memcached, PoolSpec, Proxy, Scratch, Zoo, version, wait_until,
};

const WEB: &str = "/twinring/web";
const POOL: &[(&str, &str)] = &[("pool", "pool0")];
/// Everything may be slow while other tests run beside a Java machine.
const PATIENCE: Duration = LONG.saturating_mul(3);

/// A pool with its servers in ZooKeeper.
fn pool(connect: &str, snapshot: &Path, more: &str) -> PoolSpec {
    over(&[], connect, snapshot, more)
}

/// The same, with servers of its own to fall back on.
fn over(fallback: &[u16], connect: &str, snapshot: &Path, more: &str) -> PoolSpec {
    let snapshot = snapshot.display();
    let topology = format!(
        "{{ source: zookeeper, connect: \"{connect}\", path: {WEB}, session_timeout: 1s, \
         startup_wait: 5s, snapshot: {snapshot}{more} }}"
    );
    PoolSpec::memcache(fallback).set("topology", topology).set("timeout", 2000)
}

fn snapshot(scratch: &Scratch) -> PathBuf {
    scratch.path().join("topology.json")
}

fn reaches_epoch(proxy: &Proxy, epoch: u64) {
    let reached = wait_until(PATIENCE, || {
        proxy.metrics().sum("twinring_topology_epoch", POOL) == Some(epoch as f64)
    });
    assert!(reached, "epoch {epoch} is not followed:\n{}", proxy.process.output());
}

fn counts(proxy: &Proxy, name: &str, labels: &[(&str, &str)], least: f64) {
    let counted = wait_until(PATIENCE, || proxy.metrics().sum(name, labels) >= Some(least));
    assert!(counted, "{name} {labels:?} is below {least}:\n{}", proxy.process.output());
}

fn rejected(proxy: &Proxy, reason: &str, least: f64) {
    counts(proxy, "twinring_topology_rejected_total", &[("reason", reason)], least);
}

fn connected(proxy: &Proxy) -> bool {
    proxy.metrics().sum("twinring_zk_session_state", POOL) == Some(1.0)
}

/// Keys that are spread over all servers are stored and read.
fn serves(proxy: &Proxy) {
    let mut client = proxy.client();
    for key in 0..30 {
        client.ask(format!("set key{key} 0 0 1\r\nv\r\n"), "STORED\r\n");
        client.ask(format!("get key{key}\r\n"), format!("VALUE key{key} 0 1\r\nv\r\nEND\r\n"));
    }
}

fn digest(proxy: &Proxy) -> String {
    let (_, body) = crate::support::http_get(proxy.admin_port(), "/topology");
    let reports: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    reports[0]["digest"].as_str().expect("a digest").to_owned()
}

fn memcacheds(count: usize) -> (Vec<Memcached>, Vec<u16>) {
    let servers: Vec<Memcached> = (0..count).map(|_| Memcached::start()).collect();
    let ports = servers.iter().map(Memcached::port).collect();
    (servers, ports)
}

/// An ensemble with epoch 1 over these servers, and a proxy that follows it.
fn following(ports: &[u16]) -> (Ensemble, Zoo, Proxy, Scratch) {
    let (ensemble, scratch) = (Ensemble::single(), Scratch::new());
    let zoo = ensemble.client();
    zoo.publish(WEB, &version(1, ports));
    let proxy = Proxy::twinring(pool(&ensemble.connect(), &snapshot(&scratch), ""));
    reaches_epoch(&proxy, 1);
    assert!(wait_until(PATIENCE, || connected(&proxy)), "{}", proxy.process.output());
    (ensemble, zoo, proxy, scratch)
}

#[test]
fn f31_unreachable_at_start() {
    let (_servers, ports) = memcacheds(2);
    let scratch = Scratch::new();
    let mut ensemble = Ensemble::single();
    ensemble.client().publish(WEB, &version(1, &ports));
    let connect = ensemble.connect();
    let first = Proxy::twinring(pool(&connect, &snapshot(&scratch), ""));
    let kept = wait_until(PATIENCE, || snapshot(&scratch).exists());
    assert!(kept, "what is followed is not on disk:\n{}", first.process.output());
    drop(first);
    let from = |state: &str, proxy: &Proxy| {
        let labels = [("pool", "pool0"), ("state", state)];
        counts(proxy, "twinring_topology_source", &labels, 1.0);
    };
    ensemble.kill(0);
    // The snapshot before what the configuration says, and that before nothing.
    let start = Instant::now();
    let kept = Proxy::twinring(over(&ports[..1], &connect, &snapshot(&scratch), ""));
    assert!(start.elapsed() < Duration::from_secs(5) + LONG, "{:?}", start.elapsed());
    from("snapshot", &kept);
    serves(&kept);
    assert_eq!(kept.metrics().sum("twinring_node_up", POOL), Some(2.0));
    let nowhere = scratch.path().join("none.json");
    let written = Proxy::twinring(over(&ports[..1], &connect, &nowhere, ""));
    from("fallback", &written);
    serves(&written);
    let bare = Proxy::twinring(pool(&connect, &nowhere, ""));
    from("none", &bare);
    let mut client = bare.client();
    client.send("set a 0 0 1\r\nx\r\n");
    assert!(client.read_line().starts_with(b"SERVER_ERROR"), "it is no cache of its own");
    ensemble.restart(0, false);
    for proxy in [&kept, &written, &bare] {
        reaches_epoch(proxy, 1);
        from("live", proxy);
        serves(proxy);
    }
}

#[test]
fn f31_a_corrupt_snapshot_is_not_used() {
    let (_servers, ports) = memcacheds(1);
    let scratch = Scratch::new();
    std::fs::write(snapshot(&scratch), "{\"format\":1,\n").unwrap();
    let proxy = Proxy::twinring(over(&ports, "127.0.0.1:1", &snapshot(&scratch), ""));
    serves(&proxy);
    assert_eq!(proxy.metrics().get("twinring_topology_snapshot_errors_total", POOL), 1.0);
    let log = proxy.process.output();
    assert!(log.contains("the snapshot of the topology is not used"), "{log}");
}

#[test]
fn f32_session_expiry() {
    let (_servers, ports) = memcacheds(2);
    let (ensemble, zoo, proxy, _scratch) = following(&ports[..1]);
    let acks = || zoo.children(&format!("{WEB}/acks"));
    assert!(wait_until(PATIENCE, || acks().len() == 1), "no acknowledgement: {:?}", acks());
    ensemble.freeze();
    counts(&proxy, "twinring_zk_session_expirations_total", POOL, 1.0);
    assert!(!connected(&proxy));
    serves(&proxy);
    ensemble.thaw();
    let back = wait_until(PATIENCE, || connected(&proxy));
    assert!(back, "no new session:\n{}", proxy.process.output());
    drop(zoo);
    let zoo = ensemble.client();
    zoo.publish(WEB, &version(2, &ports));
    reaches_epoch(&proxy, 2);
    let acks = || -> Vec<String> {
        let folder = format!("{WEB}/acks");
        let all = zoo.children(&folder);
        all.iter().filter_map(|id| zoo.get(&format!("{folder}/{id}"))).collect()
    };
    let again = wait_until(PATIENCE, || acks().iter().any(|ack| ack.contains("\"epoch\":2")));
    assert!(again, "{:?}", acks());
    serves(&proxy);
}

#[test]
fn f33_partition_for_long() {
    let (_servers, ports) = memcacheds(2);
    let (mut ensemble, zoo, proxy, _scratch) = following(&ports);
    drop(zoo);
    ensemble.kill(0);
    counts(&proxy, "twinring_zk_session_expirations_total", POOL, 1.0);
    serves(&proxy);
    assert_eq!(proxy.metrics().get("twinring_topology_epoch", POOL), 1.0);
    ensemble.restart(0, false);
    ensemble.client().publish(WEB, &version(2, &ports[..2]));
    reaches_epoch(&proxy, 2);
}

#[test]
fn f34_empty_list() {
    let (_servers, ports) = memcacheds(2);
    let (_ensemble, zoo, proxy, _scratch) = following(&ports);
    zoo.publish(WEB, &version(2, &[]));
    rejected(&proxy, "empty", 1.0);
    serves(&proxy);
    assert_eq!(proxy.metrics().get("twinring_topology_epoch", POOL), 1.0);
    let mut meant = version(3, &[]);
    meant["allow_empty"] = json!(true);
    zoo.publish(WEB, &meant);
    reaches_epoch(&proxy, 3);
    let mut client = proxy.client();
    client.send("get a\r\n");
    assert!(client.read_line().starts_with(b"SERVER_ERROR"), "no servers, no cache");
}

#[test]
fn f34_all_members_gone() {
    let (_servers, ports) = memcacheds(3);
    let (ensemble, scratch) = (Ensemble::single(), Scratch::new());
    let zoo = ensemble.client();
    zoo.put(WEB, json!({ "cachePoolSize": 3 }).to_string());
    let joined: Vec<String> =
        (0..).zip(&ports).map(|(shard, port)| zoo.join(WEB, shard, *port)).collect();
    let set = pool(&ensemble.connect(), &snapshot(&scratch), ", format: serverset");
    let proxy = Proxy::twinring(set);
    serves(&proxy);
    let before = digest(&proxy);
    joined.iter().for_each(|member| zoo.delete(member));
    rejected(&proxy, "empty", 1.0);
    serves(&proxy);
    assert_eq!(digest(&proxy), before);
}

#[test]
fn f35_most_members_vanish() {
    let (_servers, ports) = memcacheds(5);
    let (_ensemble, zoo, proxy, _scratch) = following(&ports);
    zoo.publish(WEB, &version(2, &ports[..2]));
    rejected(&proxy, "shrink", 1.0);
    serves(&proxy);
    assert_eq!(proxy.metrics().sum("twinring_node_up", POOL), Some(5.0));
}

/// A thousand flips a minute, for six seconds.
#[test]
fn f36_flap_storm() {
    const FLIPS: u32 = 100;
    let (_servers, ports) = memcacheds(4);
    let (ensemble, scratch) = (Ensemble::single(), Scratch::new());
    let zoo = ensemble.client();
    zoo.put(WEB, json!({ "cachePoolSize": 4 }).to_string());
    let mut member = String::new();
    for (shard, port) in (0..).zip(&ports) {
        member = zoo.join(WEB, shard, *port);
    }
    let set = pool(&ensemble.connect(), &snapshot(&scratch), ", format: serverset");
    let proxy = Proxy::twinring(set);
    serves(&proxy);
    let before = digest(&proxy);
    let (start, ticks) = (Instant::now(), proxy.process.cpu_ticks());
    for flip in 0..FLIPS {
        // The pace of the storm is part of what is tested.
        let due = Duration::from_millis(60) * flip;
        wait_until(PATIENCE, || start.elapsed() >= due);
        zoo.delete(&member);
        // Away for half of the time, so that it is seen to be.
        wait_until(PATIENCE, || start.elapsed() >= due + Duration::from_millis(30));
        member = zoo.join(WEB, 3, ports[3]);
    }
    let spent = Duration::from_millis(10 * (proxy.process.cpu_ticks() - ticks));
    let part = spent.as_secs_f64() / start.elapsed().as_secs_f64();
    println!("a flap storm takes {:.1} % of a processor", part * 100.0);
    assert!(part < 0.1, "{spent:?} of {:?}", start.elapsed());
    counts(&proxy, "twinring_topology_changes_suppressed_total", POOL, 1.0);
    assert_eq!(digest(&proxy), before);
    assert_eq!(proxy.metrics().get("twinring_topology_applied_total", POOL), 1.0);
    serves(&proxy);
}

#[test]
fn f37_corrupt_oversize_duplicate_older() {
    let (_servers, ports) = memcacheds(2);
    let (_ensemble, zoo, proxy, _scratch) = following(&ports);
    zoo.publish(WEB, &version(5, &ports));
    reaches_epoch(&proxy, 5);
    let pointer = format!("{WEB}/topology");
    zoo.put(&pointer, "{\"schema\":1,\"act");
    rejected(&proxy, "decode", 1.0);
    zoo.put(&format!("{WEB}/versions/0000000006"), " ".repeat(950 << 10));
    zoo.put(&pointer, "{\"schema\":1,\"active\":6}");
    rejected(&proxy, "decode", 2.0);
    zoo.publish(WEB, &version(7, &[ports[0], ports[0]]));
    rejected(&proxy, "dup", 1.0);
    zoo.publish(WEB, &version(4, &ports));
    rejected(&proxy, "epoch", 1.0);
    serves(&proxy);
    assert_eq!(proxy.metrics().get("twinring_topology_epoch", POOL), 5.0);
    let log = proxy.process.output();
    for why in ["line 1 column 16", "at most 921600 are read", "are at 127.0.0.1", "4 is older"] {
        assert!(log.contains(why), "{why} is not said:\n{log}");
    }
}

#[test]
fn f38_restored_ensemble() {
    let (_servers, ports) = memcacheds(3);
    let (mut ensemble, zoo, proxy, _scratch) = following(&ports);
    zoo.publish(WEB, &version(8, &ports));
    reaches_epoch(&proxy, 8);
    drop(zoo);
    ensemble.kill(0);
    ensemble.restart(0, true);
    let zoo = ensemble.client();
    rejected(&proxy, "deleted", 1.0);
    zoo.publish(WEB, &version(3, &ports[..2]));
    rejected(&proxy, "epoch", 1.0);
    serves(&proxy);
    assert_eq!(proxy.metrics().sum("twinring_node_up", POOL), Some(3.0));
    // Somebody looked, and says that this is what is meant.
    zoo.put(&format!("{WEB}/topology"), "{\"schema\":1,\"active\":3,\"accept\":3}");
    reaches_epoch(&proxy, 3);
    assert_eq!(proxy.metrics().sum("twinring_node_up", POOL), Some(2.0));
}

#[test]
fn f40_pointer_deleted() {
    let (_servers, ports) = memcacheds(2);
    let (_ensemble, zoo, proxy, _scratch) = following(&ports);
    zoo.delete(&format!("{WEB}/topology"));
    rejected(&proxy, "deleted", 1.0);
    serves(&proxy);
    zoo.publish(WEB, &version(2, &ports));
    reaches_epoch(&proxy, 2);
}

//! A pool's servers out of a ZooKeeper ensemble that speaks TLS.

use std::path::Path;

use crate::support::{
    Authority, Ensemble, Files, LONG, Memcached, PoolSpec, Port, Proxy, Scratch, version,
    wait_until,
};

const POOL: &[(&str, &str)] = &[("pool", "pool0")];

fn pool(port: &Port, tls: &str) -> PoolSpec {
    let topology = format!(
        "{{ source: zookeeper, connect: \"127.0.0.1:{}\", path: /web, session_timeout: 2s, \
         startup_wait: 1s, snapshot: off, tls: {{ {tls} }} }}",
        port.number()
    );
    PoolSpec::memcache(&[]).set("topology", topology).set("timeout", 2000)
}

fn trusting(ca: &Path, own: Option<&Files>) -> String {
    let own = own.map_or_else(String::new, |own| format!(", {}", own.setting()));
    format!("ca: {}{own}", ca.display())
}

#[test]
fn servers_come_from_an_ensemble_that_speaks_tls() {
    let authority = Authority::new();
    let (its, ours) = (authority.sign("zk", &["127.0.0.1"]), authority.sign("us", &["proxy"]));
    let port = Port::take();
    let ensemble = Ensemble::secure(&port, &its, &authority.ca());
    let servers = [Memcached::start(), Memcached::start()];
    let zoo = ensemble.client();
    zoo.publish("/web", &version(1, &[servers[0].port()]));
    let proxy = Proxy::twinring(pool(&port, &trusting(&authority.ca(), Some(&ours))));
    let follows = |epoch: f64| {
        let there = || proxy.metrics().sum("twinring_topology_epoch", POOL) == Some(epoch);
        assert!(wait_until(LONG, there), "{}", proxy.process.output());
    };
    follows(1.0);
    proxy.client().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    // Watches are told over it as well.
    zoo.publish("/web", &version(2, &[servers[1].port()]));
    follows(2.0);
    assert!(wait_until(LONG, || {
        proxy.client().ask("set a 0 0 1\r\ny\r\n", "STORED\r\n");
        let mut direct = servers[1].client();
        direct.send("get a\r\n");
        direct.memcache_reply().starts_with(b"VALUE")
    }));
}

#[test]
fn an_ensemble_that_cannot_be_trusted_or_does_not_trust_us_is_not_followed() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let its = authority.sign("zk", &["127.0.0.1"]);
    let (ours, foreign) = (authority.sign("us", &["proxy"]), stranger.sign("us", &["proxy"]));
    let port = Port::take();
    let ensemble = Ensemble::secure(&port, &its, &authority.ca());
    let (memcached, fallback) = (Memcached::start(), Memcached::start());
    ensemble.client().publish("/web", &version(1, &[memcached.port()]));
    for tls in [
        trusting(&stranger.ca(), Some(&ours)),
        trusting(&authority.ca(), Some(&foreign)),
        trusting(&authority.ca(), None),
    ] {
        let servers = format!("[ \"127.0.0.1:{}:1 a\" ]", fallback.port());
        let proxy = Proxy::twinring(pool(&port, &tls).set("servers", servers));
        let output = || proxy.process.output();
        assert!(wait_until(LONG, || output().contains("no ZooKeeper")), "{tls}: {}", output());
        // What the configuration says serves instead.
        proxy.client().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
        assert_eq!(proxy.metrics().sum("twinring_topology_epoch", POOL).unwrap_or(0.0), 0.0);
    }
    // A file that is none is told before anything is asked.
    let scratch = Scratch::new();
    let empty = scratch.file("ca.pem", "");
    let proxy = Proxy::twinring(pool(&port, &trusting(&empty, None)));
    let output = || proxy.process.output();
    assert!(wait_until(LONG, || output().contains("ca.pem")), "{}", output());
}

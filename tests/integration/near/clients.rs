//! Client libraries through a pool with a near cache do what they do without.

use crate::clients::{node_with, python_with};
use crate::support::{Memcached, PoolSpec, Proxy, Redis};

/// Lets everything in and keeps it for long, misses too: what should not be served would be.
const NEAR: &str = "{ memory: 8MiB, admit: all, negative: 250ms, max_age: 10s }";

#[test]
fn pymemcache_works() {
    for count in [1, 3] {
        let servers: Vec<Memcached> = (0..count).map(|_| Memcached::start()).collect();
        let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
        let pool = PoolSpec::memcache(&ports).set("timeout", 5000).set("near_cache", NEAR);
        let proxy = Proxy::twinring(pool);
        python_with("memcache_client.py", &[&proxy.port().to_string()], &[]);
        assert!(fills(&proxy) > 0.0, "nothing was kept");
    }
}

#[test]
fn redis_py_works() {
    for count in [1, 3] {
        let proxy = redis(count, false);
        python_with("redis_client.py", &[&proxy.1.port().to_string()], &[]);
        assert!(fills(&proxy.1) > 0.0, "nothing was kept");
    }
}

#[test]
fn ioredis_works() {
    let proxy = redis(1, true);
    node_with("ioredis_client.js", &[&proxy.1.port().to_string(), "pool"]);
    assert!(fills(&proxy.1) > 0.0, "nothing was kept");
}

/// `all`: FLUSHALL and KEYS are allowed.
fn redis(count: usize, all: bool) -> (Vec<Redis>, Proxy) {
    let servers: Vec<Redis> = (0..count).map(|_| Redis::start(&[])).collect();
    let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
    let pool = PoolSpec::redis(&ports).set("timeout", 5000).set("near_cache", NEAR);
    (servers, Proxy::twinring(pool.set("allow_flush", all).set("allow_scan", all)))
}

fn fills(proxy: &Proxy) -> f64 {
    proxy.metrics().get("twinring_near_cache_fills_total", &[("result", "stored")])
}

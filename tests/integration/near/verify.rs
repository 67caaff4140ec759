//! Hits that are compared with their server: what is as promised, and a server that does not tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{memcache_pool, redis_pool, with_near};
use crate::support::{Client, Fake, LONG, Memcached, PoolSpec, Proxy, Redis, wait_until};

fn verified(proxy: &Proxy, result: &str) -> f64 {
    proxy.metrics().get("twinring_near_cache_verified_total", &[("result", result)])
}

/// Reads until so many checks have come to a result.
fn read_until(proxy: &Proxy, (request, result): (&str, &str)) {
    let mut client = proxy.client();
    let found = wait_until(LONG, || {
        for _ in 0..20 {
            client.send(request);
            if request.starts_with('G') {
                client.redis_reply()
            } else {
                client.memcache_reply()
            };
        }
        verified(proxy, result) > 0.0
    });
    assert!(found, "no hit is found {result}");
}

#[test]
fn hits_are_what_their_servers_have_or_had_a_moment_ago() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    memcached.client().ask("set k 7 0 1\r\n1\r\n", "STORED\r\n");
    let proxy = Proxy::twinring(memcache_pool(&memcached, "max_age: 300ms, verify: 3"));
    read_until(&proxy, ("get k\r\n", "same"));
    // A value that is let be until its age is reached is no fault.
    let changed = wait_until(LONG, || {
        let mut direct = memcached.client();
        let mut client = proxy.client();
        for round in 0..10 {
            direct.ask(format!("set k 7 0 1\r\n{round}\r\n"), "STORED\r\n");
            for _ in 0..20 {
                client.send("get k\r\n");
                client.memcache_reply();
            }
        }
        verified(&proxy, "changed") > 0.0
    });
    assert!(changed && verified(&proxy, "stale") == 0.0);
    Client::connect(redis.port()).ask("SET k 1\r\n", "+OK\r\n");
    let proxy = Proxy::twinring(redis_pool(&redis, "lease: 300ms, verify: 3"));
    read_until(&proxy, ("GET k\r\n", "same"));
    assert_eq!(verified(&proxy, "stale"), 0.0);
    // It is off unless asked for.
    let proxy = Proxy::twinring(redis_pool(&redis, ""));
    let mut client = proxy.client();
    (0..200).for_each(|_| client.ask("GET k\r\n", "$1\r\n1\r\n"));
    assert_eq!(verified(&proxy, "same"), 0.0);
}

/// It says that it will tell, and never does.
#[test]
fn a_server_that_keeps_silent_is_found_out() {
    let count = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&count);
    let server = Fake::start(move |mut stand| {
        while let Some(request) = stand.redis_request() {
            match request[0].as_slice() {
                b"HELLO" => stand.reply("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
                b"PTTL" => stand.reply(":-1\r\n"),
                _ => {
                    // Another value each time.
                    let number = shared.fetch_add(1, Ordering::SeqCst) % 10;
                    stand.reply(format!("$1\r\n{number}\r\n"));
                }
            }
        }
    });
    let pool =
        with_near(PoolSpec::redis(&[server.port()]), "lease: 300ms, max_age: 1ms, verify: 5");
    let proxy = Proxy::twinring(pool);
    read_until(&proxy, ("GET k\r\n", "stale"));
    let line = "a value is served that is too old";
    let said = || proxy.process.output().contains(line);
    assert!(wait_until(LONG, said), "{}", proxy.process.output());
}

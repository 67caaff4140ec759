//! Hits that are compared with their server: what is as promised, and a server that does not tell.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{lookups, memcache_pool, redis_pool, with_near};
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
            if request.starts_with(|first: char| first.is_ascii_uppercase()) {
                client.redis_reply()
            } else {
                client.memcache_reply()
            };
        }
        verified(proxy, result) > 0.0
    });
    assert!(found, "no hit of {request:?} is found {result}");
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

/// One in twenty: of what has filled the entry there are never so many.
#[test]
fn whatever_is_wanted_of_an_entry_it_is_compared() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    memcached.client().ask("set k 7 0 1\r\n1\r\n", "STORED\r\n");
    let mut direct = Client::connect(redis.port());
    direct.ask("SET k 12345\r\n", "+OK\r\n");
    direct.ask("HSET h a 1 b 2\r\n", ":2\r\n");
    for (fill, request) in [
        ("GET k", "STRLEN k"),
        ("GET k", "EXISTS k"),
        ("GET k", "GETRANGE k 1 3"),
        ("GET k", "MGET k other"),
        ("GET none", "GET none"),
        ("HGETALL h", "HGETALL h"),
        ("HGETALL h", "HGET h a"),
        ("HGETALL h", "HMGET h x b"),
        ("HGET h a", "HGET h a"),
        ("HMGET h x b", "HMGET h x b"),
    ] {
        let near = "lease: 300ms, negative: 200ms, verify: 20";
        let proxy = Proxy::twinring(redis_pool(&redis, near));
        let mut client = proxy.client();
        let filled = wait_until(LONG, || {
            client.send(format!("{fill}\r\n"));
            client.redis_reply();
            lookups(&proxy, "hit") > 0.0
        });
        assert!(filled, "{fill}");
        read_until(&proxy, (&format!("{request}\r\n"), "same"));
        assert_eq!(verified(&proxy, "changed") + verified(&proxy, "stale"), 0.0, "{request}");
    }
    for request in ["get k\r\n", "mg k v\r\n", "mg k s\r\n", "get k other\r\n"] {
        let proxy = Proxy::twinring(memcache_pool(&memcached, "max_age: 10s, verify: 20"));
        let mut client = proxy.client();
        let filled = wait_until(LONG, || {
            client.ask("get k\r\n", "VALUE k 7 1\r\n1\r\nEND\r\n");
            lookups(&proxy, "hit") > 0.0
        });
        assert!(filled);
        read_until(&proxy, (request, "same"));
    }
}

/// A Redis server that says that it will tell of changes, and never does; `answer` makes its replies,
/// each time with another digit.
fn silent(answer: impl Fn(u64) -> String + Send + Sync + 'static) -> Fake {
    let count = AtomicU64::new(0);
    Fake::start(move |mut stand| {
        while let Some(request) = stand.redis_request() {
            match request[0].as_slice() {
                b"HELLO" => stand.reply("%1\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"),
                b"CLIENT" => stand.reply("+OK\r\n"),
                b"PING" => stand.reply("+PONG\r\n"),
                b"PTTL" => stand.reply(":-1\r\n"),
                _ => stand.reply(answer(count.fetch_add(1, Ordering::SeqCst) % 10)),
            }
        }
    })
}

#[test]
fn a_server_that_keeps_silent_is_found_out() {
    for (request, answer) in [
        ("GET k\r\n", "$1\r\n?\r\n"),
        ("HGETALL k\r\n", "*2\r\n$1\r\na\r\n$1\r\n?\r\n"),
        ("HGET k a\r\n", "*1\r\n$1\r\n?\r\n"),
    ] {
        let server = silent(move |digit| answer.replace('?', &digit.to_string()));
        let near = "lease: 300ms, max_age: 1ms, verify: 5";
        let proxy = Proxy::twinring(with_near(PoolSpec::redis(&[server.port()]), near));
        read_until(&proxy, (request, "stale"));
        let line = "a value is served that is too old";
        let said = || proxy.process.output().contains(line);
        assert!(wait_until(LONG, said), "{}", proxy.process.output());
    }
}

/// Redis may list the fields of a hash in another order from one moment to the next.
#[test]
fn a_hash_in_another_order_is_no_change() {
    let (a, b) = ("$1\r\na\r\n$1\r\n1\r\n", "$1\r\nb\r\n$1\r\n2\r\n");
    let server = silent(move |digit| {
        let pairs = if digit % 2 == 0 { [a, b] } else { [b, a] };
        format!("*4\r\n{}", pairs.concat())
    });
    let near = "lease: 300ms, max_age: 1ms, verify: 5";
    let proxy = Proxy::twinring(with_near(PoolSpec::redis(&[server.port()]), near));
    let mut client = proxy.client();
    let compared = wait_until(LONG, || {
        client.send("HGETALL k\r\n");
        client.redis_reply();
        verified(&proxy, "same") > 9.0
    });
    assert!(compared && verified(&proxy, "changed") + verified(&proxy, "stale") == 0.0);
}

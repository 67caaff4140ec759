//! What a near cache is told to do and what it does when it cannot: settings, servers that refuse,
//! servers that are not there.

use std::time::{Duration, Instant};

use super::history::kill_tracked;
use super::{lookups, memcache_pool, redis_pool};
use crate::support::{
    Client, LONG, Memcached, PoolSpec, Port, Proxy, Redis, http_get, valkey_9, wait_until,
};

/// Reads until the near cache answers; false if it never does.
fn warm(proxy: &Proxy, (request, reply): (&str, &str)) -> bool {
    let mut client = proxy.client();
    let before = lookups(proxy, "hit");
    wait_until(LONG, || {
        (0..3).for_each(|_| client.ask(request, reply));
        lookups(proxy, "hit") > before
    })
}

fn metric(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().get(&format!("twinring_near_cache_{name}"), &[])
}

/// Asks for `count` keys that nobody else asks for, `from` on.
fn ask_for_cold_keys(client: &mut Client, from: usize, count: usize) {
    const AT_ONCE: usize = 500;
    for first in (from..from + count).step_by(AT_ONCE) {
        let asked: String = (first..first + AT_ONCE).map(|n| format!("get cold-{n}\r\n")).collect();
        client.ask(asked, "END\r\n".repeat(AT_ONCE));
    }
}

#[test]
fn a_cache_in_which_nothing_is_found_is_passed_by_until_something_is_hot() {
    let server = Memcached::start();
    let pool = PoolSpec::memcache(&[server.port()]).set("timeout", 5000);
    let proxy = Proxy::twinring(pool.set("near_cache", "{ memory: 8MiB }"));
    let mut client = proxy.client();
    ask_for_cold_keys(&mut client, 0, 16_000);
    assert_eq!(lookups(&proxy, "spared"), 0.0);
    ask_for_cold_keys(&mut client, 16_000, 24_000);
    let spared = lookups(&proxy, "spared");
    assert!((20_000.0..21_000.0).contains(&spared), "{spared}");
    let mut direct = Client::connect(server.port());
    direct.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    assert!(warm(&proxy, ("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n")), "not noticed");
    let spared = lookups(&proxy, "spared");
    ask_for_cold_keys(&mut client, 40_000, 10_000);
    // The hit is learnt of with the next read that is looked at, one in eight.
    let more = lookups(&proxy, "spared") - spared;
    assert!(more < 8.0, "{more} after the hit");
}

#[test]
fn a_server_that_refuses_tracking_is_cached_by_age() {
    let deny =
        ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client|tracking"].as_slice();
    let half =
        ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client|caching"].as_slice();
    let old = ["--rename-command", "HELLO", ""].as_slice();
    for args in [deny, half, old] {
        let redis = Redis::start(args);
        let proxy = Proxy::twinring(redis_pool(&redis, "max_age: 200ms"));
        let mut direct = Client::connect(redis.port());
        direct.ask("SET k 1\r\n", "+OK\r\n");
        assert!(warm(&proxy, ("GET k\r\n", "$1\r\n1\r\n")), "nothing is kept: {args:?}");
        assert!(metric(&proxy, "tracking_refused_total") >= 1.0);
        assert_eq!(metric(&proxy, "coherent"), 0.0);
        // The log is written by another thread.
        let line = "near cache by age alone";
        let said = || proxy.process.output().contains(line);
        assert!(wait_until(LONG, said), "{}", proxy.process.output());
        // Not told, but found once the age is reached.
        direct.ask("SET k 2\r\n", "+OK\r\n");
        let acked = Instant::now();
        let mut client = proxy.client();
        let mut oldest = None;
        assert!(wait_until(LONG, || {
            let sent = Instant::now();
            client.send("GET k\r\n");
            let new = client.redis_reply() == b"$1\r\n2\r\n";
            if !new {
                oldest = Some(sent - acked);
            }
            new
        }));
        assert!(oldest.is_some_and(|age| age <= Duration::from_millis(200)), "{oldest:?}");
    }
}

/// It may be forbidden at any time, too.
#[test]
fn a_server_that_tells_no_longer_is_cached_by_age() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(redis_pool(&redis, "max_age: 200ms"));
    let mut direct = Client::connect(redis.port());
    direct.ask("SET k 1\r\nSET j 1\r\n", "+OK\r\n+OK\r\n");
    assert!(warm(&proxy, ("GET k\r\n", "$1\r\n1\r\n")));
    assert_eq!(metric(&proxy, "coherent"), 1.0);
    direct.ask("ACL SETUSER default -client|caching\r\n", "+OK\r\n");
    // A connection that may not ask any more is found by the next fill.
    assert!(warm(&proxy, ("GET j\r\n", "$1\r\n1\r\n")), "nothing is kept");
    assert_eq!((metric(&proxy, "coherent"), metric(&proxy, "tracking_refused_total")), (0.0, 1.0));
    for (hello, value) in [("", "2"), ("HELLO 3\r\n", "3")] {
        let mut client = proxy.client();
        if !hello.is_empty() {
            client.send(hello);
            client.redis_reply();
        }
        direct.ask(format!("SET j {value}\r\n"), "+OK\r\n");
        let reply = format!("$1\r\n{value}\r\n");
        let new = || {
            client.send("GET j\r\n");
            client.redis_reply() == reply.as_bytes()
        };
        assert!(wait_until(LONG, new), "what is kept by age does not end");
        let before = lookups(&proxy, "hit");
        let kept = || {
            client.ask("GET j\r\n", &reply);
            lookups(&proxy, "hit") > before
        };
        assert!(wait_until(LONG, kept), "nothing is kept");
    }
}

#[test]
fn a_server_that_tells_is_heard() {
    let redis = Redis::start(&[
        "--user", "default", "off", "--user", "app", "on", ">secret", "~*", "&*", "+@all",
    ]);
    let pool = redis_pool(&redis, "").set("redis_auth", "secret").set("redis_user", "app");
    let proxy = Proxy::twinring(pool);
    let mut direct = Client::connect(redis.port());
    let mut client = proxy.client();
    for user in [&mut direct, &mut client] {
        user.ask("AUTH app secret\r\n", "+OK\r\n");
    }
    let heard = wait_until(LONG, || metric(&proxy, "coherent") == 1.0);
    assert!(heard, "the server is not heard");
    for round in 1..10 {
        direct.ask(format!("SET k {round}\r\n"), "+OK\r\n");
        let reply = format!("$1\r\n{round}\r\n");
        // No age is waited for: it is a minute.
        assert!(wait_until(LONG, || {
            client.send("GET k\r\n");
            client.redis_reply() == reply.as_bytes()
        }));
        client.ask("GET k\r\n", &reply);
    }
    assert_eq!(metric(&proxy, "tracking_refused_total"), 0.0);
    assert!(lookups(&proxy, "hit") > 5.0 && metric(&proxy, "invalidations_total") > 5.0);
}

/// What is asked of a hash is kept as it was asked for; nobody asks for all of a large one for it.
#[test]
fn fields_are_kept_without_their_hash() {
    let redis = Redis::start(&[]);
    for near in ["mode: tracked", "mode: ttl, max_age: 10s"] {
        let proxy = Proxy::twinring(redis_pool(&redis, near));
        let mut direct = Client::connect(redis.port());
        direct.ask("HSET h a 1 b 2\r\n", ":2\r\n");
        assert!(warm(&proxy, ("HGET h a\r\n", "$1\r\n1\r\n")), "{near}");
        assert!(warm(&proxy, ("HMGET h b x\r\n", "*2\r\n$1\r\n2\r\n$-1\r\n")), "{near}");
        // One's own writes are seen at once, whichever field they are of.
        let mut client = proxy.client();
        for round in 10..20 {
            let both = format!("*2\r\n$2\r\n{round}\r\n$2\r\n{round}\r\n");
            client.ask(format!("HSET h a {round} b {round}\r\n"), ":0\r\n");
            client.ask("HGET h a\r\n", format!("$2\r\n{round}\r\n"));
            (0..3).for_each(|_| client.ask("HMGET h a b\r\n", &both));
        }
        client.ask("DEL h\r\nHGET h a\r\n", ":1\r\n$-1\r\n");
    }
    // What another writes is told.
    let proxy = Proxy::twinring(redis_pool(&redis, ""));
    let mut direct = Client::connect(redis.port());
    direct.ask("HSET h a 1\r\n", ":1\r\n");
    assert!(warm(&proxy, ("HGET h a\r\n", "$1\r\n1\r\n")));
    direct.ask("HSET h b 2 a 3\r\n", ":1\r\n");
    let mut client = proxy.client();
    assert!(wait_until(LONG, || {
        client.send("HGET h a\r\n");
        client.redis_reply() == b"$1\r\n3\r\n"
    }));
    direct.send("INFO commandstats\r\n");
    let stats = String::from_utf8(direct.redis_reply()).expect("a text");
    assert!(stats.contains("cmdstat_hmget") && !stats.contains("cmdstat_hgetall"), "{stats}");
}

/// Of what comes of a hash with times of its fields nobody says when it is over: it is kept for
/// `max_age` only, though the server tells of changes and `lease` and `tracked_max` are longer. (It
/// does not tell of what is over before it takes it away, which it does not do here.)
#[test]
fn a_field_that_is_over_is_not_shown_for_longer_than_max_age() {
    let Some(valkey) = valkey_9() else { return };
    let valkey = Redis::start_program(&valkey, &["--enable-debug-command", "yes"]);
    let near = "mode: tracked, lease: 10s, tracked_max: 60s, max_age: 500ms";
    let proxy = Proxy::twinring(redis_pool(&valkey, near));
    let mut direct = Client::connect(valkey.port());
    direct.ask("DEBUG SET-ACTIVE-EXPIRE 0\r\n", "+OK\r\n");
    for (number, form) in [(1, "HGET h soon"), (2, "HMGET h soon"), (3, "HGETALL h")] {
        direct.ask("DEL h\r\nHSET h soon 1\r\n", format!(":{}\r\n:1\r\n", u8::from(number > 1)));
        direct.ask("HSET h ever 2\r\n", ":1\r\n");
        direct.ask("HPEXPIRE h 2000 FIELDS 1 soon\r\n", "*1\r\n:1\r\n");
        let begun = Instant::now();
        let has = |reply: &[u8]| reply.windows(3).any(|part| part == b"\n1\r");
        let last = last_seen(&proxy, &format!("{form}\r\n"), |client| has(&client.redis_reply()));
        let last = last.expect("it was there").duration_since(begun);
        // The server's answer and ours take a little beside the 2 s and `max_age`.
        assert!(last < Duration::from_millis(2000 + 500 + 400), "{form}: {last:?}");
        assert!(lookups(&proxy, "hit") > f64::from(number), "{form}: nothing was kept");
    }
}

/// What came over a connection goes with it, long before its time.
#[test]
fn a_lost_connection_takes_all_that_came_over_it() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(redis_pool(&redis, ""));
    let mut direct = Client::connect(redis.port());
    direct.ask("SET a 1\r\nSET b 1\r\n", "+OK\r\n+OK\r\n");
    assert!(warm(&proxy, ("GET a\r\nMGET b\r\n", "$1\r\n1\r\n*1\r\n$1\r\n1\r\n")));
    kill_tracked(redis.port());
    assert!(wait_until(LONG, || metric(&proxy, "epochs_total") == 1.0), "nothing was noticed");
    let before = lookups(&proxy, "hit");
    proxy.client().ask("GET a\r\nMGET b\r\n", "$1\r\n1\r\n*1\r\n$1\r\n1\r\n");
    assert_eq!(lookups(&proxy, "hit"), before);
    assert!(warm(&proxy, ("GET a\r\n", "$1\r\n1\r\n")), "it does not come back");
    assert!(wait_until(LONG, || metric(&proxy, "coherent") == 1.0));
}

/// Redis stopped: hits until the lease ends, errors from then on, and the truth afterwards.
#[test]
fn nothing_is_served_beyond_the_lease() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(
        PoolSpec::redis(&[redis.port()])
            .set("timeout", 300)
            .set("near_cache", "{ memory: 8MiB, admit: all, lease: 300ms }"),
    );
    let mut direct = Client::connect(redis.port());
    direct.ask("SET k 1\r\n", "+OK\r\n");
    assert!(warm(&proxy, ("GET k\r\n", "$1\r\n1\r\n")));
    redis.process.freeze();
    let frozen = Instant::now();
    let mut client = proxy.client();
    let mut last = frozen;
    assert!(wait_until(LONG, || {
        let sent = Instant::now();
        client.send("GET k\r\n");
        let hit = client.redis_reply() == b"$1\r\n1\r\n";
        last = if hit { sent } else { last };
        !hit
    }));
    assert!(last - frozen <= Duration::from_millis(300), "{:?}", last - frozen);
    redis.process.thaw();
    // What was asked before may be answered now, and kept until the server tells of the change.
    direct.ask("SET k 2\r\n", "+OK\r\n");
    let changed = Instant::now();
    let mut last = changed;
    assert!(wait_until(LONG, || {
        let sent = Instant::now();
        client.send("GET k\r\n");
        let reply = client.redis_reply();
        last = if reply == b"$1\r\n1\r\n" { sent } else { last };
        reply == b"$1\r\n2\r\n"
    }));
    println!("the old value was read {:?} after the change", last - changed);
    assert!(last - changed <= Duration::from_millis(300), "{:?}", last - changed);
}

#[test]
fn a_server_that_is_not_there_is_no_matter_of_the_near_cache() {
    let port = Port::take();
    let pool = PoolSpec::memcache(&[port.number()]).set("timeout", 1000);
    let proxy =
        Proxy::twinring(pool.set("near_cache", "{ memory: 1MiB, max_value: 1KiB, admit: all }"));
    let mut client = proxy.client();
    for request in ["get k\r\n", "mg k v\r\n", "set k 0 0 1\r\n1\r\n"] {
        client.ask(request, "SERVER_ERROR Connection refused\r\n");
    }
    let mut memcached = Memcached::start();
    let pool = memcache_pool(&memcached, "max_age: 10s");
    let proxy = Proxy::twinring(pool);
    memcached.client().ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    assert!(warm(&proxy, ("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n")));
    memcached.restart();
    let mut client = proxy.client();
    // An empty server, and what came over the old connection is gone with it.
    assert!(wait_until(LONG, || {
        client.send("get k\r\n");
        client.memcache_reply() == b"END\r\n"
    }));
}

#[test]
fn only_keys_with_a_prefix_are_kept() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(redis_pool(&redis, "prefixes: [ \"cfg:\", a ]"));
    let mut client = proxy.client();
    client.ask("MSET cfg:1 1 abc 1 other 1 cfg 1\r\n", "+OK\r\n");
    client.ask("GET other\r\nGET cfg\r\n".repeat(20), "$1\r\n1\r\n".repeat(40));
    client.ask("MGET other cfg\r\n".repeat(5), "*2\r\n$1\r\n1\r\n$1\r\n1\r\n".repeat(5));
    assert_eq!((lookups(&proxy, "hit"), lookups(&proxy, "miss")), (0.0, 0.0));
    for key in ["cfg:1", "abc"] {
        assert!(warm(&proxy, (&format!("GET {key}\r\n"), "$1\r\n1\r\n")), "{key}");
    }
}

#[test]
fn absence_is_kept_only_where_it_is_wanted_and_not_for_long() {
    for (negative, hits) in [("0ms", false), ("250ms", true)] {
        let memcached = Memcached::start();
        let near = format!("max_age: 10s, negative: {negative}");
        let proxy = Proxy::twinring(memcache_pool(&memcached, &near));
        let mut client = proxy.client();
        client.ask("get k\r\n", "END\r\n");
        client.ask("get k\r\n".repeat(20), "END\r\n".repeat(20));
        if hits {
            assert!(warm(&proxy, ("get k\r\n", "END\r\n")));
        } else {
            assert_eq!(lookups(&proxy, "hit"), 0.0);
        }
        memcached.client().ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
        let acked = Instant::now();
        let mut last = acked;
        assert!(wait_until(LONG, || {
            let sent = Instant::now();
            client.send("get k\r\n");
            let gone = client.memcache_reply() == b"END\r\n";
            last = if gone { sent } else { last };
            !gone
        }));
        assert!(last - acked <= Duration::from_millis(250), "{:?}", last - acked);
        // One's own writes are seen at once.
        for _ in 0..20 {
            client.ask("delete k\r\nget k\r\nget k\r\n", "DELETED\r\nEND\r\nEND\r\n");
            client.ask("add k 0 0 1\r\n2\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\n2\r\nEND\r\n");
        }
    }
}

#[test]
fn hot_keys_are_let_in_and_told() {
    let memcached = Memcached::start();
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000);
    let proxy = Proxy::twinring(pool.set("near_cache", "{ memory: 8MiB, max_age: 10s }"));
    let mut client = proxy.client();
    client.ask("set hot 0 0 1\r\n1\r\n", "STORED\r\n");
    client.ask(format!("set large 0 0 1000\r\n{}\r\n", "x".repeat(1000)), "STORED\r\n");
    for number in 0..300 {
        client.ask(format!("get cold{number}\r\n"), "END\r\n");
    }
    let fills =
        |result| proxy.metrics().get("twinring_near_cache_fills_total", &[("result", result)]);
    assert!(fills("stored") + fills("unfit") < 30.0, "cold keys are let in");
    for _ in 0..500 {
        client.ask("get hot\r\n".repeat(4), "VALUE hot 0 1\r\n1\r\nEND\r\n".repeat(4));
        let large = format!("VALUE large 0 1000\r\n{}\r\nEND\r\n", "x".repeat(1000));
        client.ask("get large\r\n", large);
    }
    assert!(lookups(&proxy, "hit") > 2000.0);
    let first = |by: &str| -> String {
        let path = format!("/hotkeys?pool=pool0&by={by}&n=1");
        let (status, body) = http_get(proxy.admin_port(), &path);
        assert_eq!(status, 200, "{body}");
        let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(told["keys"].as_array().map(Vec::len), Some(1), "{body}");
        told["keys"][0]["key"].as_str().expect("a key").to_owned()
    };
    assert_eq!((first("requests").as_str(), first("bytes").as_str()), ("hot", "large"));
    assert_eq!(http_get(proxy.admin_port(), "/hotkeys?pool=none").0, 404);
}

/// A value is gone here no later than there.
#[test]
fn the_time_to_live_is_not_extended() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    let of_redis = Proxy::twinring(redis_pool(&redis, ""));
    let mut direct = Client::connect(redis.port());
    for life in [100, 300] {
        direct.ask(format!("SET k 1 PX {life}\r\n"), "+OK\r\n");
        let acked = Instant::now();
        let most = Duration::from_millis(life + 2);
        let last = last_seen(&of_redis, "GET k\r\n", |client| client.redis_reply() != b"$-1\r\n");
        assert!(last.is_none_or(|last| last <= acked + most), "{:?}", last.map(|it| it - acked));
    }
    assert!(lookups(&of_redis, "hit") > 0.0);
    let near = "max_age: 10s";
    let of_memcache = Proxy::twinring(memcache_pool(&memcached, near));
    memcached.client().ask("set k 0 3 1\r\n1\r\n", "STORED\r\n");
    assert!(warm(&of_memcache, ("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n")));
    let mut direct = memcached.client();
    assert!(wait_until(LONG, || {
        direct.send("get k\r\n");
        direct.memcache_reply() == b"END\r\n"
    }));
    of_memcache.client().ask("get k\r\n", "END\r\n");
}

/// When a read was sent that still found something.
fn last_seen(proxy: &Proxy, request: &str, found: impl Fn(&mut Client) -> bool) -> Option<Instant> {
    let mut client = proxy.client();
    let mut last = None;
    let gone = wait_until(LONG, || {
        let sent = Instant::now();
        client.send(request);
        let there = found(&mut client);
        last = if there { Some(sent) } else { last };
        !there
    });
    assert!(gone, "it does not end");
    last
}

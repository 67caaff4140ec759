//! Servers that die and come back, as pools with `dead: miss` and `dead: rehash` take it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{
    Client, Fake, LONG, Memcached, PoolSpec, Port, Proxy, Redis, Stand, wait_until,
};

#[test]
fn reads_of_a_dead_server_miss_and_writes_fail() {
    let dead = Port::take();
    let pool = |pool: PoolSpec| pool.set("timeout", 1000).set("dead", "miss");

    let proxy = Proxy::twinring(pool(PoolSpec::memcache(&[dead.number()])));
    let mut client = proxy.client();
    for _ in 0..20 {
        client.ask("get a\r\ngets a\r\nget a b c\r\n", "END\r\nEND\r\nEND\r\n");
        client.ask("mg a v\r\nmg a v q\r\nmn\r\n", "EN\r\nMN\r\n");
        client.ask("set a 0 0 1\r\nx\r\n", "SERVER_ERROR Connection refused\r\n");
        // It would make an item.
        client.ask("mg a v N30\r\n", "SERVER_ERROR Connection refused\r\n");
    }

    let proxy = Proxy::twinring(pool(PoolSpec::redis(&[dead.number()])));
    let mut client = proxy.client();
    for _ in 0..20 {
        client.ask("GET a\r\nMGET a\r\n", "$-1\r\n*1\r\n$-1\r\n");
        client.ask("MGET a b\r\n", "*2\r\n$-1\r\n$-1\r\n");
        client.ask("SET a 1\r\nDEL a b\r\n", "-ERR Connection refused\r\n".repeat(2));
    }
}

/// Of a server that is alive an error stays an error, whatever the pool does about dead ones.
#[test]
fn an_error_of_a_live_server_is_no_miss() {
    let redis = Redis::start(&[]);
    let pool = PoolSpec::redis(&[redis.port()]).set("dead", "miss").set("timeout", 5000);
    let proxy = Proxy::twinring(pool);
    let mut client = proxy.client();
    client.ask("LPUSH list 1\r\n", ":1\r\n");
    client.send("GET list\r\n");
    assert!(client.read_line().starts_with(b"-WRONGTYPE"));
    client.ask("MGET list a\r\n", "*2\r\n$-1\r\n$-1\r\n");
    client.ask("MGET a\r\n", "*1\r\n$-1\r\n");
}

#[test]
fn keys_move_while_a_server_is_dead_and_come_back_with_it() {
    let mut servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let pool = PoolSpec::memcache(&ports).set("timeout", 500).set("dead", "rehash");
    let proxy = Proxy::twinring(pool.set("server_retry_timeout", 100));
    let mut client = proxy.client();
    servers[0].kill();
    assert!(wait_until(LONG, || all_stored(&mut client)), "keys do not move");
    servers[0].restart();
    let back = wait_until(LONG, || {
        all_stored(&mut client);
        let mut direct = servers[0].client();
        (0..100).any(|number| {
            direct.send(format!("get {number}:key\r\n"));
            direct.memcache_reply() != b"END\r\n"
        })
    });
    assert!(back, "the server is not used again");
    assert!(all_stored(&mut client));
}

fn all_stored(client: &mut Client) -> bool {
    let replies = (0..100).map(|number| {
        client.send(format!("set {number}:key 0 0 1\r\nx\r\n"));
        client.memcache_reply() == b"STORED\r\n"
    });
    replies.filter(|&stored| !stored).count() == 0
}

/// A server that was loading is put back although its connection was never closed.
#[test]
fn a_server_that_was_busy_returns() {
    let busy = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&busy);
    let server = move |mut stand: Stand| {
        while stand.redis_request().is_some() {
            let loading = state.load(Ordering::SeqCst);
            stand.reply(if loading { "-LOADING not now\r\n" } else { "$4\r\nfake\r\n" });
        }
    };
    let (fake, redis) = (Fake::start(server), Redis::start(&[]));
    let pool = PoolSpec::redis(&[fake.port(), redis.port()]).set("timeout", 1000);
    let pool = pool.set("dead", "rehash").set("server_retry_timeout", 100);
    let proxy = Proxy::twinring(pool);
    let mut client = proxy.client();
    let mut count = |wanted: &str| {
        let replies = (0..50).map(|number| {
            client.send(format!("GET {number}:key\r\n"));
            client.redis_reply() == wanted.as_bytes()
        });
        replies.filter(|&same| same).count()
    };
    assert!(wait_until(LONG, || count("$-1\r\n") == 50), "it is not taken off the ring");
    busy.store(false, Ordering::SeqCst);
    assert!(wait_until(LONG, || count("$4\r\nfake\r\n") > 0), "it is never put back");
    assert_eq!(proxy.metrics().get("twinring_node_up", &[]), 2.0);
}

//! The ways in and out: unix sockets, names, passwords, databases.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::support::{LONG, Memcached, PoolSpec, Proxy, Redis, Scratch, wait_until};

/// A pool behind a unix socket, and a pool in front of it whose server that is.
#[test]
fn unix_sockets_lead_in_and_out() {
    let (memcached, scratch) = (Memcached::start(), Scratch::new());
    let path = scratch.path().join("front.sock");
    let inner = PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000);
    let inner = inner.set("listen", format!("{} 0640", path.display()));
    let outer = PoolSpec::of(false, vec![format!("{}:1 inner", path.display())]);
    let mut proxy = Proxy::twinring_with(&[], vec![outer.set("timeout", 5000), inner]);
    // The pool in front listens first.
    let mode = || std::fs::metadata(&path).map(|file| file.permissions().mode() & 0o777).ok();
    assert!(wait_until(LONG, || mode() == Some(0o640)), "{:?}", mode());
    let mut client = proxy.client();
    client.ask("set a 0 0 1\r\nx\r\nget a b\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    let value = "v".repeat(3_000_000);
    client.send(format!("set big 0 0 {}\r\n{value}\r\n", value.len()));
    // memcached takes 1 MiB by default: the error comes through both.
    assert!(client.read_line().starts_with(b"SERVER_ERROR "));
    let mut direct = UnixStream::connect(&path).expect("a connection");
    direct.write_all(b"get a\r\nquit\r\n").expect("sent");
    let mut got = String::new();
    direct.read_to_string(&mut got).expect("an end");
    assert_eq!(got, "VALUE a 0 1\r\nx\r\nEND\r\n");
    drop(client);
    proxy.terminate();
    proxy.process.wait_end(LONG).expect("an end");
    assert!(!path.exists(), "the socket's file is left");
}

#[test]
fn who_has_not_said_the_password_gets_little_however_much_it_sends() {
    let redis = Redis::start(&["--requirepass", "secret"]);
    let pool = PoolSpec::redis(&[redis.port()]).set("timeout", 5000).set("redis_auth", "secret");
    let proxy = Proxy::twinring(pool);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let noauth = "-NOAUTH Authentication required.\r\n";
    let mut guest = proxy.client();
    guest.ask("AUTH secret\r\n", "+OK\r\n");
    let mut flooder = proxy.client();
    for _ in 0..20 {
        flooder.send("AUTH guess\r\n".repeat(5000));
        guest.ask("PING\r\n", "+PONG\r\n");
        flooder.expect(wrong.repeat(5000));
    }
    flooder.ask("GET a\r\nAUTH secret\r\nGET a\r\n", format!("{noauth}+OK\r\n$-1\r\n"));
    // No room is made for what only says that it is large.
    let mut stranger = proxy.client();
    stranger.ask("*2\r\n$4\r\nAUTH\r\n$1000000\r\n", "-ERR value is larger than the limit\r\n");
    stranger.ask(format!("{}\r\nGET a\r\n", "x".repeat(1_000_000)), noauth);
    stranger.send("*100000\r\n$4\r\nAUTH\r\n");
    assert!(stranger.read_line().starts_with(b"-ERR Protocol error"));
    stranger.expect_closed();
}

#[test]
fn servers_are_found_by_name() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    let servers = vec![format!("localhost:{}:1 one", memcached.port())];
    let proxy = Proxy::twinring(PoolSpec::of(false, servers).set("timeout", 5000));
    proxy.client().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let servers = vec![format!("localhost:{}:1", redis.port())];
    let proxy = Proxy::twinring(PoolSpec::of(true, servers).set("timeout", 5000));
    proxy.client().ask("SET a 1\r\n", "+OK\r\n");
}

#[test]
fn a_password_is_asked_for_and_given_and_the_database_chosen() {
    let redis = Redis::start(&["--requirepass", "secret"]);
    let pool = PoolSpec::redis(&[redis.port()]).set("timeout", 5000);
    let proxy = Proxy::twinring(pool.set("redis_auth", "secret").set("redis_db", 3));
    let mut client = proxy.client();
    client.ask("GET a\r\n", "-NOAUTH Authentication required.\r\n");
    client.send("AUTH wrong\r\n");
    assert!(client.read_line().starts_with(b"-WRONGPASS "));
    client.ask("MGET a b\r\nPING\r\n", "-NOAUTH Authentication required.\r\n".repeat(2));
    // Before the password little is taken.
    let mut stranger = proxy.client();
    stranger.send(format!("*2\r\n$4\r\nECHO\r\n$20000\r\n{}\r\n", "x".repeat(20_000)));
    assert!(stranger.read_line().starts_with(b"-ERR "));
    client.ask("AUTH secret\r\nSET a 1\r\n", "+OK\r\n+OK\r\n");
    let value = "v".repeat(2_000_000);
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n${}\r\n{value}\r\n", value.len()));
    client.expect("+OK\r\n");
    let mut direct = crate::support::Client::connect(redis.port());
    direct.ask("AUTH secret\r\nDBSIZE\r\nSELECT 3\r\nDBSIZE\r\n", "+OK\r\n:0\r\n+OK\r\n:2\r\n");
}

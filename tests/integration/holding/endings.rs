//! Clients and the process coming to an end while something is under way.

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::pass;
use crate::support::{Client, Fake, LONG, Memcached, PoolSpec, Proxy};

/// A memcache server that answers `END` to each get when it is told to.
fn patient() -> (Fake, mpsc::SyncSender<()>) {
    let (release, released) = mpsc::sync_channel::<()>(64);
    let released = Mutex::new(released);
    let fake = Fake::start(move |mut stand| {
        while stand.memcache_request().is_some() {
            let _ = released.lock().expect("the lock").recv_timeout(LONG);
            stand.reply("END\r\n");
        }
    });
    (fake, release)
}

#[test]
fn requests_in_flight_are_answered_before_the_end() {
    let (fake, release) = patient();
    let pool = PoolSpec::memcache(&[fake.port()]).set("timeout", 9000);
    let mut proxy = Proxy::twinring_with(&["drain_timeout: 9s"], vec![pool]);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("get a\r\nget a\r\nversion\r\n");
    }
    proxy.terminate();
    for _ in 0..clients.len() * 2 {
        release.send(()).expect("the server waits");
    }
    for client in &mut clients {
        client.expect("END\r\nEND\r\n");
        assert!(client.read_line().starts_with(b"VERSION "));
        client.expect_closed();
    }
    let status = proxy.process.wait_end(LONG).expect("an end");
    assert_eq!(status.code(), Some(0), "{}", proxy.process.output());
}

/// What was sent before the signal is served, although the proxy had not read it yet.
#[test]
fn requests_not_read_yet_are_answered_before_the_end() {
    let memcached = Memcached::start();
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 9000);
    let mut proxy = Proxy::twinring_with(&["drain_timeout: 9s"], vec![pool]);
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.ask("get a\r\n", "END\r\n");
    }
    proxy.process.freeze();
    for client in &mut clients {
        client.send("get a\r\nget b c d\r\n");
    }
    proxy.terminate();
    proxy.process.thaw();
    for client in &mut clients {
        client.expect("END\r\nEND\r\n");
        client.expect_closed();
    }
    let status = proxy.process.wait_end(LONG).expect("an end");
    assert_eq!(status.code(), Some(0), "{}", proxy.process.output());
}

#[test]
fn a_drain_without_work_is_quick() {
    let memcached = Memcached::start();
    let mut proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]));
    let mut idle = proxy.client();
    idle.ask("get a\r\n", "END\r\n");
    let start = Instant::now();
    proxy.terminate();
    let status = proxy.process.wait_end(LONG).expect("an end");
    assert_eq!(status.code(), Some(0), "{}", proxy.process.output());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// The time that a client has for its requests is not that of a server's reply.
#[test]
fn a_half_closed_client_waits_for_a_slow_reply() {
    let (fake, release) = patient();
    let pool = PoolSpec::memcache(&[fake.port()]).set("timeout", 9000);
    let proxy = Proxy::twinring(pool.set("limits", "{ request_time: 100ms }"));
    let mut client = proxy.client();
    client.send("get a\r\n");
    client.half_close();
    pass(Duration::from_millis(2200));
    release.send(()).expect("the server waits");
    client.expect("END\r\n");
    client.expect_closed();
}

#[test]
fn who_sends_on_after_an_error_that_ends_it_is_closed() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]));
    let mut client = proxy.client();
    client.send("set a 0 0 1\r\nwrong\r\n");
    client.expect("CLIENT_ERROR bad data chunk\r\n");
    let start = Instant::now();
    while client.try_send(b"get a\r\n").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "it is read from for ever");
        pass(Duration::from_millis(20));
    }
    let reason = [("reason", "protocol")];
    let counted = proxy.metrics().get("twinring_client_disconnects_total", &reason);
    assert_eq!(counted, 1.0);
}

/// Padding that came in pieces must not make a short request behind it wait.
#[test]
fn a_request_behind_padding_in_pieces_is_served() {
    let redis = crate::support::Redis::start(&[]);
    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]));
    let mut client = proxy.client();
    client.send_bytewise(b"*-1000000000\r\n").expect("sent");
    client.ask("PING\r\n", "+PONG\r\n");
}

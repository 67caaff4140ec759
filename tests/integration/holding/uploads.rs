//! Requests too long to be held: sent on while they come in, whatever happens meanwhile.

use std::time::{Duration, Instant};

use super::pass;
use crate::support::{LONG, Memcached, PoolSpec, Port, Proxy, Redis, wait_until};

/// Long enough to be sent on in parts.
const LENGTH: usize = 3_000_000;

fn server() -> Memcached {
    Memcached::with(&["-m", "128", "-I", "8m"])
}

#[test]
fn what_follows_an_upload_is_answered_after_it() {
    let (memcached, redis) = (server(), Redis::start(&[]));
    let value = "v".repeat(LENGTH);

    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(format!(
            "delete a\r\nset a 0 0 {LENGTH}\r\n{value}\r\nget a\r\nappend a 0 0 1\r\nx\r\nget b\r\n"
        ));
        client.read_line();
        client.expect("STORED\r\n");
        client.expect(format!("VALUE a 0 {LENGTH}\r\n{value}\r\nEND\r\nSTORED\r\nEND\r\n"));
    }

    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${LENGTH}\r\n{value}\r\n");
    client.send(format!("SET a 1\r\nGET a\r\n{set}STRLEN a\r\n{set}PING\r\n"));
    client.expect(format!("+OK\r\n$1\r\n1\r\n+OK\r\n:{LENGTH}\r\n+OK\r\n+PONG\r\n"));
}

#[test]
fn an_upload_that_wants_no_reply_gets_none() {
    let memcached = server();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 1000));
    let mut client = proxy.client();
    let value = "v".repeat(LENGTH);
    for line_end in ["\r\n", "\n"] {
        client.send(format!("set a 0 0 {LENGTH} noreply{line_end}{value}\r\nget b\r\nget a\r\n"));
        client.expect(format!("END\r\nVALUE a 0 {LENGTH}\r\n{value}\r\nEND\r\n"));
    }
    // Nor is it told of a failure.
    client.send(format!("add a 0 0 {LENGTH} noreply\r\n{value}\r\ndelete a\r\n"));
    client.expect("DELETED\r\n");
}

#[test]
fn an_upload_that_ends_wrongly_is_told_so_at_once() {
    let memcached = server();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let start = Instant::now();
    let mut client = proxy.client();
    client.send(format!("get a\r\nset a 0 0 {LENGTH}\r\n{}", "v".repeat(LENGTH + 2)));
    client.expect("END\r\nCLIENT_ERROR bad data chunk\r\n");
    client.expect_closed();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    proxy.client().ask("get a\r\n", "END\r\n");
}

#[test]
fn a_client_may_pause_in_the_middle_of_an_upload() {
    let memcached = server();
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 150);
    let proxy = Proxy::twinring(pool.set("server_failure_limit", 1));
    let value = "v".repeat(LENGTH);
    let (first, second) = value.split_at(LENGTH / 2);
    let mut client = proxy.client();
    client.send(format!("set a 0 0 {LENGTH}\r\n{first}"));
    pass(Duration::from_millis(800));
    client.send(format!("{second}\r\n"));
    client.expect("STORED\r\n");
    let failures = proxy.metrics().sum("twinring_backend_failures_total", &[]);
    assert_eq!(failures, Some(0.0), "the server is blamed for its client");
}

#[test]
fn an_upload_to_a_dead_server_fails_and_its_client_goes_on() {
    let (memcached, dead) = (server(), Port::take());
    let ports = [memcached.port(), dead.number()];
    let proxy = Proxy::twinring(PoolSpec::memcache(&ports).set("timeout", 1000));
    let mut client = proxy.client();
    let value = "v".repeat(LENGTH);
    let mut failed = 0;
    for number in 0..16 {
        client.send(format!("set {number}:key 0 0 {LENGTH}\r\n{value}\r\nversion\r\n"));
        let line = client.read_line();
        failed += usize::from(line == b"SERVER_ERROR Connection refused\r\n");
        assert!(line == b"STORED\r\n" || line.starts_with(b"SERVER_ERROR Conn"), "{line:?}");
        assert!(client.read_line().starts_with(b"VERSION "));
    }
    assert!((1..16).contains(&failed), "{failed} of 16 uploads failed");
}

#[test]
fn uploads_that_are_cut_leave_nothing_behind() {
    let memcached = server();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let mut other = proxy.client();
    other.ask("get a\r\n", "END\r\n");
    let connections = || proxy.metrics().get("twinring_backend_connections", &[]);
    assert!(wait_until(LONG, || connections() == 1.0));
    let files = proxy.process.open_files();
    // More than may be under way at once.
    for round in 0..40 {
        let mut client = proxy.client();
        let sent = [2_000_000, 1_200_000, 70_000][round % 3];
        client.send(format!("set a 0 0 {LENGTH}\r\n{}", "v".repeat(sent)));
        if round % 2 == 0 {
            client.half_close();
            client.expect_closed();
        }
    }
    let tidy = wait_until(LONG, || connections() == 1.0 && proxy.process.open_files() <= files);
    assert!(tidy, "{} connections, {files} files before", connections());
    other.ask("get a\r\n", "END\r\n");
    other.send(format!("set a 0 0 {LENGTH}\r\n{}\r\n", "v".repeat(LENGTH)));
    other.expect("STORED\r\n");
}

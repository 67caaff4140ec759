//! Faults of clients: slow, gone, half closed, hostile, too many, too deep.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, fetch, found, store};
use super::text;
use crate::support::{Client, LONG, Memcached, PoolSpec, Proxy, Redis, wait_until};

/// Memory that a client which does not read may cost: its output cap of 32 MiB, twice over for
/// buffers that grow by doubling, and what the process needs anyway.
const SLOW_CLIENT_KIB: u64 = 96 << 10;

#[test]
fn f19_slow_reader() {
    let memcached = Memcached::with(&["-I", "2m"]);
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let mut other = proxy.client();
    other.send(format!("set big 0 0 1000000\r\n{}\r\n", "x".repeat(1_000_000)));
    other.expect("STORED\r\n");
    other.ask(store("small"), "STORED\r\n");
    // A gigabyte of replies that nobody reads.
    let mut slow = proxy.client();
    slow.send("get big\r\n".repeat(1000));
    let before = proxy.process.resident_kib();
    for _ in 0..300 {
        other.ask(fetch("small"), found("small"));
    }
    let peak = proxy.process.resident_peak_kib();
    assert!(peak < before + SLOW_CLIENT_KIB, "{peak} KiB, {before} before");
    // What it reads after all is right, up to where it was given up.
    let reply = format!("VALUE big 0 1000000\r\n{}\r\nEND\r\n", "x".repeat(1_000_000));
    let got = slow.read_to_end_or(reply.len());
    assert!(reply.as_bytes().starts_with(&got[..got.len().min(reply.len())]), "wrong bytes");
}

#[test]
fn f20_disconnect_mid_pipeline() {
    let fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    let opened =
        || fleet.proxy.metrics().get("twinring_backend_connects_total", &[("result", "ok")]);
    let (before, files) = (opened(), fleet.proxy.process.open_files());
    let requests: String = fleet.keys.iter().flatten().map(|key| fetch(key)).collect();
    let mut other = fleet.proxy.client();
    for round in 0..50 {
        let mut client = fleet.proxy.client();
        client.send(requests.repeat(6));
        if round % 2 == 0 {
            client.read_line();
        }
        drop(client);
        for key in fleet.keys.iter().map(|keys| &keys[round % 5]) {
            other.ask(fetch(key), found(key));
        }
    }
    assert!(opened() - before < 0.5, "server connections were closed for a client that left");
    let settled = wait_until(LONG, || fleet.proxy.process.open_files() <= files + 1);
    assert!(settled, "{} open files, {files} before", fleet.proxy.process.open_files());
}

#[test]
fn f21_half_close() {
    let fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    let mut client = fleet.proxy.client();
    let keys: Vec<&String> = fleet.keys.iter().flatten().cycle().take(2000).collect();
    client.send(keys.iter().map(|key| fetch(key)).collect::<String>());
    client.half_close();
    for key in keys {
        client.expect(found(key));
    }
    client.expect_closed();
}

#[test]
fn f22_quit_in_the_middle_of_a_pipeline() {
    let fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    let keys: Vec<&String> = fleet.keys.iter().flatten().collect();
    let mut client = fleet.proxy.client();
    let requests: String = keys.iter().map(|key| fetch(key)).collect();
    client.send(requests + "quit\r\nget a\r\nset b 0 0 1\r\nx\r\nnonsense\r\n");
    for key in &keys {
        client.expect(found(key));
    }
    client.expect_closed();
    fleet.proxy.client().ask("get b\r\n", "END\r\n");
}

#[test]
fn f22_quit_in_the_middle_of_a_redis_pipeline() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    client.send("SET a 1\r\nGET a\r\nQUIT\r\nSET a 2\r\nGET a\r\n");
    client.expect("+OK\r\n$1\r\n1\r\n+OK\r\n");
    client.expect_closed();
    proxy.client().ask("GET a\r\n", "$1\r\n1\r\n");
}

#[test]
fn f23_slow_loris() {
    let memcached = Memcached::start();
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000);
    let proxy = Proxy::twinring(pool.set("limits", "{ request_time: 500ms }"));
    let (start, mut idle) = (Instant::now(), proxy.client());
    let mut slow: Vec<Client> = (0..300).map(|_| proxy.client()).collect();
    for (number, client) in slow.iter_mut().enumerate() {
        client.send(["g", "get a", "set a 0 0 100\r\nx"][number % 3]);
    }
    let mut other = proxy.client();
    for _ in 0..50 {
        other.ask(store("a"), "STORED\r\n");
        other.ask(fetch("a"), found("a"));
    }
    for client in &mut slow {
        // A word of farewell is allowed.
        while client.try_expect_closed().is_err() {}
    }
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(450), "closed after {waited:?}");
    // A client that has not begun a request may take all the time in the world.
    idle.ask(fetch("a"), found("a"));
    other.ask(fetch("a"), found("a"));
}

#[test]
fn f24_deep_pipeline() {
    const DEPTH: usize = 100_000;
    let fleet = Fleet::start(|pool| pool.set("timeout", 10_000));
    let key = &fleet.keys[0][0];
    let before = fleet.proxy.process.resident_kib();
    let mut deep = fleet.proxy.client();
    let (mut writer, requests) = (deep.writer(), fetch(key).repeat(DEPTH));
    thread::scope(|scope| {
        scope.spawn(move || writer.write_all(requests.as_bytes()));
        let paused = || fleet.proxy.metrics().get("twinring_paused_reads_total", &[]) >= 1.0;
        assert!(wait_until(LONG, paused), "it is read from without end");
        let mut other = fleet.proxy.client();
        for key in fleet.keys.iter().flatten() {
            other.ask(fetch(key), found(key));
        }
        let peak = fleet.proxy.process.resident_peak_kib();
        assert!(peak < before + SLOW_CLIENT_KIB, "{peak} KiB, {before} before");
        deep.expect(found(key).repeat(DEPTH));
    });
}

#[test]
fn f25_hostile_bytes() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    for (pool, good, reply) in [
        (PoolSpec::memcache(&[memcached.port()]), "get a\r\n", "END\r\n"),
        (PoolSpec::redis(&[redis.port()]), "GET a\r\n", "$-1\r\n"),
    ] {
        let proxy = Proxy::twinring(pool.set("timeout", 5000));
        for bytes in hostile() {
            let mut client = proxy.client().patience(Duration::from_secs(5));
            // It may close before it has been sent everything.
            let _ = client.try_send(&bytes);
            client.half_close();
            let shown = bytes[..bytes.len().min(60)].escape_ascii().to_string();
            let got = client.read_to_end();
            assert!(only_errors(&got), "{shown} gave {}", got.escape_ascii());
            proxy.client().ask(good, reply);
        }
        let kib = proxy.process.resident_peak_kib();
        assert!(kib < 64 << 10, "{kib} KiB for garbage");
    }
}

#[test]
fn f26_keys_that_are_none() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    client.ask(store("a"), "STORED\r\n");
    let long = "k".repeat(251);
    for bad in [long.clone(), format!("a {long}"), "k".repeat(1500)] {
        client.send(format!("get {bad}\r\n"));
        let line = client.read_line();
        assert!(line.starts_with(b"CLIENT_ERROR "), "{}", line.escape_ascii());
        client.ask(fetch("a"), found("a"));
    }
    // A store to such a key takes its data with it.
    client.send(format!("set {long} 0 0 7\r\nget a\r\n\r\n"));
    assert!(client.read_line().starts_with(b"CLIENT_ERROR "));
    client.ask(fetch("a"), found("a"));
    assert!(proxy.metrics().get("twinring_request_errors_total", &[("reason", "key")]) >= 4.0);
}

#[test]
fn f26_keys_of_redis_are_any_bytes_up_to_a_limit() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    for key in ["", " ", "\r\n", "\0", "*1\r\n$4\r\nPING\r\n", &"k".repeat(65_536)] {
        let length = key.len();
        client.send(format!("*3\r\n$3\r\nSET\r\n${length}\r\n{key}\r\n$1\r\n1\r\n"));
        client.expect("+OK\r\n");
        client.ask(format!("*2\r\n$3\r\nGET\r\n${length}\r\n{key}\r\n"), "$1\r\n1\r\n");
    }
    let long = "k".repeat(65_537);
    client.send(format!("*2\r\n$3\r\nGET\r\n$65537\r\n{long}\r\n"));
    let line = client.read_line();
    assert!(line.starts_with(b"-ERR "), "{}", line.escape_ascii());
    client.ask("PING\r\n", "+PONG\r\n");
}

#[test]
fn f27_too_many_keys() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    let _ = client.try_send(format!("get{}\r\n", " k".repeat(1_000_000)).as_bytes());
    let line = client.read_line();
    assert!(line.starts_with(b"CLIENT_ERROR "), "{}", line.escape_ascii());
    proxy.client().ask("get k\r\n", "END\r\n");

    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    let keys = "$1\r\nk\r\n".repeat(1_000_000);
    let _ = client.try_send(format!("*1000001\r\n$4\r\nMGET\r\n{keys}").as_bytes());
    let line = client.read_line();
    assert!(line.starts_with(b"-ERR "), "{}", line.escape_ascii());
    proxy.client().ask("GET k\r\n", "$-1\r\n");
    let kib = proxy.process.resident_peak_kib();
    assert!(kib < 128 << 10, "{kib} KiB for a request that was refused");
}

#[test]
fn f28_too_many_clients() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    for (pool, good, reply, error) in [
        (
            PoolSpec::memcache(&[memcached.port()]),
            "get a\r\n",
            "END\r\n",
            "ERROR Too many open connections\r\n",
        ),
        (
            PoolSpec::redis(&[redis.port()]),
            "GET a\r\n",
            "$-1\r\n",
            "-ERR max number of clients reached\r\n",
        ),
    ] {
        let proxy = Proxy::twinring(pool.set("timeout", 5000).set("max_clients", 8));
        // The connection that found the listener open must have been seen to be gone.
        let mut clients: Vec<Client> = Vec::new();
        let full = wait_until(LONG, || {
            clients = (0..8).map(|_| proxy.client()).collect();
            clients.iter_mut().all(|client| {
                let _ = client.try_send(good.as_bytes());
                client.try_expect(reply.as_bytes()).is_ok()
            })
        });
        assert!(full, "eight clients are not let in");
        for _ in 0..20 {
            let mut rejected = proxy.client();
            rejected.expect(error);
            rejected.expect_closed();
        }
        for client in &mut clients {
            client.ask(good, reply);
        }
        clients.pop();
        let again = wait_until(LONG, || {
            let mut client = proxy.client();
            let _ = client.try_send(good.as_bytes());
            client.try_expect(reply.as_bytes()).is_ok()
        });
        assert!(again, "a place that is free again is not given away");
        let rejected = [("reason", "max")];
        let count = proxy.metrics().get("twinring_client_connections_rejected_total", &rejected);
        assert!(count >= 20.0, "{count} counted");
    }
}

#[test]
fn f28_a_burst_of_connections_spares_established_ones() {
    let fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    let key = &fleet.keys[0][0];
    let mut established = fleet.proxy.client();
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        let burst = scope.spawn(|| {
            let clients: Vec<Client> = (0..2000).map(|_| fleet.proxy.client()).collect();
            clients.len()
        });
        while !burst.is_finished() {
            let start = Instant::now();
            established.ask(fetch(key), found(key));
            slowest = slowest.max(start.elapsed());
        }
        assert_eq!(burst.join().expect("the burst"), 2000);
    });
    // On two cores that also run the burst itself; a stall would be the whole burst long.
    assert!(slowest < Duration::from_millis(250), "an established client waited {slowest:?}");
}

#[test]
fn f29_no_file_descriptors_left() {
    let mut memcached = Memcached::start();
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000);
    let proxy = Proxy::twinring_limited(64, pool);
    let mut established = proxy.client();
    established.ask(store("a"), "STORED\r\n");
    let crowd: Vec<Client> = (0..200).map(|_| proxy.client()).collect();
    let ticks = proxy.process.cpu_ticks();
    // Half a second in which nothing happens: a listener that spins would use all of it.
    assert!(!wait_until(Duration::from_millis(500), || false));
    let spent = proxy.process.cpu_ticks() - ticks;
    assert!(spent < 15, "{spent} ticks of 10 ms in half a second");
    established.ask(fetch("a"), found("a"));
    // Descriptors are kept for servers: one that comes back is reached while the crowd is there.
    memcached.restart();
    let reached = wait_until(LONG, || {
        established.send(fetch("a"));
        established.memcache_reply() == b"END\r\n"
    });
    assert!(reached, "the crowd has taken the server's descriptor");
    let rejected = [("reason", "fd")];
    let turned = proxy.metrics().get("twinring_client_connections_rejected_total", &rejected);
    assert!(turned > 100.0, "{turned} turned away");
    drop(crowd);
    established.ask(store("a"), "STORED\r\n");
    let recovered = wait_until(LONG, || {
        let mut client = proxy.client().patience(Duration::from_secs(1));
        let _ = client.try_send(fetch("a").as_bytes());
        client.try_expect(found("a").as_bytes()).is_ok()
    });
    assert!(recovered, "nobody is let in after the crowd has gone");
}

#[test]
fn f30_noreply_to_a_dead_node() {
    let mut fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    fleet.servers[0].kill();
    let (dead, other) = (&fleet.keys[0][0], &fleet.keys[1][0]);
    let mut client = fleet.proxy.client();
    for _ in 0..20 {
        client.send(format!("set {dead} 0 0 1 noreply\r\nx\r\ndelete {dead} noreply\r\n"));
        client.ask(fetch(other), found(other));
        client.ask(fetch(dead), text::REFUSED);
    }
    fleet.servers[0].restart();
    fleet.expect_healed();
}

/// What somebody may send who is no client at all.
fn hostile() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\nset a 0 0 1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03random-bytes-of-a-hello",
        b"\x80\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"*1000000000\r\n$4\r\nPING\r\n",
        b"*2\r\n$3\r\nGET\r\n$2147483647\r\n",
        b"*-5\r\n*1\r\n",
        b"$5\r\nhallo\r\n",
        b"set k 0 0 99999999999999999999\r\n",
        b"set k 0 0 4294967295\r\nx",
        b"get \0\0\0\r\n\0\0\0",
        b"\r\n\r\n\r\n\n\n\n",
        b"\xff\xff\xff\xff",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    all.push(vec![b'a'; 2_000_000]);
    all.push(vec![0; 100_000]);
    all.push(b"*1\r\n".repeat(50_000));
    // Noise, the same in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for length in [1, 10, 100, 1000, 10_000] {
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        });
        all.push(noise.take(length).collect());
    }
    all
}

/// True if every line is an error, or the reply to what happens to be a request.
fn only_errors(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got);
    let starts = ["ERROR", "CLIENT_ERROR", "SERVER_ERROR", "-", "END", "+PONG", "$-1"];
    text.split_terminator("\r\n").all(|line| starts.iter().any(|start| line.starts_with(start)))
}

//! Clients that ask for more than they take, and many that send at once.

use std::sync::Barrier;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::pass;
use crate::support::{Client, Fake, LONG, Memcached, PoolSpec, Proxy, Redis, wait_until};

#[test]
fn five_thousand_requests_in_one_write_are_answered_in_order() {
    const REQUESTS: usize = 5000;
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    // Altogether 50 MB: more than one client may hold.
    let value = "v".repeat(10_000);

    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 10_000));
    let mut client = proxy.client();
    client.ask(format!("set a 0 0 10000\r\n{value}\r\n"), "STORED\r\n");
    let requests = (0..REQUESTS).map(|n| format!("get a\r\nget b{n} a c{n}\r\n"));
    client.send(requests.collect::<String>());
    // It begins to read only when nobody reads from it any more.
    pass(Duration::from_millis(100));
    let reply = format!("VALUE a 0 10000\r\n{value}\r\nEND\r\n");
    for _ in 0..REQUESTS * 2 {
        client.expect(&reply);
    }

    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 10_000));
    let mut client = proxy.client();
    client.ask(format!("SET a {value}\r\n"), "+OK\r\n");
    client.send((0..REQUESTS).map(|n| format!("GET a\r\nECHO {n}\r\n")).collect::<String>());
    pass(Duration::from_millis(100));
    for n in 0..REQUESTS {
        let (n, length) = (n.to_string(), n.to_string().len());
        client.expect(format!("$10000\r\n{value}\r\n${length}\r\n{n}\r\n"));
    }
}

#[test]
fn replies_made_here_are_held_within_bounds() {
    const REQUESTS: usize = 7000;
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    client.send("COMMAND\r\n");
    let reply = client.redis_reply();
    assert!(reply.len() * REQUESTS > 40 << 20, "{} bytes show nothing", reply.len());
    client.send("COMMAND\r\n".repeat(REQUESTS));
    proxy.client().ask("SET a 1\r\n", "+OK\r\n");
    for _ in 0..REQUESTS {
        client.expect(&reply);
    }
    let peak = proxy.process.resident_peak_kib();
    // Less than the replies have together; they took twice as much once.
    assert!(peak < 60 << 10, "{peak} KiB");
}

#[test]
fn unfinished_requests_of_many_clients_do_not_stop_each_other() {
    const CLIENTS: usize = 40;
    let memcached = Memcached::with(&["-m", "256", "-I", "2m"]);
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 10_000);
    let proxy = Proxy::twinring_with(&["buffers: 8MiB"], vec![pool]);
    // Half of each is 20 MB together: nobody's request would ever be whole.
    let value = "v".repeat(1_000_000);
    let (first, second) = value.split_at(500_000);
    let start = Instant::now();
    let halfway = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (mut client, halfway) = (proxy.client(), &halfway);
            scope.spawn(move || {
                client.send(format!("set k{number} 0 0 {}\r\n{first}", first.len() * 2));
                halfway.wait();
                client.send(format!("{second}\r\n"));
                client.expect("STORED\r\n");
            });
        }
    });
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_client_that_leaves_holds_nobody_up() {
    let memcached = Memcached::with(&["-m", "512", "-I", "100m"]);
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 20_000));
    let mut other = proxy.client();
    let length = 80 << 20;
    other.send(format!("set big 0 0 {length}\r\n{}\r\n", "x".repeat(length)));
    other.expect("STORED\r\n");
    for _ in 0..3 {
        let mut slow = proxy.client();
        slow.send("get big\r\n");
        slow.read_line();
        drop(slow);
        // It would be given up after half a second.
        let start = Instant::now();
        other.ask("get small\r\n", "END\r\n");
        assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    }
}

/// A client whose first reply is late, while a large one waits behind it, is no slow reader.
#[test]
fn a_large_reply_behind_a_late_one_is_kept() {
    let memcached = Memcached::with(&["-m", "256", "-I", "40m"]);
    let (release, released) = mpsc::sync_channel::<()>(64);
    let released = std::sync::Mutex::new(released);
    let late = Fake::start(move |mut stand| {
        while let Some(request) = stand.memcache_request() {
            if request.starts_with(b"get ") {
                let _ = released.lock().expect("the lock").recv_timeout(LONG);
                stand.reply("END\r\n");
            } else {
                stand.reply("NOT_STORED\r\n");
            }
        }
    });
    let ports = [late.port(), memcached.port()];
    let proxy = Proxy::twinring_with(
        &["buffers: 64MiB"],
        vec![PoolSpec::memcache(&ports).set("timeout", 9000)],
    );
    let mut client = proxy.client();
    let value = "x".repeat(12 << 20);
    let mut place = |reply: &str, value: &str| {
        let mut keys = (0..100).map(|n| format!("{n}:key"));
        let found = keys.find(|key| {
            client.send(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
            client.read_line() == reply.as_bytes()
        });
        found.expect("a key of this server")
    };
    let (first, large) = (place("NOT_STORED\r\n", ""), place("STORED\r\n", &value));
    client.send(format!("get {first}\r\nget {large}\r\n"));
    let mut other = proxy.client();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        let asked = Instant::now();
        other.ask(format!("touch {large} 0\r\n"), "TOUCHED\r\n");
        assert!(asked.elapsed() < Duration::from_secs(1), "held up for {:?}", asked.elapsed());
    }
    release.send(()).expect("the late server waits");
    client.expect("END\r\n");
    client.expect(format!("VALUE {large} 0 {}\r\n{value}\r\nEND\r\n", value.len()));
}

#[test]
fn a_flood_without_replies_is_slowed_down_and_not_lost() {
    const REQUESTS: usize = 200_000;
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 10_000));
    thread::scope(|scope| {
        for number in 0..2 {
            let mut client = proxy.client();
            scope.spawn(move || {
                let one = format!("incr count{number} 1 noreply\r\n");
                client.ask(format!("set count{number} 0 0 1\r\n0\r\n"), "STORED\r\n");
                client.send(one.repeat(REQUESTS));
                client.ask(format!("incr count{number} 1\r\n"), format!("{}\r\n", REQUESTS + 1));
            });
        }
    });
    let lost = proxy.metrics().sum("twinring_request_errors_total", &[("reason", "depth")]);
    assert_eq!(lost, Some(0.0));
}

#[test]
fn a_client_that_takes_nothing_is_given_up_when_buffers_are_short() {
    let memcached = Memcached::with(&["-I", "2m"]);
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", "60s");
    let proxy = Proxy::twinring_with(&["buffers: 4MiB"], vec![pool]);
    // Those in front of it hold the server for half a second and more each, until they are given up.
    let mut other = proxy.client().patience(LONG * 6);
    other.ask(format!("set a 0 0 100000\r\n{}\r\n", "x".repeat(100_000)), "STORED\r\n");
    let mut slow: Vec<Client> = (0..60).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.send("get a\r\n".repeat(1000));
    }
    let gone = || {
        let reason = [("reason", "slow_reader")];
        proxy.metrics().sum("twinring_client_disconnects_total", &reason).unwrap_or(0.0)
    };
    assert!(wait_until(LONG, || gone() > 0.0), "nobody is given up");
    let start = Instant::now();
    other.ask("get b\r\n", "END\r\n");
    // A second for each of those, and not until requests time out.
    let (waited, given_up) = (start.elapsed().as_secs_f64(), gone());
    assert!(waited < 3.0 * given_up, "{waited} s for {given_up} clients");
}

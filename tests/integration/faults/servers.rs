//! Faults of servers: refused, cut, silent, slow, malformed, flapping, gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, expect_clean, fetch, found, store};
use super::text;
use crate::support::{
    Fake, LONG, Memcached, PoolSpec, Port, Proxy, Redis, Scratch, http_get, wait_until,
};

/// Far more than a reply needs that nobody has to wait for, far less than any timeout here.
const AT_ONCE: Duration = Duration::from_millis(700);

#[test]
fn f01_connection_refused() {
    let mut fleet = Fleet::start(|pool| pool.set("timeout", 5000).set("server_retry_timeout", 100));
    fleet.servers[1].kill();
    let mut client = fleet.proxy.client();
    let mixed: Vec<(usize, &String)> = (0..5)
        .flat_map(|at| fleet.keys.iter().enumerate().map(move |(server, keys)| (server, &keys[at])))
        .collect();
    let start = Instant::now();
    client.send(mixed.iter().map(|(_, key)| fetch(key)).collect::<String>());
    for (server, key) in &mixed {
        client.expect(if *server == 1 { text::REFUSED.to_owned() } else { found(key) });
    }
    assert!(start.elapsed() < AT_ONCE, "{:?} for a refused connection", start.elapsed());
    let down = wait_until(LONG, || {
        client.ask(fetch(&fleet.keys[1][0]), text::REFUSED);
        let metrics = fleet.proxy.metrics();
        metrics.get("twinring_node_up", &[("node", "server2")]) == 0.0
    });
    assert!(down, "a server that refuses every connection is not held to be down");
    let metrics = fleet.proxy.metrics();
    let refused = [("node", "server2"), ("reason", "refused")];
    assert!(metrics.get("twinring_backend_failures_total", &refused) >= 3.0);
    assert!(metrics.get("twinring_node_up", &[("node", "server1")]) == 1.0);
    fleet.servers[1].restart();
    fleet.expect_healed();
}

#[test]
fn f02_dies_mid_response() {
    let fake = Fake::start(|mut stand| {
        if stand.memcache_request().is_some() {
            stand.reply("VALUE a 0 100\r\n0123456789");
        }
    });
    let proxy = Proxy::twinring(PoolSpec::memcache(&[fake.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    // Nothing of the partial reply is sent, and the client lives on.
    client.ask("get a\r\n", text::RESET);
    client.ask("get a\r\nget a\r\n", [text::RESET, text::RESET].concat());
    client.half_close();
    client.expect_closed();
}

#[test]
fn f02_dies_in_the_middle_of_a_large_value() {
    let fake = Fake::start(|mut stand| {
        if stand.memcache_request().is_some() {
            stand.reply("VALUE a 0 8000000\r\n");
            stand.reply("x".repeat(4_000_000));
        }
    });
    let proxy = Proxy::twinring(PoolSpec::memcache(&[fake.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    client.send("get a\r\nget a\r\n");
    let got = client.read_to_end_or(text::RESET.len() * 2);
    // Either nothing of it was passed on; or what was is cut off by the end of the connection,
    // never padded, never followed by another reply.
    let errors = [text::RESET, text::RESET].concat().into_bytes();
    let cut = got.starts_with(b"VALUE a 0 8000000\r\nxxx") && got.ends_with(b"xxx");
    assert!(
        got == errors || cut,
        "{} bytes: {}",
        got.len(),
        got[..200.min(got.len())].escape_ascii()
    );
}

#[test]
fn f03_hangs() {
    let fleet = Fleet::start(|pool| pool.set("timeout", 300).set("server_retry_timeout", 100));
    fleet.servers[0].process.freeze();
    let (frozen, other) = (&fleet.keys[0], &fleet.keys[1]);
    let mut client = fleet.proxy.client();
    let start = Instant::now();
    client.send([fetch(&frozen[0]), fetch(&other[0]), fetch(&frozen[1])].concat());
    client.expect(text::TIMED_OUT);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(290), "given up after {waited:?}");
    assert!(waited < Duration::from_millis(300) + AT_ONCE, "given up after {waited:?}");
    client.expect(found(&other[0]));
    client.expect(text::TIMED_OUT);
    let timeouts = [("node", "server1"), ("reason", "timeout")];
    let counted = wait_until(LONG, || {
        client.ask(fetch(&other[0]), found(&other[0]));
        fleet.proxy.metrics().get("twinring_backend_failures_total", &timeouts) >= 1.0
    });
    assert!(counted, "a server that hangs is not counted");
    fleet.servers[0].process.thaw();
    // Late replies are nobody's.
    fleet.expect_healed();
    expect_clean(&mut client, &frozen[2]);
}

#[test]
fn f03_a_late_reply_is_dropped_in_its_place() {
    // The first get is answered only when the second one has come: too late for its client.
    let fake = Fake::start(|mut stand| {
        let mut late = None;
        while let Some(request) = stand.memcache_request() {
            let key = String::from_utf8_lossy(&request[4..request.len() - 2]).into_owned();
            if key == "late" && late.is_none() {
                late = Some(key);
                continue;
            }
            if let Some(key) = late.take() {
                stand.reply(found(&key));
            }
            stand.reply(found(&key));
        }
    });
    let pool = PoolSpec::memcache(&[fake.port()]).set("timeout", 300);
    let proxy = Proxy::twinring(pool);
    let mut client = proxy.client();
    client.ask(fetch("late"), text::TIMED_OUT);
    let mut second = proxy.client();
    expect_clean(&mut second, "next");
    expect_clean(&mut client, "third");
}

#[test]
fn f03_a_full_queue_fails_at_once() {
    let fleet =
        Fleet::start(|pool| pool.set("timeout", 4000).set("limits", "{ server_queue: 10 }"));
    fleet.servers[0].process.freeze();
    let key = fetch(&fleet.keys[0][0]);
    let mut waiting = fleet.proxy.client();
    waiting.send(key.repeat(10));
    // Until the ten have arrived, a request of another client may still be one of the ten.
    let full = wait_until(AT_ONCE, || {
        let mut client = fleet.proxy.client().patience(Duration::from_millis(200));
        client.send(&key);
        client.try_expect(text::QUEUE_FULL.as_bytes()).is_ok()
    });
    assert!(full, "an eleventh request waits");
    let mut client = fleet.proxy.client();
    client.ask(fetch(&fleet.keys[1][0]), found(&fleet.keys[1][0]));
    assert!(
        fleet.proxy.metrics().get("twinring_request_errors_total", &[("reason", "depth")]) >= 1.0
    );
    fleet.servers[0].process.thaw();
    fleet.expect_healed();
}

#[test]
fn f04_a_connection_that_died_idle_costs_no_read() {
    let mut fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    let mut client = fleet.proxy.client();
    for _ in 0..5 {
        for server in &mut fleet.servers {
            server.restart();
        }
        for key in fleet.keys.iter().flatten() {
            client.ask(fetch(key), "END\r\n");
        }
    }
}

#[test]
fn f05_slow_node() {
    let fleet = Fleet::start(|pool| pool.set("timeout", 3000));
    fleet.servers[0].process.freeze();
    let mut waiting = fleet.proxy.client();
    waiting.send(fleet.keys[0].iter().map(|key| fetch(key)).collect::<String>());
    let mut client = fleet.proxy.client();
    let mut times: Vec<Duration> = (0..20)
        .flat_map(|_| fleet.keys_but_of(0))
        .map(|key| {
            let start = Instant::now();
            client.ask(fetch(key), found(key));
            start.elapsed()
        })
        .collect();
    times.sort();
    // A tenth of the timeout: nothing here waits for the frozen server, only for the machine.
    let high = times[times.len() * 99 / 100];
    assert!(high < Duration::from_millis(300), "p99 of the others is {high:?}");
    fleet.servers[0].process.thaw();
    fleet.expect_healed();
}

#[test]
fn f06_malformed_bytes() {
    for bad in [
        "GARBAGE\r\n",
        "\r\n",
        "\0\0\0\0\0\0\0\0\r\n",
        "VALUE k 0 x\r\n",
        "VALUE k 0 -1\r\n",
        "VALUE k 0 3\r\nabcdef\r\nEND\r\n",
        "END \r\n",
        "OK\r\n",
    ] {
        answered_badly(bad, text::BAD_REPLY, &["parsing", "unhandled"]);
    }
    // A line that does not end is not waited for for ever.
    answered_badly(&"x".repeat(100_000), text::BAD_REPLY, &["parsing"]);
}

#[test]
fn f06_malformed_bytes_of_redis() {
    for bad in ["GARBAGE\r\n", "$x\r\n", "$-2\r\n", "*x\r\n", "$1\r\nab\r\n", "%1\r\n+a\r\n+b\r\n"]
    {
        let spoiled = Arc::new(AtomicBool::new(false));
        let once = Arc::clone(&spoiled);
        let fake = Fake::start(move |mut stand| {
            while stand.redis_request().is_some() {
                if !once.swap(true, Ordering::SeqCst) {
                    stand.reply(bad);
                    return assert!(stand.hold(), "kept after {bad:?}");
                }
                stand.reply("$2\r\nok\r\n");
            }
        });
        let proxy = Proxy::twinring(PoolSpec::redis(&[fake.port()]).set("timeout", 5000));
        let mut client = proxy.client();
        client.ask("*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "-ERR bad backend response\r\n");
        // Connecting anew may take a moment, in which requests fail.
        let healed = wait_until(LONG, || {
            client.send("*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
            client.redis_reply() == b"$2\r\nok\r\n"
        });
        assert!(healed, "not used again after {bad:?}");
    }
}

#[test]
fn f06_a_sample_is_logged_and_the_log_not_flooded() {
    let fake = Fake::start(|mut stand| {
        while stand.memcache_request().is_some() {
            stand.reply("GAR\0BAGE \x1b\"\r\n".to_owned() + &"x".repeat(100));
        }
    });
    let scratch = Scratch::new();
    let log = scratch.path().join("log");
    let setting = format!("log: {{ file: \"{}\" }}", log.display());
    let pool = PoolSpec::memcache(&[fake.port()]).set("timeout", 5000);
    let proxy = Proxy::twinring_with(&[&setting], vec![pool]);
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&log).expect("a log");
        let mine = text.lines().filter(|line| line.contains("closed for what the server sent"));
        mine.map(str::to_owned).collect()
    };
    let told = |line: &String| {
        let untold = line.split("untold=").nth(1).and_then(|rest| rest.split(' ').next());
        1 + untold.map_or(0, |number| number.parse::<usize>().expect("a number"))
    };
    let (mut client, mut closes, start) = (proxy.client(), 0, Instant::now());
    // The thousandth is told of, if only by its number, once another one comes a second later.
    let all_told = wait_until(LONG, || {
        for _ in 0..50 {
            client.ask("get a\r\n", text::BAD_REPLY);
            closes += 1;
        }
        lines().iter().map(told).sum::<usize>() > 1000
    });
    let (lines, seconds) = (lines(), start.elapsed().as_secs() as usize);
    assert!(all_told, "{lines:#?}");
    assert!(lines.len() <= seconds + 1, "{} lines in {seconds} s", lines.len());
    assert!(lines.iter().map(told).sum::<usize>() <= closes, "of {closes}: {lines:#?}");
    let sample = [r#"sample="GAR\\x00BAGE \\x1b\\\"\\r\\n"#, &"x".repeat(64 - 13), "\""].concat();
    for part in ["level=warn", "pool=pool0", "server=server1", "reason=parsing", &sample] {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
}

#[test]
fn f07_trailing_data() {
    let fake = Fake::start(|mut stand| {
        while let Some(request) = stand.memcache_request() {
            let key = String::from_utf8_lossy(&request[4..request.len() - 2]).into_owned();
            // Every tenth reply has a second one behind it that nobody asked for.
            let stray = if key.ends_with('0') { "VALUE stray 0 1\r\nx\r\nEND\r\n" } else { "" };
            stand.reply(found(&key) + stray);
        }
    });
    let pool = PoolSpec::memcache(&[fake.port()]).set("server_failure_limit", 1000);
    let proxy = Proxy::twinring(pool.set("timeout", 5000));
    let mut clients = [proxy.client(), proxy.client()];
    let mut number = 0;
    let often = wait_until(LONG, || {
        let key = format!("k{number}");
        let client = &mut clients[number % 2];
        client.send(fetch(&key));
        let reply = client.memcache_reply();
        // The stray one may come while the next request is under way: that one then fails.
        let errors = [text::RESET, text::BAD_REPLY];
        let right =
            reply == found(&key).as_bytes() || errors.iter().any(|error| reply == error.as_bytes());
        assert!(right, "{key}: {}", reply.escape_ascii());
        number += 1;
        fake.accepted() > 5
    });
    assert!(often, "a connection with a stray reply is kept");
    let metrics = proxy.metrics();
    assert!(metrics.get("twinring_backend_failures_total", &[("reason", "trailingdata")]) >= 1.0);
    assert!(metrics.get("twinring_desync_closed_total", &[]) >= 5.0);
}

#[test]
fn f08_wrong_reply_type() {
    for bad in
        ["STORED\r\n", "5\r\n", "VALUE other 0 1\r\nx\r\nEND\r\n", "VERSION 1\r\n", "TOUCHED\r\n"]
    {
        answered_badly(bad, text::BAD_REPLY, &["unhandled", "parsing"]);
    }
}

#[test]
fn f09_truncated() {
    let fake = Fake::start(|mut stand| {
        if stand.memcache_request().is_some() {
            stand.reply(format!("VALUE a 0 100\r\n{}", "x".repeat(90)));
            stand.hold();
        }
    });
    let proxy = Proxy::twinring(PoolSpec::memcache(&[fake.port()]).set("timeout", 300));
    let mut client = proxy.client();
    client.ask("get a\r\n", text::TIMED_OUT);
    client.half_close();
    client.expect_closed();
}

#[test]
fn f10_oversize() {
    answered_badly("VALUE k 0 2147483648\r\n", text::TOO_LARGE, &["oversize"]);
    answered_badly("VALUE k 0 99999999999999999999\r\n", "SERVER_ERROR ", &["oversize", "parsing"]);
}

#[test]
fn f11_early_reply() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    for _ in 0..5 {
        // memcached refuses a value above its limit as soon as it has seen the line.
        client.send("set a 0 0 8000000\r\n");
        client.send("x".repeat(8_000_000) + "\r\n");
        client.expect("SERVER_ERROR object too large for cache\r\n");
        other.ask(store("b"), "STORED\r\n");
        other.ask(fetch("b"), found("b"));
        client.ask(fetch("b"), found("b"));
    }
}

#[test]
fn f11_early_reply_and_end() {
    let fake = Fake::start(|mut stand| {
        while let Ok(line) = stand
            .client
            .try_take(|bytes| bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1))
        {
            if line.starts_with(b"set ") {
                stand.reply("SERVER_ERROR object too large for cache\r\n");
                return;
            }
            let version: &[u8] = b"version\r\n";
            stand.reply(if line == version { "VERSION 1\r\n".to_owned() } else { found("b") });
        }
    });
    let proxy = Proxy::twinring(PoolSpec::memcache(&[fake.port()]).set("timeout", 5000));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    for _ in 0..5 {
        client.send("set a 0 0 8000000\r\n");
        let _ = client.try_send(("x".repeat(8_000_000) + "\r\n").as_bytes());
        let line = client.read_line();
        assert!(line.starts_with(b"SERVER_ERROR "), "{}", line.escape_ascii());
        // Connecting anew may take a moment, in which requests fail.
        let healed = wait_until(LONG, || {
            other.send(fetch("b"));
            other.memcache_reply() == found("b").as_bytes()
        });
        assert!(healed, "the server is not used again");
        client.ask(fetch("b"), found("b"));
    }
}

#[test]
fn f12_errors_of_redis_come_through() {
    const ERRORS: [&str; 5] = [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-BUSY Redis is busy running a script.\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    ];
    let fake = Fake::start(|mut stand| {
        let mut count = 0;
        while stand.redis_request().is_some() {
            // Every other reply is a good one, so that the server is not held to be down.
            stand.reply(if count % 2 == 0 { ERRORS[count / 2 % 5] } else { "+OK\r\n" });
            count += 1;
        }
    });
    let proxy = Proxy::twinring(PoolSpec::redis(&[fake.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    for error in ERRORS {
        client.ask("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", error);
        client.ask("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", "+OK\r\n");
    }
    assert_eq!(fake.accepted(), 1, "the connection was not kept");
}

#[test]
fn f13_wrong_password() {
    let redis = Redis::start(&["--requirepass", "right"]);
    let pool = PoolSpec::redis(&[redis.port()]).set("timeout", 2000).set("redis_auth", "hush-hush");
    let proxy = Proxy::twinring(pool);
    let mut client = proxy.client();
    client.ask("AUTH hush-hush\r\n", "+OK\r\n");
    client.ask("GET a\r\n", "-ERR backend authentication failed\r\n");
    assert!(proxy.metrics().get("twinring_backend_failures_total", &[("reason", "auth")]) >= 1.0);
    assert!(!proxy.process.output().contains("hush-hush"), "the password is in the log");
}

#[test]
fn f14_restarts_empty() {
    let mut fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    let mut client = fleet.proxy.client();
    fleet.servers[2].restart();
    for key in &fleet.keys[2] {
        client.ask(fetch(key), "END\r\n");
    }
    // Nobody flushed the others.
    for key in fleet.keys_but_of(2) {
        client.ask(fetch(key), found(key));
    }
    fleet.expect_healed();
}

#[test]
fn f16_flaps() {
    let flapping = Fake::start(drop);
    let steady = [Memcached::start(), Memcached::start()];
    let ports = [steady[0].port(), flapping.port(), steady[1].port()];
    let proxy = Proxy::twinring(PoolSpec::memcache(&ports).set("timeout", 5000));
    let mut client = proxy.client();
    let start = Instant::now();
    let mut failed = Vec::new();
    while start.elapsed() < Duration::from_secs(1) {
        for number in 0..30 {
            let key = format!("key:{number}");
            client.send(store(&key));
            if client.memcache_reply() != b"STORED\r\n" && !failed.contains(&key) {
                failed.push(key);
            }
        }
    }
    assert!(flapping.accepted() < 40, "{} connections in a second", flapping.accepted());
    // A dead server keeps its keys: nobody else was given them.
    assert!(!failed.is_empty() && failed.len() < 30, "{failed:?}");
    for (server, key) in
        steady.iter().flat_map(|server| failed.iter().map(move |key| (server, key)))
    {
        server.client().ask(fetch(key), "END\r\n");
    }
}

#[test]
fn f17_all_nodes_down() {
    let mut fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    fleet.servers.iter_mut().for_each(Memcached::kill);
    let mut client = fleet.proxy.client();
    let start = Instant::now();
    for key in fleet.keys.iter().flatten() {
        client.ask(fetch(key), text::REFUSED);
    }
    // Ninety requests, one after the other, none of which has anything to wait for.
    assert!(start.elapsed() < AT_ONCE * 2, "{:?} for {} errors", start.elapsed(), 90);
    for path in ["/healthz", "/readyz"] {
        let (status, body) = http_get(fleet.proxy.admin_port(), path);
        assert_eq!(status, 200, "{path}: {body}");
    }
}

#[test]
fn f18_reconnect_herd() {
    let port = Port::take();
    let pool = PoolSpec::memcache(&[port.number()]);
    let proxy = Proxy::twinring(pool.set("timeout", 5000).set("server_retry_timeout", 50));
    let healed = AtomicUsize::new(0);
    let mut fake = None;
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let mut client = proxy.client();
                let served = wait_until(LONG, || {
                    client.send(fetch("b"));
                    client.memcache_reply() == found("b").as_bytes()
                });
                healed.fetch_add(usize::from(served), Ordering::SeqCst);
            });
        }
        let failing = || proxy.metrics().sum("twinring_request_errors_total", &[]) > Some(500.0);
        assert!(wait_until(LONG, failing), "nobody asks");
        fake = Some(Fake::on(port.number(), |mut stand| {
            while stand.memcache_request().is_some() {
                stand.reply(found("b"));
            }
        }));
    });
    assert_eq!(healed.load(Ordering::SeqCst), 50, "not all clients are served again");
    let accepted = fake.map_or(0, |fake: Fake| fake.accepted());
    assert!((1..=2).contains(&accepted), "{accepted} connections where one will do");
}

/// One reply of the server is `bad`: its client gets a line that starts with `error`, the
/// connection is closed, the counter moves, and the next request is answered on a new connection.
fn answered_badly(bad: &str, error: &str, reasons: &[&str]) {
    let (spoiled, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (once, seen, reply) = (Arc::clone(&spoiled), Arc::clone(&closed), bad.to_owned());
    let fake = Fake::start(move |mut stand| {
        while stand.memcache_request().is_some() {
            if !once.swap(true, Ordering::SeqCst) {
                stand.reply(&reply);
                return seen.store(stand.hold(), Ordering::SeqCst);
            }
            stand.reply(found("k"));
        }
    });
    let proxy = Proxy::twinring(PoolSpec::memcache(&[fake.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    client.send(fetch("k"));
    let line = client.read_line();
    let shown = &bad[..bad.len().min(60)];
    assert!(line.starts_with(error.as_bytes()), "{shown:?} gave {}", line.escape_ascii());
    assert!(wait_until(LONG, || closed.load(Ordering::SeqCst)), "{shown:?}: connection kept");
    // Connecting anew may take a moment, in which requests fail.
    let healed = wait_until(LONG, || {
        client.send(fetch("k"));
        client.memcache_reply() == found("k").as_bytes()
    });
    assert!(healed, "{shown:?}: not used again");
    expect_clean(&mut client, "k");
    let metrics = proxy.metrics();
    let count =
        |reason: &&str| metrics.sum("twinring_backend_failures_total", &[("reason", reason)]);
    assert!(reasons.iter().filter_map(count).sum::<f64>() >= 1.0, "{shown:?}: not counted");
    assert!(
        proxy.process.resident_kib() < 200 << 10,
        "{shown:?}: {} KiB",
        proxy.process.resident_kib()
    );
}

//! The admin thread answers whatever load the workers carry.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{LONG, Memcached, PoolSpec, Proxy, http_get, wait_until};

#[test]
fn every_endpoint_answers() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    for _ in 0..10 {
        proxy.client().ask("get a\r\n", "END\r\n");
    }
    for path in ["/healthz", "/livez", "/readyz", "/metrics", "/stats.json"] {
        let (status, body) = http_get(proxy.admin_port(), path);
        assert_eq!(status, 200, "{path}: {body}");
    }
    assert_eq!(http_get(proxy.admin_port(), "/no/such/page").0, 404);
    let (_, body) = http_get(proxy.admin_port(), "/stats.json");
    serde_json::from_str::<serde_json::Value>(&body).expect("JSON");
    // The counters of the workers arrive.
    let counted = wait_until(LONG, || {
        proxy.metrics().get("twinring_requests_total", &[("pool", "pool0")]) >= 10.0
    });
    assert!(counted, "requests are not counted");
}

#[test]
fn a_meta_get_counts_as_what_its_flags_make_of_it() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("mg a v\r\nmg a s\r\nmg b v\r\n", "VA 1\r\nx\r\nHD s1\r\nEN\r\n");
    client.ask("mg a v q\r\nmg b v q\r\nmn\r\n", "VA 1\r\nx\r\nMN\r\n");
    // These may make an item or change its time.
    client.ask("mg c v N30\r\nmg a T30\r\n", "VA 0 W\r\n\r\nHD\r\n");
    let count = |name, label, value| {
        let all = [("pool", "pool0"), (label, value)];
        proxy.metrics().get(&format!("twinring_{name}"), &all)
    };
    let counted = || {
        [
            count("requests_total", "class", "read"),
            count("requests_total", "class", "write"),
            count("lookups_total", "result", "hit"),
            count("lookups_total", "result", "miss"),
        ]
    };
    assert!(wait_until(LONG, || counted() == [5.0, 3.0, 3.0, 2.0]), "{:?}", counted());
}

/// The promise is an answer within 10 ms. Here two cores also run the clients and the server that
/// saturate the worker, so that the admin thread may have to wait for its turn at a core: the
/// median must keep the promise, and the ninth of ten may wait for a few turns (scheduler slices
/// of some 4 ms each, with about ten runnable threads). A thread that waits for the worker would
/// miss both by far: the worker is never idle here.
#[test]
fn endpoints_answer_while_workers_are_saturated() {
    const MEDIAN: Duration = Duration::from_millis(10);
    const HIGH: Duration = Duration::from_millis(60);
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    proxy.client().ask(format!("set a 0 0 1000\r\n{}\r\n", "x".repeat(1000)), "STORED\r\n");
    let (stop, replies) = (AtomicBool::new(false), AtomicUsize::new(0));
    let times = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| saturate(&proxy, &stop, &replies));
        }
        let busy = wait_until(LONG, || replies.load(Ordering::SeqCst) > 10_000);
        let measured: Vec<(&str, Vec<Duration>)> =
            ["/healthz", "/readyz", "/metrics", "/stats.json"]
                .map(|path| (path, (0..40).map(|_| answer_time(&proxy, path)).collect()))
                .into();
        stop.store(true, Ordering::SeqCst);
        assert!(busy, "the load is none");
        measured
    });
    for (path, mut times) in times {
        times.sort();
        let (median, high) = (times[times.len() / 2], times[times.len() * 9 / 10]);
        assert!(median < MEDIAN && high < HIGH, "{path}: median {median:?}, p90 {high:?}");
    }
}

fn answer_time(proxy: &Proxy, path: &str) -> Duration {
    let start = Instant::now();
    let (status, _) = http_get(proxy.admin_port(), path);
    assert_eq!(status, 200, "{path}");
    start.elapsed()
}

/// One client with a pipeline that is never empty.
fn saturate(proxy: &Proxy, stop: &AtomicBool, replies: &AtomicUsize) {
    const DEPTH: usize = 100;
    let mut client = proxy.client();
    let request = "get a\r\n".repeat(DEPTH);
    let reply = format!("VALUE a 0 1000\r\n{}\r\nEND\r\n", "x".repeat(1000)).repeat(DEPTH);
    client.send(&request);
    while !stop.load(Ordering::SeqCst) {
        client.send(&request);
        client.expect(&reply);
        replies.fetch_add(DEPTH, Ordering::SeqCst);
    }
    client.expect(&reply);
}

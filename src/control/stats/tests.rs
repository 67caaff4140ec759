//! The statistics as a tool made for twemproxy reads them.

use std::time::Instant;

use crate::control::answers::Shape;
use crate::control::stats::{answer, document};
use crate::control::testing::{answers, exchange, opened};
use crate::metrics::{PoolMetric, ServerMetric};

/// An answer of nutcracker 0.5.0 that has the pools of these tests.
const NUTCRACKER: &str = include_str!("nutcracker.json");

/// The document without its white space, host and time.
fn timeless(document: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(document).unwrap();
    let mut text = document.replace(' ', "");
    for key in ["source", "uptime", "timestamp"] {
        text = text.replace(&format!("\"{key}\":{}", value[key]), &format!("\"{key}\":?"));
    }
    text
}

#[tokio::test]
async fn the_statistics_port_says_what_nutcracker_says() {
    let address = opened(&answers(Instant::now), answer).await;
    assert_eq!(timeless(&exchange(address, b"").await), timeless(NUTCRACKER));
}

#[test]
fn counters_stand_under_twemproxys_keys() {
    let answers = answers(Instant::now);
    for worker in &answers.registry.layout().workers {
        let pool = &worker.pools[1];
        pool.add(PoolMetric::ClientConnectionsTotal, 4);
        pool.add(PoolMetric::ClientConnections, 1);
        pool.add(PoolMetric::Fragments, 9);
        pool.servers[0].add(ServerMetric::Requests, 10);
        pool.servers[0].add(ServerMetric::ConnectsOk, 1);
        pool.servers[0].add(ServerMetric::Connections, 1);
        pool.servers[0].set(ServerMetric::EjectedAt, 1_700_000_000_000_001);
    }
    let read =
        |shape| -> serde_json::Value { serde_json::from_str(&document(&answers, shape)).unwrap() };
    let twemproxy = read(Shape::Twemproxy);
    assert_eq!(twemproxy["total_connections"], 12);
    assert_eq!(twemproxy["curr_connections"], 6);
    assert_eq!(twemproxy["web"]["client_connections"], 2);
    assert_eq!(twemproxy["web"]["fragments"], 0);
    assert_eq!(twemproxy["web"]["one"]["requests"], 20);
    assert_eq!(twemproxy["web"]["one"]["server_ejected_at"], 1_700_000_000_000_001u64);
    assert_eq!(read(Shape::Full)["web"]["fragments"], 18);
}

#[test]
fn the_full_shape_adds_one_key_to_each_level() {
    let answers = answers(Instant::now);
    answers.registry.layout().workers[0].pools[1].reads.record_nanos(2_000_000);
    let full: serde_json::Value = serde_json::from_str(&document(&answers, Shape::Full)).unwrap();
    let twemproxy: serde_json::Value =
        serde_json::from_str(&document(&answers, Shape::Twemproxy)).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    for path in ["", "/web", "/web/one"] {
        let mut theirs = keys(twemproxy.pointer(path).unwrap());
        theirs.push("twinring".to_owned());
        theirs.sort();
        assert_eq!(keys(full.pointer(path).unwrap()), theirs, "{path}");
    }
    let own = |path: &str| full.pointer(path).unwrap_or_else(|| panic!("{path} in {full}"));
    assert_eq!(own("/twinring/phase"), "starting");
    assert_eq!(own("/twinring/workers/1/worker_turns_total"), 0);
    assert_eq!(own("/twinring/log_dropped_total"), 0);
    assert_eq!(own("/web/twinring/protocol"), "memcache");
    assert_eq!(own("/web/twinring/request_errors_total/timeout"), 0);
    assert_eq!(own("/web/twinring/latency/read/count"), 1);
    let p50 = own("/web/twinring/latency/read/p50").as_f64().unwrap();
    assert!((0.002..=0.00225).contains(&p50), "{p50}");
    assert_eq!(own("/web/one/twinring/node_up"), 1);
}

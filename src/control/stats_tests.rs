//! The statistics as a tool made for twemproxy reads them.

use std::time::Instant;

use crate::control::stats::{Shape, answer, document};
use crate::control::testing::{answers, exchange, opened};
use crate::metrics::{PoolMetric, ServerMetric};

/// An answer of nutcracker 0.5.0 with these two pools, white space taken out.
const NUTCRACKER: &str = r#"{"service":"nutcracker","source":"vm","version":"0.5.0","uptime":1,"timestamp":1795181962,"total_connections":2,"curr_connections":2,"app":{"client_eof":0,"client_err":0,"client_connections":0,"server_ejects":0,"forward_error":0,"fragments":0,"two":{"server_eof":0,"server_err":0,"server_timedout":0,"server_connections":0,"server_ejected_at":0,"requests":0,"request_bytes":0,"responses":0,"response_bytes":0,"in_queue":0,"in_queue_bytes":0,"out_queue":0,"out_queue_bytes":0}},"web":{"client_eof":0,"client_err":0,"client_connections":0,"server_ejects":0,"forward_error":0,"fragments":0,"one":{"server_eof":0,"server_err":0,"server_timedout":0,"server_connections":0,"server_ejected_at":0,"requests":0,"request_bytes":0,"responses":0,"response_bytes":0,"in_queue":0,"in_queue_bytes":0,"out_queue":0,"out_queue_bytes":0},"b\"x":{"server_eof":0,"server_err":0,"server_timedout":0,"server_connections":0,"server_ejected_at":0,"requests":0,"request_bytes":0,"responses":0,"response_bytes":0,"in_queue":0,"in_queue_bytes":0,"out_queue":0,"out_queue_bytes":0}}}
"#;

/// The document with the values of host and time replaced by nutcracker's.
fn timeless(document: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(document).unwrap();
    let mut text = document.to_owned();
    for (key, theirs) in [("source", "\"vm\""), ("uptime", "1"), ("timestamp", "1795181962")] {
        text = text.replace(&format!("\"{key}\":{}", value[key]), &format!("\"{key}\":{theirs}"));
    }
    text
}

#[tokio::test]
async fn the_statistics_port_says_byte_for_byte_what_nutcracker_says() {
    let address = opened(&answers(Instant::now), answer).await;
    assert_eq!(timeless(&exchange(address, b"").await), NUTCRACKER);
}

#[test]
fn counters_stand_under_twemproxys_keys() {
    let answers = answers(Instant::now);
    for worker in &answers.registry.workers {
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
    answers.registry.workers[0].pools[1].reads.record_nanos(2_000_000);
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

//! The admin listener as a raw client sees it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::control::http::answer;
use crate::control::testing::{answers, exchange, opened};
use crate::metrics::PoolMetric;
use crate::signal::Phase;

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let reply = exchange(address, request.as_bytes()).await;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_live_process_is_healthy_even_while_no_server_is() {
    let address = opened(&answers(Instant::now), answer).await;
    for path in ["/healthz", "/livez"] {
        let (head, body) = get(address, path).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "ok\n");
    }
}

#[tokio::test]
async fn f58_a_worker_whose_heart_stopped_is_named() {
    let later = || Instant::now() + Duration::from_secs(11);
    let answers = answers(later);
    answers.registry.layout().workers[0].beat(later());
    let address = opened(&answers, answer).await;
    let (head, body) = get(address, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.starts_with("worker 1: no heartbeat for 11."), "{body}");
    answers.registry.layout().workers[1].beat(later());
    assert!(get(address, "/healthz").await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn readiness_follows_the_phase() {
    let answers = answers(Instant::now);
    let address = opened(&answers, answer).await;
    for (phase, status) in
        [(Phase::Starting, "503"), (Phase::Ready, "200"), (Phase::Draining, "503")]
    {
        answers.life.advance(phase);
        let (head, body) = get(address, "/readyz").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(body.trim(), phase.name());
    }
}

#[tokio::test]
async fn a_reload_is_asked_for_by_post_and_says_why_nothing_has_changed() {
    let address = opened(&answers(Instant::now), answer).await;
    let asked = exchange(address, b"POST /reload HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(asked.starts_with("HTTP/1.1 409 "), "{asked}");
    assert!(asked.ends_with("there is no configuration file to read again\n"), "{asked}");
    assert!(get(address, "/reload").await.0.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let answers = answers(Instant::now);
    answers.registry.layout().workers[1].pools[1].add(PoolMetric::RequestsRead, 3);
    let address = opened(&answers, answer).await;
    let (head, body) = get(address, "/metrics").await;
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"));
    assert!(body.contains("\ntwinring_requests_total{pool=\"web\",class=\"read\"} 3\n"));
    assert!(body.contains("\ntwinring_admin_requests_total 1\n"), "its own request is counted");
}

#[tokio::test]
async fn statistics_come_in_both_shapes() {
    let address = opened(&answers(Instant::now), answer).await;
    let (_, full) = get(address, "/stats.json").await;
    let (head, twemproxy) = get(address, "/stats.json?twemproxy=1").await;
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"));
    assert!(full.starts_with("{\"service\":\"twinring\""), "{full}");
    assert!(twemproxy.starts_with("{\"service\":\"nutcracker\""), "{twemproxy}");
}

#[tokio::test]
async fn hot_keys_are_told_by_requests_or_by_bytes() {
    let address = opened(&answers(Instant::now), answer).await;
    let (head, body) = get(address, "/hotkeys?pool=web").await;
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    let often = "{\"key\":\"often\",\"requests\":64,\"value_bytes\":10,\"bytes\":640}";
    let large = "{\"key\":\"large\\\\xff\",\"requests\":32,\"value_bytes\":1000,\"bytes\":32000}";
    let report =
        |by: &str, keys: &str| format!("{{\"pool\":\"web\",\"by\":\"{by}\",\"keys\":[{keys}]}}\n");
    assert_eq!(body, report("requests", &format!("{often},{large}")));
    let (_, body) = get(address, "/hotkeys?pool=web&by=bytes&n=1").await;
    assert_eq!(body, report("bytes", large));
    for (path, status) in [
        ("/hotkeys", 400),
        ("/hotkeys?pool=web&by=name", 400),
        ("/hotkeys?pool=web&n=many", 400),
        ("/hotkeys?pool=app", 404),
    ] {
        let (head, _) = get(address, path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
}

#[tokio::test]
async fn the_index_names_what_there_is_and_the_rest_is_not_found() {
    let address = opened(&answers(Instant::now), answer).await;
    let (_, index) = get(address, "/").await;
    let paths = index.split([' ', ',', '\n']).filter(|word| word.starts_with('/'));
    for path in paths {
        let (head, _) = get(address, path).await;
        assert!(!head.starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert!(get(address, "/nothing").await.0.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_request_that_never_ends_in_length_is_cut() {
    let address = opened(&answers(Instant::now), answer).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ").await;
    let filler = [b'x'; 4096];
    let mut sent = 0;
    while sent < 100 << 20 && stream.write_all(&filler).await.is_ok() {
        sent += filler.len();
    }
    assert!(sent < 100 << 20, "the listener read all of it");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_give_way_after_their_time() {
    let address = opened(&answers(Instant::now), answer).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let (head, _) = get(address, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut closed = [0];
    let read = timeout(Duration::from_secs(60), idle[0].read(&mut closed)).await.unwrap();
    assert_eq!(read.unwrap_or_default(), 0);
}

#[tokio::test]
async fn one_connection_carries_one_request() {
    let address = opened(&answers(Instant::now), answer).await;
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(address, request).await.matches("HTTP/1.1 ").count(), 1);
}

#[tokio::test]
async fn garbage_is_refused() {
    let address = opened(&answers(Instant::now), answer).await;
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"[..], b"get key\r\n\r\n"] {
        let reply = exchange(address, garbage).await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 400 "), "{reply}");
    }
}

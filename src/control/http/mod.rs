//! The admin listener: plain HTTP. All of it only reads, but for /reload, /expansion (and what is
//! below it) and /topology/accept, which are answered to this machine alone.
//!
//! One connection, one request: nobody asks often enough for keep-alive to matter, and so the
//! limits of a connection are the limits of a request.

mod hotkeys;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::control::answers::{Answers, Shape};
use crate::control::http::hotkeys::HotKeysQuery;
use crate::control::reload::Refused;
use crate::control::stats;
use crate::metrics::AdminMetric;
use crate::signal::Phase;

mod expansion;
mod giving_up;

/// Bytes of a request line and its headers together; bodies are never read.
const REQUEST_BYTES: usize = 64 * 1024;
/// A worker whose loop did not turn for that long is stuck.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);

const INDEX: &str = "\
twinring
/metrics                  counters and histograms for Prometheus
/healthz, /livez          200 while every worker is alive
/readyz                   200 while serving, 503 while starting or draining
/expansion                pools with two rings; a POST takes one to its next phase
/expansion/dead_old       POST: an old server is given up, or taken back
/stats.json               statistics
/stats.json?twemproxy=1   the same in twemproxy's shape
/hotkeys                  ?pool=NAME&by=requests|bytes&n=20 what a near cache is asked for most
/reload                   POST, from this machine: reads the configuration again
/topology                 sources of servers, what they say and what was made of it
";

/// Answers the one request of a connection.
pub(crate) async fn answer(stream: TcpStream, answers: Arc<Answers>) {
    answers.registry.admin.add(AdminMetric::HttpRequests, 1);
    let here = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    let service = TowerToHyperService::new(router(answers, here));
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection failed");
    }
}

/// `here`: who asks is on this machine.
fn router(answers: Arc<Answers>, here: bool) -> Router {
    let reload = if here { post(reload) } else { post(not_here) };
    let accept = if here { post(topology::accept) } else { post(not_here) };
    let advance = if here { post(expansion::advance) } else { post(not_here) };
    let dead_old = if here { post(giving_up::give_up) } else { post(not_here) };
    Router::new()
        .route("/reload", reload)
        .route("/", get(async || INDEX))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/livez", get(health))
        .route("/readyz", get(ready))
        .route("/expansion", get(expansion::show).merge(advance))
        .route("/expansion/dead_old", dead_old)
        .route("/stats.json", get(statistics))
        .route("/hotkeys", get(hot_keys))
        .route("/topology", get(topology::show))
        .route("/topology/accept", accept)
        .with_state(answers)
}

async fn metrics(State(answers): State<Arc<Answers>>) -> Response {
    answers.refresh();
    match answers.exposition.render() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn health(State(answers): State<Arc<Answers>>) -> Response {
    let now = (answers.now)();
    let layout = answers.registry.layout();
    let ages = layout.workers.iter().map(|worker| worker.heartbeat_age(now)).enumerate();
    let stuck: String = ages
        .filter(|(_, age)| *age >= HEARTBEAT_LIMIT)
        .map(|(worker, age)| {
            format!("worker {worker}: no heartbeat for {:.1} s\n", age.as_secs_f64())
        })
        .collect();
    if stuck.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, stuck).into_response()
    }
}

async fn ready(State(answers): State<Arc<Answers>>) -> Response {
    let phase = answers.life.phase();
    let status =
        if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", phase.name())).into_response()
}

/// What has changed, or why nothing has: 422 if the configuration is not valid, 409 if a running
/// process cannot take it over.
async fn reload(State(answers): State<Arc<Answers>>) -> Response {
    let reloader = Arc::clone(&answers.reloader);
    // Whoever asks may hang up: it is done all the same.
    let done = tokio::spawn(async move { reloader.reload("admin").await }).await;
    let Ok(done) = done else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let (status, text) = match done {
        Ok(applied) if applied.changes.is_empty() => {
            (StatusCode::OK, "nothing has changed".to_owned())
        }
        Ok(applied) => (StatusCode::OK, applied.changes.join("\n")),
        Err(refused @ Refused::Invalid(_)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, refused.to_string())
        }
        Err(refused) => (StatusCode::CONFLICT, refused.to_string()),
    };
    (status, format!("{text}\n")).into_response()
}

async fn not_here() -> Response {
    (StatusCode::FORBIDDEN, "only from this machine\n").into_response()
}

/// What may stand behind `/stats.json?`.
#[derive(Deserialize)]
struct StatisticsQuery {
    twemproxy: Option<String>,
}

async fn statistics(
    State(answers): State<Arc<Answers>>,
    Query(query): Query<StatisticsQuery>,
) -> Response {
    let shape = match query.twemproxy.as_deref() {
        None | Some("0") => Shape::Full,
        Some(_) => Shape::Twemproxy,
    };
    ([(CONTENT_TYPE, "application/json")], stats::document(&answers, shape)).into_response()
}

async fn hot_keys(
    State(answers): State<Arc<Answers>>,
    Query(query): Query<HotKeysQuery>,
) -> Response {
    hotkeys::report(&answers.hot_keys, &query)
}

#[cfg(test)]
mod tests;

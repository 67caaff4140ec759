//! Statistics as JSON: twemproxy's shape, and the same with all that we know besides.
//!
//! ```text
//!  { service … curr_connections,
//!    "<pool>": { client_eof … fragments,
//!                "<server>": { server_eof … out_queue_bytes } } }
//! ```
//! Keys and their order are twemproxy's (nc_stats.h:23-49, nc_stats.c:481-789). In the full shape
//! each of the three levels has one more key, `twinring`, so that whatever reads twemproxy's
//! statistics reads ours.

mod json;

use std::fs;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::control::answers::{Answers, Shape};
use crate::control::stats::json::{Json, number, text};
use crate::metrics::{
    AdminMetric, Family, HistogramSnapshot, Kind, Layout, ListenerMetric, PoolMetric, PoolShape,
    Registry, ResolverMetric, ServerMetric, WorkerMetric,
};

/// The version of twemproxy whose statistics these are.
const TWEMPROXY_VERSION: &str = "0.5.0";

/// twemproxy's keys of a pool.
const POOL: [(&str, PoolMetric); 6] = [
    ("client_eof", PoolMetric::ClientEof),
    ("client_err", PoolMetric::ClientErr),
    ("client_connections", PoolMetric::ClientConnections),
    ("server_ejects", PoolMetric::ServerEjects),
    ("forward_error", PoolMetric::ForwardErrors),
    ("fragments", PoolMetric::Fragments),
];

/// twemproxy's keys of a server.
const SERVER: [(&str, ServerMetric); 13] = [
    ("server_eof", ServerMetric::Eof),
    ("server_err", ServerMetric::Err),
    ("server_timedout", ServerMetric::TimedOut),
    ("server_connections", ServerMetric::Connections),
    ("server_ejected_at", ServerMetric::EjectedAt),
    ("requests", ServerMetric::Requests),
    ("request_bytes", ServerMetric::RequestBytes),
    ("responses", ServerMetric::Responses),
    ("response_bytes", ServerMetric::ResponseBytes),
    ("in_queue", ServerMetric::InQueue),
    ("in_queue_bytes", ServerMetric::InQueueBytes),
    ("out_queue", ServerMetric::OutQueue),
    ("out_queue_bytes", ServerMetric::OutQueueBytes),
];

/// Answers on the statistics port: one document and a line feed; nothing is read.
pub(crate) async fn answer(mut stream: TcpStream, answers: Arc<Answers>) {
    let document = document(&answers, answers.shape);
    let written = stream.write_all(document.as_bytes()).await;
    if let Err(error) = written.and(stream.shutdown().await) {
        tracing::debug!(%error, "statistics connection failed");
    }
}

/// The document with its line feed.
pub(crate) fn document(answers: &Answers, shape: Shape) -> String {
    answers.refresh();
    let layout = &answers.registry.layout();
    let mut pairs = head(&answers.registry, layout, shape);
    if shape == Shape::Full {
        pairs.push(own(process(answers, layout)));
    }
    let pools = layout.present();
    pairs.extend(
        pools
            .map(|(_, pool)| pool.name.clone())
            .zip(layout.present().map(|pool| pool_object(layout, pool, shape))),
    );
    let mut text = serde_json::to_string(&Json::Object(pairs)).unwrap_or_default();
    text.push('\n');
    text
}

/// The keys in front of the pools. Connections are those of clients and to servers, and the
/// listeners, as in twemproxy.
fn head(registry: &Registry, layout: &Layout, shape: Shape) -> Vec<(String, Json)> {
    let (service, version) = match shape {
        Shape::Twemproxy => ("nutcracker", TWEMPROXY_VERSION),
        Shape::Full => ("twinring", env!("CARGO_PKG_VERSION")),
    };
    let listeners = layout.present().count() as u64;
    let (total, now) = connections(layout);
    let epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    vec![
        text("service", service),
        text("source", hostname().trim()),
        text("version", version),
        number("uptime", registry.started.elapsed().as_secs()),
        number("timestamp", epoch.as_secs()),
        number("total_connections", total.wrapping_add(listeners)),
        number("curr_connections", now.wrapping_add(listeners)),
    ]
}

/// Connections so far and now, clients' and servers'.
fn connections(layout: &Layout) -> (u64, u64) {
    let (mut total, mut now) = (0u64, 0u64);
    for (index, pool) in layout.present() {
        total = total.wrapping_add(layout.pool(index, PoolMetric::ClientConnectionsTotal));
        now = now.wrapping_add(layout.pool(index, PoolMetric::ClientConnections));
        for server in 0..pool.servers.len() {
            let get = |metric| layout.server(index, server, metric);
            let tried =
                get(ServerMetric::ConnectsOk).wrapping_add(get(ServerMetric::ConnectsFailed));
            total = total.wrapping_add(tried);
            now = now.wrapping_add(get(ServerMetric::Connections));
        }
    }
    (total, now)
}

/// The kernel's name for this machine.
fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned())
}

fn pool_object(layout: &Layout, (pool, described): (usize, &PoolShape), shape: Shape) -> Json {
    let value = |metric| match (shape, metric) {
        // Never incremented there.
        (Shape::Twemproxy, PoolMetric::Fragments) => 0,
        _ => layout.pool(pool, metric),
    };
    let mut pairs: Vec<_> = POOL.iter().map(|(key, metric)| number(key, value(*metric))).collect();
    if shape == Shape::Full {
        let mut extra = vec![text("protocol", described.protocol)];
        extra.extend(table(PoolMetric::FAMILIES, |it| it.kind(), |it| layout.pool(pool, it)));
        let latencies = vec![
            ("read".to_owned(), latency(&layout.pool_latency(pool, |bank| &bank.reads))),
            ("write".to_owned(), latency(&layout.pool_latency(pool, |bank| &bank.writes))),
        ];
        extra.push(("latency".to_owned(), Json::Object(latencies)));
        pairs.push(own(extra));
    }
    let servers = described.servers.iter().enumerate();
    pairs.extend(
        servers.map(|(index, name)| (name.clone(), server_object(layout, (pool, index), shape))),
    );
    Json::Object(pairs)
}

fn server_object(layout: &Layout, (pool, server): (usize, usize), shape: Shape) -> Json {
    let value = |metric| layout.server(pool, server, metric);
    let mut pairs: Vec<_> =
        SERVER.iter().map(|(key, metric)| number(key, value(*metric))).collect();
    if shape == Shape::Full {
        let mut extra = table(ServerMetric::FAMILIES, |it| it.kind(), value);
        extra.push(("latency".to_owned(), latency(&layout.server_latency(pool, server))));
        pairs.push(own(extra));
    }
    Json::Object(pairs)
}

/// Threads and phase.
fn process(answers: &Answers, layout: &Layout) -> Vec<(String, Json)> {
    let registry = &answers.registry;
    let now: Instant = (answers.now)();
    let workers = layout.workers.iter().map(|worker| {
        let mut pairs = table(WorkerMetric::FAMILIES, |it| it.kind(), |it| worker.get(it));
        let age = worker.heartbeat_age(now).as_secs_f64();
        pairs.push(("heartbeat_age_seconds".to_owned(), Json::Real(age)));
        Json::Object(pairs)
    });
    let mut pairs = vec![text("phase", answers.life.phase().name())];
    pairs.push(("workers".to_owned(), Json::List(workers.collect())));
    let listener = |metric| registry.listener.get(metric);
    pairs.extend(table(ListenerMetric::FAMILIES, |it| it.kind(), listener));
    let resolver = |metric| registry.resolver.get(metric);
    pairs.extend(table(ResolverMetric::FAMILIES, |it| it.kind(), resolver));
    pairs.extend(table(AdminMetric::FAMILIES, |it| it.kind(), |it| registry.admin.get(it)));
    pairs
}

/// Every family of a scope; those with a label as objects.
fn table<M: Copy>(
    families: &[Family<M>],
    kind: impl Fn(M) -> Kind,
    read: impl Fn(M) -> u64,
) -> Vec<(String, Json)> {
    let value = |metric: M| match kind(metric) {
        Kind::Timestamp => Json::Real(read(metric) as f64 / 1e6),
        _ => Json::Number(read(metric) as i64),
    };
    let families = families.iter().filter(|family| family.kind != Kind::Age);
    let pairs = families.map(|family| {
        let members = family.members.iter();
        let shown = match family.members {
            [(metric, "")] => value(*metric),
            _ => {
                Json::Object(members.map(|(it, label)| ((*label).to_owned(), value(*it))).collect())
            }
        };
        (family.name.to_owned(), shown)
    });
    pairs.collect()
}

/// Count and quantiles in seconds, the quantiles rounded up by at most an eighth.
fn latency(snapshot: &HistogramSnapshot) -> Json {
    let seconds = |key: &str, q| (key.to_owned(), Json::Real(snapshot.quantile(q) as f64 / 1e9));
    Json::Object(vec![
        number("count", snapshot.count()),
        seconds("p50", 0.5),
        seconds("p99", 0.99),
        seconds("p999", 0.999),
    ])
}

fn own(pairs: Vec<(String, Json)>) -> (String, Json) {
    ("twinring".to_owned(), Json::Object(pairs))
}

#[cfg(test)]
mod tests;

//! The exposition as Prometheus would read it, and the table as `promtool` would check it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::exposition::Exposition;
use crate::metrics::table::{
    AdminMetric, BACKEND_REQUEST_DURATION, Family, Kind, ListenerMetric, PoolMetric,
    REQUEST_DURATION, ResolverMetric, ServerMetric, WorkerMetric,
};
use crate::metrics::{PoolShape, Registry};

fn registry() -> Arc<Registry> {
    let pool = |name: &str, servers: &[&str]| PoolShape {
        name: name.to_owned(),
        protocol: "memcache",
        servers: servers.iter().map(|it| (*it).to_owned()).collect(),
        near_cache: false,
        connections: 1,
    };
    let shape = vec![pool("web", &["one", "10.0.0.2:11212"]), pool("app\n\"x\"", &["one"])];
    Arc::new(Registry::new(shape, 2))
}

fn render(registry: &Arc<Registry>) -> String {
    Exposition::new(Arc::clone(registry)).unwrap().render().unwrap()
}

/// Series (name and labels) and values of an exposition.
fn series(text: &str) -> HashMap<String, f64> {
    let mut series = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {name}");
    }
    series
}

/// Every family of the table: name, kind, help, label, values of the label.
fn table() -> Vec<(&'static str, Kind, &'static str, &'static str, Vec<&'static str>)> {
    fn rows<M>(
        families: &[Family<M>],
    ) -> impl Iterator<Item = (&'static str, Kind, &'static str, &'static str, Vec<&'static str>)>
    {
        families.iter().map(|row| {
            let values = row.members.iter().map(|(_, value)| *value).collect();
            (row.name, row.kind, row.help, row.label, values)
        })
    }
    rows(WorkerMetric::FAMILIES)
        .chain(rows(PoolMetric::FAMILIES))
        .chain(rows(ServerMetric::FAMILIES))
        .chain(rows(ListenerMetric::FAMILIES))
        .chain(rows(ResolverMetric::FAMILIES))
        .chain(rows(AdminMetric::FAMILIES))
        .collect()
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn no_name_occurs_twice() {
    let mut names: HashSet<&str> =
        HashSet::from([REQUEST_DURATION.name, BACKEND_REQUEST_DURATION.name]);
    for (name, ..) in table() {
        assert!(names.insert(name), "{name}");
    }
}

#[test]
fn names_help_and_labels_follow_the_rules_of_prometheus() {
    for (name, kind, help, label, values) in table() {
        assert!(is_name(name), "{name}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        for suffix in ["_bucket", "_count", "_sum", "_info"] {
            assert!(!name.ends_with(suffix), "{name} looks like part of a histogram");
        }
        for unit in ["_ms", "_us", "_millis", "_micros", "_kb", "_mb"] {
            assert!(!name.contains(unit), "{name} is not in a base unit");
        }
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
        assert_eq!(label.is_empty(), values == [""], "{name}: a label and several values, or none");
        assert!(
            label.is_empty() || is_name(label) && values.iter().all(|it| is_name(it)),
            "{name}"
        );
        let unique: HashSet<_> = values.iter().collect();
        assert_eq!(unique.len(), values.len(), "{name}");
    }
    for row in [&REQUEST_DURATION, &BACKEND_REQUEST_DURATION] {
        assert!(is_name(row.name) && row.name.ends_with("_seconds"), "{}", row.name);
    }
}

#[test]
fn every_sample_stands_under_one_help_and_one_type() {
    let text = render(&registry());
    let mut helped = HashSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(helped.insert(family), "{family} occurs twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(rest.starts_with(&format!("{family} ")), "{line} under {family}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|it| name.strip_suffix(it));
            assert!(name == family || base == Some(family), "{line} under {family}");
        }
    }
}

#[test]
fn every_series_is_there_before_anything_happened() {
    let series = series(&render(&registry()));
    for expected in [
        r#"twinring_client_disconnects_total{pool="web",reason="slow_reader"}"#,
        r#"twinring_requests_total{pool="web",class="read"}"#,
        r#"twinring_backend_failures_total{pool="web",node="10.0.0.2:11212",reason="trailingdata"}"#,
        r#"twinring_client_connections_rejected_total{reason="fd"}"#,
        r#"twinring_backend_request_duration_seconds_bucket{pool="web",node="one",le="+Inf"}"#,
        "twinring_log_dropped_total",
        r#"twinring_worker_turns_total{worker="1"}"#,
    ] {
        assert_eq!(series.get(expected), Some(&0.0), "{expected}");
    }
    assert_eq!(series[r#"twinring_node_up{pool="web",node="one"}"#], 1.0);
    assert!(series[r#"twinring_worker_heartbeat_age_seconds{worker="0"}"#] >= 0.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(series[&format!(r#"twinring_build_info{{version="{version}"}}"#)], 1.0);
    assert!(series["process_start_time_seconds"] > 1.6e9);
}

#[test]
fn names_from_the_configuration_are_escaped() {
    let text = render(&registry());
    assert!(text.contains(r#"twinring_client_connections{pool="app\n\"x\""} 0"#));
}

#[test]
fn cells_are_summed_over_workers_by_their_kind() {
    let registry = registry();
    for (index, worker) in registry.layout().workers.iter().enumerate() {
        let pool = &worker.pools[0];
        pool.add(PoolMetric::RequestsRead, 2 + index as u64);
        pool.servers[0].set(ServerMetric::Up, index as u64);
        pool.servers[0].set(ServerMetric::EjectedAt, 1_500_000 * index as u64);
    }
    registry.layout().workers[0].pools[0].sub(PoolMetric::ClientConnections, 1);
    registry.layout().workers[1].pools[0].add(PoolMetric::ClientConnections, 3);
    let series = series(&render(&registry));
    assert_eq!(series[r#"twinring_requests_total{pool="web",class="read"}"#], 5.0);
    assert_eq!(series[r#"twinring_client_connections{pool="web"}"#], 2.0);
    assert_eq!(series[r#"twinring_node_up{pool="web",node="one"}"#], 0.0);
    let ejected = r#"twinring_node_last_ejection_timestamp_seconds{pool="web",node="one"}"#;
    assert_eq!(series[ejected], 1.5);
}

#[test]
fn histograms_are_cumulative_and_end_in_their_count() {
    let registry = registry();
    for (worker, millis) in registry.layout().workers.iter().zip([3, 70]) {
        worker.pools[0].reads.record(Duration::from_millis(millis));
    }
    let text = render(&registry);
    let series = series(&text);
    let at = |suffix: &str, le: &str| {
        let name = format!("twinring_request_duration_seconds{suffix}");
        series[&format!(r#"{name}{{pool="web",class="read"{le}}}"#)]
    };
    assert_eq!(at("_bucket", r#",le="0.0025""#), 0.0);
    assert_eq!(at("_bucket", r#",le="0.005""#), 1.0);
    assert_eq!(at("_bucket", r#",le="0.1""#), 2.0);
    assert_eq!(at("_bucket", r#",le="+Inf""#), at("_count", ""));
    assert!((at("_sum", "") - 0.073).abs() < 1e-9);
}

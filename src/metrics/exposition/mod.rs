//! The Prometheus text: every cell of the [`Registry`], through one collector.
//!
//! ```text
//!  table ─┐
//!         ├▶ Banks::collect ─▶ metric families ─▶ text
//!  cells ─┘   (summed over workers)
//! ```
//! Each series is there from the start, with the value 0; those of a pool or server that is removed
//! from the configuration are gone with it, as those of a target that has gone. Nothing but names of pools, nodes and
//! workers becomes a label's value.

mod procfs;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as Buckets, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Error, Registry as Gatherer, TextEncoder};

use crate::metrics::counters::{PoolShape, RingName, StoreMetrics, TopologyMetrics};
use crate::metrics::exposition::procfs::Figure;
use crate::metrics::histogram::HistogramSnapshot;
use crate::metrics::registry::{Layout, Registry};
use crate::metrics::table::{
    AdminMetric, BACKEND_REQUEST_DURATION, EXPANSION_PARKED, Family, Kind, LATENCY_BOUNDS, Latency,
    ListenerMetric, NEAR_CACHE_AGE, PREFIX, PoolMetric, REQUEST_DURATION, RING_INFO,
    ResolverMetric, ServerMetric, StoreMetric, TopologyMetric, WorkerMetric,
};

/// Renders the registry as Prometheus text (format 0.0.4).
pub struct Exposition(Gatherer);

/// Labels of one series, in the order in which they are shown.
type Labels = Vec<(&'static str, String)>;

/// The collector: reads the banks when asked.
struct Banks {
    registry: Arc<Registry>,
    start_time: f64,
    desc: Desc,
}

impl Exposition {
    /// Prepares the exposition of `registry`.
    ///
    /// # Errors
    /// Only if a name in the table is not a valid metric name.
    pub fn new(registry: Arc<Registry>) -> Result<Self, Error> {
        let age = registry.started.elapsed();
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let start_time = wall.saturating_sub(age).as_secs_f64();
        let name = ours("build_info");
        let desc = Desc::new(name, "Build.".to_owned(), Vec::new(), HashMap::new())?;
        let gatherer = Gatherer::new();
        gatherer.register(Box::new(Banks { registry, start_time, desc }))?;
        Ok(Self(gatherer))
    }

    /// The text now.
    ///
    /// # Errors
    /// Only if a family were empty or unnamed, which the table does not allow.
    pub fn render(&self) -> Result<String, Error> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

impl Collector for Banks {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let layout = self.registry.layout();
        let mut families = self.process();
        families.extend(self.threads(&layout));
        families.extend(pools(&layout));
        families.extend(servers(&layout));
        families.extend(self.stores());
        families.extend(self.topologies());
        families
    }
}

impl Banks {
    fn process(&self) -> Vec<MetricFamily> {
        let help = "Start, in seconds since the epoch.";
        let start: Figure = ("process_start_time_seconds", Kind::Gauge, help, self.start_time);
        let figures = procfs::figures().into_iter().chain([start]);
        let mut families: Vec<_> = figures
            .map(|(name, kind, help, value)| {
                family(name.to_owned(), help, kind, vec![sample(kind, Vec::new(), value)])
            })
            .collect();
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let build = vec![sample(Kind::Gauge, version, 1.0)];
        families.push(family(ours("build_info"), "Version of the program.", Kind::Gauge, build));
        families
    }

    fn threads(&self, layout: &Layout) -> Vec<MetricFamily> {
        let registry = &self.registry;
        let now = Instant::now();
        let workers: Vec<_> = layout.workers.iter().enumerate().collect();
        let labels = |(index, _): &(usize, _)| vec![("worker", index.to_string())];
        let mut families = expose(WorkerMetric::FAMILIES, &workers, labels, |(_, bank), metric| {
            match metric.kind() {
                Kind::Age => bank.heartbeat_age(now).as_secs_f64(),
                kind => shown(kind, bank.get(metric)),
            }
        });
        let unlabelled = |_: &()| Vec::new();
        families.extend(expose(ListenerMetric::FAMILIES, &[()], unlabelled, |(), metric| {
            shown(metric.kind(), registry.listener.get(metric))
        }));
        families.extend(expose(ResolverMetric::FAMILIES, &[()], unlabelled, |(), metric| {
            shown(metric.kind(), registry.resolver.get(metric))
        }));
        families.extend(expose(AdminMetric::FAMILIES, &[()], unlabelled, |(), metric| {
            shown(metric.kind(), registry.admin.get(metric))
        }));
        families
    }

    fn topologies(&self) -> Vec<MetricFamily> {
        let banks = &self.registry.topologies();
        let labels = |bank: &Arc<TopologyMetrics>| vec![("pool", bank.pool.clone())];
        let mut families = expose(TopologyMetric::FAMILIES, banks, labels, |bank, metric| {
            shown(metric.kind(), bank.get(metric))
        });
        let rings = banks.iter().flat_map(|bank| {
            bank.rings().into_iter().map(move |RingName { ring, digest, epoch }| {
                let mut labels = labels(bank);
                labels.extend([("ring", ring.to_owned()), ("digest", digest)]);
                labels.push(("epoch", epoch.to_string()));
                sample(Kind::Gauge, labels, 1.0)
            })
        });
        let Latency { name, help } = RING_INFO;
        families.push(family(ours(name), help, Kind::Gauge, rings.collect()));
        families
    }

    fn stores(&self) -> Vec<MetricFamily> {
        let stores = self.registry.stores();
        let labels = |store: &Arc<StoreMetrics>| vec![("store", store.name.clone())];
        expose(StoreMetric::FAMILIES, &stores, labels, |store, metric| {
            shown(metric.kind(), store.get(metric))
        })
    }
}

fn pools(layout: &Layout) -> Vec<MetricFamily> {
    let pools: Vec<(usize, &PoolShape)> = layout.present().collect();
    let labels = |(_, shape): &(usize, &PoolShape)| vec![("pool", shape.name.clone())];
    let mut families = expose(PoolMetric::FAMILIES, &pools, labels, |(pool, _), metric| {
        shown(metric.kind(), layout.pool(*pool, metric))
    });
    let durations = pools.iter().flat_map(|pool| {
        let class = |name: &str| {
            let mut labels = labels(pool);
            labels.push(("class", name.to_owned()));
            labels
        };
        [
            (class("read"), layout.pool_latency(pool.0, |bank| &bank.reads)),
            (class("write"), layout.pool_latency(pool.0, |bank| &bank.writes)),
        ]
    });
    families.push(latency(&REQUEST_DURATION, durations));
    let near = pools.iter().filter(|(_, shape)| shape.near_cache);
    let ages = near.map(|pool| (labels(pool), layout.pool_latency(pool.0, |bank| &bank.near_ages)));
    families.push(latency(&NEAR_CACHE_AGE, ages));
    let parked = pools.iter();
    let parked =
        parked.map(|pool| (labels(pool), layout.pool_latency(pool.0, |bank| &bank.parked)));
    families.push(latency(&EXPANSION_PARKED, parked));
    families
}

fn servers(layout: &Layout) -> Vec<MetricFamily> {
    let servers: Vec<(usize, usize, Labels)> = layout
        .present()
        .flat_map(|(pool, shape)| {
            let labels = |node: &String| vec![("pool", shape.name.clone()), ("node", node.clone())];
            shape.servers.iter().enumerate().map(move |(it, node)| (pool, it, labels(node)))
        })
        .collect();
    let labels = |(_, _, labels): &(usize, usize, Labels)| labels.clone();
    let read = |(pool, server, _): &(usize, usize, Labels), metric: ServerMetric| {
        shown(metric.kind(), layout.server(*pool, *server, metric))
    };
    let mut families = expose(ServerMetric::FAMILIES, &servers, labels, read);
    let durations = servers.iter().map(|it| (labels(it), layout.server_latency(it.0, it.1)));
    families.push(latency(&BACKEND_REQUEST_DURATION, durations));
    families
}

/// One exposed family for each of the table's, with a series for each bank and member. No series,
/// no family: the gatherer leaves it out.
fn expose<M: Copy, B>(
    families: &[Family<M>],
    banks: &[B],
    labels: impl Fn(&B) -> Labels,
    read: impl Fn(&B, M) -> f64,
) -> Vec<MetricFamily> {
    let expose = |row: &Family<M>| {
        let series = banks.iter().flat_map(|bank| {
            row.members.iter().map(|(metric, value)| {
                let mut labels = labels(bank);
                if !row.label.is_empty() {
                    labels.push((row.label, (*value).to_owned()));
                }
                sample(row.kind, labels, read(bank, *metric))
            })
        });
        family(ours(row.name), row.help, row.kind, series.collect())
    };
    families.iter().map(expose).collect()
}

/// The family of one latency histogram.
fn latency(
    row: &Latency,
    series: impl Iterator<Item = (Labels, HistogramSnapshot)>,
) -> MetricFamily {
    let metrics = series.map(|(labels, snapshot)| {
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(buckets(&snapshot));
        metric
    });
    let mut exposed = family(ours(row.name), row.help, Kind::Gauge, metrics.collect());
    exposed.set_field_type(MetricType::HISTOGRAM);
    exposed
}

/// The exposed buckets; the encoder adds `+Inf` itself.
fn buckets(snapshot: &HistogramSnapshot) -> Buckets {
    let bucket = |bound: u64| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64 / 1e9);
        bucket.set_cumulative_count(snapshot.at_most(bound));
        bucket
    };
    let mut histogram = Buckets::default();
    histogram.set_bucket(LATENCY_BOUNDS.into_iter().map(bucket).collect());
    histogram.set_sample_count(snapshot.count());
    histogram.set_sample_sum(snapshot.nanos() as f64 / 1e9);
    histogram
}

/// A name of ours as it is exposed.
fn ours(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn family(name: String, help: &str, kind: Kind, metrics: Vec<Metric>) -> MetricFamily {
    let counts = kind == Kind::Counter;
    let mut exposed = MetricFamily::default();
    exposed.set_name(name);
    exposed.set_help(help.to_owned());
    exposed.set_field_type(if counts { MetricType::COUNTER } else { MetricType::GAUGE });
    exposed.set_metric(metrics);
    exposed
}

/// One series.
fn sample(kind: Kind, labels: Labels, value: f64) -> Metric {
    let mut metric = Metric::from_label(pairs(labels));
    if kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn pairs(labels: Labels) -> Vec<LabelPair> {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    labels.into_iter().map(pair).collect()
}

/// A cell's value in the unit of its name.
fn shown(kind: Kind, value: u64) -> f64 {
    match kind {
        // A gauge whose bank was read between two workers' steps may be below zero for a moment.
        Kind::Gauge => value as i64 as f64,
        Kind::Timestamp => value as f64 / 1e6,
        Kind::Counter | Kind::Flag | Kind::Age => value as f64,
    }
}

#[cfg(test)]
mod tests;

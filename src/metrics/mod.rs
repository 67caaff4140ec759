//! Every metric of the process: one table, and the counters of each thread behind it.
//!
//! * `table`: the enums name every counter and say how it is exposed.
//! * `counters`, `histogram`: the banks that threads write, one writer each, without waiting.
//! * [`Registry`]: all banks, summed when read.
//! * [`Exposition`]: the registry as Prometheus text, with what the kernel knows of us.
//! * [`Spacing`]: how often the log is told of what is counted.

mod counters;
mod exposition;
mod histogram;
mod registry;
mod spacing;
mod table;

pub use counters::{
    AdminMetrics, ListenerMetrics, PoolMetrics, PoolShape, ResolverMetrics, RingName,
    ServerMetrics, StoreMetrics, TopologyMetrics, WorkerMetrics,
};
pub use exposition::Exposition;
pub use histogram::{Histogram, HistogramSnapshot};
pub use registry::{Layout, Registry};
pub use spacing::Spacing;
pub use table::{
    AdminMetric, BACKEND_REQUEST_DURATION, EXPANSION_PARKED, Family, Kind, LATENCY_BOUNDS, Latency,
    ListenerMetric, PREFIX, PoolMetric, REQUEST_DURATION, RING_INFO, ResolverMetric, ServerMetric,
    StoreMetric, TopologyMetric, WorkerMetric,
};

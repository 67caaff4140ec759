//! The scenarios: what is asked, behind what, and what the answer is held against.

use std::fmt;

use serde_json::Value;

use crate::load::Workload;
use crate::peers::Kind;
use crate::wire::Protocol;

/// Clients that keep the proxy busy without a gap: 50 of them, each waiting for its replies, leave
/// it idle for a third of the time.
const SATURATING: usize = 200;
/// Clients of all other loads of small values.
const STEADY: usize = 50;

/// One line of the plan.
pub(crate) struct Scenario {
    /// Its name, as `--only` takes it.
    pub(crate) name: String,
    /// How the clients behave.
    pub(crate) shape: Shape,
    /// What the steady clients ask.
    pub(crate) workload: Workload,
    /// What is behind the proxy.
    pub(crate) servers: Kind,
    /// What is measured and the bar for it; the first is the scenario's main figure.
    pub(crate) goals: Vec<Goal>,
}

/// How the clients behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Steady clients alone.
    Steady,
    /// So many clients that did one request and are silent; no load.
    Idle(usize),
    /// Steady clients, alone and then beside so many new connections a second.
    Storm(u32),
    /// Steady clients at one worker and at two.
    Workers,
}

/// A figure and its bar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// What is measured.
    pub(crate) figure: Figure,
    /// What it is held against.
    pub(crate) bar: Bar,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    /// CPU time of the proxy per request, all threads, user and kernel, in µs.
    CpuUs,
    /// System calls of the proxy per request.
    Syscalls,
    /// Resident memory per idle client in KiB.
    IdleKib,
    /// The p99 of steady clients in the storm over that in the calm before.
    StormP99,
    /// The p99 in that calm, in µs.
    CalmP99Us,
    /// Requests a second at two workers over those at one.
    TwoWorkers,
    /// Half of the replies came within so many µs.
    P50Us,
    /// 99 of 100 replies came within so many µs.
    P99Us,
    /// Requests a second.
    PerSecond,
    /// Cores that the proxy kept busy.
    Cores,
    /// Cores that programs other than proxy, load and servers kept busy.
    Strangers,
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// Ours is at most so many times nutcracker's.
    Ratio(f64),
    /// Ours is at most this.
    AtMost(f64),
    /// Ours is at least this.
    AtLeast(f64),
    /// Told, not judged.
    None,
}

impl Bar {
    /// Whether it is met; `None` without a bar, or without the number it is about.
    pub(crate) fn met(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::Ratio(bar) => Some(ratio? <= bar),
            Self::AtMost(bar) => Some(ours? <= bar),
            Self::AtLeast(bar) => Some(ours? >= bar),
            Self::None => None,
        }
    }

    /// For the JSON file.
    pub(crate) fn json(self) -> Value {
        match self {
            Self::None => Value::Null,
            bar => Value::String(bar.to_string()),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(bar) => write!(f, "ratio ≤ {bar}"),
            Self::AtMost(bar) => write!(f, "≤ {bar}"),
            Self::AtLeast(bar) => write!(f, "≥ {bar}"),
            Self::None => f.write_str("-"),
        }
    }
}

impl Figure {
    /// Its name and unit.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuUs => "CPU µs/request",
            Self::Syscalls => "system calls/request",
            Self::IdleKib => "KiB/idle client",
            Self::StormP99 => "p99 storm/calm",
            Self::CalmP99Us => "calm p99 µs",
            Self::TwoWorkers => "2 workers/1",
            Self::P50Us => "p50 µs",
            Self::P99Us => "p99 µs",
            Self::PerSecond => "requests/s",
            Self::Cores => "cores",
            Self::Strangers => "others' cores",
        }
    }
}

/// All scenarios, in the order in which they are run.
pub(crate) fn all() -> Vec<Scenario> {
    let protocols = [Protocol::Memcache, Protocol::Redis];
    let groups = [saturated, fixed_rate, multi_gets, large_values, many_clients, workers];
    groups.into_iter().flat_map(|group| protocols.into_iter().flat_map(group)).collect()
}

/// Storage-less servers and as many requests as the proxy can take.
fn saturated(protocol: Protocol) -> Vec<Scenario> {
    let case = |name, depth, cpu, syscalls| Scenario {
        servers: Kind::Floor,
        goals: vec![
            Goal { figure: Figure::CpuUs, bar: Bar::Ratio(cpu) },
            Goal { figure: Figure::Syscalls, bar: Bar::AtMost(syscalls) },
        ],
        ..scenario(name, Workload { clients: SATURATING, depth, ..small(protocol) })
    };
    vec![case("sat", 1, 0.85, 2.6), case("sat16", 16, 0.35, 0.3)]
}

/// Far from saturation, where waking up for single requests is most of the cost.
fn fixed_rate(protocol: Protocol) -> Vec<Scenario> {
    let case =
        |name, depth, rate| scenario(name, Workload { depth, rate: Some(rate), ..small(protocol) });
    vec![case("rate", 1, 20_000.0), case("rate16", 16, 80_000.0)]
}

/// Saturated as [`saturated`], and at the rate that 50 clients on real servers come to, where both
/// proxies mostly wake up and go to sleep.
fn multi_gets(protocol: Protocol) -> Vec<Scenario> {
    let case = |name: &str, keys_per_read, cpu| {
        let told = Workload { keys_per_read, reads_permille: 1000, ..small(protocol) };
        let judged = Workload { clients: SATURATING, ..told };
        [
            Scenario { servers: Kind::Floor, ..with_cpu_bar(scenario(name, judged), cpu) },
            scenario(&format!("{name}-rate"), told),
        ]
    };
    [case("10keys", 10, 0.8), case("100keys", 100, 0.6)].into_iter().flatten().collect()
}

fn large_values(protocol: Protocol) -> Vec<Scenario> {
    let case = |name, value_bytes, keys| {
        let workload = Workload { clients: 8, value_bytes, keys, ..small(protocol) };
        with_cpu_bar(scenario(name, workload), 1.0)
    };
    vec![case("64k", 64 << 10, 500), case("1m", 1 << 20, 60)]
}

fn many_clients(protocol: Protocol) -> Vec<Scenario> {
    let calm = Workload { rate: Some(10_000.0), ..small(protocol) };
    let idle = Goal { figure: Figure::IdleKib, bar: Bar::AtMost(1.0) };
    let storm = Goal { figure: Figure::StormP99, bar: Bar::AtMost(1.2) };
    let calm_p99 = Goal { figure: Figure::CalmP99Us, bar: Bar::None };
    vec![
        Scenario { shape: Shape::Idle(10_000), goals: vec![idle], ..scenario("idle", calm) },
        Scenario {
            shape: Shape::Storm(2_000),
            servers: Kind::Floor,
            goals: vec![storm, calm_p99],
            ..scenario("storm", calm)
        },
        Scenario {
            shape: Shape::Storm(2_000),
            goals: vec![Goal { bar: Bar::None, ..storm }, calm_p99],
            ..scenario("storm-real", calm)
        },
    ]
}

fn workers(protocol: Protocol) -> Vec<Scenario> {
    let workload = Workload { clients: SATURATING, ..small(protocol) };
    vec![Scenario {
        shape: Shape::Workers,
        servers: Kind::Floor,
        goals: vec![Goal { figure: Figure::TwoWorkers, bar: Bar::AtLeast(1.6) }],
        ..scenario("workers", workload)
    }]
}

/// 90 % reads of 100-byte values, one at a time.
pub(crate) fn small(protocol: Protocol) -> Workload {
    Workload {
        protocol,
        clients: STEADY,
        depth: 1,
        reads_permille: 900,
        meta: false,
        keys_per_read: 1,
        value_bytes: 100,
        sizes: 1,
        keys: 100_000,
        skew: 0.0,
        rate: None,
    }
}

/// A steady load on real servers, its CPU time told but not judged.
fn scenario(name: &str, workload: Workload) -> Scenario {
    Scenario {
        name: format!("{}-{name}", workload.protocol.name()),
        shape: Shape::Steady,
        workload,
        servers: Kind::Real,
        goals: vec![Goal { figure: Figure::CpuUs, bar: Bar::None }],
    }
}

fn with_cpu_bar(scenario: Scenario, bar: f64) -> Scenario {
    let goals = vec![Goal { figure: Figure::CpuUs, bar: Bar::Ratio(bar) }];
    Scenario { goals, ..scenario }
}

/// Whether a row called `name` is among what `--only` says, of which the words that `is_meant`
/// takes are about rows like it; all are if it says nothing.
pub(crate) fn is_among(only: &[String], is_meant: fn(&str) -> bool, name: &str) -> bool {
    only.is_empty() || only.iter().any(|part| is_meant(part) && name.contains(part.as_str()))
}

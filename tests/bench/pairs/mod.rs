//! Rows of two: mg beside get, TLS beside that of others, a near cache beside none, two rings beside
//! one.
//!
//! ```text
//!   row ─▶ two contenders, in turn ─▶ load ─▶ CPU time per request ─▶ table
//!      └─▶ storm : calm and beside new TLS connections, ours alone
//! ```
//! * [`contender`]: what is measured, and how it is started; [`storm`], [`near`], [`growth`];
//!   [`table`].

mod contender;
mod growth;
mod near;
mod storm;
mod table;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::load::{Generator, Tally, Workload, fill};
use crate::peers::{Backends, Failure, Kind};
use crate::probe::Window;
use crate::scenario::{is_among, small};
use crate::stage::Stage;
use crate::tls::Certificate;
use crate::wire::Protocol;

use contender::{Contender, Way};
use growth::Growth;
use near::{Beside, Near, Pace};
use table::Outcome;

/// Load before the clock starts: handshakes are made, connections behind stand.
const WARM_UP: Duration = Duration::from_millis(500);

/// One line of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// `mg` and `get` through the proxy, 16 deep.
    Meta,
    /// TLS at the cache and at the server that it stands for, so many requests at a time.
    Cache(Protocol, usize),
    /// TLS at the proxy and at HAProxy, in front of one server.
    Front(Protocol, usize),
    /// So many new TLS connections a second beside established ones.
    Storm(Protocol, u32),
    /// With a near cache and without.
    Near(Near),
    /// With two rings and with one.
    Growth(Growth),
}

/// All of them, in the order in which they are run.
const ROWS: [Row; 31] = [
    Row::Meta,
    Row::Cache(Protocol::Memcache, 1),
    Row::Cache(Protocol::Memcache, 16),
    Row::Cache(Protocol::Redis, 1),
    Row::Cache(Protocol::Redis, 16),
    Row::Front(Protocol::Memcache, 1),
    Row::Front(Protocol::Memcache, 16),
    Row::Front(Protocol::Redis, 1),
    Row::Front(Protocol::Redis, 16),
    Row::Storm(Protocol::Memcache, 2_000),
    Row::Storm(Protocol::Redis, 2_000),
    Row::Near(Near::Hit(Protocol::Memcache, Pace::Deep(1), Beside::Nothing)),
    Row::Near(Near::Hit(Protocol::Redis, Pace::Deep(1), Beside::Nothing)),
    Row::Near(Near::Hit(Protocol::Memcache, Pace::Deep(16), Beside::Nothing)),
    Row::Near(Near::Hit(Protocol::Redis, Pace::Deep(16), Beside::Nothing)),
    Row::Near(Near::Hit(Protocol::Memcache, Pace::Steady, Beside::Nothing)),
    Row::Near(Near::Hit(Protocol::Redis, Pace::Steady, Beside::Nothing)),
    Row::Near(Near::Hit(Protocol::Memcache, Pace::Deep(1), Beside::Miss)),
    Row::Near(Near::Hit(Protocol::Redis, Pace::Deep(1), Beside::Miss)),
    Row::Near(Near::Hit(Protocol::Memcache, Pace::Deep(16), Beside::Miss)),
    Row::Near(Near::Hit(Protocol::Redis, Pace::Deep(16), Beside::Miss)),
    Row::Near(Near::Hit(Protocol::Memcache, Pace::Steady, Beside::Miss)),
    Row::Near(Near::Hit(Protocol::Redis, Pace::Steady, Beside::Miss)),
    Row::Near(Near::Cold(Protocol::Memcache, 1)),
    Row::Near(Near::Cold(Protocol::Memcache, 16)),
    Row::Near(Near::Cold(Protocol::Redis, 16)),
    Row::Near(Near::Zipf),
    Row::Near(Near::Top),
    Row::Growth(Growth::Staying(1)),
    Row::Growth(Growth::Staying(16)),
    Row::Growth(Growth::Hits),
];

impl Row {
    fn name(self) -> String {
        let deep = |depth: usize| if depth == 1 { String::new() } else { depth.to_string() };
        match self {
            Self::Meta => "pair-mg16".to_owned(),
            Self::Cache(of, depth) => format!("pair-tls-cache-{}{}", of.name(), deep(depth)),
            Self::Front(of, depth) => format!("pair-tls-front-{}{}", of.name(), deep(depth)),
            Self::Storm(of, _) => format!("pair-tls-storm-{}", of.name()),
            Self::Near(near) => near.name(),
            Self::Growth(growth) => growth.name(),
        }
    }

    fn figure(self) -> &'static str {
        match self {
            Self::Storm(..) => "p99 µs",
            Self::Near(near) => near.figure(),
            Self::Growth(growth) => growth.figure(),
            _ => "CPU µs/request",
        }
    }

    /// The first is at most so many times the second.
    fn bar(self) -> f64 {
        match self {
            Self::Meta => 1.1,
            Self::Cache(..) => 1.0,
            Self::Front(..) => 0.8,
            Self::Storm(..) => 1.25,
            Self::Near(near) => near.bar(),
            Self::Growth(growth) => growth.bar(),
        }
    }

    /// What is compared, ours first.
    fn contenders(self) -> [Contender; 2] {
        match self {
            Self::Meta => [Contender::Meta, Contender::Get],
            Self::Cache(Protocol::Memcache, _) => [Contender::Cache, Contender::Memcached],
            Self::Cache(Protocol::Redis, _) => [Contender::Cache, Contender::RedisServer],
            Self::Front(..) => [Contender::Front, Contender::Haproxy],
            Self::Storm(..) => [Contender::Storm, Contender::Calm],
            Self::Near(Near::Hit(.., Beside::Miss)) => [Contender::Hit, Contender::Miss],
            Self::Near(_) => [Contender::Near, Contender::Alone],
            Self::Growth(Growth::Staying(_)) => [Contender::TwoRings, Contender::OneRing],
            Self::Growth(Growth::Hits) => [Contender::TwoRings, Contender::AtOnce],
        }
    }

    /// 200 clients, 90 % reads of 100-byte values.
    fn workload(self) -> Workload {
        let (protocol, depth) = match self {
            Self::Meta => (Protocol::Memcache, 16),
            Self::Cache(protocol, depth) | Self::Front(protocol, depth) => (protocol, depth),
            Self::Storm(protocol, _) => (protocol, 1),
            // These have loads of their own.
            Self::Near(_) | Self::Growth(_) => (Protocol::Memcache, 1),
        };
        let storm = matches!(self, Self::Storm(..));
        Workload {
            clients: if storm { 50 } else { 200 },
            depth,
            rate: storm.then_some(10_000.0),
            ..small(protocol)
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, theirs] = self.contenders().map(Contender::name);
        let beside = format!("{ours} beside {theirs}");
        write!(f, "{:24} {:16} ratio ≤ {:4} {beside}", self.name(), self.figure(), self.bar())
    }
}

/// Whether a word of `--only` is about these rows.
pub(crate) fn is_meant(part: &str) -> bool {
    part.starts_with("pair")
}

/// The rows whose name contains one of these words; all of them without any.
pub(crate) fn chosen(only: &[String]) -> Vec<Row> {
    ROWS.into_iter().filter(|row| is_among(only, is_meant, &row.name())).collect()
}

/// Measures the rows and prints their table; how many measurements came to nothing.
///
/// # Errors
/// Those of standard output, and of what all rows need.
pub(crate) fn run(
    twinring: &Path,
    stage: &Stage,
    rows: &[Row],
    rounds: u32,
) -> Result<u64, Failure> {
    let certificate = Certificate::new()?;
    let mut outcomes = Vec::new();
    for row in rows {
        let mut outcome = Outcome::new(*row);
        for round in 1..=rounds {
            let (certificate, cpus) = (&certificate, stage.last_core());
            let way = Way { twinring, certificate, cpus, ours_first: round % 2 == 1 };
            let figures = measure(*row, &way, stage);
            tell(*row, round, &figures);
            let missing = matches!(&figures, Err(error) if error.to_string() == MISSING);
            outcome.push(figures);
            if missing {
                break;
            }
        }
        outcomes.push(outcome);
    }
    table::print(&outcomes)?;
    Ok(outcomes.iter().map(Outcome::failures).sum())
}

/// What is said of a row whose other program is not installed.
const MISSING: &str = "haproxy is not installed";

/// Both figures of one round, ours first.
fn measure(row: Row, way: &Way<'_>, stage: &Stage) -> Result<[f64; 2], Failure> {
    if let Row::Storm(protocol, rate) = row {
        let servers = Backends::start(protocol, Kind::Floor, &stage.load_cores)?;
        let front = Contender::Front.start(protocol, way, &servers.ports)?;
        return storm::measure(&front.target, row.workload(), stage, rate);
    }
    if let Row::Near(near) = row {
        return near.measure(way, stage);
    }
    if let Row::Growth(growth) = row {
        return growth.measure(way, stage);
    }
    let [ours, theirs] = row.contenders();
    way.both(|is_ours| cpu(row, if is_ours { ours } else { theirs }, way, stage))
}

/// CPU time per request in µs.
fn cpu(row: Row, contender: Contender, way: &Way<'_>, stage: &Stage) -> Result<f64, Failure> {
    let workload = Workload { meta: contender == Contender::Meta, ..row.workload() };
    let behind = contender
        .stands_in_front()
        .then(|| Backends::start(workload.protocol, Kind::Real, &stage.load_cores));
    let behind = behind.transpose()?;
    let ports = behind.as_ref().map_or(&[][..], |servers| &servers.ports);
    let started = contender.start(workload.protocol, way, ports)?;
    let stored = fill(started.target.clone(), &workload);
    stored.map_err(|error| format!("storing values: {error}"))?;
    let mut load = Generator::connect(started.target.clone(), workload, 1)?;
    load.run(WARM_UP)?;
    judge(&load.take_tally())?;
    let servers = behind.iter().flat_map(Backends::pids).chain([std::process::id()]);
    let window = Window::open(started.pid(), servers.collect())?;
    load.run(stage.time)?;
    let spent = window.close()?;
    let tally = load.take_tally();
    judge(&tally)?;
    Ok(spent.cpu_seconds * 1e6 / tally.done.max(1) as f64)
}

fn judge(tally: &Tally) -> Result<(), Failure> {
    if tally.wrong + tally.lost == 0 {
        return Ok(());
    }
    let complaint = tally.complaint.as_deref().unwrap_or_default();
    Err(format!("{} mistakes, {complaint}", tally.wrong + tally.lost).into())
}

fn tell(row: Row, round: u32, figures: &Result<[f64; 2], Failure>) {
    let name = row.name();
    let line = match figures {
        Ok([ours, theirs]) => format!("{name} {round}: {ours:.2} / {theirs:.2} {}", row.figure()),
        Err(error) => format!("{name} {round}: {error}"),
    };
    // Nobody is left to be told if standard error is gone.
    _ = writeln!(io::stderr(), "{line}");
}

//! The cache server beside memcached and redis-server, one worker each, in turn.
//!
//! ```text
//!   row ─▶ speed   : many clients ─▶ server, CPU time per request
//!      └─▶ keeping : one client that stores what it misses ─▶ server, hits, items, memory
//!                                                                └─▶ table
//! ```
//! * [`server`]: the three programs; [`speed`] and [`keeping`]: what is measured; [`table`].

mod keeping;
mod server;
mod speed;
mod table;
#[path = "../../soak/wire.rs"]
#[expect(dead_code, reason = "a soak asks for more")]
mod wire;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use crate::peers::Failure;
use crate::scenario::is_among;
use crate::stage::Stage;
use crate::wire::Protocol;

pub(crate) use keeping::Aside;

use server::Program;
use table::Outcome;

/// One line of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// CPU time per request, so many at a time, in the protocol.
    Speed(Protocol, usize),
    /// Hits of a hundred reads at the same resident memory.
    Hits { expiring: bool },
    /// Items of 24 and 32 bytes that are there in 256 MiB.
    Items,
}

/// All of them, in the order in which they are run.
const ROWS: [Row; 7] = [
    Row::Speed(Protocol::Memcache, 1),
    Row::Speed(Protocol::Memcache, 16),
    Row::Speed(Protocol::Redis, 1),
    Row::Speed(Protocol::Redis, 16),
    Row::Hits { expiring: false },
    Row::Hits { expiring: true },
    Row::Items,
];

/// What a row is held against.
#[derive(Clone, Copy, Debug)]
enum Bar {
    /// Ours is at most so many times the better one's.
    Ratio(f64),
    /// Ours is above the better one's by so much, at least.
    Above(f64),
    /// Ours is at least this.
    AtLeast(f64),
}

impl Bar {
    /// Whether it is met by ours beside the better one of theirs.
    fn met(self, ours: f64, theirs: Option<f64>) -> Option<bool> {
        match self {
            Self::Ratio(bar) => Some(ours / theirs? <= bar),
            Self::Above(bar) => Some(ours - theirs? >= bar),
            Self::AtLeast(bar) => Some(ours >= bar),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(bar) => write!(f, "ratio ≤ {bar}"),
            Self::Above(bar) => write!(f, "≥ {bar} above"),
            Self::AtLeast(bar) => write!(f, "≥ {bar}"),
        }
    }
}

impl Row {
    fn name(self) -> String {
        match self {
            Self::Speed(protocol, 1) => format!("cache-{}", protocol.name()),
            Self::Speed(protocol, depth) => format!("cache-{}{depth}", protocol.name()),
            Self::Hits { expiring: false } => "cache-hits".to_owned(),
            Self::Hits { expiring: true } => "cache-hits-ttl".to_owned(),
            Self::Items => "cache-items".to_owned(),
        }
    }

    fn figure(self) -> &'static str {
        match self {
            Self::Speed(..) => "CPU µs/request",
            Self::Hits { .. } => "hits, %",
            Self::Items => "million items",
        }
    }

    fn bar(self) -> Bar {
        match self {
            Self::Speed(_, 1) => Bar::Ratio(1.0),
            Self::Speed(..) => Bar::Ratio(0.85),
            Self::Hits { .. } => Bar::Above(2.0),
            Self::Items => Bar::AtLeast(3.2),
        }
    }

    /// Whether of two figures the smaller is the better one.
    fn less_is_better(self) -> bool {
        matches!(self, Self::Speed(..))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:18} {:22} {}", self.name(), self.figure(), self.bar())
    }
}

/// Whether a word of `--only` is about these rows, and not about a proxy's.
pub(crate) fn is_meant(part: &str) -> bool {
    part.starts_with("cache")
}

/// The rows whose name contains one of these words; all of them without any.
pub(crate) fn chosen(only: &[String]) -> Vec<Row> {
    ROWS.into_iter().filter(|row| is_among(only, is_meant, &row.name())).collect()
}

/// Measures the rows and prints their table; how many replies were wrong.
///
/// # Errors
/// Those of standard output.
pub(crate) fn run(
    twinring: &Path,
    stage: &Stage,
    rows: &[Row],
    rounds: u32,
) -> Result<u64, Failure> {
    let mut outcomes = Vec::new();
    for row in rows {
        let mut outcome = Outcome::new(*row);
        for round in 1..=rounds_of(*row, rounds) {
            for program in Program::ALL {
                let past = Past { outcomes: &outcomes, outcome: &outcome };
                let figures = measure(*row, program, twinring, stage, &past);
                tell(*row, round, program, &figures);
                outcome.push(program, figures);
            }
        }
        outcomes.push(outcome);
    }
    table::print(&outcomes)?;
    Ok(outcomes.iter().map(Outcome::failures).sum())
}

/// What is stored and what is found is the same in every round, CPU time is not.
fn rounds_of(row: Row, rounds: u32) -> u32 {
    if matches!(row, Row::Speed(..)) { rounds } else { 1 }
}

/// What was measured before.
struct Past<'a> {
    outcomes: &'a [Outcome],
    /// Of the same row.
    outcome: &'a Outcome,
}

impl Past<'_> {
    /// What the program was given for hits in the end, in bytes, if it was measured.
    fn memory_of(&self, program: Program) -> Option<u64> {
        let outcome = self.outcomes.iter().find(|it| matches!(it.row(), Row::Hits { .. }))?;
        outcome.last(program).map(|figures| figures.memory_bytes)
    }

    /// What ours has had resident in this row, in bytes.
    fn resident_of_ours(&self) -> Option<u64> {
        self.outcome.last(Program::Twinring).map(|figures| figures.resident_bytes)
    }
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
struct Figures {
    value: f64,
    /// What it was given for what it stores, in bytes.
    memory_bytes: u64,
    /// Resident memory at its end, in bytes.
    resident_bytes: u64,
}

fn measure(
    row: Row,
    program: Program,
    twinring: &Path,
    stage: &Stage,
    past: &Past<'_>,
) -> Result<Figures, Failure> {
    match row {
        Row::Speed(protocol, depth) => speed::measure(program, protocol, depth, twinring, stage),
        Row::Hits { expiring } => keeping::hits(program, expiring, past, twinring, stage),
        Row::Items => keeping::items(program, twinring, stage),
    }
}

fn tell(row: Row, round: u32, program: Program, figures: &Result<Figures, Failure>) {
    let (name, program) = (row.name(), program.name());
    let line = match figures {
        Ok(Figures { value, resident_bytes, .. }) => {
            let mib = resident_bytes >> 20;
            format!("{name} {round} {program}: {value:.2} {}, {mib} MiB resident", row.figure())
        }
        Err(error) => format!("{name} {round} {program}: {error}"),
    };
    // Nobody is left to be told if standard error is gone.
    _ = writeln!(io::stderr(), "{line}");
}

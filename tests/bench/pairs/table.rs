//! What was measured, as a table.

use std::io::{self, Write};

use crate::peers::Failure;
use crate::report::{median, number, write_table};

use super::{MISSING, Row};

/// All rounds of one row.
pub(super) struct Outcome {
    row: Row,
    rounds: Vec<[f64; 2]>,
    failures: Vec<String>,
}

impl Outcome {
    pub(super) fn new(row: Row) -> Self {
        Self { row, rounds: Vec::new(), failures: Vec::new() }
    }

    pub(super) fn push(&mut self, figures: Result<[f64; 2], Failure>) {
        match figures {
            Ok(figures) => self.rounds.push(figures),
            Err(error) => self.failures.push(error.to_string()),
        }
    }

    /// Measurements that came to nothing; not being installed is no mistake.
    pub(super) fn failures(&self) -> u64 {
        self.failures.iter().filter(|why| *why != MISSING).count() as u64
    }

    fn line(&self) -> Vec<String> {
        let [ours, theirs] = self.row.contenders().map(super::Contender::name);
        let of = |at: usize| median(self.rounds.iter().map(|round| round[at]).collect());
        let ratio = median(self.rounds.iter().map(|[ours, theirs]| ours / theirs).collect());
        let verdict = match ratio {
            None => "n/a",
            Some(ratio) if ratio <= self.row.bar() => "ok",
            Some(_) => "over",
        };
        vec![
            self.row.name(),
            self.row.figure().to_owned(),
            format!("{ours} / {theirs}"),
            format!("{} / {}", number(of(0)), number(of(1))),
            number(ratio),
            format!("ratio ≤ {}", self.row.bar()),
            verdict.to_owned(),
        ]
    }
}

/// Prints the table and, below it, what could not be measured.
///
/// # Errors
/// Those of standard output.
pub(super) fn print(outcomes: &[Outcome]) -> io::Result<()> {
    let head = ["scenario", "figure", "what / beside what", "figures", "ratio", "bar", "verdict"];
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(outcomes.iter().map(Outcome::line)).collect();
    let mut out = io::stdout().lock();
    write_table(&mut out, &rows)?;
    writeln!(out)?;
    let failures = outcomes.iter().flat_map(|outcome| {
        outcome.failures.iter().map(|why| format!("{}: {why}", outcome.row.name()))
    });
    failures.into_iter().try_for_each(|line| writeln!(out, "* {line}"))
}

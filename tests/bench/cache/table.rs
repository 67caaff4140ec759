//! What was measured, as a table: ours beside both of theirs, judged by the better one.

use std::io::{self, Write};

use crate::peers::Failure;
use crate::report::{median, number, write_table};

use super::server::Program;
use super::{Bar, Figures, Row};

/// All measurements of one row.
pub(super) struct Outcome {
    row: Row,
    figures: Vec<(Program, Figures)>,
    failures: Vec<String>,
}

impl Outcome {
    pub(super) fn new(row: Row) -> Self {
        Self { row, figures: Vec::new(), failures: Vec::new() }
    }

    pub(super) fn push(&mut self, program: Program, figures: Result<Figures, Failure>) {
        match figures {
            Ok(figures) => self.figures.push((program, figures)),
            Err(error) => {
                self.failures.push(format!("{}, {}: {error}", self.row.name(), program.name()));
            }
        }
    }

    /// Measurements that came to nothing.
    pub(super) fn failures(&self) -> u64 {
        self.failures.len() as u64
    }

    pub(super) fn row(&self) -> Row {
        self.row
    }

    /// What a program was last measured at.
    pub(super) fn last(&self, program: Program) -> Option<&Figures> {
        let mut figures = self.figures.iter().rev();
        figures.find(|(measured, _)| *measured == program).map(|(_, figures)| figures)
    }

    /// The median of a program's figures.
    fn figure(&self, program: Program, of: impl Fn(&Figures) -> f64) -> Option<f64> {
        let figures = self.figures.iter().filter(|(measured, _)| *measured == program);
        median(figures.map(|(_, figures)| of(figures)).collect())
    }

    fn better_of_theirs(&self) -> Option<f64> {
        let value = |program| self.figure(program, |figures| figures.value);
        let theirs = [value(Program::Memcached), value(Program::Redis)].into_iter().flatten();
        theirs.reduce(
            |one, other| {
                if self.row.less_is_better() { one.min(other) } else { one.max(other) }
            },
        )
    }

    fn line(&self) -> Vec<String> {
        let value = |program| self.figure(program, |figures| figures.value);
        let (ours, theirs) = (value(Program::Twinring), self.better_of_theirs());
        let difference = match self.row.bar() {
            Bar::Ratio(_) => ours.zip(theirs).map(|(ours, theirs)| ours / theirs),
            Bar::Above(_) | Bar::AtLeast(_) => ours.zip(theirs).map(|(ours, theirs)| ours - theirs),
        };
        let verdict = match ours.and_then(|ours| self.row.bar().met(ours, theirs)) {
            None => "n/a",
            Some(true) => "ok",
            Some(false) => "over",
        };
        let mut cells = vec![self.row.name(), self.row.figure().to_owned()];
        cells.extend(Program::ALL.map(|program| number(value(program))));
        cells.extend([number(difference), self.row.bar().to_string(), verdict.to_owned()]);
        cells.extend(Program::ALL.map(|program| {
            number(self.figure(program, |figures| figures.resident_bytes as f64 / 1048576.0))
        }));
        cells
    }
}

/// Prints the table and, below it, what could not be measured.
///
/// # Errors
/// Those of standard output.
pub(super) fn print(outcomes: &[Outcome]) -> io::Result<()> {
    let mut head = vec!["scenario".to_owned(), "figure".to_owned()];
    head.extend(Program::ALL.map(|program| program.name().to_owned()));
    head.extend(["ratio, or above", "bar", "verdict"].map(str::to_owned));
    head.extend(Program::ALL.map(|program| format!("MiB, {}", program.name())));
    let rows: Vec<_> = std::iter::once(head).chain(outcomes.iter().map(Outcome::line)).collect();
    let mut out = io::stdout().lock();
    write_table(&mut out, &rows)?;
    writeln!(out)?;
    let failures = outcomes.iter().flat_map(|outcome| &outcome.failures);
    failures.into_iter().try_for_each(|line| writeln!(out, "* {line}"))
}

//! What was measured, as a table for people and as JSON for programs.
//!
//! Rounds are paired: a ratio is taken within a round, where both proxies had the same machine, and
//! the median of those ratios is shown; the other figures are medians over the rounds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::measure::Sample;
use crate::scenario::{Bar, Figure, Goal, Scenario};

/// All rounds of one scenario, by the name of the proxy.
pub(crate) struct Outcome<'a> {
    scenario: &'a Scenario,
    rounds: Vec<BTreeMap<&'static str, Sample>>,
}

/// Name of the proxy that is judged.
pub(crate) const OURS: &str = "twinring";
/// Name of the proxy that it is compared with.
pub(crate) const THEIRS: &str = "nutcracker";

impl<'a> Outcome<'a> {
    /// Without rounds yet.
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        Self { scenario, rounds: Vec::new() }
    }

    /// Adds a round.
    pub(crate) fn push(&mut self, round: BTreeMap<&'static str, Sample>) {
        self.rounds.push(round);
    }

    /// Wrong replies and lost connections in all rounds, whoever's.
    pub(crate) fn mistakes(&self) -> u64 {
        self.rounds.iter().flat_map(BTreeMap::values).map(|sample| sample.mistakes).sum()
    }

    fn median(&self, proxy: &str, figure: Figure) -> Option<f64> {
        let samples = self.rounds.iter().filter_map(|round| round.get(proxy));
        median(samples.filter_map(|sample| sample.figures.get(&figure).copied()).collect())
    }

    fn ratio(&self, figure: Figure) -> Option<f64> {
        let of =
            |round: &BTreeMap<_, Sample>, proxy| round.get(proxy)?.figures.get(&figure).copied();
        let paired = self.rounds.iter().filter_map(|round| {
            Some(of(round, OURS)? / of(round, THEIRS).filter(|theirs| *theirs > 0.0)?)
        });
        median(paired.collect())
    }

    /// What other programs took, in cores, measurement by measurement.
    fn strangers(&self) -> impl Iterator<Item = f64> {
        let samples = self.rounds.iter().flat_map(BTreeMap::values);
        samples.filter_map(|sample| sample.figures.get(&Figure::Strangers).copied())
    }

    fn complaints(&self) -> impl Iterator<Item = String> {
        self.rounds.iter().zip(1..).flat_map(move |(round, number)| {
            round.iter().filter_map(move |(proxy, sample)| {
                let text = sample.complaint.as_ref()?;
                let (name, count) = (&self.scenario.name, sample.mistakes);
                Some(format!("{name}, round {number}, {proxy}: {count} mistakes, {text}"))
            })
        })
    }
}

/// Prints the table and, below it, what went wrong.
///
/// # Errors
/// Those of standard output.
pub(crate) fn print(outcomes: &[Outcome]) -> io::Result<()> {
    let head = ["scenario", "figure", OURS, THEIRS, "ratio", "bar", "verdict"];
    let more = ["p50 µs", "p99 µs", "requests/s", "cores"];
    let mut rows = vec![head.iter().chain(&more).map(|text| (*text).to_owned()).collect()];
    for outcome in outcomes {
        for (nth, goal) in outcome.scenario.goals.iter().enumerate() {
            rows.push(row(outcome, goal, nth == 0));
        }
    }
    let mut out = io::stdout().lock();
    write_table(&mut out, &rows)?;
    let complaints: Vec<_> = outcomes.iter().flat_map(Outcome::complaints).collect();
    writeln!(out)?;
    if let Some(cores) = outcomes.iter().flat_map(Outcome::strangers).max_by(f64::total_cmp) {
        writeln!(out, "* other programs kept up to {cores:.2} cores busy meanwhile")?;
    }
    complaints.iter().try_for_each(|line| writeln!(out, "* {line}"))
}

/// Writes all medians, ratios and samples to `path`.
///
/// # Errors
/// Those of the file.
pub(crate) fn write_json(path: &Path, outcomes: &[Outcome]) -> io::Result<()> {
    let scenarios: Vec<_> = outcomes.iter().map(scenario_json).collect();
    fs::write(path, format!("{:#}\n", json!({ "scenarios": scenarios })))
}

fn row(outcome: &Outcome, goal: &Goal, first: bool) -> Vec<String> {
    let ours = outcome.median(OURS, goal.figure);
    let theirs = outcome.median(THEIRS, goal.figure);
    let ratio = outcome.ratio(goal.figure);
    let verdict = match (goal.bar, goal.bar.met(ours, ratio)) {
        (Bar::None, _) => "-",
        (_, None) => "n/a",
        (_, Some(true)) => "ok",
        (_, Some(false)) => "over",
    };
    let mut cells = vec![
        if first { outcome.scenario.name.clone() } else { String::new() },
        goal.figure.name().to_owned(),
        number(ours),
        number(theirs),
        number(ratio),
        goal.bar.to_string(),
        verdict.to_owned(),
    ];
    for figure in [Figure::P50Us, Figure::P99Us, Figure::PerSecond, Figure::Cores] {
        cells.push(if first { both(outcome, figure) } else { String::new() });
    }
    cells
}

/// Ours and theirs in one cell, if there is either.
fn both(outcome: &Outcome, figure: Figure) -> String {
    match (outcome.median(OURS, figure), outcome.median(THEIRS, figure)) {
        (None, None) => String::new(),
        (ours, theirs) => format!("{} / {}", number(ours), number(theirs)),
    }
}

/// A Markdown table whose columns are aligned for the eye as well.
pub(crate) fn write_table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for (nth, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        writeln!(out, "|{}", cells.collect::<String>())?;
        if nth == 0 {
            let rule = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
            writeln!(out, "|{}", rule.collect::<String>())?;
        }
    }
    Ok(())
}

fn scenario_json(outcome: &Outcome) -> Value {
    let goals = outcome.scenario.goals.iter().map(|goal| {
        let (ours, ratio) = (outcome.median(OURS, goal.figure), outcome.ratio(goal.figure));
        json!({
            "figure": goal.figure.name(),
            OURS: ours,
            THEIRS: outcome.median(THEIRS, goal.figure),
            "ratio": ratio,
            "bar": goal.bar.json(),
            "met": goal.bar.met(ours, ratio),
        })
    });
    let rounds = outcome.rounds.iter().map(|round| {
        round.iter().map(|(proxy, sample)| ((*proxy).to_owned(), sample_json(sample))).collect()
    });
    json!({
        "name": outcome.scenario.name,
        "goals": goals.collect::<Vec<_>>(),
        "rounds": rounds.collect::<Vec<Value>>(),
    })
}

fn sample_json(sample: &Sample) -> Value {
    let figures =
        sample.figures.iter().map(|(figure, value)| (figure.name().to_owned(), json!(value)));
    let figures: serde_json::Map<_, _> = figures.collect();
    json!({ "figures": figures, "mistakes": sample.mistakes, "complaint": sample.complaint })
}

/// Three digits, or as many as stand before the point.
pub(crate) fn number(value: Option<f64>) -> String {
    match value {
        None => "n/a".to_owned(),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// The one in the middle, or between the two there.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let upper = *values.get(count / 2)?;
    Some(if count % 2 == 1 { upper } else { (values[count / 2 - 1] + upper) / 2.0 })
}

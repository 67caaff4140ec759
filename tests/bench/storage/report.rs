//! The table: each load, what it reached, and the bar if there is one.

use std::io::{self, Write};

/// What a load reached, in million operations a second.
pub(crate) struct Rate {
    pub(crate) load: &'static str,
    pub(crate) figure: f64,
    pub(crate) bar: Option<f64>,
}

/// Prints the rates; `ratio …` lines are told as they are.
///
/// # Errors
/// Those of standard output.
pub(crate) fn print(rates: &[Rate]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n| {:<26} | {:>7} | {:>7} | {:<7} |", "load", "M op/s", "bar", "verdict")?;
    writeln!(out, "|{0:-<28}|{0:-<8}:|{0:-<8}:|{0:-<9}|", "")?;
    for Rate { load, figure, bar } in rates {
        let verdict = match bar {
            None => "-",
            Some(bar) if figure >= bar => "ok",
            Some(_) => "under",
        };
        let bar = bar.map_or_else(String::new, |bar| format!("≥ {bar}"));
        writeln!(out, "| {load:<26} | {figure:>7.2} | {bar:>7} | {verdict:<7} |")?;
    }
    Ok(())
}

//! The table: each load, what it reached, and the bar if there is one.

use std::io::{self, Write};
use std::time::Duration;

/// More waiting than this, and a rate tells of other programs.
const WAITED_MAX: f64 = 0.05;

/// What a load reached.
pub(crate) struct Rate {
    pub(crate) load: &'static str,
    /// Million operations a second.
    pub(crate) figure: f64,
    /// How many times what the first of two threads did by itself, by turns with that.
    pub(crate) gain: Option<f64>,
    /// Part of the time in which a thread was ready to run but had no core.
    pub(crate) waited: f64,
    /// Where two threads share the store: how long a cache line takes from core to core and back.
    pub(crate) line: Option<Duration>,
    pub(crate) bar: Option<f64>,
}

impl Rate {
    fn verdict(&self) -> &'static str {
        match self.bar {
            None => "-",
            Some(_) if self.waited > WAITED_MAX => "n/a",
            Some(bar) if self.figure >= bar => "ok",
            Some(_) => "under",
        }
    }
}

/// Prints the rates and, last, the ratios among them.
///
/// # Errors
/// Those of standard output.
pub(crate) fn print(rates: &[Rate]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let head = ["load", "M op/s", "bar", "waited", "line", "verdict"];
    let [load, figure, bar, waited, line, verdict] = head;
    writeln!(
        out,
        "\n| {load:<26} | {figure:>6} | {bar:>6} | {waited:>6} | {line:>6} | {verdict:<7} |"
    )?;
    writeln!(out, "|{0:-<28}|{0:-<7}:|{0:-<7}:|{0:-<7}:|{0:-<7}:|{0:-<9}|", "")?;
    for rate in rates {
        let Rate { load, figure, waited, .. } = rate;
        let bar = rate.bar.map_or_else(String::new, |bar| format!("≥ {bar}"));
        let (waited, verdict) = (format!("{:.0} %", waited * 100.0), rate.verdict());
        let line = rate.line.map_or_else(String::new, |line| format!("{} ns", line.as_nanos()));
        writeln!(
            out,
            "| {load:<26} | {figure:>6.2} | {bar:>6} | {waited:>6} | {line:>6} | {verdict:<7} |"
        )?;
    }
    Ok(())
}

/// Prints what one item takes beside its key and value.
///
/// # Errors
/// Those of standard output.
pub(crate) fn print_overheads(overheads: &[(&str, f64)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n| {:<28} | B beside |\n|{:-<30}|---------:|", "items", "")?;
    for (items, bytes) in overheads {
        writeln!(out, "| {items:<28} | {bytes:>8.1} |")?;
    }
    Ok(())
}

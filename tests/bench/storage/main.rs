//! The storage benchmark: a store without network, how fast it is and what it keeps.
//!
//! ```text
//!  cargo bench --bench storage                      speed ─▶ criterion ─▶ report, with the bars
//!  cargo bench --bench storage -- --hit-ratio FILE  hit_ratio ─▶ FILE ─▶ curves ─▶ picture
//! ```
//!
//! * [`speed`]: loads on one store from one thread and from two; [`report`]: their table,
//! * [`bare`]: the least that a read does, without a store,
//! * [`line`]: how far apart the cores of two threads are,
//! * [`hit_ratio`]: the store beside LRU, FIFO and the optimum, memory size by memory size,
//! * [`random`]: what both draw their requests from.
//!
//! `tests/bench/storage/README.md` says how to read the results.

mod bare;
mod hit_ratio;
mod line;
mod random;
mod report;
mod speed;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use twinring::config::{Eviction, Storage};
use twinring::storage::Settings;

/// Speed and hit ratios of a store, without network.
#[derive(Parser)]
#[command(name = "cargo bench --bench storage --")]
struct Options {
    /// Measure no speed, but write hit ratios to this file (CSV); `TRACE=FILE` adds a workload.
    #[arg(long)]
    hit_ratio: Option<PathBuf>,
    /// Only the loads or workloads whose name contains one of these (comma-separated).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn is_chosen(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    run(&options).map_or_else(
        |error| {
            say(&error.to_string());
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(options: &Options) -> io::Result<()> {
    if let Some(path) = &options.hit_ratio {
        return hit_ratio::run(path, &|name| options.is_chosen(name));
    }
    if !options.bench {
        // `cargo test --bench storage` means a check, not a minute of load.
        hit_ratio::selfcheck()?;
        bare::selfcheck()?;
        say(
            "LRU, FIFO, the optimum and the bare table are what they should be; to measure, use cargo bench",
        );
        return Ok(());
    }
    let rates = speed::run(&|name| options.is_chosen(name))?;
    report::print(&rates)?;
    if options.is_chosen("overhead") {
        report::print_overheads(&speed::overheads())
    } else {
        Ok(())
    }
}

/// What a store of `memory` bytes is told; all stores here are made of it.
fn settings(memory: u64) -> Settings {
    Settings {
        memory,
        item_max: 1 << 20,
        shards: SHARDS,
        version: 1,
        storage: Storage::Segcache,
        eviction: Eviction::Merge,
    }
}

/// As many as the server has for two workers.
const SHARDS: usize = 32;

/// Tells the user at once, apart from the results.
fn say(text: &str) {
    // Nobody is left to be told if standard error is gone.
    _ = writeln!(io::stderr(), "{text}");
}

//! The benchmark: twinring beside nutcracker, same servers, same load, one worker each.
//!
//! ```text
//!   scenario ─▶ measure ─▶ report
//!                 │ starts
//!      load ─▶ proxy (ours | theirs) ─▶ 4 servers (real | storage-less)
//!                 │ probed: CPU time, memory, system calls
//! ```
//!
//! * [`scenario`]: what is asked and what the answer is held against,
//! * [`measure`]: one scenario, one proxy, once; [`stage`]: what the measurements share,
//! * [`cache`]: the same for the cache server, beside memcached and redis-server; [`pairs`]: mg
//!   beside get, TLS beside that of others; [`tls`]: the certificate,
//! * [`load`]: the clients; [`peers`]: the processes; [`probe`]: what is read off a process,
//! * [`report`]: the table; [`wire`], [`poller`]: what load and storage-less server share.
//!
//! `cargo bench --bench proxy -- --help`; `tests/bench/README.md` says how to read the table.

mod cache;
mod load;
mod measure;
mod pairs;
mod peers;
mod poller;
mod probe;
mod report;
mod scenario;
mod stage;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::measure::{Sample, measure};
use crate::peers::{Failure, Proxy};
use crate::report::{OURS, Outcome, THEIRS};
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::wire::Protocol;

/// CPU time, memory, latency and system calls of twinring beside those of nutcracker.
#[derive(Parser)]
#[command(name = "cargo bench --bench proxy --")]
struct Options {
    /// Measure each scenario so many times, both proxies in turn, the order turned each time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load per measurement, after a short warm-up.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Only the scenarios whose name contains one of these (comma-separated, repeatable).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write all figures to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Print the scenarios and their bars, and end.
    #[arg(long)]
    list: bool,
    /// The twinring to measure [default: $TWINRING, else the one built beside this].
    #[arg(long)]
    twinring: Option<PathBuf>,
    /// The nutcracker to compare with [default: $NUTCRACKER, else the one installed].
    #[arg(long)]
    nutcracker: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program does when it is its own child.
#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    /// Becomes another program on given cores that ends when the parent ends.
    #[command(hide = true)]
    Child {
        #[arg(long)]
        parent: u32,
        #[arg(long, value_delimiter = ',')]
        cpus: Vec<usize>,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// The storage-less server.
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        protocol: Protocol,
        #[arg(long)]
        listeners: usize,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match &options.role {
        Some(Role::Child { parent, cpus, command }) => {
            peers::become_child(*parent, cpus, command).map(|never| match never {})
        }
        Some(Role::Floor { protocol, listeners }) => {
            peers::serve_floor(*protocol, *listeners).map(|()| ExitCode::SUCCESS)
        }
        None => run(&options),
    };
    ended.unwrap_or_else(|error| {
        say(&error.to_string());
        ExitCode::FAILURE
    })
}

/// The whole benchmark; success unless a reply was wrong or nothing could be measured.
fn run(options: &Options) -> Result<ExitCode, Failure> {
    let chosen: Vec<_> = scenario::all().into_iter().filter(|s| is_chosen(options, s)).collect();
    let caches = cache::chosen(&options.only);
    let pairs = pairs::chosen(&options.only);
    if options.list {
        pairs.iter().try_for_each(|row| writeln!(io::stdout(), "{row}"))?;
        caches.iter().try_for_each(|row| writeln!(io::stdout(), "{row}"))?;
        return list(&chosen);
    }
    if !options.bench {
        // `cargo test --bench proxy` means a check, not minutes of load.
        load::selfcheck()?;
        say("replies are checked as they must be; to measure, use cargo bench");
        return Ok(ExitCode::SUCCESS);
    }
    peers::raise_file_limit()?;
    let proxies = proxies(options);
    let mut stage = Stage::new(Duration::from_secs_f64(options.seconds))?;
    let mut outcomes = Vec::with_capacity(chosen.len());
    for scenario in &chosen {
        outcomes.push(measure_rounds(&mut stage, scenario, &proxies, options.rounds));
    }
    describe(options, &proxies, &stage)?;
    if !outcomes.is_empty() {
        report::print(&outcomes)?;
    }
    if let Some(path) = &options.json {
        report::write_json(path, &outcomes)?;
    }
    let mut mistakes: u64 = outcomes.iter().map(Outcome::mistakes).sum();
    if !caches.is_empty() {
        let ours = twinring(options);
        mistakes += cache::run(&ours, &stage, &caches, options.rounds)?;
    }
    if !pairs.is_empty() {
        mistakes += pairs::run(&twinring(options), &stage, &pairs, options.rounds)?;
    }
    Ok(if mistakes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All rounds of one scenario, first one proxy and then the other ahead.
fn measure_rounds<'a>(
    stage: &mut Stage,
    scenario: &'a Scenario,
    proxies: &[Proxy],
    rounds: u32,
) -> Outcome<'a> {
    let mut outcome = Outcome::new(scenario);
    let mut order = proxies.to_vec();
    for number in 1..=rounds {
        let mut round = BTreeMap::new();
        for proxy in &order {
            let sample = measure(stage, scenario, proxy);
            say(&progress(scenario, number, proxy.name, &sample));
            round.insert(proxy.name, sample);
        }
        outcome.push(round);
        order.rotate_left(1);
    }
    outcome
}

/// Ours, and theirs if it is there.
fn proxies(options: &Options) -> Vec<Proxy> {
    let theirs =
        options.nutcracker.clone().or_else(|| env::var_os("NUTCRACKER").map(PathBuf::from));
    let mut proxies = vec![Proxy::new(OURS, twinring(options))];
    match theirs.or_else(|| find_program("nutcracker")) {
        Some(program) => proxies.push(Proxy::new(THEIRS, program)),
        None => say("no nutcracker here: no ratios"),
    }
    proxies
}

/// The twinring that is measured.
fn twinring(options: &Options) -> PathBuf {
    let ours = options.twinring.clone().or_else(|| env::var_os("TWINRING").map(PathBuf::from));
    ours.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_twinring")))
}

/// A program on the PATH, or where Debian keeps servers.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn is_chosen(options: &Options, scenario: &Scenario) -> bool {
    let others = |part: &str| cache::is_meant(part) || pairs::is_meant(part);
    let named = |part: &String| !others(part) && scenario.name.contains(part.as_str());
    options.only.is_empty() || options.only.iter().any(named)
}

fn list(scenarios: &[Scenario]) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    for scenario in scenarios {
        for goal in &scenario.goals {
            writeln!(out, "{:18} {:22} {}", scenario.name, goal.figure.name(), goal.bar)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the table was measured with, above it.
fn describe(options: &Options, proxies: &[Proxy], stage: &Stage) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for proxy in proxies {
        let version = proxy.version().unwrap_or_else(|| "unknown version".to_owned());
        writeln!(out, "{}: {version}", proxy.name)?;
    }
    let cores = stage.cores();
    writeln!(out, "machine: {cores} cores, {}", probe::usage::processor())?;
    let (rounds, seconds) = (options.rounds, options.seconds);
    writeln!(
        out,
        "{rounds} rounds of {seconds} s; system calls by {}",
        match stage.tracer {
            Some(probe::Tracer::Perf) => "perf stat",
            Some(probe::Tracer::Strace) => "strace (low: it slows the proxy)",
            None => "nothing installed",
        }
    )?;
    writeln!(out)
}

fn progress(scenario: &Scenario, round: u32, proxy: &str, sample: &Sample) -> String {
    let figures = scenario.goals.iter().filter_map(|goal| {
        let value = sample.figures.get(&goal.figure)?;
        Some(format!("{value:.2} {}", goal.figure.name()))
    });
    let figures = figures.collect::<Vec<_>>().join(", ");
    let complaint = sample.complaint.as_deref().unwrap_or_default();
    let line = format!("{} {round} {proxy}: {figures} {complaint}", scenario.name);
    line.trim_end().to_owned()
}

/// Tells the user at once, apart from the table.
fn say(text: &str) {
    // Nobody is left to be told if standard error is gone.
    _ = writeln!(io::stderr(), "{text}");
}

/// A time that is worth measuring and ends the same day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.1..=600.0).contains(&value) => Ok(value),
        _ => Err("not between 0.1 and 600".to_owned()),
    }
}

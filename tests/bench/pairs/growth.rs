//! What two rings cost: keys that do not move beside the same without a second ring, and the hits
//! that a client loses while four servers become five.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::cache::Aside;
use crate::load::{Generator, Workload, fill};
use crate::peers::{Backends, Failure, Kind, Process, free_port, pause};
use crate::probe::Window;
use crate::scenario::small;
use crate::stage::Stage;
use crate::wire::Protocol;

use super::contender::Way;
use super::near::Running;
use super::{WARM_UP, judge};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// CPU time of keys of which hardly any moves, so many at a time.
    Staying(usize),
    /// Hits of a hundred reads that a client which stores what it misses loses at worst.
    Hits,
}

/// What the servers have by weight, beside the one that is new and gets hardly any key.
const WEIGHT: u32 = 1000;
/// What each memcached may take, in MiB: the keys that are asked for do not all fit.
const SERVER_MIB: u32 = 16;
/// Reads whose hits are counted together: known to about 0.1 of a hundred.
const WINDOW: u32 = 100_000;
/// Windows that fill the servers, and those that a phase takes.
const FILLING: usize = 15;
const EACH_PHASE: usize = 3;
const WARMING: usize = 20;
/// What the steps may take that nothing but time ends.
const SETTLE: Duration = Duration::from_secs(30);

impl Growth {
    pub(super) fn name(self) -> String {
        match self {
            Self::Staying(1) => "pair-grow-staying".to_owned(),
            Self::Staying(depth) => format!("pair-grow-staying{depth}"),
            Self::Hits => "pair-grow-hits".to_owned(),
        }
    }

    pub(super) fn figure(self) -> &'static str {
        match self {
            Self::Staying(_) => "CPU µs/request",
            Self::Hits => "hits lost, of 100",
        }
    }

    pub(super) fn bar(self) -> f64 {
        match self {
            Self::Staying(_) => 1.03,
            // One of a hundred, where a change at once loses some twenty.
            Self::Hits => 0.05,
        }
    }

    /// Both figures of one round: with two rings, with one; of hits, those lost on two rings, and by
    /// a change from one to the other at once.
    ///
    /// # Errors
    /// What keeps it from being measured, wrong replies among that.
    pub(super) fn measure(self, way: &Way<'_>, stage: &Stage) -> Result<[f64; 2], Failure> {
        match self {
            Self::Staying(depth) => {
                // The few keys that move are asked for by mg, which a storage-less server lacks.
                let servers = Backends::start(Protocol::Memcache, Kind::Real, &stage.load_cores)?;
                way.both(|grows| staying(depth, (way, stage), &servers, grows))
            }
            Self::Hits => way.both(|walks| hits_lost((way, stage), walks)),
        }
    }
}

/// CPU time for a request, with a second ring alive that takes hardly any key, or without.
fn staying(
    depth: usize,
    (way, stage): (&Way<'_>, &Stage),
    servers: &Backends,
    grows: bool,
) -> Result<f64, Failure> {
    let line = |(name, port): (usize, &u16)| {
        let weight = if name + 1 < servers.ports.len() { WEIGHT } else { 1 };
        format!("'127.0.0.1:{port}:{weight} s{name}'")
    };
    let lines: Vec<String> = servers.ports.iter().enumerate().map(line).collect();
    let (old, all) = (&lines[..lines.len() - 1], lines.join(", "));
    let expansion = grows.then(|| format!("expansion: {{ phase: warm, servers: [ {all} ] }}"));
    let proxy = Running::start(way, Protocol::Memcache, old, expansion.as_deref())?;
    let workload = Workload { depth, ..small(Protocol::Memcache) };
    fill(proxy.port, &workload).map_err(|error| format!("storing values: {error}"))?;
    let mut load = Generator::connect(proxy.port, workload, 1)?;
    load.run(WARM_UP)?;
    judge(&load.take_tally())?;
    let window = Window::open(proxy.process.pid(), servers.pids().collect())?;
    load.run(stage.time)?;
    let spent = window.close()?;
    let tally = load.take_tally();
    judge(&tally)?;
    Ok(spent.cpu_seconds * 1e6 / tally.done.max(1) as f64)
}

/// The hits of a hundred reads in the worst window while four servers become five, below those of
/// the last ones before: on two rings, or from one ring to the other at once.
fn hits_lost((way, stage): (&Way<'_>, &Stage), walks: bool) -> Result<f64, Failure> {
    let servers: Vec<(u16, Process)> =
        (0..5).map(|_| memcached(&stage.load_cores)).collect::<Result<_, _>>()?;
    let line =
        |(name, (port, _)): (usize, &(u16, Process))| format!("'127.0.0.1:{port}:1 s{name}'");
    let lines: Vec<String> = servers.iter().enumerate().map(line).collect();
    let expansion = format!(
        "expansion: {{ phase: stable, cas_quarantine: 1s, stub_ttl: 1s, servers: [ {} ] }}",
        lines.join(", ")
    );
    let proxy = Running::start(way, Protocol::Memcache, &lines[..4], Some(&expansion))?;
    let mut client = Aside::connect(proxy.port, Protocol::Memcache)?;
    for _ in 0..FILLING {
        client.hits(WINDOW)?;
    }
    let before = (0..EACH_PHASE).map(|_| client.hits(WINDOW)).sum::<Result<f64, _>>()?;
    let worst = if walks {
        worst_of_walk(&proxy, &mut client)?
    } else {
        let other = Running::start(way, Protocol::Memcache, &lines, None)?;
        client.turn_to(other.port)?;
        worst_of(&mut client, EACH_PHASE)?
    };
    Ok((before / EACH_PHASE as f64 - worst).max(0.0))
}

/// The hits of a hundred reads in the worst of so many windows.
fn worst_of(client: &mut Aside, windows: usize) -> Result<f64, Failure> {
    (0..windows).try_fold(f64::INFINITY, |worst, _| Ok(worst.min(client.hits(WINDOW)?)))
}

/// The same from the first phase to the last.
fn worst_of_walk(proxy: &Running, client: &mut Aside) -> Result<f64, Failure> {
    let mut worst = f64::INFINITY;
    for phase in ["prepare", "fence", "warm", "drain", "new"] {
        step(proxy, phase)?;
        let windows = if phase == "warm" { WARMING } else { EACH_PHASE };
        worst = worst.min(worst_of(client, windows)?);
        while !proxy.ask("GET /expansion")?.contains("\"settled\":true") {
            worst = worst.min(worst_of(client, 1)?);
        }
    }
    Ok(worst)
}

/// Takes the proxy to a phase, as soon as it lets itself be taken there.
fn step(proxy: &Running, phase: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let answer = proxy.ask(&format!("POST /expansion?pool=bench&phase={phase}"))?;
        if answer.starts_with("HTTP/1.1 200") {
            return Ok(());
        }
        if begun.elapsed() > SETTLE {
            return Err(format!("no step to {phase}: {answer}").into());
        }
        pause(Duration::from_millis(20));
    }
}

fn memcached(cpus: &[usize]) -> Result<(u16, Process), Failure> {
    let port = free_port()?;
    let text = format!("-u root -l 127.0.0.1 -p {port} -U 0 -t 1 -c 1024 -m {SERVER_MIB}");
    let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
    let mut process = Process::start(Path::new("memcached"), &words, cpus, Stdio::null())?;
    process.wait_listening(port)?;
    Ok((port, process))
}

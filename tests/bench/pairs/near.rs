//! What the near cache costs and saves: the proxy with one beside the same without.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use crate::load::{Generator, Workload, fill};
use crate::peers::{Backends, Failure, Kind, Process, free_port, scratch};
use crate::probe::Window;
use crate::stage::Stage;
use crate::wire::Protocol;

use super::contender::Way;
use super::judge;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// CPU time of a hundred keys that are all there, so many at a time.
    Hit(Protocol, usize),
    /// The same of 50 clients that ask 20,000 times a second together, as beside an application.
    Paced(Protocol),
    /// CPU time of fifty million keys, of which none ever is.
    Cold(Protocol, usize),
    /// Requests that reach the servers, of a million keys by Zipf's law, where Redis tells of
    /// changes.
    Zipf,
    /// Requests that reach the servers for the hundred keys that are asked for most of a million,
    /// at 50,000 requests a second for all of them, kept for a second at most.
    Top,
}

/// The part of all requests by Zipf's law over a million keys that the first hundred have:
/// the sum of 1/n^0.99 up to 100 over that up to 1,000,000.
const TOP_PART: f64 = 5.293 / 15.392;

impl Near {
    pub(super) fn name(self) -> String {
        let deep = |depth: usize| if depth == 1 { String::new() } else { depth.to_string() };
        match self {
            Self::Hit(of, depth) => format!("pair-near-hit-{}{}", of.name(), deep(depth)),
            Self::Paced(of) => format!("pair-near-hit-{}-rate", of.name()),
            Self::Cold(of, depth) => format!("pair-near-cold-{}{}", of.name(), deep(depth)),
            Self::Zipf => "pair-near-zipf".to_owned(),
            Self::Top => "pair-near-top".to_owned(),
        }
    }

    pub(super) fn figure(self) -> &'static str {
        match self {
            Self::Hit(..) | Self::Paced(_) | Self::Cold(..) => "CPU µs/request",
            Self::Zipf | Self::Top => "at servers, each",
        }
    }

    pub(super) fn bar(self) -> f64 {
        match self {
            Self::Hit(..) | Self::Paced(_) => 0.5,
            Self::Cold(..) => 1.05,
            Self::Zipf => 0.2,
            Self::Top => 0.05,
        }
    }

    fn workload(self) -> Workload {
        let (protocol, depth, keys, skew) = match self {
            Self::Hit(protocol, depth) => (protocol, depth, 100, 0.0),
            Self::Paced(protocol) => (protocol, 1, 100, 0.0),
            Self::Cold(protocol, depth) => (protocol, depth, 50_000_000, 0.0),
            Self::Zipf => (Protocol::Redis, 16, 1_000_000, 0.99),
            Self::Top => (Protocol::Memcache, 1, 100, 0.99),
        };
        let rate = match self {
            Self::Top => Some(50_000.0 * TOP_PART),
            Self::Paced(_) => Some(20_000.0),
            _ => None,
        };
        Workload {
            protocol,
            clients: if matches!(self, Self::Paced(_)) { 50 } else { 200 },
            depth,
            reads_permille: 1000,
            meta: false,
            keys_per_read: 1,
            value_bytes: 100,
            sizes: 1,
            keys,
            skew,
            rate,
        }
    }

    /// How long it takes until the near cache has what it will have.
    fn warm_up(self) -> Duration {
        match self {
            Self::Zipf => Duration::from_secs(20),
            _ => Duration::from_secs(2),
        }
    }

    /// Both figures of one round: with a near cache, without.
    ///
    /// # Errors
    /// What keeps it from being measured, wrong replies among that.
    pub(super) fn measure(self, way: &Way<'_>, stage: &Stage) -> Result<[f64; 2], Failure> {
        let kind = if matches!(self, Self::Cold(..)) { Kind::Floor } else { Kind::Real };
        let servers = Backends::start(self.workload().protocol, kind, &stage.load_cores)?;
        let with = self.of_one(way, stage, (&servers, kind, true))?;
        let without = match self {
            Self::Hit(..) | Self::Paced(_) | Self::Cold(..) => {
                self.of_one(way, stage, (&servers, kind, false))?
            }
            // Each request reaches one.
            Self::Zipf | Self::Top => 1.0,
        };
        Ok([with, without])
    }

    fn of_one(
        self,
        way: &Way<'_>,
        stage: &Stage,
        (servers, kind, near): (&Backends, Kind, bool),
    ) -> Result<f64, Failure> {
        let workload = self.workload();
        // A storage-less server tells nobody of changes.
        let settings = match kind {
            Kind::Real => "{ memory: 64MiB }",
            Kind::Floor => "{ memory: 64MiB, mode: ttl }",
        };
        let warm_up = if near { self.warm_up() } else { Duration::from_secs(1) };
        let settings = near.then_some(settings);
        let near = settings.map(|settings| format!("near_cache: {settings}"));
        let lines: Vec<String> =
            servers.ports.iter().map(|port| format!("127.0.0.1:{port}:1")).collect();
        let proxy = Running::start(way, workload.protocol, &lines, near.as_deref())?;
        if kind == Kind::Real {
            fill(proxy.port, &workload).map_err(|error| format!("storing values: {error}"))?;
        }
        let mut load = Generator::connect(proxy.port, workload, 1)?;
        load.run(warm_up)?;
        judge(&load.take_tally())?;
        let before = proxy.at_servers()?;
        let window = Window::open(proxy.process.pid(), servers.pids().collect())?;
        load.run(stage.time)?;
        let spent = window.close()?;
        let tally = load.take_tally();
        judge(&tally)?;
        let done = tally.done.max(1) as f64;
        Ok(match self {
            Self::Hit(..) | Self::Paced(_) | Self::Cold(..) => spent.cpu_seconds * 1e6 / done,
            Self::Zipf | Self::Top => (proxy.at_servers()? - before) / done,
        })
    }
}

/// A proxy with one setting more than it needs, or without.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) port: u16,
    admin: u16,
}

impl Running {
    pub(super) fn start(
        way: &Way<'_>,
        protocol: Protocol,
        servers: &[String],
        more: Option<&str>,
    ) -> Result<Self, Failure> {
        let (port, admin) = (free_port()?, free_port()?);
        let more = more.map_or(String::new(), |more| format!("    {more}\n"));
        let servers: String = servers.iter().map(|line| format!("      - {line}\n")).collect();
        let text = format!(
            "workers: 1\nadmin: {{ listen: 127.0.0.1:{admin} }}\npools:\n  bench:\n    \
             listen: 127.0.0.1:{port}\n    protocol: {}\n    hash: fnv1a_64\n    \
             backlog: 4096\n{more}    servers:\n{servers}",
            protocol.name()
        );
        let file = scratch("yml");
        fs::write(&file, text)?;
        let arguments = [OsString::from("-c"), file.clone().into()];
        let started = Process::start(way.twinring, &arguments, way.cpus, Stdio::null()).and_then(
            |mut process| {
                process.wait_listening(port)?;
                Ok(Self { process, port, admin })
            },
        );
        fs::remove_file(&file)?; // read once, at the start
        started
    }

    /// What the admin listener answers to a method and a path.
    pub(super) fn ask(&self, what: &str) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin))?;
        let head = "Host: localhost\r\nConnection: close\r\nContent-Length: 0";
        write!(stream, "{what} HTTP/1.1\r\n{head}\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Requests sent to servers so far, whatever they ask.
    fn at_servers(&self) -> Result<f64, Failure> {
        let text = self.ask("GET /metrics")?;
        let lines = text.lines().filter(|line| line.starts_with("twinring_backend_requests_total"));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

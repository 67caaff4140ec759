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
    /// CPU time of a hundred keys that are all there.
    Hit(Protocol, Pace, Beside),
    /// CPU time of fifty million keys, of which none ever is.
    Cold(Protocol, usize),
    /// Requests that reach the servers, of a million keys by Zipf's law, where Redis tells of
    /// changes.
    Zipf,
    /// Requests that reach the servers for the hundred keys that are asked for most of a million,
    /// at 50,000 requests a second for all of them, kept for a second at most.
    Top,
}

/// How reads come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as 200 clients get replies that ask so many keys at a time.
    Deep(usize),
    /// 20,000 a second of 50 clients together, as beside an application.
    Steady,
}

/// What a hit is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// The same request without a near cache.
    Nothing,
    /// A read of one of a million keys, that is asked of a server and kept, in a near cache that has
    /// hardly any of them.
    Miss,
}

/// One of the two proxies that are compared: what is asked of it, and its near cache.
struct Side {
    workload: Workload,
    settings: Option<&'static str>,
    warm_up: Duration,
}

/// Keys of which a near cache of `SMALL` has few.
const MANY_KEYS: u32 = 1_000_000;
const SMALL: &str = "{ memory: 1MiB, admit: all }";

/// The part of all requests by Zipf's law over a million keys that the first hundred have:
/// the sum of 1/n^0.99 up to 100 over that up to 1,000,000.
const TOP_PART: f64 = 5.293 / 15.392;

impl Near {
    pub(super) fn name(self) -> String {
        let deep = |depth: usize| if depth == 1 { String::new() } else { depth.to_string() };
        match self {
            Self::Hit(of, pace, beside) => {
                let beside = if beside == Beside::Miss { "miss" } else { "hit" };
                let pace = match pace {
                    Pace::Deep(depth) => deep(depth),
                    Pace::Steady => "-rate".to_owned(),
                };
                format!("pair-near-{beside}-{}{pace}", of.name())
            }
            Self::Cold(of, depth) => format!("pair-near-cold-{}{}", of.name(), deep(depth)),
            Self::Zipf => "pair-near-zipf".to_owned(),
            Self::Top => "pair-near-top".to_owned(),
        }
    }

    pub(super) fn figure(self) -> &'static str {
        match self {
            Self::Hit(..) | Self::Cold(..) => "CPU µs/request",
            Self::Zipf | Self::Top => "at servers, each",
        }
    }

    pub(super) fn bar(self) -> f64 {
        match self {
            Self::Hit(..) => 0.5,
            Self::Cold(..) => 1.05,
            Self::Zipf => 0.2,
            Self::Top => 0.05,
        }
    }

    fn workload(self) -> Workload {
        let (protocol, depth, keys, skew) = match self {
            Self::Hit(protocol, Pace::Deep(depth), _) => (protocol, depth, 100, 0.0),
            Self::Hit(protocol, Pace::Steady, _) => (protocol, 1, 100, 0.0),
            Self::Cold(protocol, depth) => (protocol, depth, 50_000_000, 0.0),
            Self::Zipf => (Protocol::Redis, 16, 1_000_000, 0.99),
            Self::Top => (Protocol::Memcache, 1, 100, 0.99),
        };
        let (clients, rate) = match self {
            Self::Top => (200, Some(50_000.0 * TOP_PART)),
            Self::Hit(_, Pace::Steady, _) => (50, Some(20_000.0)),
            _ => (200, None),
        };
        Workload {
            protocol,
            clients,
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

    /// The proxy with a near cache, at its best.
    fn with(self) -> Side {
        let (settings, seconds) = match self {
            // A storage-less server tells nobody of changes.
            Self::Cold(..) => ("{ memory: 64MiB, mode: ttl }", 2),
            // So long it takes until the near cache has what it will have.
            Self::Zipf => ("{ memory: 64MiB }", 20),
            _ => ("{ memory: 64MiB }", 2),
        };
        let warm_up = Duration::from_secs(seconds);
        Side { workload: self.workload(), settings: Some(settings), warm_up }
    }

    /// What it is compared with, if that must be measured: without, each request reaches a server.
    fn without(self) -> Option<Side> {
        let (workload, warm_up) = (self.workload(), Duration::from_secs(2));
        match self {
            Self::Hit(.., Beside::Miss) => {
                let workload = Workload { keys: MANY_KEYS, ..workload };
                Some(Side { workload, settings: Some(SMALL), warm_up })
            }
            Self::Hit(..) | Self::Cold(..) => Some(Side { workload, settings: None, warm_up }),
            Self::Zipf | Self::Top => None,
        }
    }

    /// Both figures of one round: with a near cache, and beside it.
    ///
    /// # Errors
    /// What keeps it from being measured, wrong replies among that.
    pub(super) fn measure(self, way: &Way<'_>, stage: &Stage) -> Result<[f64; 2], Failure> {
        let kind = if matches!(self, Self::Cold(..)) { Kind::Floor } else { Kind::Real };
        let servers = Backends::start(self.workload().protocol, kind, &stage.load_cores)?;
        way.both(|with| {
            let side = if with { Some(self.with()) } else { self.without() };
            side.map_or(Ok(1.0), |side| self.of_one(way, stage, (&servers, kind), side))
        })
    }

    fn of_one(
        self,
        way: &Way<'_>,
        stage: &Stage,
        (servers, kind): (&Backends, Kind),
        side: Side,
    ) -> Result<f64, Failure> {
        let Side { workload, settings, warm_up } = side;
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
            Self::Hit(..) | Self::Cold(..) => spent.cpu_seconds * 1e6 / done,
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

//! What is compared: one thread for requests each, on the same core.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::peers::{Failure, Process, free_port, scratch};
use crate::tls::Certificate;
use crate::wire::{Protocol, Target};

use super::MISSING;

/// One of the two in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    /// twinring in front of servers, plain.
    Meta,
    Get,
    /// twinring without servers, with TLS.
    Cache,
    Memcached,
    RedisServer,
    /// twinring in front of a server, with TLS towards clients.
    Front,
    Haproxy,
    /// The same with and without new connections.
    Storm,
    Calm,
    /// twinring with a near cache and without.
    Near,
    Alone,
    /// With one, a read that is there and one that is not.
    Hit,
    Miss,
    /// twinring with two rings and with one, or from one to the other at once.
    TwoRings,
    OneRing,
    AtOnce,
}

/// How they are started.
pub(super) struct Way<'a> {
    pub(super) twinring: &'a Path,
    pub(super) certificate: &'a Certificate,
    pub(super) cpus: &'a [usize],
    /// Which of the two is measured first; they take turns, for the second finds the machine as the
    /// first has left it.
    pub(super) ours_first: bool,
}

impl Way<'_> {
    /// What `one` measures of ours (true) and of theirs.
    ///
    /// # Errors
    /// Those of `one`.
    pub(super) fn both(
        &self,
        mut one: impl FnMut(bool) -> Result<f64, Failure>,
    ) -> Result<[f64; 2], Failure> {
        let first = one(self.ours_first)?;
        let second = one(!self.ours_first)?;
        Ok(if self.ours_first { [first, second] } else { [second, first] })
    }
}

/// One that runs.
pub(super) struct Started {
    process: Process,
    pub(super) target: Target,
}

impl Started {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Contender {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Meta => "mg",
            Self::Get => "get",
            Self::Cache | Self::Front => "twinring",
            Self::Memcached => "memcached",
            Self::RedisServer => "redis-server",
            Self::Haproxy => "HAProxy",
            Self::Storm => "storm",
            Self::Calm => "calm",
            Self::Near => "near cache",
            Self::Alone => "none",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::TwoRings => "two rings",
            Self::OneRing => "one ring",
            Self::AtOnce => "at once",
        }
    }

    /// Whether servers are behind it.
    pub(super) fn stands_in_front(self) -> bool {
        !matches!(self, Self::Cache | Self::Memcached | Self::RedisServer)
    }

    /// Starts it; with TLS there is one server behind it, the first.
    ///
    /// # Errors
    /// What it says when it does not start.
    pub(super) fn start(
        self,
        protocol: Protocol,
        way: &Way<'_>,
        servers: &[u16],
    ) -> Result<Started, Failure> {
        let port = free_port()?;
        let plain = matches!(self, Self::Meta | Self::Get);
        let behind = if plain { servers } else { servers.get(..1).unwrap_or_default() };
        let Certificate { certificate, key, .. } = way.certificate;
        let (cert, key) = (certificate.display(), key.display());
        let (program, arguments, file) = match self {
            Self::Memcached => {
                let tls = format!("-Z -o ssl_chain_cert={cert},ssl_key={key}");
                let net = format!("-u root -l 127.0.0.1 -p {port} -U 0 -t 1 -c 4096 -m 512");
                (Path::new("memcached"), format!("{net} {tls}"), None)
            }
            Self::RedisServer => {
                let net =
                    format!("--bind 127.0.0.1 --port 0 --tls-port {port} --save '' --dir /tmp");
                let tls =
                    format!("--tls-cert-file {cert} --tls-key-file {key} --tls-auth-clients no");
                (Path::new("redis-server"), format!("{net} --tls-ca-cert-file {cert} {tls}"), None)
            }
            Self::Haproxy => {
                let file = written("cfg", &haproxy(port, way.certificate, behind))?;
                (Path::new("haproxy"), format!("-db -q -f {}", file.display()), Some(file))
            }
            _ => {
                let tls = if plain {
                    None
                } else {
                    Some(format!("{{ certificate: {cert}, key: {key} }}"))
                };
                let file = written("yml", &twinring(protocol, port, tls, behind))?;
                (way.twinring, format!("-c {}", file.display()), Some(file))
            }
        };
        let words = arguments.split_whitespace().map(|word| word.trim_matches('\''));
        let arguments: Vec<_> = words.map(OsString::from).collect();
        let started = launch(program, &arguments, way.cpus, port);
        if let Some(file) = file {
            fs::remove_file(file)?; // read once, at the start
        }
        let process = started.map_err(|error| match self {
            Self::Haproxy if error.to_string().contains("No such file") => MISSING.into(),
            _ => error,
        })?;
        let target = if plain { Target::from(port) } else { way.certificate.at(port) };
        Ok(Started { process, target })
    }
}

fn launch(
    program: &Path,
    arguments: &[OsString],
    cpus: &[usize],
    port: u16,
) -> Result<Process, Failure> {
    let mut process = Process::start(program, arguments, cpus, Stdio::null())?;
    process.wait_listening(port)?;
    Ok(process)
}

fn written(kind: &str, text: &str) -> Result<PathBuf, Failure> {
    let file = scratch(kind);
    fs::write(&file, text)?;
    Ok(file)
}

fn twinring(protocol: Protocol, port: u16, tls: Option<String>, servers: &[u16]) -> String {
    let mut lines = vec![
        "workers: 1".to_owned(),
        "admin: { listen: off }".to_owned(),
        "pools:".to_owned(),
        "  bench:".to_owned(),
        format!("    listen: 127.0.0.1:{port}"),
        format!("    protocol: {}", protocol.name()),
        "    backlog: 4096".to_owned(),
    ];
    lines.extend(tls.map(|tls| format!("    tls: {tls}")));
    if servers.is_empty() {
        lines.push("    memory: 512MiB".to_owned());
    } else {
        lines.push("    servers:".to_owned());
        lines.extend(servers.iter().map(|port| format!("      - 127.0.0.1:{port}:1")));
    }
    lines.join("\n") + "\n"
}

/// Terminates TLS and passes bytes on, by one thread.
fn haproxy(port: u16, certificate: &Certificate, servers: &[u16]) -> String {
    let server = servers.first().copied().unwrap_or_default();
    let both = certificate.both.display();
    format!(
        "global\n  nbthread 1\n  maxconn 8192\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 60s\n  timeout server 60s\nfrontend clients\n  \
         bind 127.0.0.1:{port} ssl crt {both}\n  default_backend servers\nbackend servers\n  \
         server one 127.0.0.1:{server}\n"
    )
}

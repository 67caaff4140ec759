//! The four servers behind the proxies: real ones, or those of [`crate::peers::floor`].

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::load::{Workload, fill};
use crate::peers::Failure;
use crate::peers::process::{Process, free_port, scratch};
use crate::wire::Protocol;

/// Servers behind a proxy.
const SERVERS: usize = 4;

/// What answers behind the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// memcached or redis-server.
    Real,
    /// A server that stores nothing and costs little, so that it is the proxy that saturates.
    Floor,
}

/// Servers of one kind that run.
pub(crate) struct Backends {
    kind: Kind,
    processes: Vec<Process>,
    /// Where they listen, in ring order.
    pub(crate) ports: Vec<u16>,
    /// Sizes of the values that are stored already.
    filled: HashSet<usize>,
}

impl Backends {
    /// Starts them on `cpus`.
    ///
    /// # Errors
    /// What a server says when it does not start.
    pub(crate) fn start(protocol: Protocol, kind: Kind, cpus: &[usize]) -> Result<Self, Failure> {
        let started = match kind {
            Kind::Real => start_real(protocol, cpus),
            Kind::Floor => start_floor(protocol, cpus),
        };
        let (processes, ports) =
            started.map_err(|error| format!("{} servers: {error}", protocol.name()))?;
        Ok(Self { kind, processes, ports, filled: HashSet::new() })
    }

    /// Their process ids.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Process::pid)
    }

    /// Sees to it that the values of `workload` are stored, through the proxy at `proxy_port`.
    /// Once is enough: both proxies must look for a key at the same server.
    ///
    /// # Errors
    /// As [`fill`].
    pub(crate) fn ensure_filled(
        &mut self,
        proxy_port: u16,
        workload: &Workload,
    ) -> Result<(), Failure> {
        if self.kind == Kind::Floor || self.filled.contains(&workload.value_bytes) {
            return Ok(());
        }
        fill(proxy_port, workload).map_err(|error| format!("storing values: {error}"))?;
        self.filled.insert(workload.value_bytes);
        Ok(())
    }
}

fn start_real(protocol: Protocol, cpus: &[usize]) -> Result<(Vec<Process>, Vec<u16>), Failure> {
    let mut processes = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..SERVERS {
        let port = free_port()?;
        let (program, arguments) = real_server(protocol, port);
        let words = arguments.split_whitespace().map(|word| word.trim_matches('\''));
        let arguments: Vec<_> = words.map(OsString::from).collect();
        let mut process = Process::start(Path::new(program), &arguments, cpus, Stdio::null())?;
        process.wait_listening(port)?;
        processes.push(process);
        ports.push(port);
    }
    Ok((processes, ports))
}

/// Program and arguments: one thread, nothing on disk, room for all values, 1 MiB items.
fn real_server(protocol: Protocol, port: u16) -> (&'static str, String) {
    match protocol {
        Protocol::Memcache => {
            ("memcached", format!("-u root -l 127.0.0.1 -p {port} -U 0 -t 1 -m 1024 -I 4m -c 4096"))
        }
        Protocol::Redis => {
            let directory = scratch("dir");
            let directory = directory.parent().unwrap_or(&directory).display();
            let memory = "--appendonly no --maxmemory 1gb --maxmemory-policy noeviction";
            let net = format!("--bind 127.0.0.1 --port {port} --protected-mode no");
            ("redis-server", format!("{net} --save '' {memory} --dir {directory}"))
        }
    }
}

/// One process with all four ports, or two on machines that have cores for them.
fn start_floor(protocol: Protocol, cpus: &[usize]) -> Result<(Vec<Process>, Vec<u16>), Failure> {
    let count = if cpus.len() < 3 { 1 } else { 2 };
    let mut processes = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..count {
        let listeners = (SERVERS / count).to_string();
        let arguments = ["floor", "--protocol", protocol.name(), "--listeners", &listeners];
        let program = std::env::current_exe()?;
        let mut process =
            Process::start(&program, &arguments.map(OsString::from), cpus, Stdio::piped())?;
        let mut line = String::new();
        BufReader::new(process.take_stdout().ok_or("no pipe")?).read_line(&mut line)?;
        for port in line.split_whitespace() {
            ports.push(port.parse()?);
        }
        processes.push(process);
    }
    Ok((processes, ports))
}

//! The servers that are compared: one worker each, nothing on disk.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use crate::peers::{Failure, Process, free_port, scratch};
use crate::probe::usage;
use crate::wire::Protocol;

/// A program that is a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Twinring,
    Memcached,
    Redis,
}

/// A server that runs.
pub(super) struct Server {
    process: Process,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

impl Program {
    /// Ours first: what the others may have is measured at it.
    pub(super) const ALL: [Self; 3] = [Self::Twinring, Self::Memcached, Self::Redis];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Twinring => "twinring",
            Self::Memcached => "memcached",
            Self::Redis => "redis-server",
        }
    }

    /// What it is spoken to by; ours by what is `wanted`.
    fn protocol(self, wanted: Protocol) -> Protocol {
        match self {
            Self::Twinring => wanted,
            Self::Memcached => Protocol::Memcache,
            Self::Redis => Protocol::Redis,
        }
    }

    /// Starts it with so many bytes for what is stored.
    ///
    /// # Errors
    /// What it says when it does not start.
    pub(super) fn start(
        self,
        wanted: Protocol,
        memory_bytes: u64,
        twinring: &Path,
        cpus: &[usize],
    ) -> Result<Server, Failure> {
        let (port, protocol) = (free_port()?, self.protocol(wanted));
        let (program, arguments) = match self {
            Self::Twinring => {
                let other = if protocol == Protocol::Redis { "memcache" } else { "redis" };
                let listen = format!("--{} 127.0.0.1:{port} --{other} off", protocol.name());
                (twinring, format!("{listen} --admin off --workers 1 --memory {memory_bytes}"))
            }
            Self::Memcached => {
                let mib = memory_bytes >> 20;
                let listen = format!("-u root -l 127.0.0.1 -p {port} -U 0");
                (Path::new("memcached"), format!("{listen} -t 1 -c 4096 -m {mib}"))
            }
            Self::Redis => (Path::new("redis-server"), redis(port, memory_bytes)),
        };
        let words = arguments.split_whitespace().map(|word| word.trim_matches('\''));
        let arguments: Vec<_> = words.map(OsString::from).collect();
        let mut process = Process::start(program, &arguments, cpus, Stdio::null())?;
        process.wait_listening(port)?;
        Ok(Server { process, port, protocol })
    }
}

fn redis(port: u16, memory_bytes: u64) -> String {
    let directory = scratch("dir");
    let directory = directory.parent().unwrap_or(&directory).display();
    let net = format!("--bind 127.0.0.1 --port {port} --protected-mode no");
    let memory = format!("--maxmemory {memory_bytes} --maxmemory-policy allkeys-lru");
    format!("{net} --save '' --appendonly no {memory} --dir {directory}")
}

impl Server {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn resident_bytes(&self) -> Result<u64, Failure> {
        Ok(usage::resident_kib(self.pid())? << 10)
    }
}

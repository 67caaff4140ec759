//! A proxy under test: its configuration and its process.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::peers::Failure;
use crate::peers::process::{Process, free_port, scratch};
use crate::wire::Protocol;

/// A program that can stand between clients and servers.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// What the table calls it.
    pub(crate) name: &'static str,
    program: PathBuf,
    dialect: Dialect,
}

/// How it wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// twinring's own form.
    Native,
    /// nutcracker.yml and twemproxy's options.
    Nutcracker,
}

/// A proxy that runs.
pub(crate) struct Running {
    process: Process,
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
}

/// What a proxy is to do.
pub(crate) struct Duty<'a> {
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// Ports of the servers behind it, on 127.0.0.1.
    pub(crate) servers: &'a [u16],
    /// Its worker threads.
    pub(crate) workers: usize,
    /// The cores it may use.
    pub(crate) cpus: &'a [usize],
}

impl Proxy {
    /// The proxy in the file `program`; what is called nutcracker is told as nutcracker wants it.
    pub(crate) fn new(name: &'static str, program: PathBuf) -> Self {
        let file = program.file_name().unwrap_or_default().to_string_lossy();
        let native = !file.starts_with("nutcracker");
        Self { name, dialect: if native { Dialect::Native } else { Dialect::Nutcracker }, program }
    }

    /// Whether it can have several worker threads.
    pub(crate) fn has_workers(&self) -> bool {
        self.dialect == Dialect::Native
    }

    /// What it says of its version, in one line.
    pub(crate) fn version(&self) -> Option<String> {
        let output = Command::new(&self.program).arg("-V").output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next()?.to_owned())
    }

    /// Starts it; it accepts connections when this returns.
    ///
    /// # Errors
    /// In its own words where it has some.
    pub(crate) fn start(&self, duty: &Duty) -> Result<Running, Failure> {
        let (port, admin) = (free_port()?, free_port()?);
        let file = scratch("yml");
        fs::write(&file, self.configuration(duty, port, admin))?;
        let started = self.spawn(&file, admin, duty.cpus).and_then(|mut process| {
            process.wait_listening(port)?;
            Ok(Running { process, port })
        });
        fs::remove_file(&file)?; // read once, at the start
        started.map_err(|error| format!("{}: {error}", self.name).into())
    }

    fn spawn(&self, file: &Path, admin: u16, cpus: &[usize]) -> Result<Process, Failure> {
        let mut arguments: Vec<OsString> = vec!["-c".into(), file.into()];
        if self.dialect == Dialect::Nutcracker {
            let admin = admin.to_string();
            let more = ["-a", "127.0.0.1", "-s", admin.as_str(), "-v", "4"];
            arguments.extend(more.map(OsString::from));
        }
        Process::start(&self.program, &arguments, cpus, Stdio::null())
    }

    fn configuration(&self, duty: &Duty, port: u16, admin: u16) -> String {
        let (head, protocol, indent) = match self.dialect {
            Dialect::Native => (
                format!(
                    "workers: {}\nadmin: {{ listen: 127.0.0.1:{admin} }}\npools:\n  bench:\n",
                    duty.workers
                ),
                format!("protocol: {}", duty.protocol.name()),
                "    ",
            ),
            Dialect::Nutcracker => (
                "bench:\n".to_owned(),
                format!("redis: {}", duty.protocol == Protocol::Redis),
                "  ",
            ),
        };
        let mut text = head;
        let pool = [
            format!("listen: 127.0.0.1:{port}"),
            protocol,
            "hash: fnv1a_64".to_owned(),
            "distribution: ketama".to_owned(),
            "backlog: 4096".to_owned(),
            "servers:".to_owned(),
        ];
        let servers = duty.servers.iter().enumerate();
        let servers = servers.map(|(number, port)| format!("  - 127.0.0.1:{port}:1 cache{number}"));
        for line in pool.into_iter().chain(servers) {
            _ = writeln!(text, "{indent}{line}"); // a String takes whatever is written
        }
        text
    }
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

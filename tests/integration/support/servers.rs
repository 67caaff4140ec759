//! Real cache servers: memcached and redis-server.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::Client;
use super::ports::{Port, Scratch};
use super::process::Process;

/// A memcached of its own.
pub(crate) struct Memcached {
    pub(crate) process: Process,
    port: Port,
    args: Vec<String>,
}

impl Memcached {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more arguments than address and port.
    pub(crate) fn with(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let port = Port::take();
        let process = Self::spawn(&port, &args);
        Self { process, port, args }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port())
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.port, &self.args);
    }

    fn spawn(port: &Port, args: &[String]) -> Process {
        let mut command = Command::new("memcached");
        // Two threads are enough for a test; root must name a user.
        command.args(["-l", "127.0.0.1", "-U", "0", "-t", "2", "-c", "4096", "-u", "nobody"]);
        command.arg("-p").arg(port.number().to_string()).args(args);
        let mut process = Process::start(command);
        process.wait_for(port.number());
        process
    }
}

const REDIS: &str = "redis-server";

/// A folder that tests/run makes: a source of Debian's, with what is built of it.
pub(crate) fn fetched(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name)
}

/// The Valkey that tests/run has built.
pub(crate) fn valkey() -> PathBuf {
    fetched("valkey").join("valkey-server")
}

/// Valkey 9: a server whose hashes have fields with a time of their own, as Redis from 7.4 on. `None`,
/// and a line that says so, where tests/run could get none but an older one.
pub(crate) fn valkey_9() -> Option<PathBuf> {
    let version = std::fs::read_to_string(fetched("valkey").join("version")).expect("tests/run");
    if version.starts_with("9.") {
        return Some(valkey());
    }
    eprintln!("not tested with Valkey 9: there is {version}");
    None
}

/// A redis-server of its own that writes nothing to disk.
pub(crate) struct Redis {
    pub(crate) process: Process,
    program: PathBuf,
    port: Port,
    args: Vec<String>,
    scratch: Scratch,
}

impl Redis {
    /// Starts it with more arguments than port and persistence.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_program(REDIS.as_ref(), args)
    }

    /// The same of a server that is called as redis-server is.
    pub(crate) fn start_program(program: &Path, args: &[&str]) -> Self {
        Self::on(Port::take(), program, args)
    }

    /// The same, but it speaks nothing but TLS.
    pub(crate) fn start_secure(args: &[&str]) -> Self {
        let port = Port::take();
        let number = port.number().to_string();
        let more = ["--port", "0", "--tls-port", &number];
        let args: Vec<&str> = args.iter().chain(&more).copied().collect();
        Self::on(port, REDIS.as_ref(), &args)
    }

    fn on(port: Port, program: &Path, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let scratch = Scratch::new();
        let process = Self::spawn(program, &port, &scratch, &args);
        Self { process, program: program.to_owned(), port, args, scratch }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.program, &self.port, &self.scratch, &self.args);
    }

    fn spawn(program: &Path, port: &Port, scratch: &Scratch, args: &[String]) -> Process {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--port").arg(port.number().to_string());
        command.arg("--dir").arg(scratch.path()).args(args);
        let mut process = Process::start(command);
        process.wait_for(port.number());
        process
    }
}

//! `cargo bench --bench soak -- --minutes 10`: the soak of [`soak`] for as long as is wanted.
//!
//! It ends with exit code 1 and the reason when anything was not as it must be.

#[path = "mod.rs"]
mod soak;

use std::env;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

use soak::{Plan, Report, Target};

/// A cache server under full load, and what must hold throughout.
#[derive(Parser)]
#[command(name = "cargo bench --bench soak --")]
struct Options {
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Clients at a time, half of them for each protocol.
    #[arg(long, default_value_t = 40)]
    clients: u32,
    /// The server's memory for items, in MiB.
    #[arg(long, default_value_t = 64)]
    memory: u64,
    /// How much more may be resident than that, in percent.
    #[arg(long, default_value_t = 5)]
    beside: u64,
    /// The twinring to load [default: $TWINRING, else the one built beside this].
    #[arg(long)]
    twinring: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The server, ended with the value.
struct Server {
    child: Child,
    memcache: u16,
    redis: u16,
}

impl Server {
    fn start(options: &Options) -> io::Result<Self> {
        let named = || env::var_os("TWINRING").map(PathBuf::from);
        let program = options.twinring.clone().or_else(named);
        let program = program.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_twinring")));
        let (memcache, redis) = (free_port()?, free_port()?);
        let mut command = Command::new(program);
        command.args(["--admin", "off", "--max-value", "4MiB", "--memory"]);
        command.arg(format!("{}MiB", options.memory));
        command.arg("--memcache").arg(format!("127.0.0.1:{memcache}"));
        command.arg("--redis").arg(format!("127.0.0.1:{redis}"));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, memcache, redis };
        server.wait()?;
        Ok(server)
    }

    /// Waits until both ports accept.
    fn wait(&self) -> io::Result<()> {
        let start = Instant::now();
        let accepts = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while !(accepts(self.memcache) && accepts(self.redis)) {
            if start.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("the server does not accept"));
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    fn target(&self) -> Target {
        Target { pid: self.child.id(), memcache: self.memcache, redis: self.redis }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let server = Server::start(options)?;
    let memory_bytes = options.memory << 20;
    let plan = Plan {
        time: Duration::from_secs_f64(options.minutes * 60.0),
        clients: options.clients,
        resident_bytes_max: memory_bytes + memory_bytes * options.beside / 100,
    };
    let start = Instant::now();
    let (report, outcome) = soak::run(server.target(), &plan);
    say(&told(&report, start.elapsed()));
    outcome.map_err(io::Error::other)
}

fn told(report: &Report, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1048576.0);
    format!(
        "{seconds:.1} s, {} requests, {} hits, {} misses, {} connections; resident {} at the \
         start, {} at most",
        report.requests,
        report.hits,
        report.misses,
        report.connections,
        mib(report.resident_start_bytes),
        mib(report.resident_peak_bytes),
    )
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(io::stdout(), "{line}");
}

//! The proxy under test, and twemproxy itself for comparison, from one description of a pool.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::client::Client;
use super::ports::{Port, Scratch};
use super::process::Process;

/// One pool: a listener on a port of its own, servers, and settings as written in the file.
pub(crate) struct PoolSpec {
    port: Port,
    redis: bool,
    servers: Vec<String>,
    settings: Vec<(String, String)>,
}

impl PoolSpec {
    /// A memcache pool over servers on these ports, named `server1` and so on.
    pub(crate) fn memcache(ports: &[u16]) -> Self {
        Self::over(false, ports)
    }

    /// A Redis pool, likewise.
    pub(crate) fn redis(ports: &[u16]) -> Self {
        Self::over(true, ports)
    }

    /// A pool whose servers are written as in the file, without the dash.
    pub(crate) fn of(redis: bool, servers: Vec<String>) -> Self {
        Self { port: Port::take(), redis, servers, settings: Vec::new() }
    }

    /// Adds a setting of the pool; `listen` takes the place of the port of its own.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// True if its settings say where it listens.
    fn listens_elsewhere(&self) -> bool {
        self.settings.iter().any(|(key, _)| key == "listen")
    }

    fn over(redis: bool, ports: &[u16]) -> Self {
        let entry =
            |(index, port): (usize, &u16)| format!("127.0.0.1:{port}:1 server{}", index + 1);
        Self::of(redis, ports.iter().enumerate().map(entry).collect())
    }

    /// The pool as a nutcracker.yml has it, which is also how the native form has it.
    fn yaml(&self, name: &str, indent: &str) -> String {
        let mut text = format!("{indent}{name}:\n");
        let mut line = |line: String| {
            writeln!(text, "{indent}  {line}").unwrap();
        };
        if !self.listens_elsewhere() {
            line(format!("listen: 127.0.0.1:{}", self.port.number()));
        }
        line(format!("redis: {}", self.redis));
        for (key, value) in &self.settings {
            line(format!("{key}: {value}"));
        }
        if !self.servers.is_empty() {
            line("servers:".to_owned());
        }
        for server in &self.servers {
            line(format!(" - {server}"));
        }
        text
    }
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pools: Vec<PoolSpec>,
    admin: Port,
    scratch: Scratch,
}

impl Proxy {
    /// twinring with one pool.
    pub(crate) fn twinring(pool: PoolSpec) -> Self {
        Self::twinring_with(&[], vec![pool])
    }

    /// twinring with settings of the process, each a line of YAML, and several pools.
    pub(crate) fn twinring_with(settings: &[&str], pools: Vec<PoolSpec>) -> Self {
        Self::twinring_by(Command::new(env!("CARGO_BIN_EXE_twinring")), settings, pools)
    }

    /// twinring where the process may have only so many file descriptors.
    pub(crate) fn twinring_limited(files: u32, pool: PoolSpec) -> Self {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_twinring"));
        Self::twinring_by(command, &[], vec![pool])
    }

    /// twinring with a hosts file and a resolv.conf of its own, which this folder holds.
    pub(crate) fn twinring_with_names(names: &Path, pool: PoolSpec) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash", "-euc"]);
        command.arg(
            "mount --bind \"$0/hosts\" /etc/hosts; mount --bind \"$0/resolv.conf\" /etc/resolv.conf; \
             exec \"$@\"",
        );
        command.arg(names).arg(env!("CARGO_BIN_EXE_twinring"));
        Self::twinring_by(command, &[], vec![pool])
    }

    /// twemproxy with the same pool.
    pub(crate) fn nutcracker(pool: PoolSpec) -> Self {
        Self::nutcracker_by(Command::new("nutcracker"), pool)
    }

    /// twinring in twemproxy's place: called by its name, with its flags and its file.
    pub(crate) fn twinring_as_nutcracker(pool: PoolSpec) -> Self {
        Self::nutcracker_by(twinring_as_nutcracker(), pool)
    }

    fn nutcracker_by(mut command: Command, pool: PoolSpec) -> Self {
        let scratch = Scratch::new();
        let file = scratch.file("nutcracker.yml", &pool.yaml("main", ""));
        let stats = Port::take();
        command.arg("-c").arg(file).arg("-o").arg(scratch.path().join("log"));
        command.args(["-i", "1", "-a", "127.0.0.1", "-s"]).arg(stats.number().to_string());
        Self::run(command, vec![pool], stats, scratch)
    }

    fn twinring_by(mut command: Command, settings: &[&str], pools: Vec<PoolSpec>) -> Self {
        let (scratch, admin) = (Scratch::new(), Port::take());
        let mut text = format!("admin: {{ listen: \"127.0.0.1:{}\" }}\n", admin.number());
        for setting in settings {
            writeln!(text, "{setting}").unwrap();
        }
        text.push_str("pools:\n");
        for (index, pool) in pools.iter().enumerate() {
            text.push_str(&pool.yaml(&format!("pool{index}"), "  "));
        }
        command.arg("-c").arg(scratch.file("twinring.yml", &text));
        Self::run(command, pools, admin, scratch)
    }

    fn run(command: Command, pools: Vec<PoolSpec>, admin: Port, scratch: Scratch) -> Self {
        let mut process = Process::start(command);
        for pool in pools.iter().filter(|pool| !pool.listens_elsewhere()) {
            process.wait_for(pool.port.number());
        }
        Self { process, pools, admin, scratch }
    }

    /// What a nutcracker, or who stands in for it, has logged so far.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.scratch.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A client of the first pool.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port())
    }

    /// Where the first pool listens.
    pub(crate) fn port(&self) -> u16 {
        self.pools[0].port.number()
    }

    /// The file that it was started with; not for one in twemproxy's place.
    pub(crate) fn config(&self) -> PathBuf {
        self.scratch.path().join("twinring.yml")
    }

    pub(crate) fn admin_port(&self) -> u16 {
        self.admin.number()
    }

    /// The counters and gauges now.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::of(self.admin_port())
    }

    /// Asks it to finish what it has and end.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }
}

/// twinring under the name of twemproxy, which makes it read twemproxy's flags.
pub(crate) fn twinring_as_nutcracker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg0("nutcracker");
    command
}

/// The text of `/metrics`.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Those of the process whose admin port this is.
    pub(crate) fn of(admin_port: u16) -> Self {
        let (status, body) = http_get(admin_port, "/metrics");
        assert_eq!(status, 200, "{body}");
        Self(body)
    }

    /// The sum of the series of this name that carry all these labels; `None` if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, text) = series.split_once('{').unwrap_or((series, ""));
            let has = |(key, value): &(&str, &str)| text.contains(&format!("{key}=\"{value}\""));
            (found == name && labels.iter().all(has)).then(|| value.parse::<f64>().ok())?
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// Why clients have been closed, as far as any have.
    pub(crate) fn ends(&self) -> String {
        let of_ends = |line: &&str| line.starts_with("twinring_client_disconnects_total{");
        self.0.lines().filter(of_ends).filter(|line| !line.ends_with(" 0")).collect()
    }

    /// As [`Self::sum`], for a series that must be there.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(name, labels)
            .unwrap_or_else(|| panic!("no {name} with {labels:?} in:\n{}", self.0))
    }
}

/// Status and body of a GET on 127.0.0.1.
pub(crate) fn http_get(port: u16, path: &str) -> (u16, String) {
    let mut client = Client::connect(port);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let reply = String::from_utf8(client.read_to_end()).expect("text");
    let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

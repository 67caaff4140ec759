//! twinring without servers: the cache server under test, as its arguments set it up.

use std::fmt::Write;
use std::process::Command;

use super::client::Client;
use super::ports::{Port, Scratch};
use super::process::Process;
use super::proxy::Metrics;

/// A running cache server with both protocols and an admin port.
pub(crate) struct Cache {
    pub(crate) process: Process,
    memcache: Port,
    redis: Port,
    admin: Port,
    _scratch: Option<Scratch>,
}

impl Cache {
    /// Starts it with further arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let (memcache, redis, admin) = (Port::take(), Port::take(), Port::take());
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        let listeners = [("--memcache", &memcache), ("--redis", &redis), ("--admin", &admin)];
        for (flag, port) in listeners {
            command.arg(flag).arg(format!("127.0.0.1:{}", port.number()));
        }
        command.args(args);
        Self::run(command, [memcache, redis, admin], None)
    }

    /// Starts it from a file in which its two pools, of one store, have these settings.
    pub(crate) fn configured(workers: u32, settings: &[&str]) -> Self {
        let (memcache, redis, admin) = (Port::take(), Port::take(), Port::take());
        let mut text = format!(
            "workers: {workers}\nadmin: {{ listen: \"127.0.0.1:{}\" }}\npools:\n",
            admin.number()
        );
        for (protocol, port) in [("memcache", &memcache), ("redis", &redis)] {
            let listen = port.number();
            write!(
                text,
                "  {protocol}:\n    listen: 127.0.0.1:{listen}\n    protocol: {protocol}\n    store: main\n"
            )
            .unwrap();
            settings.iter().for_each(|setting| writeln!(text, "    {setting}").unwrap());
        }
        let scratch = Scratch::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        command.arg("-c").arg(scratch.file("twinring.yml", &text));
        Self::run(command, [memcache, redis, admin], Some(scratch))
    }

    /// Starts it with a file of users whom memcache clients must be one of.
    pub(crate) fn with_users(users: &str) -> Self {
        let (memcache, redis, admin) = (Port::take(), Port::take(), Port::take());
        let text = format!(
            "admin: {{ listen: \"127.0.0.1:{}\" }}\npools:\n  m:\n    listen: 127.0.0.1:{}\n    \
             protocol: memcache\n    memcache_auth_file: {users}\n  r:\n    listen: 127.0.0.1:{}\n    \
             protocol: redis\n",
            admin.number(),
            memcache.number(),
            redis.number()
        );
        let scratch = Scratch::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        command.arg("-c").arg(scratch.file("twinring.yml", &text));
        Self::run(command, [memcache, redis, admin], Some(scratch))
    }

    fn run(command: Command, ports: [Port; 3], scratch: Option<Scratch>) -> Self {
        let [memcache, redis, admin] = ports;
        let mut process = Process::start(command);
        process.wait_for(memcache.number());
        process.wait_for(redis.number());
        Self { process, memcache, redis, admin, _scratch: scratch }
    }

    /// Starts one that keeps items of up to 4 KiB in cells.
    pub(crate) fn small() -> Self {
        Self::start(&["--storage", "cuckoo", "--item-size", "4KiB", "--memory", "64MiB"])
    }

    pub(crate) fn memcache_port(&self) -> u16 {
        self.memcache.number()
    }

    pub(crate) fn redis_port(&self) -> u16 {
        self.redis.number()
    }

    /// A memcache client.
    pub(crate) fn memcache(&self) -> Client {
        Client::connect(self.memcache_port())
    }

    /// A Redis client.
    pub(crate) fn redis(&self) -> Client {
        Client::connect(self.redis_port())
    }

    /// The counters and gauges now.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::of(self.admin.number())
    }
}

//! twinring without servers: the cache server under test, as its arguments set it up.

use std::process::Command;

use super::client::Client;
use super::ports::Port;
use super::process::Process;
use super::proxy::Metrics;

/// A running cache server with both protocols and an admin port.
pub(crate) struct Cache {
    pub(crate) process: Process,
    memcache: Port,
    redis: Port,
    admin: Port,
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
        let mut process = Process::start(command);
        process.wait_for(memcache.number());
        process.wait_for(redis.number());
        Self { process, memcache, redis, admin }
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

//! Serving without a configuration: a cache for memcache and Redis clients, set up by arguments.
//!
//! The arguments are written as the configuration that they stand for, and that is read as any
//! other is: one place knows what a setting may be.

use std::fmt::Write;

use clap::{Args, ValueEnum};

use super::{BAD_CONFIG, complain, run};
use crate::config::{self, Config, Problem};

/// The cache server's own arguments.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Cache server (without a configuration)")]
pub(super) struct CacheArgs {
    /// Where memcache clients connect: host:port, /path/to.sock and mode, or off
    /// [default: 127.0.0.1:11211].
    #[arg(long, value_name = "ADDRESS")]
    memcache: Option<String>,
    /// Where Redis clients connect, likewise [default: 127.0.0.1:6379].
    #[arg(long, value_name = "ADDRESS")]
    redis: Option<String>,
    /// The same as --memcache 127.0.0.1:PORT --redis off.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["memcache", "redis"])]
    port: Option<u16>,
    /// Serve one client on standard input and output, and end with it.
    #[arg(long, value_name = "PROTOCOL", conflicts_with_all = ["memcache", "redis", "port"])]
    stdio: Option<Spoken>,
    /// Where health, metrics and statistics are served: host:port, or off
    /// [default: 127.0.0.1:9900].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// What items and index may take [default: 256MiB].
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// The largest value [default: 1MiB].
    #[arg(long, value_name = "SIZE")]
    max_value: Option<String>,
    /// How long a client may be silent, in seconds or with a unit; 0 for ever [default: 0].
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<String>,
    /// How items are kept: segcache, or cuckoo for small ones [default: segcache].
    #[arg(long, value_name = "ENGINE", value_parser = ["segcache", "cuckoo"])]
    storage: Option<String>,
    /// With cuckoo: key, value and 28 bytes of any item [default: 64].
    #[arg(long, value_name = "SIZE")]
    item_size: Option<String>,
    /// How room is made when the memory is full [default: merge; with cuckoo random].
    #[arg(long, value_name = "WAY", value_parser = ["merge", "fifo", "random", "expiry", "none"])]
    eviction: Option<String>,
    /// Threads that serve clients [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
}

/// A protocol that a cache speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spoken {
    Memcache,
    Redis,
    Ping,
}

impl Spoken {
    fn name(self) -> &'static str {
        match self {
            Self::Memcache => "memcache",
            Self::Redis => "redis",
            Self::Ping => "ping",
        }
    }
}

impl CacheArgs {
    /// True if any of them was given.
    pub(super) fn given(&self) -> bool {
        let texts = [
            &self.memcache,
            &self.redis,
            &self.admin,
            &self.memory,
            &self.max_value,
            &self.storage,
            &self.item_size,
            &self.eviction,
        ];
        texts.iter().any(|text| text.is_some())
            || self.idle_timeout.is_some()
            || self.port.is_some()
            || self.stdio.is_some()
            || self.workers.is_some()
    }

    /// Serves until a signal ends it; the exit code.
    pub(super) fn serve(&self) -> u8 {
        match self.config() {
            Ok(config) => run::serve_config(config),
            Err(errors) => {
                complain(&self.told(&errors));
                BAD_CONFIG
            }
        }
    }

    fn config(&self) -> Result<Config, config::Errors> {
        let text = self.yaml();
        config::parse(&text, "arguments", false)
    }

    /// What is wrong, a line each, by the names of the arguments: nobody has seen the configuration
    /// that stands for them. What is wrong with both pools is said once.
    fn told(&self, errors: &config::Errors) -> String {
        let mut lines: Vec<String> = Vec::new();
        for Problem { path, reason, fix, .. } in errors.iter() {
            let fix = fix.as_deref().map(|fix| format!("; {fix}")).unwrap_or_default();
            let line = format!("twinring: {}: {reason}{fix}\n", self.argument(path));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines.concat()
    }

    /// The argument that stands behind a key of the configuration.
    fn argument(&self, path: &str) -> String {
        let parts: Vec<&str> = path.split('.').collect();
        match parts[..] {
            ["admin", ..] => "--admin".to_owned(),
            ["pools", "memcache", "listen"] | ["pools", "memcache"] if self.port.is_some() => {
                "--port".to_owned()
            }
            ["pools", protocol, "listen"] | ["pools", protocol] => format!("--{protocol}"),
            ["pools", _, key, ..] | [key, ..] if !key.is_empty() => {
                format!("--{}", key.replace('_', "-"))
            }
            _ => "arguments".to_owned(),
        }
    }

    fn yaml(&self) -> String {
        let mut text = String::new();
        let one_client = self.stdio.is_some();
        let admin = self.admin.as_deref().or_else(|| one_client.then_some("off"));
        if let Some(admin) = admin {
            let _ = writeln!(text, "admin: {{ listen: {} }}", quoted(admin));
        }
        let workers = self.workers.or_else(|| one_client.then_some(1));
        if let Some(workers) = workers {
            let _ = writeln!(text, "workers: {workers}");
        }
        if one_client {
            // Whoever calls us by a pipe wants replies, not news.
            text.push_str("log: { level: warn }\n");
        }
        text.push_str("pools:\n");
        for (protocol, listen) in self.listeners() {
            self.write_pool(&mut text, protocol, &listen);
        }
        text
    }

    fn listeners(&self) -> Vec<(&'static str, String)> {
        if let Some(protocol) = self.stdio {
            return vec![(protocol.name(), "stdio".to_owned())];
        }
        if let Some(port) = self.port {
            return vec![("memcache", format!("127.0.0.1:{port}"))];
        }
        let or = |given: &Option<String>, default: &str| given.as_deref().unwrap_or(default).into();
        let both = [
            ("memcache", or(&self.memcache, "127.0.0.1:11211")),
            ("redis", or(&self.redis, "127.0.0.1:6379")),
        ];
        both.into_iter().filter(|(_, listen): &(_, String)| listen != "off").collect()
    }

    /// All pools share one store: what one protocol has stored the other finds.
    fn write_pool(&self, text: &mut String, protocol: &str, listen: &str) {
        let _ = writeln!(text, "  {protocol}:");
        let _ = writeln!(text, "    listen: {}", quoted(listen));
        let _ = writeln!(text, "    protocol: {protocol}\n    store: main");
        let idle_timeout = self.idle_timeout.as_deref().map(in_seconds);
        let settings = [
            ("memory", self.memory.as_deref()),
            ("max_value", self.max_value.as_deref()),
            ("idle_timeout", idle_timeout.as_deref()),
            ("storage", self.storage.as_deref()),
            ("item_size", self.item_size.as_deref()),
            ("eviction", self.eviction.as_deref()),
        ];
        for (key, value) in settings {
            if let Some(value) = value {
                let _ = writeln!(text, "    {key}: {}", quoted(value));
            }
        }
    }
}

/// memcached counts idle time in seconds.
fn in_seconds(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() }
}

/// `text` as a YAML scalar, whatever stands in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::CacheArgs;
    use crate::config::{Config, Eviction, Listen, Storage};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        cache: CacheArgs,
    }

    fn config(args: &[&str]) -> Config {
        let program = Program::parse_from([&["twinring"], args].concat());
        program.cache.config().unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn without_arguments_both_protocols_share_one_store() {
        let config = config(&[]);
        let listen: Vec<String> = config.pools.iter().map(|pool| pool.listen.to_string()).collect();
        assert_eq!(listen, ["127.0.0.1:6379", "127.0.0.1:11211"]);
        let stores: Vec<_> = config.pools.iter().map(|pool| pool.cache.clone().unwrap()).collect();
        assert_eq!(stores[0], stores[1]);
        assert_eq!((stores[0].memory, stores[0].max_value), (256 << 20, 1 << 20));
        assert_eq!(config.admin.as_deref(), Some("127.0.0.1:9900"));
    }

    #[test]
    fn arguments_become_settings() {
        let config = config(&[
            "--port",
            "7000",
            "--memory",
            "64MiB",
            "--max-value",
            "2MiB",
            "--idle-timeout",
            "5",
            "--workers",
            "3",
            "--admin",
            "off",
            "--eviction",
            "fifo",
        ]);
        let pool = &config.pools[0];
        assert_eq!((config.pools.len(), config.workers, config.admin), (1, 3, None));
        assert_eq!(pool.listen.to_string(), "127.0.0.1:7000");
        assert_eq!(pool.idle_timeout, Some(Duration::from_secs(5)));
        let cache = pool.cache.as_ref().unwrap();
        assert_eq!((cache.memory, pool.limits.value_bytes), (64 << 20, 2 << 20));
    }

    #[test]
    fn small_items_may_be_kept_in_cells() {
        let config = config(&["--storage", "cuckoo", "--item-size", "96", "--eviction", "expiry"]);
        for pool in &config.pools {
            let cache = pool.cache.as_ref().unwrap();
            assert_eq!(cache.storage, Storage::Cuckoo { item_size: 96 });
            assert_eq!(cache.eviction, Eviction::Expiry);
        }
    }

    #[test]
    fn standard_input_is_one_client_and_nothing_else() {
        let config = config(&["--stdio", "redis"]);
        assert_eq!((config.workers, config.admin), (1, None));
        assert_eq!(config.pools[0].listen, Listen::Stdio);
    }

    #[test]
    fn a_bad_value_is_refused_by_name() {
        let program = Program::parse_from(["twinring", "--memory", "much", "--redis", "nowhere"]);
        let errors = program.cache.config().unwrap_err();
        let told = program.cache.told(&errors);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].starts_with("twinring: --memory: directive"), "{told}");
        assert!(lines[0].contains("(found \"much\"); write bytes or a unit"), "{told}");
        assert!(lines[1].starts_with("twinring: --redis: directive \"listen\""), "{told}");
    }
}

//! What differs between two configurations, and what of that a running process can take over.
//!
//! Every setting is named here once: the compiler asks for those that are new.

use std::collections::HashMap;

use crate::config::{Address, Config, Expansion, Log, Place, Pool};
use crate::control::topology::{described, follows};
use crate::topology::{DeadOld, Phase, Server, State, tell_given_up};

/// What differs, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    /// What the process takes over.
    pub(super) changes: Vec<String>,
    /// What it does not: nothing at all may change then.
    pub(super) refused: Vec<String>,
}

/// Compares the configuration that is in force with another.
pub(super) fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    diff.process(old, new);
    for pool in &new.pools {
        match old.pools.iter().find(|other| other.name == pool.name) {
            Some(before) => diff.pool(before, pool),
            None => diff.comes_or_goes(pool, "added"),
        }
    }
    for pool in &old.pools {
        if !new.pools.iter().any(|other| other.name == pool.name) {
            diff.comes_or_goes(pool, "removed");
        }
    }
    diff
}

/// An expansion but for how far it has come: where a process begins does not concern one that runs. Of what
/// a source has given only the times are the configuration's.
fn way(pool: &Pool) -> Option<Expansion> {
    match &pool.topology {
        Some(_) => {
            let mut times = pool.expansion.clone().unwrap_or_default();
            times.moving.pin.clear();
            Some(times.without_rings())
        }
        None => pool.two_rings().map(|way| {
            let (phase, dead_old) = (Phase::Stable, DeadOld::new());
            Expansion { phase, dead_old, ..way.clone() }
        }),
    }
}

/// Whether other proxies wait for what this one does with the pool.
fn led_by_zookeeper(pool: &Pool) -> bool {
    pool.topology.as_ref().is_some_and(|source| matches!(source.place, Place::ZooKeeper(_)))
}

/// The phase that a pool's source says.
fn phase(pool: &Pool) -> &'static str {
    pool.two_rings().map_or(Phase::Stable, |way| way.phase).name()
}

/// Says for each setting whether it is the same: those behind `live` may change, those behind
/// `start` may not.
macro_rules! compare {
    ($diff:ident, $prefix:expr, $old:ident, $new:ident,
     live: [$($live:ident),*], start: [$($start:ident),*]) => {
        $(if $old.$live != $new.$live {
            $diff.changes.push(format!("{}{}: changed", $prefix, stringify!($live)));
        })*
        $(if $old.$start != $new.$start {
            $diff.needs_restart(&format!("{}{}", $prefix, stringify!($start)));
        })*
    };
}

impl Diff {
    fn needs_restart(&mut self, key: &str) {
        self.refused.push(format!("{key}: needs a restart"));
    }

    fn process(&mut self, old: &Config, new: &Config) {
        let Config {
            workers: _,
            compat: _,
            admin: _,
            stats: _,
            log: Log { level: _, format: _, file: _ },
            watch: _,
            drain_timeout: _,
            buffers: _,
            pools: _,
            warnings: _,
        } = new;
        compare!(self, "", old, new,
            live: [drain_timeout, buffers], start: [workers, compat, stats]);
        if old.watch != new.watch {
            self.needs_restart("reload.watch");
        }
        if old.admin != new.admin {
            self.needs_restart("admin.listen");
        }
        let (old, new) = (&old.log, &new.log);
        compare!(self, "log.", old, new, live: [level], start: [format, file]);
    }

    fn comes_or_goes(&mut self, pool: &Pool, how: &str) {
        let name = &pool.name;
        if pool.cache.is_some() {
            self.refused.push(format!(
                "pools.{name}: a cache has its memory from the start, so it needs a restart to be \
                 {how}"
            ));
        } else if how == "removed" && led_by_zookeeper(pool) && pool.two_rings().is_some() {
            self.refused.push(format!(
                "pools.{name}: its fleet counts on it until the way to the other ring is over (phase \
                 {} now), so it cannot be removed yet",
                phase(pool)
            ));
        } else {
            self.changes.push(format!("pools.{name}: {how}, {}", pool.listen));
        }
    }

    fn pool(&mut self, old: &Pool, new: &Pool) {
        let Pool {
            name,
            listen: _,
            protocol: _,
            routing: _,
            timeout: _,
            backlog: _,
            max_clients: _,
            tcp_keepalive: _,
            reuseport: _,
            tls: _,
            server_tls: _,
            redis_auth: _,
            redis_user: _,
            memcache_auth: _,
            redis_db: _,
            preconnect: _,
            dead: _,
            server_connections: _,
            server_retry_timeout: _,
            server_failure_limit: _,
            allow_flush: _,
            allow_scan: _,
            partial: _,
            lenient_lf: _,
            idle_timeout: _,
            limits: _,
            topology: _,
            servers: _,
            cache: _,
            near_cache: _,
            expansion: _,
        } = new;
        let prefix = format!("pools.{name}.");
        compare!(self, prefix, old, new,
            live: [timeout, max_clients, tls, server_tls, memcache_auth, redis_db, preconnect,
                dead, server_connections, server_retry_timeout, server_failure_limit, allow_flush,
                allow_scan, partial, lenient_lf, idle_timeout, near_cache],
            start: [listen, protocol, backlog, tcp_keepalive, reuseport, cache]);
        self.source(&prefix, old, new);
        self.rings(&prefix, old, new);
        if new.cache.is_some() {
            // What executes requests itself holds these since the start.
            compare!(self, prefix, old, new, live: [],
                start: [redis_auth, redis_user, limits]);
        } else {
            compare!(self, prefix, old, new, live: [redis_auth, redis_user, limits], start: []);
        }
        self.routing(&prefix, old, new);
        self.servers(&prefix, &old.servers, &new.servers);
    }

    /// Servers come from elsewhere from now on; those in force stay until then.
    fn source(&mut self, prefix: &str, old: &Pool, new: &Pool) {
        if old.topology != new.topology {
            let told = |pool: &Pool| pool.topology.as_ref().map(described);
            self.changes.push(match (told(old), told(new)) {
                (before, Some(now)) if before.as_ref() != Some(&now) => {
                    format!("{prefix}topology: {now} is followed now")
                }
                (_, Some(_)) => format!("{prefix}topology: changed"),
                (_, None) => format!("{prefix}topology: none any more, servers are as in the file"),
            });
        }
        if follows(old) != follows(new) && old.two_rings().is_some() {
            self.refused.push(format!(
                "{prefix}topology: what the source is, or is judged by, stays until the way to the \
                 other ring is over (phase {} now)",
                phase(old)
            ));
        }
    }

    /// Keys move by the rings that the pool has: these must be all that moves them.
    fn rings(&mut self, prefix: &str, old: &Pool, new: &Pool) {
        if old.two_rings().is_some() {
            compare!(self, prefix, old, new, live: [], start: [routing, dead]);
        }
        if new.two_rings().is_some() {
            self.refused.extend(new.why_one_ring().map(|why| format!("{prefix}expansion: {why}")));
        }
        let changed = way(old) != way(new);
        if old.topology.is_some() != new.topology.is_some() {
            // The way to other servers begins once it is known where these come from.
            if new.topology.is_none() && new.two_rings().is_some() {
                self.needs_restart(&format!("{prefix}expansion"));
            }
            return;
        }
        // How keys come from server to server must be the same for all proxies.
        if old.topology.is_some() && old.placement().carried != new.placement().carried {
            self.needs_restart(&format!("{prefix}expansion.data"));
        }
        if old.topology.is_none() {
            if changed {
                self.needs_restart(&format!("{prefix}expansion"));
            }
            if old.two_rings().is_some() {
                compare!(self, prefix, old, new, live: [], start: [servers]);
            }
            return;
        }
        if changed {
            self.changes.push(format!("{prefix}expansion: changed"));
        }
        if phase(old) != phase(new) {
            self.changes.push(format!("{prefix}phase: {} -> {}", phase(old), phase(new)));
        }
        let dead_old = |pool: &Pool| pool.two_rings().map(|way| way.dead_old.clone());
        if let (Some(before), Some(after)) = (dead_old(old), dead_old(new))
            && before != after
        {
            let (before, after) = (tell_given_up(&before), tell_given_up(&after));
            self.changes.push(format!("{prefix}dead_old: {before} -> {after}"));
        }
    }

    fn routing(&mut self, prefix: &str, old: &Pool, new: &Pool) {
        if old.routing != new.routing {
            self.changes
                .push(format!("{prefix}hash, distribution or hash_tag: changed, keys move"));
        }
    }

    fn servers(&mut self, prefix: &str, old: &[Server], new: &[Server]) {
        let before: HashMap<&str, &Server> =
            old.iter().map(|server| (server.name.as_str(), server)).collect();
        let mut note = |text: String| self.changes.push(format!("{prefix}servers: {text}"));
        for server in new {
            let Some(old) = before.get(server.name.as_str()) else {
                note(format!("{} added, {}", server.name, shown(&server.address)));
                continue;
            };
            if old.address != server.address {
                note(format!("{} is at {} now", server.name, shown(&server.address)));
            }
            if old.weight != server.weight {
                note(format!("{} has weight {} now", server.name, server.weight));
            }
            if old.state != server.state {
                note(format!("{} is {} now", server.name, word(server.state)));
            }
        }
        for server in old {
            if !new.iter().any(|other| other.name == server.name) {
                note(format!("{} removed", server.name));
            }
        }
    }
}

fn shown(address: &Address) -> String {
    match address {
        Address::Tcp { host, port } => format!("{host}:{port}"),
        Address::Unix(path) => path.display().to_string(),
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Down => "down",
        State::Drain => "draining",
    }
}

#[cfg(test)]
mod tests {
    use super::{Diff, diff};
    use crate::config::{Config, parse};
    use crate::control::given::{Given, Walk};
    use crate::topology::{Phase, State};

    const BASE: &str = "
workers: 2
admin: { listen: 127.0.0.1:9901 }
log: { level: info }
pools:
  web:
    listen: 127.0.0.1:22121
    timeout: 400ms
    servers: [ '10.0.0.1:11211:1 a', '10.0.0.2:11211:1 b', '10.0.0.3:11211:1 c' ]
  app:
    listen: 127.0.0.1:22122
    protocol: redis
    servers: [ '10.0.0.4:6379:1 d' ]
  mem: { listen: 127.0.0.1:22123, memory: 64MiB }
";

    fn config(text: &str) -> Config {
        parse(text, "test", false).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// What differs from [`BASE`] once `from` is replaced by `to` in it.
    fn replaced(from: &str, to: &str) -> Diff {
        assert!(BASE.contains(from), "{from}");
        diff(&config(BASE), &config(&BASE.replace(from, to)))
    }

    fn changes(from: &str, to: &str) -> Vec<String> {
        let diff = replaced(from, to);
        assert_eq!(diff.refused, Vec::<String>::new());
        diff.changes
    }

    #[test]
    fn equal_configurations_do_not_differ() {
        assert_eq!(replaced("workers: 2", "workers: 2"), Diff::default());
    }

    #[test]
    fn servers_are_told_apart_by_their_names() {
        let found = changes(
            "'10.0.0.1:11211:1 a', '10.0.0.2:11211:1 b', '10.0.0.3:11211:1 c'",
            "'10.0.0.9:11211:1 a', '10.0.0.2:11211:5 b', '/run/e.sock:1 e'",
        );
        let wanted = [
            "pools.web.servers: a is at 10.0.0.9:11211 now",
            "pools.web.servers: b has weight 5 now",
            "pools.web.servers: e added, /run/e.sock",
            "pools.web.servers: c removed",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_state_that_a_source_says_is_a_change() {
        let (old, mut new) = (config(BASE), config(BASE));
        let web = new.pools.iter_mut().find(|pool| pool.name == "web").unwrap();
        web.servers[1].state = State::Down;
        assert_eq!(diff(&old, &new).changes, ["pools.web.servers: b is down now"]);
    }

    /// What a source has given is its own to change; what would not bear two rings must wait.
    #[test]
    fn a_pool_on_the_way_keeps_what_its_rings_rest_on() {
        let text = BASE.replace("timeout: 400ms", "topology: { source: file, path: /t.json }");
        let given = |phase, text: &str| {
            let mut config = config(text);
            let web = config.pools.iter_mut().find(|pool| pool.name == "web").unwrap();
            let (current, target) = (web.servers[..2].to_vec(), web.servers.clone());
            let dead_old = Default::default();
            let walk = Some(Walk { phase, term: 0, current, target, dead_old, pin: Vec::new() });
            Given { servers: web.servers.clone(), walk }.put(web);
            config
        };
        let before = given(Phase::Prepare, &text);
        let after = diff(&before, &given(Phase::Fence, &text));
        assert_eq!(after.refused, Vec::<String>::new());
        assert_eq!(after.changes, ["pools.web.phase: prepare -> fence"]);
        let with = |line: &str| {
            let text = text.replace(
                "listen: 127.0.0.1:22121",
                &format!("listen: 127.0.0.1:22121\n    {line}"),
            );
            diff(&before, &given(Phase::Prepare, &text))
        };
        let times = with("expansion: { fence: 1s }");
        assert_eq!(
            (times.changes, times.refused),
            (vec!["pools.web.expansion: changed".to_owned()], Vec::new())
        );
        for (line, why) in [
            ("distribution: random", "pools.web.expansion: under random no key has a place"),
            ("dead: rehash", "pools.web.dead: needs a restart"),
            ("hash: md5", "pools.web.routing: needs a restart"),
        ] {
            let refused = with(line).refused;
            assert!(refused.iter().any(|it| it.starts_with(why)), "{refused:?}");
        }
    }

    #[test]
    fn pools_come_and_go() {
        let found = changes("  app:\n    listen: 127.0.0.1:22122", "  new:\n    listen: /run/n.s");
        assert_eq!(found, ["pools.new: added, /run/n.s", "pools.app: removed, 127.0.0.1:22122"],);
    }

    #[test]
    fn settings_that_live_change_are_named() {
        assert_eq!(changes("400ms", "1s"), ["pools.web.timeout: changed"]);
        assert_eq!(changes("level: info", "level: debug"), ["log.level: changed"]);
        let found = changes("timeout: 400ms", "timeout: 400ms\n    limits: { key: 100 }");
        assert_eq!(found, ["pools.web.limits: changed"]);
    }

    #[test]
    fn what_needs_a_restart_is_refused_by_name() {
        let cases = [
            ("workers: 2", "workers: 3", "workers"),
            ("127.0.0.1:9901", "127.0.0.1:9902", "admin.listen"),
            ("level: info", "format: json", "log.format"),
            ("protocol: redis", "protocol: memcache", "pools.app.protocol"),
            ("memory: 64MiB", "memory: 65MiB", "pools.mem.cache"),
            ("127.0.0.1:22121", "127.0.0.1:22129", "pools.web.listen"),
            ("timeout: 400ms", "backlog: 7", "pools.web.backlog"),
        ];
        for (from, to, key) in cases {
            let refused = replaced(from, to).refused;
            assert!(refused.contains(&format!("{key}: needs a restart")), "{refused:?}");
        }
        let text = "  mem: { listen: 127.0.0.1:22123, memory: 64MiB }\n";
        let refused = replaced(text, "").refused;
        assert!(refused[0].starts_with("pools.mem: a cache has its memory"), "{refused:?}");
    }
}

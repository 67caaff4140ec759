//! Every transcript of `tests/transcripts/`, played at whatever it is said to hold for.
//!
//! Played at the server itself it proves the transcript; through the proxy it tests the proxy.

use crate::support::{Cache, Client, Cut, Memcached, PoolSpec, Proxy, Redis, Transcript};

/// One of the two protocols: its transcripts, and servers emptied before each.
struct Stage {
    folder: &'static str,
    servers: Servers,
    /// Of Redis servers, if they ask for one.
    password: Option<&'static str>,
    /// The proxy has a near cache that lets everything in.
    near: bool,
}

enum Servers {
    Memcached(Vec<Memcached>),
    Redis(Vec<Redis>),
}

impl Stage {
    fn memcache(count: usize) -> Self {
        let servers = (0..count).map(|_| Memcached::start()).collect();
        Self {
            folder: "memcache",
            servers: Servers::Memcached(servers),
            password: None,
            near: false,
        }
    }

    fn redis(count: usize) -> Self {
        let servers = (0..count).map(|_| Redis::start(&[])).collect();
        Self { folder: "redis", servers: Servers::Redis(servers), password: None, near: false }
    }

    fn redis_auth(count: usize) -> Self {
        let servers = (0..count).map(|_| Redis::start(&["--requirepass", "secret"])).collect();
        Self {
            folder: "redis_auth",
            servers: Servers::Redis(servers),
            password: Some("secret"),
            near: false,
        }
    }

    fn ports(&self) -> Vec<u16> {
        match &self.servers {
            Servers::Memcached(servers) => servers.iter().map(Memcached::port).collect(),
            Servers::Redis(servers) => servers.iter().map(Redis::port).collect(),
        }
    }

    /// A pool over the servers. Keys with the same text in braces share a server.
    fn pool(&self) -> PoolSpec {
        let pool = match &self.servers {
            Servers::Memcached(_) => PoolSpec::memcache(&self.ports()),
            Servers::Redis(_) => PoolSpec::redis(&self.ports()),
        };
        let pool = pool.set("hash_tag", "\"{}\"").set("timeout", 5000);
        match self.password {
            Some(password) => pool.set("redis_auth", password),
            None => pool,
        }
    }

    /// The same with what only twinring has.
    fn native_pool(&self) -> PoolSpec {
        let pool = match &self.servers {
            Servers::Memcached(_) => self.pool(),
            Servers::Redis(_) => self.pool().set("allow_scan", true),
        };
        if self.near {
            return pool.set("near_cache", "{ memory: 8MiB, admit: all, negative: 250ms }");
        }
        pool
    }

    fn empty_servers(&self) {
        for port in self.ports() {
            let mut client = Client::connect(port);
            if let Some(password) = self.password {
                client.ask(format!("AUTH {password}\r\n"), "+OK\r\n");
            }
            match &self.servers {
                Servers::Memcached(_) => client.ask("flush_all\r\n", "OK\r\n"),
                Servers::Redis(_) => client
                    .ask("FLUSHALL\r\nSCRIPT FLUSH\r\nFUNCTION FLUSH\r\n", "+OK\r\n+OK\r\n+OK\r\n"),
            }
        }
    }

    /// Plays all transcripts that hold for `what`, there; panics with all that went wrong.
    fn play(&self, what: &str, cut: Cut) {
        let scripts = Transcript::all(self.folder).into_iter();
        let scripts: Vec<_> = scripts.filter(|script| script.plays(what, cut)).collect();
        assert!(!scripts.is_empty(), "no transcript for {what}");
        let mut proxy = None;
        let mut wrong = Vec::new();
        for script in &scripts {
            self.empty_servers();
            if self.near {
                // The servers have been emptied behind its back.
                proxy = None;
            }
            let port = match what {
                "server" => self.ports()[0],
                "nutcracker" => proxy.get_or_insert_with(|| Proxy::nutcracker(self.pool())).port(),
                _ => proxy.get_or_insert_with(|| Proxy::twinring(self.native_pool())).port(),
            };
            if let Err(why) = script.play(&mut Client::connect(port), cut) {
                wrong.push(why);
                // The next one must not suffer from what this one has left behind.
                proxy = None;
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), scripts.len(), wrong.join("\n"));
    }
}

/// What every folder goes through; `$stage` makes the given number of servers.
macro_rules! plays {
    ($module:ident, $stage:path) => {
        mod $module {
            use super::{Cut, Stage};

            #[test]
            fn hold_for_the_server_itself() {
                play($stage(1), "server");
            }

            #[test]
            fn hold_for_twemproxy() {
                $stage(1).play("nutcracker", Cut::Steps);
            }

            #[test]
            fn hold_in_front_of_one_server() {
                play($stage(1), "one");
            }

            #[test]
            fn hold_in_front_of_three_servers() {
                play($stage(3), "three");
            }

            #[test]
            fn hold_behind_a_near_cache() {
                play(Stage { near: true, ..$stage(1) }, "one");
                play(Stage { near: true, ..$stage(3) }, "three");
            }

            fn play(stage: Stage, what: &str) {
                for cut in [Cut::Steps, Cut::Bytes, Cut::Pipeline] {
                    stage.play(what, cut);
                }
            }
        }
    };
}

plays!(memcache, Stage::memcache);
/// What a cache of our own answers, proven by memcached.
mod cache_memcache {
    use super::{Cache, Cut, Stage, Transcript};

    const FOLDER: &str = "cache_memcache";

    #[test]
    fn hold_for_the_server_itself() {
        // In steps alone: whether memcached writes a number in place, and what it makes of bad
        // lines, depends on what it has sent of earlier replies.
        let stage = Stage { folder: FOLDER, ..Stage::memcache(1) };
        stage.play("server", Cut::Steps);
    }

    /// Meta commands alone are also what servers answer through the proxy.
    #[test]
    fn hold_in_front_of_one_server() {
        let stage = Stage { folder: FOLDER, ..Stage::memcache(1) };
        [Cut::Steps, Cut::Bytes].into_iter().for_each(|cut| stage.play("one", cut));
    }

    #[test]
    fn hold_in_front_of_three_servers() {
        let stage = Stage { folder: FOLDER, ..Stage::memcache(3) };
        [Cut::Steps, Cut::Bytes].into_iter().for_each(|cut| stage.play("three", cut));
    }

    #[test]
    fn hold_for_our_cache() {
        super::play_at(&Cache::start(&[]), FOLDER, |it, cut| it.plays("cache", cut));
    }

    #[test]
    fn hold_for_our_cache_of_small_items() {
        let plays = |it: &Transcript, cut| it.plays("cache", cut) && it.name != "too_large";
        super::play_at(&Cache::small(), FOLDER, plays);
    }
}

plays!(redis, Stage::redis);
plays!(redis_auth, Stage::redis_auth);

/// Plays those transcripts of a folder that `plays` says yes to at a cache of ours.
fn play_at(cache: &Cache, folder: &str, plays: impl Fn(&Transcript, Cut) -> bool) {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for cut in [Cut::Steps, Cut::Bytes, Cut::Pipeline] {
        for script in Transcript::all(folder).iter().filter(|script| plays(script, cut)) {
            cache.redis().ask("FLUSHALL\r\n", "+OK\r\n");
            let mut client =
                if folder.ends_with("redis") { cache.redis() } else { cache.memcache() };
            wrong.extend(script.play(&mut client, cut).err());
            count += 1;
        }
    }
    assert!(count > 5, "hardly a transcript");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What holds for memcached itself holds for a cache of ours in its place.
#[test]
fn of_memcache_hold_for_our_cache() {
    play_at(&Cache::start(&[]), "memcache", |it, cut| it.plays("server", cut));
}

/// Transcripts with values that are larger than a cell.
const LARGE: [&str; 4] = ["binary", "large", "meta_quiet_large", "too_large"];

#[test]
fn of_both_hold_for_our_cache_of_small_items() {
    let cache = Cache::small();
    let small = |it: &Transcript| !LARGE.contains(&it.name.as_str());
    play_at(&cache, "memcache", |it, cut| it.plays("server", cut) && small(it));
    play_at(&cache, "redis", |it, cut| of_strings(it, cut) && small(it));
}

/// Transcripts with commands of Redis that a cache of strings does not have.
const MORE_THAN_STRINGS: [&str; 19] = [
    "bits",
    "blocking",
    "errors",
    "everywhere",
    "geo",
    "hashes",
    "hyperloglog",
    "keys",
    "lists",
    "lolwut",
    "pubsub",
    "resp3",
    "scripts",
    "scripts_without_keys",
    "sets",
    "several_keys",
    "sorted_sets",
    "sorted_sets_by_count",
    "streams",
];

/// Those of strings, and of connections, that hold for Redis itself hold for our cache as well.
fn of_strings(script: &Transcript, cut: Cut) -> bool {
    script.plays("server", cut) && !MORE_THAN_STRINGS.contains(&script.name.as_str())
}

#[test]
fn of_redis_hold_for_our_cache() {
    play_at(&Cache::start(&[]), "redis", of_strings);
}

#[test]
fn a_wrong_answer_is_found() {
    let stage = Stage::memcache(1);
    let port = stage.ports()[0];
    let play = |text: &str| {
        let script = Transcript::parse("sample", text);
        let client = &mut Client::connect(port).patience(std::time::Duration::from_millis(100));
        script.play(client, Cut::Steps)
    };
    assert!(play("> get a\\r\\n\n< END\\r\\n").is_ok());
    assert!(play("> version\\r\\n\n<~ VERSION *.*\\r\\n").is_ok());
    assert!(play("> quit\\r\\n\n<| closed").is_ok());
    assert!(play("> get a\\r\\n\n< STORED\\r\\n").unwrap_err().starts_with("sample:2: "));
    assert!(play("> get a\\r\\n\n<~ VALUE *\\r\\n").is_err());
    assert!(play("> get a\\r\\n\n< END\\r\\nEND\\r\\n").is_err(), "an answer too short");
    assert!(play("> get a\\r\\n\n<| closed").is_err());
}

//! Many clients with deep pipelines at once: each reply must be that of its own request.
//!
//! Every value names its key, its client and a number of its own, so that a reply given to the
//! wrong request, or to the wrong client, is seen at once. First on healthy servers, where every
//! reply is foreseen exactly; then while servers are frozen, thawed, killed and started again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::{Client, LONG, Memcached, PoolSpec, Proxy, Redis, escaped, frame, wait_until};

/// Clients at a time.
const CLIENTS: usize = 12;
/// Requests of each.
const REQUESTS: usize = 3000;
/// Keys of each; few, so that values are overwritten often.
const KEYS: u64 = 40;
/// Faults, four to a server: frozen, thawed, killed, started again; each server twice.
const STEPS: usize = 24;

#[test]
fn memcache_clients_get_their_own_replies() {
    let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let proxy = Proxy::twinring(PoolSpec::memcache(&ports).set("timeout", 10_000));
    run_clients(&proxy, Dialect::Memcache, Trust::Exact, &AtomicUsize::new(0));
}

#[test]
fn redis_clients_get_their_own_replies() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
    let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
    let proxy = Proxy::twinring(PoolSpec::redis(&ports).set("timeout", 10_000));
    run_clients(&proxy, Dialect::Redis, Trust::Exact, &AtomicUsize::new(0));
}

#[test]
fn clients_of_several_workers_get_their_own_replies() {
    let memcached: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let redis: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
    let pools = [
        (
            Dialect::Memcache,
            PoolSpec::memcache(&memcached.iter().map(Memcached::port).collect::<Vec<_>>()),
        ),
        (Dialect::Redis, PoolSpec::redis(&redis.iter().map(Redis::port).collect::<Vec<_>>())),
    ];
    for (dialect, pool) in pools {
        let pool = pool.set("timeout", 10_000).set("server_connections", 2);
        let proxy = Proxy::twinring_with(&["workers: 3"], vec![pool]);
        run_clients(&proxy, dialect, Trust::Exact, &AtomicUsize::new(0));
        let owned = proxy.metrics().get("twinring_worker_turns_total", &[("worker", "2")]);
        assert!(owned > 10.0, "the third worker has hardly turned: {owned}");
    }
}

#[test]
fn memcache_replies_stay_with_their_requests_while_servers_fail() {
    let mut servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let proxy = Proxy::twinring(failing(PoolSpec::memcache(&ports)));
    under_faults(&proxy, Dialect::Memcache, |step| {
        let server = &mut servers[step / 4 % 3];
        match step % 4 {
            0 => server.process.freeze(),
            1 => server.process.thaw(),
            2 => server.kill(),
            _ => server.restart(),
        }
    });
}

#[test]
fn redis_replies_stay_with_their_requests_while_servers_fail() {
    let mut servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
    let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
    let proxy = Proxy::twinring(failing(PoolSpec::redis(&ports)));
    under_faults(&proxy, Dialect::Redis, |step| {
        let server = &mut servers[step / 4 % 3];
        match step % 4 {
            0 => server.process.freeze(),
            1 => server.process.thaw(),
            2 => server.kill(),
            _ => server.restart(),
        }
    });
}

/// A pool that gives up soon and tries again soon.
fn failing(pool: PoolSpec) -> PoolSpec {
    pool.set("timeout", 100).set("server_retry_timeout", 50)
}

/// Runs the clients again and again while `fault` does its steps, one after every few hundred
/// replies; at the end all servers run, and everything must work again.
fn under_faults(proxy: &Proxy, dialect: Dialect, mut fault: impl FnMut(usize) + Send) {
    let (replies, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                run_clients(proxy, dialect, Trust::Origin, &replies);
            }
        });
        for step in 0..STEPS {
            fault(step);
            let until = replies.load(Ordering::SeqCst) + 500;
            wait_until(LONG, || clients.is_finished() || replies.load(Ordering::SeqCst) >= until);
        }
        done.store(true, Ordering::SeqCst);
    });
    let healed = wait_until(LONG, || {
        let mut client = proxy.client();
        (0..KEYS).all(|key| {
            client.send(dialect.set(&format!("healed:{key}"), "x"));
            client.try_expect(dialect.stored()).is_ok()
        })
    });
    assert!(healed, "not every server is used again");
}

/// Runs all clients to their end. `replies` counts along.
fn run_clients(proxy: &Proxy, dialect: Dialect, trust: Trust, replies: &AtomicUsize) {
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut script = Script::new(number as u64, dialect);
                let asked: Vec<Asked> = (0..REQUESTS).map(|_| script.next()).collect();
                play(proxy.client(), &asked, dialect, trust, replies);
            });
        }
    });
}

/// Sends everything in writes of odd lengths, and reads along on a thread of its own.
fn play(
    mut client: Client,
    asked: &[Asked],
    dialect: Dialect,
    trust: Trust,
    replies: &AtomicUsize,
) {
    let bytes: Vec<u8> = asked.iter().flat_map(|one| one.bytes.iter().copied()).collect();
    let mut writer = client.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut rest, mut length) = (bytes.as_slice(), 1);
            while !rest.is_empty() {
                length = (length * 7 + 13) % 4099 + 1;
                let (now, later) = rest.split_at(length.min(rest.len()));
                if writer.write_all(now).is_err() {
                    // The reader tells why.
                    return;
                }
                rest = later;
            }
        });
        for (index, one) in asked.iter().enumerate() {
            if one.wants == Wants::Nothing {
                continue;
            }
            let reply = match dialect {
                Dialect::Memcache => client.try_take(frame::memcache_reply),
                Dialect::Redis => client.try_take(frame::resp),
            };
            let checked = reply.and_then(|reply| {
                let error = dialect.is_error(&reply);
                let right =
                    if error { trust == Trust::Origin } else { one.fits(&reply, dialect, trust) };
                right.then_some(()).ok_or_else(|| format!("got {}", escaped(&reply)))
            });
            if let Err(why) = checked {
                // The writer must not wait for a reader that is gone.
                let _ = client.writer().shutdown(std::net::Shutdown::Both);
                panic!(
                    "request {index}, {}, of {} wants\n{:?}: {why}",
                    escaped(&one.bytes),
                    asked.len(),
                    one.wants
                );
            }
            replies.fetch_add(1, Ordering::SeqCst);
        }
    });
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Memcache,
    Redis,
}

/// How much is known of what servers hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Everything: nothing fails, and a client alone writes its keys.
    Exact,
    /// A value may be gone or old, and a request may fail; but it is never another's.
    Origin,
}

/// A request and what must come back.
struct Asked {
    bytes: Vec<u8>,
    wants: Wants,
}

#[derive(Debug, PartialEq, Eq)]
enum Wants {
    /// No reply at all.
    Nothing,
    /// Exactly this.
    Bytes(Vec<u8>),
    /// For each key its value, if it has one.
    Values(Vec<(String, Option<String>)>),
}

/// What one client asks, foreseen by its seed.
struct Script {
    client: u64,
    dialect: Dialect,
    state: u64,
    count: u64,
    held: HashMap<String, String>,
}

impl Script {
    fn new(client: u64, dialect: Dialect) -> Self {
        Self { client, dialect, state: client * 2 + 1, count: 0, held: HashMap::new() }
    }

    fn next(&mut self) -> Asked {
        self.count += 1;
        let key = self.key();
        match self.random(10) {
            0..=2 => self.store(key, false),
            3 if self.dialect == Dialect::Memcache => self.store(key, true),
            3..=6 => self.fetch(vec![key]),
            7 | 8 => {
                let keys = (0..2 + self.random(6)).map(|_| self.key()).collect();
                self.fetch(keys)
            }
            _ => self.unique(&key),
        }
    }

    fn store(&mut self, key: String, quiet: bool) -> Asked {
        let padding = "x".repeat(usize::try_from(self.random(300)).unwrap());
        let value = format!("{key}={}:{padding}", self.count);
        let mut bytes = self.dialect.set(&key, &value);
        if quiet {
            let text = String::from_utf8(bytes).expect("text");
            bytes = text.replacen("\r\n", " noreply\r\n", 1).into_bytes();
        }
        self.held.insert(key, value);
        let stored = Wants::Bytes(self.dialect.stored().to_vec());
        Asked { bytes, wants: if quiet { Wants::Nothing } else { stored } }
    }

    fn fetch(&mut self, keys: Vec<String>) -> Asked {
        let bytes = self.dialect.get(&keys);
        let pair = |key: String| {
            let value = self.held.get(&key).cloned();
            (key, value)
        };
        Asked { bytes, wants: Wants::Values(keys.into_iter().map(pair).collect()) }
    }

    /// Something whose reply only this request can have.
    fn unique(&mut self, key: &str) -> Asked {
        let word = format!("{}-{}", self.client, self.count);
        match self.dialect {
            Dialect::Memcache => self.fetch(vec![format!("{key}-{}", self.count)]),
            Dialect::Redis => {
                let verb: Vec<&str> = match self.random(2) {
                    0 => vec!["ECHO", &word],
                    _ => vec!["EVAL", "return ARGV[1]", "1", key, &word],
                };
                let wants = format!("${}\r\n{word}\r\n", word.len()).into_bytes();
                Asked { bytes: resp(&verb), wants: Wants::Bytes(wants) }
            }
        }
    }

    fn key(&mut self) -> String {
        let number = self.random(KEYS);
        format!("c{}:k{number}", self.client)
    }

    /// A number below `bound`, by xorshift: the same in every run.
    fn random(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % bound
    }
}

impl Asked {
    fn fits(&self, reply: &[u8], dialect: Dialect, trust: Trust) -> bool {
        match &self.wants {
            Wants::Nothing => false,
            Wants::Bytes(bytes) => reply == bytes,
            Wants::Values(pairs) => dialect.values(reply, pairs).is_some_and(|values| {
                pairs.iter().zip(values).all(|((key, held), value)| match trust {
                    Trust::Exact => value == *held,
                    Trust::Origin => {
                        value.is_none_or(|value| value.starts_with(&format!("{key}=")))
                    }
                })
            }),
        }
    }
}

impl Dialect {
    fn set(self, key: &str, value: &str) -> Vec<u8> {
        match self {
            Self::Memcache => format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()).into_bytes(),
            Self::Redis => resp(&["SET", key, value]),
        }
    }

    fn get(self, keys: &[String]) -> Vec<u8> {
        match self {
            Self::Memcache => format!("get {}\r\n", keys.join(" ")).into_bytes(),
            Self::Redis => {
                let verb = if keys.len() == 1 { "GET" } else { "MGET" };
                let words = std::iter::once(verb).chain(keys.iter().map(String::as_str));
                resp(&words.collect::<Vec<_>>())
            }
        }
    }

    fn stored(self) -> &'static [u8] {
        match self {
            Self::Memcache => b"STORED\r\n",
            Self::Redis => b"+OK\r\n",
        }
    }

    /// One of the errors that a failing server may cause; no other error is right.
    fn is_error(self, reply: &[u8]) -> bool {
        let text = String::from_utf8_lossy(reply);
        let mark = if self == Self::Memcache { "SERVER_ERROR " } else { "-" };
        let known = [
            "Connection refused",
            "Connection reset by peer",
            "Connection timed out",
            "Broken pipe",
            "backend queue full",
        ];
        let rest = text.strip_prefix(mark).map(|rest| rest.trim_start_matches("ERR "));
        rest.is_some_and(|rest| known.contains(&rest.trim_end()))
    }

    /// The value of each key as the reply has them; `None` if the reply is no answer to these keys.
    fn values(
        self,
        reply: &[u8],
        pairs: &[(String, Option<String>)],
    ) -> Option<Vec<Option<String>>> {
        let text = std::str::from_utf8(reply).ok()?;
        match self {
            Self::Memcache => memcache_values(text, pairs),
            Self::Redis => redis_values(text, pairs.len()),
        }
    }
}

fn memcache_values(text: &str, pairs: &[(String, Option<String>)]) -> Option<Vec<Option<String>>> {
    let mut rest = text;
    let mut values = Vec::new();
    for (key, _) in pairs {
        let Some(block) = rest.strip_prefix(&format!("VALUE {key} 0 ")) else {
            values.push(None);
            continue;
        };
        let (length, data) = block.split_once("\r\n")?;
        let length: usize = length.parse().ok()?;
        values.push(Some(data.get(..length)?.to_owned()));
        rest = data.get(length..)?.strip_prefix("\r\n")?;
    }
    // A key asked for twice may be answered at its second place only if it was at the first.
    (rest == "END\r\n").then_some(values)
}

fn redis_values(text: &str, count: usize) -> Option<Vec<Option<String>>> {
    let mut rest = match count {
        1 => text,
        _ => text.strip_prefix(&format!("*{count}\r\n"))?,
    };
    let mut values = Vec::new();
    for _ in 0..count {
        let (length, data) = rest.strip_prefix('$')?.split_once("\r\n")?;
        if length == "-1" {
            values.push(None);
            rest = data;
        } else {
            let length: usize = length.parse().ok()?;
            values.push(Some(data.get(..length)?.to_owned()));
            rest = data.get(length..)?.strip_prefix("\r\n")?;
        }
    }
    rest.is_empty().then_some(values)
}

fn resp(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        write!(text, "${}\r\n{word}\r\n", word.len()).expect("a string takes all");
    }
    text.into_bytes()
}

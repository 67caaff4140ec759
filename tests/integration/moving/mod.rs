//! A Redis pool that gets a third server while it serves: real servers, phases walked by the
//! operator, keys moved and never copied.

mod carrying;
mod faults;
mod fields;
mod fleet;
mod load;
mod near;
mod operator;
mod phases;
mod sessions;
mod types;
mod versions;

use serde_json::Value;
use twinring::config::{Distribution, Hash, HashChar, Routing};
use twinring::routing::{DualRing, Phase, Place};
use twinring::topology::{Server, ring_order, text_of_key};

use crate::support::{Client, LONG, PoolSpec, Proxy, Redis, wait_until};

use Phase::{Drain, Fence, New, Prepare, Stable, Warm};

const FENCED: &str = "-ERR the pool changes its servers, try again\r\n";

/// The whole way.
const FORWARDS: [Phase; 5] = [Prepare, Fence, Warm, Drain, New];
const BACK: [Phase; 5] = [Drain, Warm, Fence, Prepare, Stable];

/// Three servers, of which two are in the ring at first, and the proxies in front of them.
struct Stage {
    servers: Vec<Redis>,
    proxies: Vec<Proxy>,
}

impl Stage {
    fn new(settings: &str) -> Self {
        Self::with(1, settings, &[], &[])
    }

    /// So many proxies, with settings of the expansion (each with a comma behind it), of the servers
    /// and of the pool.
    fn with(proxies: usize, settings: &str, server_args: &[&str], pool: &[(&str, &str)]) -> Self {
        let servers = (0..3).map(|_| Redis::start(server_args)).collect();
        Self::over(servers, (proxies, settings), pool)
    }

    /// The same over these servers.
    fn over(
        servers: Vec<Redis>,
        (proxies, settings): (usize, &str),
        pool: &[(&str, &str)],
    ) -> Self {
        let mut stage = Self { servers, proxies: Vec::new() };
        for _ in 0..proxies {
            let proxy = stage.proxy("stable", settings, pool);
            stage.proxies.push(proxy);
        }
        stage.settle();
        stage
    }

    /// A proxy that begins in a phase.
    fn proxy(&self, phase: &str, settings: &str, more: &[(&str, &str)]) -> Proxy {
        let ports: Vec<u16> = self.servers.iter().map(Redis::port).collect();
        let all: Vec<String> = (1..)
            .zip(&ports)
            .map(|(number, port)| format!("'127.0.0.1:{port}:1 server{number}'"))
            .collect();
        let all = all.join(", ");
        // Other tests may keep servers from running for a while.
        let set = ["migrate_timeout", "data: cache"].iter().any(|word| settings.contains(word));
        let patience = if set { "" } else { "migrate_timeout: 5s," };
        let settings = format!("{settings} {patience}");
        let mut pool = PoolSpec::redis(&ports[..2])
            .set("timeout", 5000)
            .set("allow_flush", true)
            .set("allow_scan", true)
            .set("expansion", format!("{{ phase: {phase}, {settings} servers: [ {all} ] }}"));
        for (key, value) in more {
            pool = pool.set(key, value);
        }
        Proxy::twinring_with(&["workers: 2"], vec![pool])
    }

    fn client(&self) -> Client {
        self.proxies[0].client()
    }

    /// A client of a server itself.
    fn server(&self, at: usize) -> Client {
        Client::connect(self.servers[at].port())
    }

    /// Takes all proxies to a neighbouring phase, one after the other, as soon as all have
    /// acknowledged the phase before.
    fn go(&self, phase: Phase) {
        assert!(wait_until(LONG, || self.proxies.iter().all(has_settled)), "not settled");
        for proxy in &self.proxies {
            let reply = http("POST", proxy, &format!("?pool=pool0&phase={}", phase.name()));
            assert!(reply.contains(" -> "), "{reply}");
        }
    }

    fn walk(&self, phases: &[Phase]) {
        phases.iter().for_each(|phase| self.go(*phase));
    }

    fn settle(&self) {
        assert!(wait_until(LONG, || self.proxies.iter().all(has_settled)), "not settled");
    }

    /// A counter of all proxies.
    fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.proxies.iter().map(|proxy| proxy.metrics().get(name, labels)).sum()
    }

    fn moves(&self, result: &str) -> f64 {
        self.count("twinring_expansion_moves_total", &[("result", result)])
    }

    fn split_brain(&self) -> f64 {
        self.count("twinring_expansion_split_brain_total", &[])
    }

    fn has(&self, at: usize, key: &str) -> bool {
        ask(&mut self.server(at), &format!("EXISTS {key}")) == ":1\r\n"
    }

    /// Keys of a server.
    fn keys(&self, at: usize) -> Vec<String> {
        let text = ask(&mut self.server(at), "KEYS *");
        let words = text.split("\r\n").filter(|line| !line.is_empty());
        words.filter(|line| !line.starts_with(['$', '*'])).map(str::to_owned).collect()
    }
}

fn has_settled(proxy: &Proxy) -> bool {
    report(proxy)["settled"] == true
}

/// What `/expansion` says of the pool.
fn report(proxy: &Proxy) -> Value {
    let text = http("GET", proxy, "");
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str::<Value>(body).unwrap_or_else(|_| panic!("{text}"))[0].clone()
}

fn http(method: &str, proxy: &Proxy, query: &str) -> String {
    let mut client = Client::connect(proxy.admin_port());
    let head = format!("{method} /expansion{query} HTTP/1.1\r\nHost: localhost\r\n");
    client.send(format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n"));
    String::from_utf8(client.read_to_end()).unwrap()
}

/// What one inline command is answered with.
fn ask(client: &mut Client, command: &str) -> String {
    client.send(format!("{command}\r\n"));
    String::from_utf8_lossy(&client.redis_reply()).into_owned()
}

/// The rings of the stage: they are made of names alone.
fn rings() -> DualRing {
    let server = |number| format!("127.0.0.1:1:1 server{number}").parse::<Server>().unwrap();
    let mut all: Vec<Server> = (1..=3).map(server).collect();
    ring_order(&mut all);
    let routing = Routing {
        hash: Hash::Fnv1a64,
        hash_char: HashChar::Signed,
        hash_tag: None,
        distribution: Distribution::Ketama,
    };
    DualRing::new(&routing, &all, (&all[..2], &all), Warm)
}

/// Keys that move, with the servers that have them before and after.
fn moving(count: usize) -> Vec<(String, usize, usize)> {
    let rings = rings();
    let key = |number: u32| format!("key-{:08x}", number.wrapping_mul(0x9e37_79b1));
    let moved = |key: String| match rings.place(key.as_bytes()) {
        Some(Place::Moved { old, new }) => Some((key, old, new)),
        _ => None,
    };
    (0..).map(key).filter_map(moved).take(count).collect()
}

/// A key that is no text, and one that begins with the prefix of those that are written as base64,
/// both of which move: the server of each before, and its entry under `pin:`.
fn odd() -> [(Vec<u8>, usize, String); 2] {
    let rings = rings();
    [&b"\x00\xff\r\n"[..], b"base64:"].map(|head| {
        let keys = (0..u32::MAX).map(|number| [head, number.to_string().as_bytes()].concat());
        let moved = |key: Vec<u8>| match rings.place(&key) {
            Some(Place::Moved { old, .. }) => Some((text_of_key(&key), old, key)),
            _ => None,
        };
        let (entry, old, key) = keys.filter_map(moved).next().expect("a key that moves");
        assert!(entry.starts_with("base64:") && entry.as_bytes() != key, "{entry}");
        (key, old, entry)
    })
}

/// A command of these words, whatever bytes they are.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend([word, &b"\r\n"[..]].concat());
    }
    bytes
}

/// Keys that stay.
fn staying(count: usize) -> Vec<String> {
    let rings = rings();
    let stays = |key: &String| matches!(rings.place(key.as_bytes()), Some(Place::One(_)));
    (0..).map(|number| format!("stays-{number}")).filter(stays).take(count).collect()
}

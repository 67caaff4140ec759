//! A pool whose data is a cache: servers are not told to hand keys over, the proxies carry strings,
//! and what cannot be carried, or proven to be the latest, is a miss.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use twinring::service::{put_value_command, take_command, token_command};

use super::{BACK, Drain, FORWARDS, Fence, New, Prepare, Stage, Warm, ask, moving, report};
use crate::expand::done;
use crate::support::{Authority, Client, LONG, PoolSpec, Proxy, Redis, wait_until};

/// As managed services have it.
const NO_MIGRATE: &[&str] = &[
    "--rename-command",
    "MIGRATE",
    "",
    "--rename-command",
    "RESTORE",
    "",
    "--rename-command",
    "DUMP",
    "",
];

fn cache(proxies: usize, more: &str) -> Stage {
    Stage::with(proxies, &format!("data: cache, carry_timeout: 1s, {more}"), NO_MIGRATE, &[])
}

/// What a command given word by word is answered with.
fn tell(client: &mut Client, words: &[Vec<u8>]) -> String {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend(format!("${}\r\n", word.len()).into_bytes());
        wire.extend(word);
        wire.extend(b"\r\n");
    }
    client.send(wire);
    String::from_utf8_lossy(&client.redis_reply()).into_owned()
}

fn figure(reply: &str) -> i64 {
    reply.trim_start_matches(':').trim_end().parse().unwrap()
}

#[test]
fn strings_are_carried_with_their_time_and_everything_else_is_gone() {
    let settings = "data: cache, carry_timeout: 60s, sweep: 0, big_key_bytes: 1000,";
    let stage = Stage::with(1, settings, NO_MIGRATE, &[]);
    let mut client = stage.client();
    let keys: Vec<String> = moving(6).into_iter().map(|(key, ..)| key).collect();
    let [plain, timed, empty, list, large, count] = [0, 1, 2, 3, 4, 5].map(|at| &keys[at]);
    let text = "x".repeat(1001);
    for (command, reply) in [
        (format!("SET {plain} \"a\\r\\n\\x00b\""), "+OK\r\n"),
        (format!("SET {timed} 1 PX 500000"), "+OK\r\n"),
        (format!("SET {empty} \"\""), "+OK\r\n"),
        (format!("RPUSH {list} a b"), ":2\r\n"),
        (format!("SET {large} {text}"), "+OK\r\n"),
        (format!("INCR {count}"), ":1\r\n"),
    ] {
        client.ask(format!("{command}\r\n"), reply);
    }
    stage.walk(&[Prepare, Fence, Warm]);
    client.ask(format!("GET {plain}\r\n"), "$5\r\na\r\n\x00b\r\n");
    client.ask(format!("GET {empty}\r\n"), "$0\r\n\r\n");
    client.ask(format!("GET {timed}\r\n"), "$1\r\n1\r\n");
    let left = figure(&ask(&mut client, &format!("PTTL {timed}")));
    assert!((400_000..500_000).contains(&left), "{left}");
    assert_eq!(ask(&mut client, &format!("PTTL {plain}")), ":-1\r\n");
    client.ask(format!("INCR {count}\r\nINCR {count}\r\n"), ":2\r\n:3\r\n");
    client.ask(format!("LRANGE {list} 0 -1\r\nGET {large}\r\n"), "*0\r\n$-1\r\n");
    client.ask(format!("RPUSH {list} c\r\n"), ":1\r\n");
    for (key, old, new) in moving(6) {
        assert_eq!((stage.has(old, &key), stage.has(new, &key)), (false, key != *large), "{key}");
    }
    assert_eq!((stage.moves("moved"), stage.moves("dropped")), (4.0, 2.0));
    assert_eq!((stage.moves("absent"), stage.moves("failed")), (0.0, 0.0));
    // Nothing is left that is not the clients'.
    let mut names: Vec<String> = (0..3).flat_map(|at| stage.keys(at)).collect();
    names.sort();
    let mut wanted: Vec<String> = keys.iter().filter(|key| *key != large).cloned().collect();
    wanted.sort();
    assert_eq!(names, wanted);
}

#[test]
fn what_nobody_asks_for_is_swept_there_and_back() {
    let stage = cache(2, "sweep: 2000,");
    let mut client = stage.client();
    let keys = moving(200);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.walk(&FORWARDS);
    stage.settle();
    assert_eq!((stage.keys(0).len() + stage.keys(1).len(), stage.keys(2).len()), (0, 200));
    stage.walk(&BACK);
    stage.settle();
    assert_eq!((stage.keys(0).len() + stage.keys(1).len(), stage.keys(2).len()), (200, 0));
    assert_eq!((stage.moves("moved"), stage.moves("dropped")), (400.0, 0.0));
    assert_eq!(stage.moves("failed"), 0.0);
    // The end waits until what others may carry is there or void.
    assert_eq!(stage.split_brain(), 0.0);
}

/// Somebody else takes a key and is slow: whoever asks for it waits, and what comes later is void.
#[test]
fn what_comes_after_its_time_is_not_put_down() {
    let stage = cache(1, "sweep: 0,");
    let mut client = stage.client();
    let (key, old, new) = moving(1).remove(0);
    client.ask(format!("SET {key} dead\r\n"), "+OK\r\n");
    stage.walk(&[Prepare, Fence, Warm]);
    stage.settle();
    let (mut from, mut to) = (stage.server(old), stage.server(new));
    assert_eq!(tell(&mut to, &token_command(key.as_bytes(), b"other", 1000)), "+OK\r\n");
    let taken = tell(&mut from, &take_command(key.as_bytes(), 100));
    assert_eq!(taken, "*2\r\n$4\r\ndead\r\n:-1\r\n");
    let begun = std::time::Instant::now();
    client.ask(format!("GET {key}\r\n"), "$-1\r\n");
    assert!(begun.elapsed().as_millis() >= 500, "{:?}", begun.elapsed());
    client.ask(format!("SET {key} newer\r\nDEL {key}\r\n"), "+OK\r\n:1\r\n");
    let put = put_value_command(key.as_bytes(), (b"other", 1000), b"dead");
    assert_eq!(tell(&mut to, &put), ":0\r\n");
    client.ask(format!("GET {key}\r\n"), "$-1\r\n");
    // In time it is there, and whoever has waited finds it.
    let (key, old, new) = moving(40).into_iter().find(|it| it.1 == old && it.0 != key).unwrap();
    let (mut from, mut to) = (stage.server(old), stage.server(new));
    let mut other = stage.client();
    assert_eq!(tell(&mut to, &token_command(key.as_bytes(), b"more", 60_000)), "+OK\r\n");
    assert_eq!(tell(&mut from, &take_command(key.as_bytes(), 100)), ":0\r\n");
    other.send(format!("GET {key}\r\n"));
    let waits = || stage.count("twinring_expansion_operations", &[]) == 1.0;
    assert!(wait_until(LONG, waits));
    let put = put_value_command(key.as_bytes(), (b"more", 60_000), b"good");
    assert_eq!(tell(&mut to, &put), ":1\r\n");
    other.expect("$4\r\ngood\r\n");
}

#[test]
fn a_new_server_that_has_the_key_keeps_its_own() {
    let stage = cache(1, "sweep: 0,");
    let mut client = stage.client();
    let (key, old, new) = moving(1).remove(0);
    client.ask(format!("SET {key} older\r\n"), "+OK\r\n");
    stage.walk(&[Prepare, Fence, Warm]);
    stage.server(new).ask(format!("SET {key} newer\r\n"), "+OK\r\n");
    client.ask(format!("GET {key}\r\n"), "$5\r\nnewer\r\n");
    assert!(!stage.has(old, &key));
    assert_eq!((stage.split_brain(), stage.moves("moved")), (1.0, 0.0));
}

#[test]
fn a_time_to_live_never_grows() {
    let stage = cache(1, "sweep: 0,");
    let (key, old, new) = moving(1).remove(0);
    let (mut from, mut to) = (stage.server(old), stage.server(new));
    for (ttl, held) in [(60_000, 20_000), (10_000, 20_000)] {
        ask(&mut to, &format!("DEL {key}"));
        from.ask(format!("SET {key} v PX {ttl}\r\n"), "+OK\r\n");
        assert_eq!(tell(&mut to, &token_command(key.as_bytes(), b"t", 30_000)), "+OK\r\n");
        let taken = tell(&mut from, &take_command(key.as_bytes(), 100));
        let left = figure(taken.rsplit("\r\n").nth(1).unwrap());
        assert!(left <= ttl);
        // As if it had been on its way for so long.
        to.ask(format!("PEXPIRE twinring:token:{key} {}\r\n", 30_000 - held), ":1\r\n");
        let mut put = put_value_command(key.as_bytes(), (b"t", 30_000), b"v");
        *put.last_mut().unwrap() = left.to_string().into_bytes();
        assert_eq!(tell(&mut to, &put), ":1\r\n");
        let found = figure(&ask(&mut to, &format!("PTTL {key}")));
        if ttl > held {
            assert!((1..=ttl - held).contains(&found), "{found}");
        } else {
            assert_eq!(found, -2, "its time was over");
        }
    }
}

/// What a client thread knows of one key: values are numbers that are written once.
#[derive(Default)]
struct History {
    done: BTreeSet<u64>,
    dead: BTreeSet<u64>,
}

impl History {
    /// A write that was acknowledged: what had been before it began is dead.
    fn wrote(&mut self, before: BTreeSet<u64>, value: Option<u64>) {
        self.dead.extend(before);
        self.done.extend(value);
    }
}

/// Sets, deletes and reads keys as long as it takes; how many reads have found something.
fn use_keys(
    (client, seed): (&mut Client, u64),
    (keys, histories): (&[String], &[Mutex<History>]),
    (next, over): (&AtomicU64, &AtomicBool),
) -> u64 {
    let (mut dice, mut found) = (seed, 0);
    while !over.load(Ordering::Relaxed) {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // All are at few keys that nobody has asked for lately.
        let at = next.load(Ordering::Relaxed) / 3 + (dice >> 33) % 8;
        let at = at as usize % keys.len();
        let (key, history) = (&keys[at], &histories[at]);
        let refused = |reply: &str| {
            // At the fence; nothing else may go wrong.
            assert!(!reply.starts_with('-') || reply == super::FENCED, "{reply}");
            reply.starts_with('-')
        };
        match (dice >> 40) % 8 {
            kind @ 0..=2 => {
                let value = next.fetch_add(1, Ordering::Relaxed);
                let before = history.lock().unwrap().done.clone();
                let (command, value) = match kind {
                    0 => (format!("SET {key} {value}"), Some(value)),
                    1 => (format!("SET {key} {value} PX 60000"), Some(value)),
                    _ => (format!("DEL {key}"), None),
                };
                if !refused(&ask(client, &command)) {
                    history.lock().unwrap().wrote(before, value);
                }
            }
            _ => {
                let dead = history.lock().unwrap().dead.clone();
                let reply = ask(client, &format!("GET {key}"));
                if !refused(&reply) && reply != "$-1\r\n" {
                    let value: u64 = reply.split("\r\n").nth(1).unwrap().parse().unwrap();
                    assert!(!dead.contains(&value), "{key}: {value} was dead");
                    found += 1;
                }
            }
        }
    }
    found
}

#[test]
fn a_fleet_walks_there_and_back_and_no_get_finds_a_dead_value() {
    let settings = "data: cache, carry_timeout: 100ms, fence: 5s, sweep: 100,";
    let stage = Stage::with(3, settings, NO_MIGRATE, &[]);
    let keys: Vec<String> = moving(1000).into_iter().map(|(key, ..)| key).collect();
    let histories: Vec<Mutex<History>> = keys.iter().map(|_| Mutex::default()).collect();
    let (next, over, found) = (AtomicU64::new(1), AtomicBool::new(false), AtomicU64::new(0));
    let mut client = stage.client();
    for (key, history) in keys.iter().zip(&histories) {
        let value = next.fetch_add(1, Ordering::Relaxed);
        client.ask(format!("SET {key} {value}\r\n"), "+OK\r\n");
        history.lock().unwrap().wrote(BTreeSet::new(), Some(value));
    }
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let mut client = stage.proxies[thread as usize % 3].client();
            let (keys, histories, next, over, found) = (&keys, &histories, &next, &over, &found);
            scope.spawn(move || {
                let seen = use_keys((&mut client, thread + 1), (keys, histories), (next, over));
                found.fetch_add(seen, Ordering::Relaxed);
            });
        }
        let go_on = |more: u64| {
            let begun = next.load(Ordering::Relaxed);
            assert!(wait_until(LONG, || next.load(Ordering::Relaxed) >= begun + more));
        };
        // A proxy that stops with values in its hands, be it for longer than their tokens live.
        let stop = |proxy: &Proxy, more: u64| {
            proxy.process.freeze();
            go_on(more);
            proxy.process.thaw();
        };
        let progress = || {
            for proxy in stage.proxies.iter().cycle().take(12) {
                stop(proxy, 25);
                go_on(10);
            }
        };
        let early = [Prepare, Fence, Warm, Fence, Prepare, Fence, Warm, Drain, Warm, Drain, New];
        for phase in early.into_iter().chain(BACK).chain(FORWARDS) {
            stage.go(phase);
            if phase != Fence {
                progress();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(found.load(Ordering::Relaxed) > 1000, "gets that found something");
    assert!(stage.moves("moved") > 100.0, "keys have been carried");
    stage.settle();
    // Each key is at one server at most, and tokens are gone.
    let mut all: Vec<String> = (0..3).flat_map(|at| stage.keys(at)).collect();
    all.retain(|key| !key.starts_with("twinring:token:"));
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(count, all.len());
}

#[test]
fn servers_that_may_not_migrate_are_found_fit_and_those_without_scripts_are_not() {
    let stage = cache(1, "");
    let file = stage.proxies[0].config().display().to_string();
    let mut client = stage.client();
    let keys = moving(3);
    client.ask(format!("SET {} 1\r\nRPUSH {} 1\r\n", keys[0].0, keys[1].0), "+OK\r\n:1\r\n");
    let plan = done(&["plan", "-c", &file]);
    let words = ["keys that move: 2 of 2", "will be gone: 1 that are no strings, 0 of more than"];
    assert!(words.iter().all(|words| plan.contains(words)), "{plan}");
    done(&["advance", "-c", &file, "--to", "prepare"]);
    stage.server(2).ask("ACL SETUSER default -eval\r\n", "+OK\r\n");
    let (code, text) = crate::expand::told(&["advance", "-c", &file, "--to", "fence"]);
    assert!(code == 1 && text.contains("server server3") && text.contains("NOPERM"), "{text}");
    stage.server(2).ask("ACL SETUSER default +@all\r\n", "+OK\r\n");
    for to in ["fence", "warm", "drain", "new"] {
        done(&["advance", "-c", &file, "--to", to]);
    }
    let status = done(&["status", "-c", &file]);
    assert!(status.contains("keys moved\t1\n"), "{status}");
    assert!(status.contains("keys that were dropped\t1\n"), "{status}");
    assert_eq!(report(&stage.proxies[0])["keys"]["dropped"], 1);
    let explain = done(&["explain", &keys[0].0, "-c", &file, "--pool", "pool0"]);
    assert!(explain.contains("commands\tat server3"), "{explain}");
    // The probes leave nothing behind.
    client.ask("DBSIZE\r\n", ":1\r\n");
}

/// Walks a pool over these servers by command, and sees that a value goes along.
fn walks(servers: [String; 3], pool: impl Fn(PoolSpec) -> PoolSpec) {
    let listed = servers.each_ref().map(|server| format!("'{server}'")).join(", ");
    let spec = PoolSpec::of(true, servers[..2].to_vec()).set("timeout", 5000).set(
        "expansion",
        format!("{{ data: cache, carry_timeout: 1s, phase: stable, servers: [ {listed} ] }}"),
    );
    let proxy = Proxy::twinring_with(&["workers: 2"], vec![pool(spec)]);
    let (file, mut client) = (proxy.config().display().to_string(), proxy.client());
    let keys = moving(20);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    for to in ["prepare", "fence", "warm", "drain", "new"] {
        done(&["advance", "-c", &file, "--to", to]);
    }
    for (key, ..) in &keys {
        client.ask(format!("GET {key}\r\n"), "$1\r\n1\r\n");
    }
    let moved = [("result", "moved")];
    assert_eq!(proxy.metrics().get("twinring_expansion_moves_total", &moved), 20.0);
}

#[test]
fn servers_with_unix_sockets_and_with_tls_are_walked_between() {
    let scratch = crate::support::Scratch::new();
    let sockets =
        [1, 2, 3].map(|at| scratch.path().join(format!("{at}.sock")).display().to_string());
    let _servers = sockets.each_ref().map(|socket| Redis::start(&["--unixsocket", socket]));
    let number = |at: usize| format!("{}:1 server{}", sockets[at], at + 1);
    walks([0, 1, 2].map(number), |pool| pool);

    let authority = Authority::new();
    let own = authority.sign("redis", &["localhost", "127.0.0.1"]);
    let servers = [0; 3].map(|_| {
        let [certificate, key] =
            [&own.certificate, &own.key].map(|file| file.display().to_string());
        let ca = authority.ca().display().to_string();
        let tls =
            ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        Redis::start_secure(&[&tls[..], &["--tls-auth-clients", "no"]].concat())
    });
    let ca = authority.ca().display().to_string();
    let number = |at: usize| format!("127.0.0.1:{}:1 server{}", servers[at].port(), at + 1);
    walks([0, 1, 2].map(number), |pool| pool.set("server_tls", format!("{{ ca: {ca} }}")));
}

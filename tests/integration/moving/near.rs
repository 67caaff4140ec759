//! A near cache beside two rings: keys that move pass it by from prepare to drain, nothing of before is
//! shown after, and what a proxy has acknowledged its clients see.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{BACK, FORWARDS, Fence, Prepare, Stage, Warm, ask, moving, staying};
use crate::support::{Client, LONG, Proxy, wait_until};

/// S of these tests.
const BOUND: Duration = Duration::from_millis(500);

fn stage(proxies: usize, settings: &str, mode: &str) -> Stage {
    let near = format!("{{ memory: 8MiB, admit: all, {mode} }}");
    Stage::with(proxies, settings, &[], &[("near_cache", &near)])
}

fn lookups(proxy: &Proxy, result: &str) -> f64 {
    proxy.metrics().get("twinring_near_cache_requests_total", &[("result", result)])
}

/// Reads until the near cache answers.
fn warm(proxy: &Proxy, key: &str, value: &str) {
    let (mut client, before) = (proxy.client(), lookups(proxy, "hit"));
    let found = format!("${}\r\n{value}\r\n", value.len());
    let hit = wait_until(LONG, || {
        (0..3).for_each(|_| client.ask(format!("GET {key}\r\n"), &found));
        lookups(proxy, "hit") > before
    });
    assert!(hit, "{key} is not kept");
}

#[test]
fn what_was_kept_of_a_key_that_moves_goes_with_the_phase() {
    for mode in ["mode: tracked, lease: 10s", "mode: ttl, max_age: 10s"] {
        let stage = stage(1, "sweep: 0,", mode);
        let ((key, old, new), stays) = (moving(1).remove(0), staying(1).remove(0));
        let proxy = &stage.proxies[0];
        let mut client = proxy.client();
        client.ask(format!("SET {key} 1\r\nSET {stays} 1\r\n"), "+OK\r\n+OK\r\n");
        warm(proxy, &key, "1");
        for (number, phase) in (2..).zip([Prepare, Fence, Warm]) {
            stage.go(phase);
            if phase == Fence {
                continue;
            }
            // Another proxy changes it, where it is now.
            let at = if phase == Prepare { old } else { new };
            if phase == Warm {
                client.ask(format!("GET {key}\r\n"), "$1\r\n2\r\n");
            }
            stage.server(at).ask(format!("SET {key} {number}\r\n"), "+OK\r\n");
            for _ in 0..3 {
                client.ask(format!("GET {key}\r\n"), format!("$1\r\n{number}\r\n"));
                let both = format!("*2\r\n$1\r\n{number}\r\n$1\r\n1\r\n");
                client.ask(format!("MGET {key} {stays}\r\n"), both);
            }
            assert!(lookups(proxy, "moving") > 0.0);
            warm(proxy, &stays, "1");
        }
    }
}

#[test]
fn at_its_new_server_a_key_is_kept_and_the_server_tells_of_it() {
    let stage = stage(1, "", "mode: tracked, lease: 10s");
    let (key, old, new) = moving(1).remove(0);
    stage.client().ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    warm(&stage.proxies[0], &key, "1");
    stage.walk(&FORWARDS);
    warm(&stage.proxies[0], &key, "1");
    let mut client = stage.client();
    let seen = |client: &mut Client, value: &str| {
        let found = format!("${}\r\n{value}\r\n", value.len());
        assert!(wait_until(Duration::from_secs(5), || ask(client, &format!("GET {key}")) == found));
    };
    stage.server(new).ask(format!("SET {key} 2\r\n"), "+OK\r\n");
    seen(&mut client, "2");
    warm(&stage.proxies[0], &key, "2");
    stage.walk(&BACK);
    warm(&stage.proxies[0], &key, "2");
    stage.server(old).ask(format!("SET {key} 3\r\n"), "+OK\r\n");
    seen(&mut client, "3");
}

/// Counters: a later value is a larger one.
struct Counter {
    key: String,
    moves: bool,
    /// What each proxy has acknowledged to any of its clients.
    own: [AtomicU64; 2],
    /// What any has, and when.
    all: Mutex<Vec<(Instant, u64)>>,
}

impl Counter {
    fn new(key: String, moves: bool) -> Self {
        Self { key, moves, own: Default::default(), all: Mutex::default() }
    }

    fn wrote(&self, proxy: usize, value: u64) {
        self.all.lock().unwrap().push((Instant::now(), value));
        self.own[proxy].fetch_max(value, Ordering::SeqCst);
    }

    /// What a read that begins now must find at least; `between`: all proxies are between the rings.
    fn floor(&self, proxy: usize, between: bool) -> u64 {
        let now = Instant::now();
        let all = self.all.lock().unwrap();
        // What moves passes the near cache by then: it is what any proxy has acknowledged.
        let bound = if self.moves && between { Duration::ZERO } else { BOUND };
        let old = all.iter().filter(|(at, _)| *at + bound < now).map(|(_, value)| *value);
        let own = self.own[proxy].load(Ordering::SeqCst);
        old.max().unwrap_or(0).max(own)
    }
}

fn figure(reply: &str) -> Option<u64> {
    reply.split("\r\n").filter_map(|line| line.trim_start_matches(':').parse().ok()).last()
}

fn refused(reply: &str) -> bool {
    assert!(!reply.starts_with('-') || reply == super::FENCED, "{reply}");
    reply.starts_with('-')
}

/// Reads a counter by a proxy, or counts it up.
fn use_one(
    client: &mut Client,
    counter: &Counter,
    (proxy, writes): (usize, bool),
    between: &AtomicBool,
) {
    if writes {
        let reply = ask(client, &format!("INCR {}", counter.key));
        if !refused(&reply) {
            counter.wrote(proxy, figure(&reply).unwrap());
        }
        return;
    }
    let floor = counter.floor(proxy, between.load(Ordering::SeqCst));
    let reply = ask(client, &format!("GET {}", counter.key));
    if !refused(&reply) {
        let value = if reply == "$-1\r\n" { 0 } else { figure(&reply).unwrap() };
        assert!(value >= floor, "{}: {value} after {floor}", counter.key);
    }
}

#[test]
fn a_walk_there_and_back_under_load_shows_nothing_older_than_it_may() {
    for mode in ["mode: tracked, lease: 500ms", "mode: ttl, max_age: 500ms"] {
        let stage = stage(2, "fence: 5s,", mode);
        let moves = moving(8).into_iter().map(|(key, ..)| Counter::new(key, true));
        let stays = staying(4).into_iter().map(|key| Counter::new(key, false));
        let counters: Vec<Counter> = moves.chain(stays).collect();
        let (over, uses) = (AtomicBool::new(false), AtomicU64::new(0));
        let between = &AtomicBool::new(false);
        let go_on = &|thread: usize| {
            let mut client = stage.proxies[thread % 2].client();
            let rounds = (thread..).step_by(3);
            for round in rounds.take_while(|_| !over.load(Ordering::Relaxed)) {
                let counter = &counters[round % counters.len()];
                use_one(&mut client, counter, (thread % 2, round % 17 < 2), between);
                uses.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            (0..8).for_each(|thread| drop(scope.spawn(move || go_on(thread))));
            let progress = || {
                let begun = uses.load(Ordering::Relaxed);
                assert!(wait_until(LONG, || uses.load(Ordering::Relaxed) >= begun + 4000));
            };
            progress();
            for phase in FORWARDS.into_iter().chain(BACK).chain(FORWARDS) {
                let ends = matches!(phase, super::Stable | super::New);
                if ends {
                    // Whoever is there first keeps what the other one changes.
                    between.store(false, Ordering::SeqCst);
                }
                stage.go(phase);
                stage.settle();
                between.store(!ends, Ordering::SeqCst);
                if phase != Fence {
                    progress();
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        for proxy in &stage.proxies {
            let seen = (lookups(proxy, "hit"), lookups(proxy, "moving"));
            assert!(seen.0 > 500.0 && seen.1 > 500.0, "{mode}: {seen:?}");
        }
        let mut client = stage.client();
        for counter in &counters {
            let all = counter.all.lock().unwrap();
            let last = all.iter().map(|(_, value)| *value).max().unwrap_or(0);
            assert_eq!(last as usize, all.len(), "{}: counted once each", counter.key);
            let found = || figure(&ask(&mut client, &format!("GET {}", counter.key))) == Some(last);
            assert!(wait_until(LONG, found), "{}", counter.key);
        }
        assert_eq!(stage.split_brain(), 0.0);
    }
}

/// Who has joined somebody's question that is never answered cannot ask past the gate.
#[test]
fn who_has_waited_in_vain_when_the_walk_begins_is_told_so_and_not_that_there_is_nothing() {
    let mut stage = stage(1, "sweep: 0,", "mode: ttl, max_age: 10s");
    let keys = moving(20);
    let (key, old, _) = &keys[0];
    let other = &keys.iter().find(|it| it.1 == *old && it.0 != *key).unwrap().0;
    let mut clients: Vec<_> = (0..8).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    stage.servers[*old].process.freeze();
    let (waiting, later) = clients.split_at_mut(4);
    waiting.iter_mut().for_each(|client| client.send(format!("GET {key}\r\n")));
    let proxy = &stage.proxies[0];
    let joined = || proxy.metrics().get("twinring_near_cache_joined_total", &[]) >= 2.0;
    assert!(wait_until(LONG, joined));
    stage.go(Prepare);
    // Both workers know of it.
    later.iter_mut().for_each(|client| client.send(format!("GET {other}\r\n")));
    assert!(wait_until(LONG, || lookups(&stage.proxies[0], "moving") >= 4.0));
    stage.servers[*old].kill();
    let replies: Vec<String> =
        waiting.iter_mut().map(|client| String::from_utf8(client.redis_reply()).unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.starts_with('-')), "{replies:?}");
    assert!(replies.iter().any(|reply| reply == super::FENCED), "{replies:?}");
}

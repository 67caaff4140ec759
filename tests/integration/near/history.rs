//! The promises of the near cache, held against real servers and faults.
//!
//! ```text
//!  writer ───────────────────────▶ server ◀── faults: connections killed, the server stopped or begun
//!                                   ▲   ▲            anew and empty, a tiny table of tracked keys
//!  readers, RESP2 and RESP3 ─▶ proxy A  proxy B ◀─ readers
//!  own writers and readers ──▶ proxy A (three workers; B has two)
//! ```
//! 1. What the own readers see is never older than what has been acknowledged to any of them.
//! 2. What the others see was current at some moment within the last S: `max_age`, or `lease`.
//! 3. Nothing outlives its time at the server by more than S, and 4. not because of the near cache.

use std::iter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Dice;
use super::own::Own;
use super::talk::{Ask, Talker, Tongue, command};
use super::timeline::Read;
use super::writer::Writer;
use crate::support::{Client, Memcached, PoolSpec, Process, Proxy, Redis, wait_until};

/// S of these tests.
const BOUND: Duration = Duration::from_millis(300);

/// The tests' own keys, and those whose changes are noted.
const OWN_KEYS: usize = 12;
const STRINGS: usize = 8;
const HASHES: usize = 3;

/// Changes of which one comes after the server has begun anew.
const RESTART_ONE_IN: u64 = 40;

/// How many threads read through each proxy.
const READERS: usize = 2;

enum Kind {
    Redis(Redis),
    Memcached(Memcached),
}

impl Kind {
    fn process(&self) -> &Process {
        match self {
            Self::Redis(server) => &server.process,
            Self::Memcached(server) => &server.process,
        }
    }

    /// Ends it and starts it again, empty.
    fn restart(&mut self) {
        match self {
            Self::Redis(server) => server.restart(),
            Self::Memcached(server) => server.restart(),
        }
    }
}

struct Server {
    port: u16,
    is_redis: bool,
    /// One fault at a time.
    process: Mutex<Kind>,
    outages: Mutex<Outages>,
}

/// What a near cache was asked for while it could keep little: its server was out of reach, or had
/// room for the names of a few keys that are kept.
#[derive(Debug, Default)]
struct Outages {
    sum: Lookups,
    /// What it had been asked for when the one that lasts began.
    since: Option<Lookups>,
}

impl Outages {
    fn begin(&mut self, now: Lookups) {
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Lookups) {
        let Some(since) = self.since.take() else { return };
        let during = now.without(since);
        self.sum.all += during.all;
        self.sum.hits += during.hits;
    }
}

/// How often a near cache was asked, and how often it had the answer.
#[derive(Clone, Copy, Debug, Default)]
struct Lookups {
    all: f64,
    hits: f64,
}

impl Lookups {
    /// So far.
    fn of(proxy: &Proxy) -> Self {
        let (name, metrics) = ("twinring_near_cache_requests_total", proxy.metrics());
        Self { all: metrics.get(name, &[]), hits: metrics.get(name, &[("result", "hit")]) }
    }

    fn without(self, other: Self) -> Self {
        Self { all: self.all - other.all, hits: self.hits - other.hits }
    }
}

impl Server {
    fn redis() -> Self {
        let server = Redis::start(&[]);
        Self::of(server.port(), Kind::Redis(server))
    }

    fn memcached() -> Self {
        let server = Memcached::start();
        Self::of(server.port(), Kind::Memcached(server))
    }

    fn of(port: u16, kind: Kind) -> Self {
        let is_redis = matches!(kind, Kind::Redis(_));
        Self { port, is_redis, process: Mutex::new(kind), outages: Mutex::default() }
    }

    /// Has it out of reach for a while, with the near cache of `watched` asked on and on.
    fn fail(&self, watched: &Proxy, outage: impl FnOnce(&mut Kind)) {
        let mut kind = self.process.lock().unwrap();
        let lasting = self.outages.lock().unwrap().since.is_some();
        self.count_outage(watched, true);
        outage(&mut kind);
        self.count_outage(watched, lasting);
    }

    /// Ends it and starts it again: it has as much room as ever then.
    fn begin_anew(&self, watched: &Proxy) {
        self.fail(watched, Kind::restart);
        self.count_outage(watched, false);
    }

    /// An outage begins, or has ended.
    fn count_outage(&self, watched: &Proxy, begins: bool) {
        let (mut outages, now) = (self.outages.lock().unwrap(), Lookups::of(watched));
        if begins { outages.begin(now) } else { outages.end(now) }
    }

    /// A proxy in front of it with so many workers, which share its near cache.
    fn proxy(&self, near: &str, workers: u32) -> Proxy {
        let ports = [self.port];
        let pool = if self.is_redis { PoolSpec::redis(&ports) } else { PoolSpec::memcache(&ports) };
        let pool = pool.set("timeout", 1000).set("partial", "error");
        let near = format!("{{ memory: 8MiB, admit: all, negative: 200ms, {near} }}");
        let workers = format!("workers: {workers}");
        Proxy::twinring_with(&[&workers], vec![pool.set("near_cache", near)])
    }

    fn tongues(&self) -> &'static [Tongue] {
        if self.is_redis { &[Tongue::Resp2, Tongue::Resp3] } else { &[Tongue::Memcache] }
    }
}

/// One run.
struct Trial<'a> {
    server: &'a Server,
    /// What the others read through, and what own writers and own readers use.
    proxies: [&'a Proxy; 2],
    own: (&'a Proxy, &'a Proxy),
    time: Duration,
    faults: bool,
    seed: u64,
}

/// Ends a run, also where the writer has failed: nobody waits for the others then.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What came of it.
struct Outcome {
    reads: usize,
    refused: usize,
    /// The largest age, and what it was.
    oldest: (Duration, String),
    /// Answers that were current at no time.
    strange: Vec<String>,
    own_checked: u64,
    own_violations: Vec<String>,
}

impl Trial<'_> {
    fn run(&self) -> Outcome {
        let redis = self.server.is_redis;
        let named = |kind: &str, count: usize| (0..count).map(|at| format!("{kind}{at}")).collect();
        let keys: (Vec<String>, Vec<String>) =
            (named("s", STRINGS), named("h", if redis { HASHES } else { 0 }));
        let mut writer = Writer::new(self.server.port, redis, keys.clone(), Dice::new(self.seed));
        let (stop, own) = (AtomicBool::new(false), Own::new(OWN_KEYS));
        let (reads, refused) = (Mutex::new(Vec::new()), Mutex::new(0));
        let stopped = || stop.load(Ordering::SeqCst);
        let tongues = self.server.tongues();
        let ports = self.proxies.iter().flat_map(|proxy| iter::repeat_n(proxy.port(), READERS));
        thread::scope(|scope| {
            let end = End(&stop);
            for (number, port) in ports.enumerate() {
                let to = (port, tongues[number % tongues.len()]);
                let dice = Dice::new(self.seed * 100 + number as u64);
                let (keys, reads, refused) = (&keys, &reads, &refused);
                scope.spawn(move || {
                    let (found, failed) = read_all(to, keys, dice, &stopped);
                    reads.lock().unwrap().extend(found);
                    *refused.lock().unwrap() += failed;
                });
            }
            for (half, &tongue) in tongues.iter().cycle().take(2).enumerate() {
                let dice = Dice::new(self.seed * 200 + half as u64);
                let (own, others) = (&own, dice.clone());
                let (writes, reads) = (self.own.0.port(), self.own.1.port());
                scope.spawn(move || write_own(own, (writes, tongue, half), dice, &stopped));
                scope.spawn(move || read_own(own, (reads, tongue), others, &stopped));
            }
            if self.faults {
                let dice = Dice::new(self.seed * 300);
                scope.spawn(move || do_harm((self.server, self.proxies[1]), dice, &stopped));
            }
            let until = Instant::now() + self.time;
            let mut dice = Dice::new(self.seed * 400);
            while Instant::now() < until {
                if self.faults && dice.one_in(RESTART_ONE_IN) {
                    let restart = || self.server.begin_anew(self.proxies[1]);
                    writer.lose_all(|done| own.flush(done), restart);
                }
                writer.change(|done| own.flush(done));
                pause(Duration::from_millis(dice.below(60)), &stopped);
            }
            drop(end);
        });
        let mut outcome = Outcome {
            reads: 0,
            refused: refused.into_inner().unwrap(),
            oldest: (Duration::ZERO, String::new()),
            strange: Vec::new(),
            own_checked: own.checked.load(Ordering::SeqCst),
            own_violations: own.violations.into_inner().unwrap(),
        };
        reads.into_inner().unwrap().iter().for_each(|read| outcome.take(read, &writer));
        outcome
    }
}

impl Outcome {
    fn take(&mut self, read: &Read, writer: &Writer) {
        self.reads += 1;
        let told = || format!("{} in version {:?}", read.key, read.version);
        match writer.timeline.age(read) {
            None => self.strange.push(told()),
            Some(age) if age > self.oldest.0 => self.oldest = (age, told()),
            Some(_) => {}
        }
    }

    fn print(&self, what: &str) {
        eprintln!(
            "{what}: {} reads, {} refused, oldest {:?} ({}), S {BOUND:?}; own reads {}, older than \
             acknowledged {}",
            self.reads,
            self.refused,
            self.oldest.0,
            self.oldest.1,
            self.own_checked,
            self.own_violations.len(),
        );
    }
}

/// Lets time pass, but not beyond the end.
fn pause(time: Duration, stopped: &impl Fn() -> bool) {
    wait_until(time, stopped);
}

/// Writes every other one of the own keys until the end.
fn write_own(
    own: &Own,
    (port, tongue, half): (u16, Tongue, usize),
    mut dice: Dice,
    stopped: &impl Fn() -> bool,
) {
    let mut talker = Talker::connect(port, tongue);
    while !stopped() {
        let key = dice.below(OWN_KEYS as u64 / 2) as usize * 2 + half;
        own.write(&mut talker, tongue, key, &mut dice);
        if dice.one_in(50) {
            talker.reconnect();
        }
        pause(Duration::from_millis(dice.below(4)), stopped);
    }
}

/// Reads own keys until the end.
fn read_own(own: &Own, (port, tongue): (u16, Tongue), mut dice: Dice, stopped: &impl Fn() -> bool) {
    let mut talker = Talker::connect(port, tongue);
    while !stopped() {
        own.read(&mut talker, &mut dice);
    }
}

/// Reads in pipelines until the end; how many answers were refusals.
fn read_all(
    (port, tongue): (u16, Tongue),
    (strings, hashes): &(Vec<String>, Vec<String>),
    mut dice: Dice,
    stopped: &impl Fn() -> bool,
) -> (Vec<Read>, usize) {
    let mut talker = Talker::connect(port, tongue);
    let (mut reads, mut refused) = (Vec::new(), 0);
    while !stopped() {
        let asks: Vec<Ask> = (0..dice.below(12) + 1)
            .map(|_| {
                let key = dice.of(strings).clone();
                match dice.below(6) {
                    0 => Ask::Many((0..4).map(|_| dice.of(strings).clone()).collect()),
                    1 => Ask::Meta(key),
                    2 if !hashes.is_empty() => Ask::Hash(dice.of(hashes).clone()),
                    3 if !hashes.is_empty() => Ask::Field(dice.of(hashes).clone()),
                    4 if !hashes.is_empty() => Ask::Fields(dice.of(hashes).clone()),
                    _ => Ask::One(key),
                }
            })
            .collect();
        let asks: Vec<Ask> = asks.into_iter().map(without_repeats).collect();
        let wire: String = asks.iter().map(|ask| talker.wire(ask)).collect();
        let sent = Instant::now();
        talker.client.send(wire);
        for ask in &asks {
            match talker.answer(ask).expect("the proxy is there") {
                Ok(seen) => {
                    let received = Instant::now();
                    let read = |(key, version)| Read { key, version, sent, received };
                    reads.extend(seen.into_iter().map(read));
                }
                Err(_) => refused += 1,
            }
        }
        if dice.one_in(200) {
            talker.reconnect();
        }
        pause(Duration::from_millis(dice.below(3)), stopped);
    }
    (reads, refused)
}

fn without_repeats(ask: Ask) -> Ask {
    match ask {
        Ask::Many(mut keys) => {
            keys.sort();
            keys.dedup();
            Ask::Many(keys)
        }
        other => other,
    }
}

/// One fault after the other.
fn do_harm((server, watched): (&Server, &Proxy), mut dice: Dice, stopped: &impl Fn() -> bool) {
    while !stopped() {
        pause(Duration::from_millis(100 + dice.below(400)), stopped);
        match dice.below(3) {
            which @ (0 | 1) if server.is_redis => {
                let _up = server.process.lock().unwrap();
                if which == 0 {
                    kill_tracked(server.port);
                    continue;
                }
                let most = if dice.one_in(2) { "8" } else { "1000" };
                let words = ["CONFIG", "SET", "tracking-table-max-keys", most];
                Client::connect(server.port).ask(command(&words), "+OK\r\n");
                server.count_outage(watched, most == "8");
            }
            _ => server.fail(watched, |kind| {
                kind.process().freeze();
                pause(Duration::from_millis(200 + dice.below(1300)), &|| false);
                kind.process().thaw();
            }),
        }
    }
}

/// Ends all connections of a server on which it tells of changes; how many.
pub(super) fn kill_tracked(port: u16) {
    let mut client = Client::connect(port);
    client.send("CLIENT LIST\r\n");
    let list = String::from_utf8(client.redis_reply()).expect("a text");
    for line in list.lines().filter(|line| line.contains(" flags=t ")) {
        let id = line.split(['=', ' ']).nth(1).expect("an id");
        client.send(command(&["CLIENT", "KILL", "ID", id]));
        client.redis_reply();
    }
}

/// All promises hold while there are faults.
fn hold(server: &Server, near: &str, what: &str) {
    let proxies = [server.proxy(near, 3), server.proxy(near, 2)];
    let proxies = [&proxies[0], &proxies[1]];
    let time = Duration::from_secs(8);
    let own = (proxies[0], proxies[0]);
    let outcome = Trial { server, proxies, own, time, faults: true, seed: 7 }.run();
    outcome.print(what);
    // The other proxy has the own writes.
    server.count_outage(proxies[1], false);
    let (all, outages) = (Lookups::of(proxies[1]), server.outages.lock().unwrap().sum);
    let up = all.without(outages);
    let part = up.hits / up.all;
    eprintln!(
        "{what}: of {} lookups {:.1} % were answered by a near cache, of {} without outages \
         {:.1} %",
        all.all,
        all.hits / all.all * 100.0,
        up.all,
        part * 100.0
    );
    assert!(outcome.strange.is_empty(), "never current: {:?}", outcome.strange);
    assert!(outcome.oldest.0 <= BOUND, "{:?}", outcome.oldest);
    // Age alone shows: a judge that sees none proves nothing.
    assert!(server.is_redis || outcome.oldest.0 > BOUND / 4, "{:?}", outcome.oldest);
    assert!(outcome.own_violations.is_empty(), "{:?}", outcome.own_violations);
    assert!(part > 0.5 && outcome.reads > 2000 && outcome.own_checked > 500, "nothing is proven");
}

/// The same judge finds a cache that hears nothing, and another proxy's clients reading own writes.
fn are_found_broken(server: &Server) {
    let deaf = "mode: ttl, max_age: 5s";
    let proxies = [server.proxy(deaf, 3), server.proxy(deaf, 2)];
    let proxies = [&proxies[0], &proxies[1]];
    let time = Duration::from_secs(4);
    let own = (proxies[0], proxies[1]);
    let outcome = Trial { server, proxies, own, time, faults: false, seed: 7 }.run();
    outcome.print("a cache that hears nothing");
    assert!(outcome.strange.is_empty(), "never current: {:?}", outcome.strange);
    assert!(outcome.oldest.0 > BOUND, "{:?}", outcome.oldest);
    assert!(!outcome.own_violations.is_empty(), "another proxy's clients read older values");
}

#[test]
fn redis_promises_hold() {
    let server = Server::redis();
    hold(&server, &format!("lease: {}ms", BOUND.as_millis()), "redis");
}

#[test]
fn memcached_promises_hold() {
    let server = Server::memcached();
    hold(&server, &format!("max_age: {}ms", BOUND.as_millis()), "memcached");
}

#[test]
fn broken_promises_of_redis_are_found() {
    are_found_broken(&Server::redis());
}

#[test]
fn broken_promises_of_memcached_are_found() {
    are_found_broken(&Server::memcached());
}

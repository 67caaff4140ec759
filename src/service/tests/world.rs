//! All of it together, and what happens next: every step is drawn from the seed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memcached::{Memcached, TICK};
use super::plan::{KEYS, Manner, Random, TIMEOUT, keys, rings_in};
use super::promises::{Known, Moment, Promise};
use super::redis::Redis;
use super::wires::{Cut, Line, Wire, Wires, cut_memcached, cut_redis};
use super::worker::Worker;
use crate::cache::Clock;
use crate::cache::near::Near;
use crate::config::Config;
use crate::metrics::{PoolShape, Registry};
use crate::routing::Phase;
use crate::service::near::Wrong;

/// What is told of a breach: the last events.
const KEPT: usize = 200;

/// Commands of one connection that are executed one right after the other, or answers that come so.
pub(super) const AT_ONCE: [u32; 4] = [1, 1, 4, 16];

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) manner: Manner,
    base: Instant,
    pub(super) now: u64,
    events: u64,
    pub(super) random: Random,
    pub(super) config: Config,
    pub(super) keys: Vec<String>,
    pub(super) known: Vec<Known>,
    pub(super) memcached: [Memcached; 2],
    pub(super) redis: [Redis; 2],
    pub(super) stopped_until: [u64; 2],
    /// Of ten things that may go wrong, how many do.
    faults: u64,
    /// Of a hundred requests, how many write.
    pub(super) writes: u64,
    pub(super) wires: Wires,
    pub(super) workers: Vec<Worker>,
    /// Workers of a proxy.
    pub(super) each: usize,
    nears: Vec<Arc<Near>>,
    /// When rings were set last, and when each server was last asked what it has answered, by proxy.
    pub(super) set: Vec<u64>,
    pub(super) heard: Vec<[u64; 2]>,
    /// The phase that all are to be in, how often there has been another, and each worker's own.
    pub(super) wanted: (Phase, u64),
    pub(super) phases: Vec<Phase>,
    pub(super) running: BTreeMap<(usize, u32), super::clients::Running>,
    pub(super) written: u64,
    log: VecDeque<String>,
    pub(super) counts: BTreeMap<String, u64>,
    /// What has been broken, and how it came to that the first time.
    pub(super) broken: BTreeMap<Promise, String>,
}

impl World {
    pub(super) fn new(seed: u64, manner: Manner, wrong: Option<Wrong>) -> Self {
        let mut random = Random(seed);
        let config = manner.config();
        let (proxies, each) = (random.of(&[2, 3]), random.of(&[1, 2, 2, 3]));
        let clock = Clock::start();
        let base = Instant::now() + Duration::from_millis(1);
        let near = config.pools[0].near_cache.clone().unwrap();
        let nears: Vec<Arc<Near>> =
            (0..proxies).map(|_| Arc::new(Near::new(near.clone(), clock))).collect();
        let servers = config.pools[0].servers.iter().map(|server| server.name.clone()).collect();
        let protocol = if manner.is_redis() { "redis" } else { "memcache" };
        let shape =
            PoolShape { name: "a".into(), protocol, connections: 1, servers, near_cache: true };
        let registry = Registry::new(vec![shape], proxies * each);
        let layout = registry.layout();
        let workers = (0..proxies * each).map(|number| {
            let near = &nears[number / each];
            let mut worker =
                Worker::new(number, &config, (&layout.workers[number], near, number % each == 0));
            worker.proxy.nearby.wrong = wrong;
            worker
        });
        let workers: Vec<Worker> = workers.collect();
        let keys = keys(&rings_in(Phase::Warm, &config.pools[0]));
        let mut world = Self {
            seed,
            manner,
            base,
            now: 0,
            events: 0,
            known: keys.iter().map(|_| Known::default()).collect(),
            keys,
            memcached: Default::default(),
            redis: Default::default(),
            stopped_until: [0; 2],
            faults: random.of(&[0, 1, 3, 10]),
            writes: random.of(&[0, 3, 20]),
            wires: Wires::default(),
            phases: vec![Phase::Stable; workers.len()],
            workers,
            each,
            nears,
            set: vec![0; proxies],
            heard: vec![[0; 2]; proxies],
            wanted: (Phase::Stable, 0),
            running: BTreeMap::new(),
            written: 0,
            log: VecDeque::new(),
            counts: BTreeMap::new(),
            broken: BTreeMap::new(),
            config,
            random,
        };
        world.begin();
        world
    }

    /// All are in the first phase of two rings, and every key has a value.
    fn begin(&mut self) {
        let (now, rings) = (self.instant(), rings_in(Phase::Stable, &self.config.pools[0]));
        for worker in &mut self.workers {
            worker.turn(now, |proxy, turn| proxy.set_rings(turn, 0, Some(Arc::clone(&rings))));
        }
        (0..self.keys.len()).for_each(|key| self.write_at(key));
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    /// This moment, which no other is.
    pub(super) fn moment(&mut self) -> Moment {
        self.events += 1;
        Moment { event: self.events, at: self.now }
    }

    pub(super) fn note(&mut self, what: &str, place: Option<usize>, detail: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
        if self.log.len() == KEPT {
            self.log.pop_front();
        }
        let each = self.each;
        let place = place
            .map_or_else(|| "server".into(), |at| format!("proxy {}.{}", at / each, at % each));
        self.log.push_back(format!("{:>7} ms  {place:<10} {what} {detail}", self.now));
    }

    /// A promise is broken.
    pub(super) fn breaks(&mut self, promise: Promise, how: &str) {
        let Self { seed, manner, log, wanted, .. } = self;
        let story: Vec<String> = log.iter().cloned().collect();
        let story = story.join("\n");
        let head = format!("{promise:?}, {manner:?}, seed {seed}, {wanted:?}: {how}");
        self.broken.entry(promise).or_insert_with(|| format!("{head}\n{story}"));
    }

    /// Whether a key moves.
    pub(super) fn moves(&self, key: usize) -> bool {
        key < KEYS
    }

    pub(super) fn any_key(&mut self) -> usize {
        self.random.below(self.keys.len() as u64) as usize
    }

    /// The next thing happens.
    pub(super) async fn step(&mut self) {
        match self.random.below(200) {
            0..40 => self.act().await,
            40..98 => self.carry_up().await,
            98..156 => self.carry_down().await,
            156..170 => self.pass().await,
            170..174 => self.write_elsewhere(),
            174..180 => self.lead(),
            180..198 => self.follow().await,
            198 if self.random.below(10) < self.faults => self.fail().await,
            199 if self.manner.is_redis() || self.random.below(10) < self.faults => self.sweep(),
            _ => {}
        }
    }

    /// A worker does what there is to do, unless it is stopped.
    pub(super) async fn pump(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        if worker.stopped_until > self.now {
            return;
        }
        let cut: fn(&[u8]) -> Option<Cut> =
            if self.manner.is_redis() { cut_redis } else { cut_memcached };
        let now = self.base + Duration::from_millis(self.now);
        worker.pump((now, self.now), &mut self.wires, cut).await;
        self.note_asked(at);
        self.hear(at);
    }

    /// What has been asked for by now.
    fn note_asked(&mut self, at: usize) {
        let moment = self.moment();
        let proxy = at / self.each;
        for (_, wire) in self.wires.0.iter_mut().filter(|(line, _)| line.worker == at) {
            for sent in wire.up.iter_mut().filter(|sent| !sent.noted) {
                sent.noted = true;
                let reads = matches!(&sent.words[0][..], b"GET" | b"MGET" | b"get" | b"mg");
                let asked = self.keys.iter().zip(&mut self.known).filter(|(name, _)| {
                    reads && sent.words[1..].iter().any(|word| word == name.as_bytes())
                });
                asked.for_each(|(_, known)| known.asked(proxy, moment));
            }
        }
    }

    /// What is next on a wire may take its time, and several things may come at once.
    pub(super) fn any_delay(&mut self) -> u64 {
        match self.random.below(200) {
            0 => self.random.below(TIMEOUT * 2),
            1..30 => self.random.below(8),
            _ => 0,
        }
    }

    /// A worker hears of an answer or a push.
    async fn carry_down(&mut self) {
        let now = self.now;
        let workers = &self.workers;
        let ready = |line: &Line, wire: &Wire| {
            let stopped = workers[line.worker].stopped_until > now;
            !wire.down.is_empty() && wire.down_held <= now && !stopped
        };
        let Some(line) = self.wires.any(ready, &mut self.random) else { return };
        let held = now + self.any_delay();
        for _ in 0..self.random.of(&AT_ONCE) {
            let Some(wire) = self.wires.0.get_mut(&line) else { break };
            wire.down_held = held;
            let server = wire.server;
            let pushed = wire.down.front().is_some_and(|reply| reply.bytes.starts_with(b">"));
            if let Some(asked) = wire.deliver() {
                let heard = &mut self.heard[line.worker / self.each][server];
                *heard = (*heard).max(asked);
            }
            if pushed {
                self.note("pushed", Some(line.worker), "");
            }
        }
        self.pump(line.worker).await;
    }

    /// Time passes, and whoever works looks at the clock.
    async fn pass(&mut self) {
        let long = self.random.below(300) == 0;
        self.now += 1 + if long { self.random.below(400) } else { self.random.below(3) };
        let now = self.instant();
        for at in 0..self.workers.len() {
            let worker = &mut self.workers[at];
            let due = worker.proxy.next_alarm().is_some_and(|alarm| alarm <= now);
            if due && worker.stopped_until <= self.now {
                // What has come is read before anything is taken to be late.
                self.pump(at).await;
                self.workers[at].turn(now, |proxy, turn| proxy.tick(turn));
                self.pump(at).await;
            }
        }
        let near = &self.nears[self.random.below(self.nears.len() as u64) as usize];
        near.tend(near.time(now), 4);
    }

    /// How long what a key shows may be there over its time: copies live by whole seconds.
    pub(super) fn slack(&self, key: usize) -> u64 {
        if self.moves(key) && !self.manner.is_redis() { TICK } else { 0 }
    }
}

//! All of it together, and what happens next: every step is drawn from the seed.

use std::collections::BTreeMap;

use super::log::Log;
use super::plan::{LEASE, Mistake, Plan, TIMEOUT};
use super::promises::{Promise, Told};
use super::proxy::{Asked, Connection, Proxy, SESSIONS, Waiting};
use super::random::Random;
use super::server::{Manner, Server};
use super::wire::{Change, Command, Down, Wires};
use crate::cache::near::Time;

#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) plan: Plan,
    pub(super) server: Server,
    pub(super) wires: Wires,
    pub(super) proxies: Vec<Proxy>,
    /// Of every fill, by number.
    pub(super) told: Vec<Told>,
    pub(super) log: Log,
    /// What has been broken, and how it came to that the first time.
    pub(super) broken: BTreeMap<Promise, String>,
}

impl World {
    pub(super) fn new(seed: u64, manner: Manner, mistake: Option<Mistake>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(manner, mistake, &mut random);
        let mut server = Server::new(manner, plan.keys, plan.told_max);
        server.fill(0);
        Self {
            seed,
            now: 0,
            random,
            server,
            wires: Wires::default(),
            proxies: (0..plan.proxies).map(|_| Proxy::new(&plan)).collect(),
            told: Vec::new(),
            log: Log::new(plan.keys),
            broken: BTreeMap::new(),
            plan,
        }
    }

    pub(super) fn time(&self) -> Time {
        Time::from_millis(self.now)
    }

    /// The next thing happens.
    pub(super) fn step(&mut self) {
        if self.random.below(10_000) < self.plan.faults {
            return self.fail();
        }
        if self.random.below(1_000) < self.plan.elsewhere {
            return self.write_elsewhere();
        }
        match self.random.below(100) {
            0..13 => self.act(),
            13..49 => self.carry_up(),
            49..89 => self.carry_down(),
            89..90 => self.sweep(),
            _ => self.pass(),
        }
    }

    /// Some client of some proxy does something.
    fn act(&mut self) {
        let proxy = self.random.below(self.proxies.len() as u64) as usize;
        let worker = self.random.below(self.plan.workers as u64) as usize;
        let session = (worker, self.random.below(SESSIONS as u64) as usize);
        let now = self.now;
        let Some(connection) = self.proxies[proxy].ready(worker, now) else { return };
        if connection.waiting.len() > 15 {
            return;
        }
        if self.random.below(100) < self.plan.writes {
            let change = self.any_change();
            return self.write(proxy, session, change);
        }
        let key = self.any_key();
        if self.random.percent(10) {
            let other = self.any_key();
            return self.read_both(proxy, session, [key, other]);
        }
        self.read(proxy, session, key);
    }

    fn any_key(&mut self) -> usize {
        // Some are asked for more than others.
        let (a, b) = (self.plan.keys as u64, self.plan.keys as u64);
        self.random.below(a).min(self.random.below(b)) as usize
    }

    fn any_change(&mut self) -> Change {
        let key = self.any_key();
        // What is missing is written more often than removed.
        let missing = !self.server.truth.current(key).present && self.random.percent(90);
        if self.random.below(100) < self.plan.flushes {
            return Change::Flush;
        }
        match self.random.below(if missing { 75 } else { 100 }) {
            0..75 => {
                let life = self.random.percent(40).then(|| Plan::life(&mut self.random));
                Change::Set { key, life }
            }
            75..83 => Change::Delete { key },
            _ => Change::Expire { key, life: Plan::life(&mut self.random) },
        }
    }

    fn write_elsewhere(&mut self) {
        let change = self.any_change();
        let version = self.server.change_elsewhere(change, self.now, &mut self.wires);
        match change.key() {
            Some(key) => self.log.note("written elsewhere", None, key, version),
            None => self.log.note_all("flushed elsewhere", None, version),
        }
    }

    /// The server removes what is over, sometimes.
    fn sweep(&mut self) {
        let key = self.any_key();
        if self.server.truth.current(key).is_over(self.now) && self.server.stopped_until <= self.now
        {
            self.server.sweep(key, self.now, &mut self.wires);
            self.log.note("removed as expired", None, key, self.server.truth.current(key).version);
        }
    }

    /// What is next on a wire may take its time, and several things may come at once.
    fn any_delay(&mut self) -> u64 {
        match self.random.below(200) {
            0 => self.random.below(LEASE),
            1..30 => self.random.below(self.plan.delay + 1),
            _ => 0,
        }
    }

    /// The server receives a command.
    fn carry_up(&mut self) {
        let now = self.now;
        if self.server.stopped_until > now {
            return;
        }
        let wires = self
            .wires
            .iter()
            .filter(|(_, wire)| !wire.up.is_empty() && !wire.server_closed && wire.up_held <= now);
        let wires: Vec<u32> = wires.map(|(number, _)| number).collect();
        if wires.is_empty() {
            return;
        }
        let number = self.random.of(&wires);
        let held = now + self.any_delay();
        let Some(wire) = self.wires.get(number) else { return };
        wire.up_held = held;
        let Some(command) = wire.up.pop_front() else { return };
        let outside = (&mut self.wires, &mut self.random);
        let version = self.server.receive((number, &command), now, outside);
        if let (Command::Write(write), Some(version)) = (command, version) {
            self.lands(write, version);
        }
    }

    /// A proxy receives an answer or a push.
    fn carry_down(&mut self) {
        let now = self.now;
        let mut places = Vec::new();
        for (number, proxy) in self.proxies.iter().enumerate() {
            for (worker, it) in proxy.workers.iter().enumerate() {
                let Some(connection) = &it.connection else { continue };
                let Some(wire) = self.wires.get(connection.wire) else { continue };
                if it.stopped_until <= now && wire.down_held <= now && !wire.down.is_empty() {
                    places.push((number, worker, connection.wire));
                }
            }
        }
        if places.is_empty() {
            return;
        }
        let (proxy, worker, wire) = self.random.of(&places);
        let held = now + self.any_delay();
        let Some(wire) = self.wires.get(wire) else { return };
        wire.down_held = held;
        let Some(down) = wire.down.pop_front() else { return };
        self.receive(proxy, worker, down);
    }

    /// Time passes, and whoever works looks at the clock.
    fn pass(&mut self) {
        let many = self.random.below(1_000) < 3;
        self.now += 1 + if many { self.random.below(80) } else { self.random.below(3) };
        self.log.now = self.now;
        for proxy in 0..self.proxies.len() {
            self.end_what_was_given_up(proxy);
            for worker in 0..self.plan.workers {
                if self.proxies[proxy].workers[worker].stopped_until <= self.now {
                    self.tick(proxy, worker);
                }
            }
            if self.random.percent(5) {
                let near = &self.proxies[proxy].near;
                near.tend(self.time(), 4);
                near.review(self.time());
            }
        }
        for wire in self.wires.clear() {
            self.server.forget_wire(wire);
        }
    }

    fn tick(&mut self, proxy: usize, worker: usize) {
        let now = self.now;
        let it = &self.proxies[proxy].workers[worker];
        let Some(connection) = &it.connection else {
            if it.dial_at <= now {
                self.dial(proxy, worker);
            }
            return;
        };
        // A server that says nothing at all is given up after a while.
        let hopeless =
            connection.waiting.front().is_some_and(|oldest| oldest.sent + 4 * TIMEOUT <= now);
        if hopeless {
            return self.lose(proxy, worker);
        }
        if connection.is_ready && connection.ping_at <= now && self.plan.manner == Manner::Redis {
            self.ask(proxy, worker, Asked::Ping, Command::Ping);
            let connection = self.proxies[proxy].workers[worker].connection.as_mut();
            connection.unwrap().ping_at = now + LEASE / 3;
        }
        self.give_up_late(proxy, worker);
    }

    /// A worker sends a request.
    pub(super) fn ask(&mut self, proxy: usize, worker: usize, what: Asked, command: Command) {
        let now = self.now;
        let connection = self.proxies[proxy].workers[worker].connection.as_mut().unwrap();
        connection.waiting.push_back(Waiting { sent: now, what, given_up: false });
        self.wires.up(connection.wire, command);
    }

    fn dial(&mut self, proxy: usize, worker: usize) {
        let keeps = self.plan.has(Mistake::NoFlushOnReconnect);
        let it = &mut self.proxies[proxy];
        let kept = it.workers[worker].last_lease.filter(|_| keeps);
        let lease = kept.unwrap_or_else(|| it.near.open().unwrap());
        if self.plan.manner == Manner::Memcached {
            it.near.extend(lease, Time::from_millis(u64::MAX));
        }
        let wire = self.wires.open();
        it.workers[worker].last_lease = Some(lease);
        it.workers[worker].connection = Some(Connection {
            wire,
            lease,
            is_ready: false,
            waiting: Default::default(),
            ping_at: 0,
            heard: 0,
        });
        self.log.note_all("connected", Some((proxy, worker)), u64::from(wire));
        self.ask(proxy, worker, Asked::Hello, Command::Hello);
    }

    /// A worker finds that its connection has ended.
    pub(super) fn lose(&mut self, proxy: usize, worker: usize) {
        let it = &mut self.proxies[proxy];
        let Some(connection) = it.workers[worker].connection.take() else { return };
        if !self.plan.has(Mistake::NoFlushOnReconnect) {
            it.near.close(connection.lease);
        }
        it.workers[worker].dial_at = self.now + self.random.below(20);
        it.fills.retain(|_, fill| fill.worker != worker);
        it.renewals.retain(|_, renewal| renewal.worker != worker);
        // What was sent may be on its way still.
        let lost = self.random.percent(50);
        if let Some(wire) = self.wires.get(connection.wire) {
            wire.proxy_closed = true;
            wire.down.clear();
            if lost {
                wire.up.clear();
            }
        }
        self.log.note_all("lost", Some((proxy, worker)), u64::from(connection.wire));
        for waiting in connection.waiting {
            if let Asked::Write(number) = waiting.what {
                self.give_up(proxy, number);
            }
        }
    }

    /// Something goes wrong.
    fn fail(&mut self) {
        let proxy = self.random.below(self.proxies.len() as u64) as usize;
        let worker = self.random.below(self.plan.workers as u64) as usize;
        let place = Some((proxy, worker));
        let until = self.now + self.random.of(&[5, 30, 80, 200]);
        let open = self.proxies[proxy].workers[worker].connection.as_ref();
        let number = open.map_or(0, |connection| connection.wire);
        match self.random.below(8) {
            0 => {
                self.server.stopped_until = until;
                self.log.note_all("stopped", None, until);
            }
            1 => {
                self.proxies[proxy].workers[worker].stopped_until = until;
                self.log.note_all("worker stopped", place, until);
            }
            2 => self.lose(proxy, worker),
            3 => self.close_at_server(number),
            4 if self.random.percent(50) => self.restart(),
            5 if self.random.percent(20) => {
                self.proxies[proxy].near.flush();
                self.log.note_all("ring changed", place, 0);
            }
            nth => {
                let Some(wire) = self.wires.get(number) else { return };
                let (held, what) = match nth % 2 {
                    0 => (&mut wire.up_held, "requests held"),
                    _ => (&mut wire.down_held, "replies held"),
                };
                *held = until;
                self.log.note_all(what, place, until);
            }
        }
    }

    /// The server ends a connection, which the proxy may not be told.
    fn close_at_server(&mut self, number: u32) {
        let told = self.random.percent(50);
        let Some(wire) = self.wires.get(number) else { return };
        wire.up.clear();
        if told {
            wire.down.push_back(Down::End);
        }
        wire.server_closed = true;
        self.server.forget_wire(number);
        let what = if told { "ended" } else { "ended in silence" };
        self.log.note_all(what, None, u64::from(number));
    }

    /// The server starts again.
    fn restart(&mut self) {
        let all: Vec<u32> = self.wires.iter().map(|(number, _)| number).collect();
        all.into_iter().for_each(|number| self.close_at_server(number));
        let refill = self.random.percent(80);
        self.server.restart(refill, self.now, &mut self.wires);
        self.log.note_all("started again", None, u64::from(refill));
    }
}

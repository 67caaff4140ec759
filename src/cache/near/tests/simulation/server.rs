//! The server: values with rising versions and times to live. Like Redis it tells of changes, once
//! for every key that was asked for, over the connection that asked; like memcached it does not.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;
use super::truth::Truth;
use super::wire::{Change, Command, Down, Left, Seen, Wires};

/// Which server it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Redis,
    Memcached,
}

/// Milliseconds from one tick to the next of the clock that memcached counts seconds by: times to
/// live are in whole ticks.
pub(super) const TICK: u64 = 20;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) manner: Manner,
    pub(super) truth: Truth,
    pub(super) stopped_until: u64,
    /// Which connections are to be told of the next change of a key.
    told: BTreeMap<usize, BTreeSet<u32>>,
    /// Connections that have asked to be told.
    tracking: BTreeSet<u32>,
    /// Keys in `told` at most.
    told_max: usize,
    /// The last version before it started.
    started: u64,
    /// What is to be told next.
    pushes: Vec<(u32, Down)>,
}

impl Server {
    pub(super) fn new(manner: Manner, keys: usize, told_max: usize) -> Self {
        Self {
            manner,
            truth: Truth::new(keys),
            stopped_until: 0,
            told: BTreeMap::new(),
            tracking: BTreeSet::new(),
            told_max,
            started: 0,
            pushes: Vec::new(),
        }
    }

    /// A command comes in over a connection; the version if it is a change.
    pub(super) fn receive(
        &mut self,
        (wire, command): (u32, &Command),
        now: u64,
        (wires, random): (&mut Wires, &mut Random),
    ) -> Option<u64> {
        let mut version = None;
        let answer = match command {
            Command::Hello => {
                if self.manner == Manner::Redis {
                    self.tracking.insert(wire);
                }
                Down::Hello
            }
            Command::Ping => Down::Pong,
            Command::Get { keys, tracked } => {
                let seen = keys.iter().map(|&key| self.find(key, now)).collect();
                if *tracked && self.tracking.contains(&wire) {
                    for key in keys {
                        self.told.entry(*key).or_default().insert(wire);
                    }
                }
                self.forget_some(random);
                Down::Values(seen)
            }
            Command::Left { key } => Down::Left(self.find(*key, now).left),
            Command::Write(write) => {
                let made = self.change(write.change, now);
                version = Some(made);
                Down::Wrote(made)
            }
        };
        // What an own command changes is told behind its answer.
        wires.down(wire, answer);
        self.tell_all(wires);
        version
    }

    /// Makes a change over a way that no proxy knows; the version that is there now.
    pub(super) fn change_elsewhere(&mut self, change: Change, now: u64, wires: &mut Wires) -> u64 {
        let version = self.change(change, now);
        self.tell_all(wires);
        version
    }

    /// It starts again, empty or filled anew in the order in which it was filled at first.
    pub(super) fn restart(&mut self, refill: bool, now: u64, wires: &mut Wires) {
        self.change(Change::Flush, now);
        self.started = self.truth.current(0).version;
        if refill {
            self.fill(now);
        }
        self.tell_all(wires);
    }

    /// Every key gets a value.
    pub(super) fn fill(&mut self, now: u64) {
        for key in 0..self.truth.keys() {
            self.put(key, now, (true, None));
        }
    }

    /// Removes a key if its time is over: Redis does so some time later, or when it is asked.
    pub(super) fn sweep(&mut self, key: usize, now: u64, wires: &mut Wires) {
        self.expire(key, now);
        self.tell_all(wires);
    }

    fn change(&mut self, change: Change, now: u64) -> u64 {
        if let Some(key) = change.key() {
            self.expire(key, now);
        }
        match change {
            Change::Set { key, life } => self.put(key, now, (true, life)),
            Change::Expire { key, life } if self.truth.current(key).present => {
                self.put(key, now, (true, Some(life)))
            }
            Change::Delete { key } if self.truth.current(key).present => {
                self.put(key, now, (false, None))
            }
            Change::Expire { key, .. } | Change::Delete { key } => self.truth.current(key).version,
            Change::Flush => {
                let version = self.truth.next_version();
                for key in 0..self.truth.keys() {
                    self.truth.change(key, now, (version, false, None));
                }
                self.told.clear();
                let all = self.tracking.iter();
                self.pushes.extend(all.map(|wire| (*wire, Down::PushAll)));
                version
            }
        }
    }

    fn put(&mut self, key: usize, now: u64, (present, life): (bool, Option<u64>)) -> u64 {
        let version = self.truth.next_version();
        let expiry = life.map(|life| self.expiry(life, now));
        self.truth.change(key, now, (version, present, expiry));
        self.tell(key);
        version
    }

    /// The end of a life that begins now.
    fn expiry(&self, life: u64, now: u64) -> u64 {
        match self.manner {
            Manner::Redis => now + life,
            Manner::Memcached => (now / TICK + life.div_ceil(TICK)) * TICK,
        }
    }

    fn expire(&mut self, key: usize, now: u64) {
        if self.truth.current(key).is_over(now) {
            self.put(key, now, (false, None));
        }
    }

    fn find(&mut self, key: usize, now: u64) -> Seen {
        self.expire(key, now);
        let state = self.truth.current(key);
        let left = match (state.present, state.expiry) {
            (false, _) => Left::Gone,
            (true, None) => Left::Ever,
            (true, Some(expiry)) if self.manner == Manner::Redis => Left::Millis(expiry - now),
            (true, Some(expiry)) => Left::Ticks(expiry / TICK - now / TICK),
        };
        let cas = state.version.saturating_sub(self.started);
        Seen { version: state.version, cas, present: state.present, left }
    }

    fn tell(&mut self, key: usize) {
        let wires = self.told.remove(&key).unwrap_or_default();
        self.pushes.extend(wires.into_iter().map(|wire| (wire, Down::Push(key))));
    }

    /// What is too much in the table goes, as if it had changed.
    fn forget_some(&mut self, random: &mut Random) {
        while self.told.len() > self.told_max {
            let nth = random.below(self.told.len() as u64) as usize;
            let key = *self.told.keys().nth(nth).unwrap();
            self.tell(key);
        }
    }

    fn tell_all(&mut self, wires: &mut Wires) {
        let pushes = self.pushes.drain(..).filter(|(wire, _)| self.tracking.contains(wire));
        pushes.for_each(|(wire, push)| wires.down(wire, push));
    }

    /// A connection is no more.
    pub(super) fn forget_wire(&mut self, wire: u32) {
        self.tracking.remove(&wire);
        self.told.retain(|_, wires| {
            wires.remove(&wire);
            !wires.is_empty()
        });
    }
}

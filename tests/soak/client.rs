//! One client: batches of requests on connections that come and go, each reply checked.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ledger::Ledger;
use super::phase::Phase;
use super::random::Random;
use super::wire::{Reply, Request, Wire};
use super::{Shared, Target};

/// Keys of a client that hold numbers.
const NUMBERS: usize = 20;

/// What a number begins with.
const FIRST: u64 = 1000;

pub(super) struct Client<'a> {
    random: Random,
    ledger: Ledger,
    /// Its numbers as they were last, where that is known.
    numbers: Vec<Option<u64>>,
    redis: bool,
    target: Target,
    start: Instant,
    shared: &'a Shared,
    name: u32,
}

/// What is asked, of which key, and since when.
struct Asked {
    request: Request,
    key: Key,
    /// Of the value, where it is one to store.
    version: u64,
    at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Text(u64),
    Number(usize),
}

impl<'a> Client<'a> {
    pub(super) fn new(name: u32, target: Target, start: Instant, shared: &'a Shared) -> Self {
        Self {
            random: Random::new(u64::from(name) + 1),
            ledger: Ledger::new(name),
            numbers: vec![None; NUMBERS],
            redis: name % 2 == 1,
            target,
            start,
            shared,
            name,
        }
    }

    /// Works until the soak ends; what went wrong if anything did.
    pub(super) fn work(&mut self) -> Result<(), String> {
        let port = if self.redis { self.target.redis } else { self.target.memcache };
        while !self.shared.is_ended() {
            let wire = Wire::connect(port, self.redis);
            let mut wire = wire.map_err(|error| format!("connect: {error}"))?;
            self.shared.connections.fetch_add(1, Ordering::Relaxed);
            self.talk(&mut wire)?;
        }
        Ok(())
    }

    /// The life of a connection.
    fn talk(&mut self, wire: &mut Wire) -> Result<(), String> {
        let mut done = 0;
        while !self.shared.is_ended() {
            let phase = Phase::at(self.start.elapsed());
            if done >= phase.life {
                break;
            }
            done += self.batch(wire, phase)?;
        }
        Ok(())
    }

    /// Sends as many requests as the phase wants at a time and reads their replies.
    fn batch(&mut self, wire: &mut Wire, phase: &Phase) -> Result<u64, String> {
        let mut batch: Vec<Asked> = Vec::new();
        for _ in 0..=self.random.below(phase.depth) {
            let key = self.key(phase);
            // No two requests of a batch have one key: a read is held against the last write.
            if batch.iter().any(|asked| asked.key == key) {
                continue;
            }
            let request = self.request(key, phase);
            let asked = Asked { request, key, version: self.ledger.version(), at: Instant::now() };
            // A server that waits for us to read must not be sent what it would have to take.
            if asked.request.is_long() {
                self.exchange(wire, &mut batch)?;
            }
            batch.push(asked);
        }
        self.exchange(wire, &mut batch)
    }

    /// Sends these requests and checks their replies; how many they are.
    fn exchange(&mut self, wire: &mut Wire, batch: &mut Vec<Asked>) -> Result<u64, String> {
        wire.send(batch.iter().map(|asked| &asked.request))?;
        let count = u64::try_from(batch.len()).unwrap_or_default();
        for asked in batch.drain(..) {
            let reply = wire.reply(&asked.request)?;
            self.check(&asked, reply)?;
        }
        self.shared.requests.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }

    fn key(&mut self, phase: &Phase) -> Key {
        if self.random.percent(5) {
            let numbers = u64::try_from(NUMBERS).unwrap_or_default();
            return Key::Number(usize::try_from(self.random.below(numbers)).unwrap_or_default());
        }
        Key::Text(self.random.below(phase.keys))
    }

    fn request(&mut self, key: Key, phase: &Phase) -> Request {
        let number = match key {
            Key::Text(number) => number,
            Key::Number(at) => return self.add(at),
        };
        let key = self.ledger.key(number);
        if !self.random.percent(phase.writes_percent) {
            return Request::Get { key };
        }
        match self.random.below(20) {
            0 => Request::Delete { key },
            1 => Request::Touch { key, ttl_seconds: 20 },
            _ => {
                let value = self.ledger.next_value(number, phase.value_bytes(&mut self.random));
                Request::Set { key, value, ttl_seconds: Phase::ttl_seconds(&mut self.random) }
            }
        }
    }

    /// Adds to a number, or sets one of which nothing is known.
    fn add(&self, at: usize) -> Request {
        let key = format!("number:{}:{at}", self.name);
        if self.numbers[at].is_some() {
            return Request::Add { key };
        }
        Request::Set { key, value: FIRST.to_string().into_bytes(), ttl_seconds: None }
    }

    fn check(&mut self, asked: &Asked, reply: Reply) -> Result<(), String> {
        match asked.key {
            Key::Text(number) => self.check_text(asked, number, reply),
            Key::Number(at) => self.check_number(asked, at, &reply),
        }
    }

    fn check_text(&mut self, asked: &Asked, number: u64, reply: Reply) -> Result<(), String> {
        match (&asked.request, reply) {
            (Request::Get { .. }, Reply::Value(value)) => {
                self.shared.hits.fetch_add(1, Ordering::Relaxed);
                return self.ledger.check(number, &value, asked.at);
            }
            (Request::Get { .. }, Reply::Missing) => {
                self.shared.misses.fetch_add(1, Ordering::Relaxed);
                self.ledger.gone(number);
            }
            (Request::Set { value, ttl_seconds, .. }, Reply::Done) => {
                self.ledger.stored(number, asked.version, value.len(), *ttl_seconds);
            }
            (Request::Delete { .. }, Reply::Done | Reply::Missing) => self.ledger.gone(number),
            (Request::Touch { .. }, Reply::Missing) => self.ledger.gone(number),
            (Request::Touch { ttl_seconds, .. }, Reply::Done) => {
                return self.ledger.touched(number, *ttl_seconds);
            }
            (request, reply) => return Err(answered(request, &reply)),
        }
        Ok(())
    }

    /// A number is one more than before, or it was evicted: then memcached's clients are told, and
    /// Redis's begin again.
    fn check_number(&mut self, asked: &Asked, at: usize, reply: &Reply) -> Result<(), String> {
        let before = self.numbers[at];
        self.numbers[at] = match (&asked.request, reply) {
            (Request::Set { .. }, Reply::Done) => Some(FIRST),
            (Request::Add { .. }, Reply::Missing) => None,
            (Request::Add { .. }, Reply::Number(now)) if before == Some(now - 1) => Some(*now),
            (Request::Add { .. }, Reply::Number(1)) if self.redis => Some(1),
            (request, reply) => {
                return Err(format!("{} after {before:?}", answered(request, reply)));
            }
        };
        Ok(())
    }
}

fn answered(request: &Request, reply: &Reply) -> String {
    format!("{} is answered by {:.200}", request.name(), format!("{reply:?}"))
}

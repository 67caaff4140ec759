//! The writer on a second path: it changes keys at the server itself, one after the other, in every
//! way that a server knows, and notes when.

use std::time::{Duration, Instant};

use super::Dice;
use super::talk::{command, value_of};
use super::timeline::{Change, Timeline};
use crate::support::Client;

/// Redis's clock counts milliseconds, and what is due in one is there until its end.
const REDIS_TICK: Duration = Duration::from_millis(3);

/// memcached's counts seconds; it is late by as much as the server is stopped until it is set. A time
/// to live that begins by a late clock ends early by as much, one that is over is noticed as late.
const MEMCACHED_TICK: Duration = Duration::from_secs(1);
const MEMCACHED_LATE: Duration = Duration::from_secs(3);

pub(super) struct Writer {
    client: Client,
    port: u16,
    redis: bool,
    dice: Dice,
    /// Of strings, and of hashes.
    keys: (Vec<String>, Vec<String>),
    version: u64,
    pub(super) timeline: Timeline,
}

impl Writer {
    pub(super) fn new(
        port: u16,
        redis: bool,
        keys: (Vec<String>, Vec<String>),
        dice: Dice,
    ) -> Self {
        let (client, timeline) = (Client::connect(port), Timeline::new());
        Self { client, port, redis, dice, keys, version: 0, timeline }
    }

    /// One change; `flush` may be one of all keys, told before it is sent and when it is done.
    pub(super) fn change(&mut self, flush: impl Fn(bool)) {
        self.version += 1;
        if self.dice.one_in(60) {
            return self.flush(flush);
        }
        if !self.redis {
            return self.change_memcached();
        }
        if self.dice.one_in(4) { self.change_hash() } else { self.change_string() }
    }

    /// Sends it, takes the answer, and notes what `key` has from now on.
    fn ask(&mut self, key: &str, wire: &str, (version, expires): (Option<u64>, Option<Life>)) {
        let sent = Instant::now();
        self.client.send(wire);
        if self.redis {
            let reply = self.client.redis_reply();
            assert_ne!(reply[0], b'-', "{wire}: {}", String::from_utf8_lossy(&reply));
        } else {
            let reply = self.client.memcache_reply();
            let known: [&[u8]; 5] =
                [b"STORED\r\n", b"DELETED\r\n", b"NOT_FOUND\r\n", b"TOUCHED\r\n", b"HD\r\n"];
            assert!(known.contains(&&reply[..]), "{wire}: {}", String::from_utf8_lossy(&reply));
        }
        let acked = Instant::now();
        let expires = expires.map(|life| (sent + life.least, acked + life.most));
        self.timeline.note(key, Change { sent, acked, version, expires });
    }

    fn change_string(&mut self) {
        let key = self.dice.of(&self.keys.0).clone();
        let value = value_of(&key, self.version);
        let now = Some(self.version);
        match self.dice.below(8) {
            0..=2 => self.ask(&key, &command(&["SET", &key, &value]), (now, None)),
            3 => {
                let life = self.dice.below(500) + 20;
                let wire = command(&["SET", &key, &value, "PX", &life.to_string()]);
                self.ask(&key, &wire, (now, Some(Life::of_redis(life))));
            }
            4 => self.ask(&key, &command(&["DEL", &key]), (None, None)),
            5 => {
                self.client.ask(command(&["SET", "other", &value]), "+OK\r\n");
                self.ask(&key, &command(&["RENAME", "other", &key]), (now, None));
            }
            6 => {
                let script = "return redis.call('SET', KEYS[1], ARGV[1])";
                let wire = command(&["EVAL", script, "1", &key, &value]);
                self.ask(&key, &wire, (now, None));
            }
            _ => {
                // A script that does not say which key it writes.
                let script = "return redis.call('SET', ARGV[1], ARGV[2])";
                let wire = command(&["EVAL", script, "0", &key, &value]);
                self.ask(&key, &wire, (now, None));
            }
        }
    }

    fn change_hash(&mut self) {
        let key = self.dice.of(&self.keys.1).clone();
        let [a, b] = ["a", "b"].map(|name| value_of(&format!("{key}.{name}"), self.version));
        if self.dice.one_in(5) {
            return self.ask(&key, &command(&["UNLINK", &key]), (None, None));
        }
        // HSET leaves the time to live as it is; and nobody may see one half of it.
        let script = "redis.call('DEL', KEYS[1]) \
                      return redis.call('HSET', KEYS[1], 'a', ARGV[1], 'b', ARGV[2])";
        let wire = command(&["EVAL", script, "1", &key, &a, &b]);
        self.ask(&key, &wire, (Some(self.version), None));
        if self.dice.one_in(3) {
            let life = self.dice.below(500) + 20;
            let wire = command(&["PEXPIRE", &key, &life.to_string()]);
            self.ask(&key, &wire, (Some(self.version), Some(Life::of_redis(life))));
        }
    }

    fn change_memcached(&mut self) {
        let key = self.dice.of(&self.keys.0).clone();
        let value = value_of(&key, self.version);
        let now = Some(self.version);
        let set = |life: u64| format!("set {key} 0 {life} {}\r\n{value}\r\n", value.len());
        match self.dice.below(6) {
            0 | 1 => self.ask(&key, &set(0), (now, None)),
            2 => self.ask(&key, &set(1), (now, Some(Life::of_memcached(1)))),
            3 => self.ask(&key, &format!("delete {key}\r\n"), (None, None)),
            4 => {
                let wire = format!("ms {key} {}\r\n{value}\r\n", value.len());
                self.ask(&key, &wire, (now, None));
            }
            _ => {
                self.ask(&key, &set(0), (now, None));
                let wire = format!("touch {key} 2\r\n");
                self.ask(&key, &wire, (now, Some(Life::of_memcached(2))));
            }
        }
    }

    fn flush(&mut self, told: impl Fn(bool)) {
        let words =
            if self.redis { ("FLUSHALL\r\n", "+OK\r\n") } else { ("flush_all\r\n", "OK\r\n") };
        self.empty(told, |writer| writer.client.ask(words.0, words.1));
    }

    /// The server begins anew, and has lost everything.
    pub(super) fn lose_all(&mut self, told: impl Fn(bool), restart: impl Fn()) {
        self.empty(told, |writer| {
            restart();
            writer.client = Client::connect(writer.port);
        });
    }

    fn empty(&mut self, told: impl Fn(bool), empty: impl Fn(&mut Self)) {
        told(false);
        let sent = Instant::now();
        empty(self);
        let change = Change { sent, acked: Instant::now(), version: None, expires: None };
        for key in self.keys.0.iter().chain(&self.keys.1) {
            self.timeline.note(key, change);
        }
        told(true);
    }
}

/// How long a value that is given a time lives, by clocks that tick.
#[derive(Clone, Copy)]
struct Life {
    least: Duration,
    most: Duration,
}

impl Life {
    fn of_redis(millis: u64) -> Self {
        let life = Duration::from_millis(millis);
        Self { least: life.saturating_sub(REDIS_TICK), most: life + REDIS_TICK }
    }

    fn of_memcached(seconds: u64) -> Self {
        let life = Duration::from_secs(seconds);
        let off = MEMCACHED_TICK + MEMCACHED_LATE;
        Self { least: life.saturating_sub(off), most: life + off }
    }
}

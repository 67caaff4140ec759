//! What a run is like: chosen by its seed, but for the server's manner and the mistake.

use std::time::Duration;

use super::random::Random;
use super::server::{Manner, TICK};
use crate::config::{Admission, NearCache, NearMode};

/// Times are short beside those of real proxies, so that much happens in each of them;
/// milliseconds.
pub(super) const LEASE: u64 = 60;
pub(super) const MAX_AGE: u64 = 50;
pub(super) const TRACKED_MAX: u64 = 400;
/// How long a proxy waits for an answer.
pub(super) const TIMEOUT: u64 = 40;

/// Something that a proxy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// Every reply is stored, whatever has happened since it was asked for.
    NoToken,
    /// What came over a lost connection goes on with the next one.
    NoFlushOnReconnect,
    /// A write removes the key when it is sent, and does nothing when it is answered.
    AtSendOnly,
    /// It removes the key when it is answered, and fills on their way are stored after it.
    AtReplyOnly,
    /// It removes the key and cancels fills at both, but reads are served meanwhile.
    NoBypass,
    /// Time runs from when the reply came.
    FromReply,
    /// A connection is believed from when the answer came.
    LeaseFromAnswer,
    /// That everything has changed is not heard.
    PushAllIgnored,
    /// A write that timed out is taken for ended.
    EndedAtOnce,
    /// The server's time to live is not asked for.
    LifeIgnored,
    /// Seconds that have begun are taken for whole ones.
    BegunSecondsWhole,
    /// A read joins whatever is on its way.
    JoinsAll,
    /// What is a part of a key is filed where its key's invalidations do not come.
    PartElsewhere,
}

/// How a run is set up.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) manner: Manner,
    pub(super) mistake: Option<Mistake>,
    pub(super) proxies: usize,
    pub(super) workers: usize,
    pub(super) keys: usize,
    /// Bytes of a value.
    pub(super) len: usize,
    /// Bytes of a near cache.
    pub(super) memory: u64,
    pub(super) told_max: usize,
    /// Milliseconds that one is believed to be absent.
    pub(super) negative: u64,
    pub(super) admit: Admission,
    /// Of a hundred operations of clients, how many write.
    pub(super) writes: u64,
    /// Of a hundred writes, how many flush everything.
    pub(super) flushes: u64,
    /// Of a thousand steps, how many are writes elsewhere.
    pub(super) elsewhere: u64,
    /// Of ten thousand steps, how many are faults.
    pub(super) faults: u64,
    /// The longest that a message takes without a fault, in milliseconds.
    pub(super) delay: u64,
}

impl Plan {
    pub(super) fn new(manner: Manner, mistake: Option<Mistake>, random: &mut Random) -> Self {
        // Few keys meet often; many large ones are evicted.
        let crowded = random.percent(25);
        let (keys, len) = if crowded { (40, 30_000) } else { (random.of(&[2, 4, 8]), 40) };
        Self {
            manner,
            mistake,
            proxies: random.of(&[2, 3]),
            workers: random.of(&[2, 3]),
            keys,
            len,
            memory: if crowded { 1 << 19 } else { 1 << 20 },
            told_max: random.of(&[1, keys / 2, keys, keys]),
            negative: random.of(&[0, 0, 20]),
            admit: random.of(&[Admission::All, Admission::All, Admission::Hot]),
            writes: random.of(&[2, 8, 20]),
            flushes: random.of(&[1, 1, 10]),
            elsewhere: random.of(&[1, 5, 25]),
            faults: random.of(&[0, 5, 20, 80]),
            delay: random.of(&[1, 4, 12]),
        }
    }

    /// Whether what is asked for of a key is a part of it.
    pub(super) fn is_part(&self, key: usize) -> bool {
        self.manner == Manner::Redis && key % 2 == 1
    }

    pub(super) fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// How stale a value may be that is served.
    pub(super) fn bound(&self) -> u64 {
        match self.manner {
            Manner::Redis => LEASE,
            Manner::Memcached => MAX_AGE,
        }
    }

    /// How long an entry may live.
    pub(super) fn life_max(&self) -> u64 {
        match self.manner {
            Manner::Redis => TRACKED_MAX,
            Manner::Memcached => MAX_AGE,
        }
    }

    pub(super) fn settings(&self) -> NearCache {
        NearCache {
            mode: match self.manner {
                Manner::Redis => NearMode::Tracked,
                Manner::Memcached => NearMode::Ttl,
            },
            memory: self.memory,
            max_age: Duration::from_millis(MAX_AGE),
            lease: Duration::from_millis(LEASE),
            tracked_max: Duration::from_millis(TRACKED_MAX),
            admit: self.admit,
            prefixes: Vec::new(),
            max_value: 1 << 16,
            negative: Duration::from_millis(self.negative),
            joiners: 4,
            verify: 0,
        }
    }

    /// Some time to live.
    pub(super) fn life(random: &mut Random) -> u64 {
        random.of(&[1, TICK, 2 * TICK, 70, 150, 300, 600])
    }
}

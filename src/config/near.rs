//! The settings of a near cache: the cache in front of a pool's servers.

use std::time::Duration;

/// A pool's near cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearCache {
    /// How entries are kept from growing stale.
    pub mode: NearMode,
    /// Bytes that items and index may take.
    pub memory: u64,
    /// How old a value may be where nobody tells of changes.
    pub max_age: Duration,
    /// The same where the server does: since when it must have been heard of.
    pub lease: Duration,
    /// How long such a value is kept at most.
    pub tracked_max: Duration,
    /// Which keys are kept.
    pub admit: Admission,
    /// Only keys that begin with one of these; all if there is none.
    pub prefixes: Vec<Vec<u8>>,
    /// Bytes of the largest value that is kept.
    pub max_value: u64,
    /// How long it is believed that a key is absent; zero for not at all.
    pub negative: Duration,
    /// Requests that may wait for one that has been sent already.
    pub joiners: u32,
    /// Every so many hits of a worker one is compared with its server; 0: none.
    pub verify: u32,
}

/// How entries are kept from growing stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearMode {
    /// By their age.
    Ttl,
    /// The server tells of changes (CLIENT TRACKING), and its silence is bounded.
    Tracked,
}

/// Which keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Those that are asked for often.
    Hot,
    /// Every one.
    All,
}

impl NearCache {
    /// The longest time that an entry lives, in milliseconds.
    pub fn life_max(&self) -> u64 {
        let longest = match self.mode {
            NearMode::Ttl => self.max_age,
            NearMode::Tracked => self.tracked_max.max(self.max_age),
        };
        longest.max(self.negative).as_millis() as u64
    }
}

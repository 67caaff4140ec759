//! From the system's clocks to the time of a command.

use std::time::{Instant, SystemTime};

use super::Now;
use crate::storage::Time;

/// The origin of storage time: one for all workers and stores of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Storage time begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The moment `at` on both clocks; the wall clock is read now.
    pub fn at(&self, at: Instant) -> Now {
        Now { time: self.time(at), wall_millis: wall_millis() }
    }

    /// The moment `at` on the storage clock.
    pub fn time(&self, at: Instant) -> Time {
        let since = at.saturating_duration_since(self.0).as_millis();
        Time::from_millis(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// Milliseconds since 1970; 0 if the wall clock stands before that.
pub fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

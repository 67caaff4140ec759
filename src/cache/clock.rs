//! From the system's clocks to the time of a command.

use std::time::{Instant, SystemTime};

use super::Now;
use crate::storage::Time;

/// Milliseconds by which the two clocks may part before the wall clock counts as set anew. Below
/// that both go on together, so that a moment is the same however often it is turned from one
/// into the other.
const APART: u64 = 50;

/// Storage time, one for all workers and stores of the process, and the wall clock beside it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// The wall clock at the origin, by what it said last.
    wall_origin: u64,
}

impl Clock {
    /// Storage time begins now.
    pub fn start() -> Self {
        Self { origin: Instant::now(), wall_origin: wall_millis() }
    }

    /// The moment `at`, which must be about now, on both clocks.
    pub fn at(&mut self, at: Instant) -> Now {
        self.at_wall(at, wall_millis())
    }

    fn at_wall(&mut self, at: Instant, wall: u64) -> Now {
        let time = self.time(at);
        let expected = self.wall_origin.saturating_add(time.millis());
        if wall.abs_diff(expected) > APART {
            self.wall_origin = wall.saturating_sub(time.millis());
        }
        Now { time, wall_millis: self.wall_origin.saturating_add(time.millis()) }
    }

    /// The moment `at` on the storage clock.
    pub fn time(&self, at: Instant) -> Time {
        let since = at.saturating_duration_since(self.origin).as_millis();
        Time::from_millis(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// Milliseconds since 1970; 0 if the wall clock stands before that.
pub fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{APART, Clock};

    #[test]
    fn both_clocks_go_together_until_one_is_set() {
        let mut clock = Clock::start();
        let (origin, wall) = (clock.origin, clock.wall_origin);
        let at = |millis| origin + Duration::from_millis(millis);
        // Read a little late, or early: the same distance all the same.
        for (millis, late) in [(1_000, 0), (2_000, APART), (3_000, 1)] {
            let now = clock.at_wall(at(millis), wall + millis + late);
            assert_eq!((now.time.millis(), now.wall_millis), (millis, wall + millis));
        }
        // Set an hour ahead: storage time goes on, absolute times are of the new clock.
        let hour = 3_600_000;
        let now = clock.at_wall(at(4_000), wall + 4_000 + hour);
        assert_eq!((now.time.millis(), now.wall_millis), (4_000, wall + 4_000 + hour));
        let now = clock.at_wall(at(5_000), wall + 5_001 + hour);
        assert_eq!((now.time.millis(), now.wall_millis), (5_000, wall + 5_000 + hour));
    }
}

//! What the clients do at a time: phases of some seconds, one after the other, again and again.

use std::time::Duration;

use super::random::Random;

/// How long a phase lasts. A short soak has them all as well.
const PHASE: Duration = Duration::from_millis(700);

/// What is done in a phase.
#[derive(Debug)]
pub(super) struct Phase {
    /// Of a hundred requests so many write, the others read.
    pub(super) writes_percent: u64,
    /// Keys of one client.
    pub(super) keys: u64,
    /// Requests sent before the first reply is read.
    pub(super) depth: u64,
    /// Requests of one connection.
    pub(super) life: u64,
    /// Values of more than a MiB in a thousand writes.
    huge_permille: u64,
}

/// Mixed; the same few keys again and again; comings and goings; large values; reads of much.
const PHASES: [Phase; 5] = [
    Phase { writes_percent: 30, keys: 4000, depth: 8, life: 2000, huge_permille: 1 },
    Phase { writes_percent: 90, keys: 200, depth: 16, life: 5000, huge_permille: 1 },
    Phase { writes_percent: 30, keys: 4000, depth: 1, life: 8, huge_permille: 0 },
    Phase { writes_percent: 60, keys: 4000, depth: 2, life: 500, huge_permille: 100 },
    Phase { writes_percent: 10, keys: 4000, depth: 32, life: 5000, huge_permille: 0 },
];

impl Phase {
    /// The phase at this time since the start.
    pub(super) fn at(elapsed: Duration) -> &'static Self {
        let number = elapsed.as_millis() / PHASE.as_millis();
        &PHASES[usize::try_from(number).unwrap_or_default() % PHASES.len()]
    }

    /// Length of the next value: small, about 1 KiB, some KiB, or more than a MiB.
    pub(super) fn value_bytes(&self, random: &mut Random) -> usize {
        let bytes = if random.below(1000) < self.huge_permille {
            (1 << 20) + random.below(1 << 20)
        } else {
            match random.below(100) {
                0..60 => 24 + random.below(232),
                60..90 => 900 + random.below(248),
                90..99 => 4096 + random.below(12 << 10),
                _ => 65536 + random.below(65536),
            }
        };
        usize::try_from(bytes).unwrap_or_default()
    }

    /// Seconds that the next value lives; none for ever.
    pub(super) fn ttl_seconds(random: &mut Random) -> Option<u64> {
        match random.below(10) {
            0..4 => None,
            4..6 => Some(2),
            6..8 => Some(20),
            _ => Some(3600),
        }
    }
}

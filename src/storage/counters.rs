//! What almost every command writes in a shard, together.
//!
//! ```text
//!  a shard's first cache line:  lock 8 │ kind 8 │ version 8 │ random 8 │ usage 32 of 48  ◀─ written
//!  those after it:              the engine's tables and lists                            ◀─ only read
//! ```
//! A line that one core has written must come from there before another one can read it: some ten
//! nanoseconds to some hundred, by where the two cores are. A command on a shard that another core
//! has used last waits for that once, for the lock; what else it writes is in the same line, and
//! what it only reads is with its own core already. (Of the items themselves that cannot be said.)

use super::engine::Usage;

/// Bits of a number that is drawn.
const CHANCE_BITS: u32 = 32;

/// The counters of an engine: its first field, for which the order of fields is fixed.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Counters {
    /// The last that was given to an item.
    pub(super) version: u64,
    random: u64,
    pub(super) usage: Usage,
}

impl Counters {
    /// Versions that follow this one; `seed` begins what seems to be chance.
    pub(super) fn new(version: u64, seed: u64) -> Self {
        Self { version, random: seed, usage: Usage::default() }
    }

    /// The next version.
    pub(super) fn renew(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// True once in `n` times, by chance; without a division (Lemire 2019, "Fast random integer
    /// generation in an interval").
    pub(super) fn happens_once_in(&mut self, n: u32) -> bool {
        (self.chance() * u64::from(n)) >> CHANCE_BITS == 0
    }

    /// A number of [`CHANCE_BITS`] that is as good as any: a linear congruential generator with
    /// the constants of MMIX (Knuth, TAOCP 3.3.4), its upper bits.
    pub(super) fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = self.random.wrapping_add(1_442_695_040_888_963_407);
        self.random >> (u64::BITS - CHANCE_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_n_times_is_what_happens() {
        const DRAWS: u32 = 1_000_000;
        let mut counters = Counters::new(1, 42);
        for n in [1, 16, 100, 254] {
            let count = (0..DRAWS).filter(|_| counters.happens_once_in(n)).count() as f64;
            let expected = f64::from(DRAWS / n);
            // Five times what chance makes of it, one time in three.
            let most = 5.0 * expected.sqrt();
            assert!((count - expected).abs() <= most, "{count} of {DRAWS} for once in {n}");
        }
    }
}

//! The storage clock: milliseconds that never go back, whatever is done to the wall clock.

use std::time::Duration;

/// Milliseconds since the process's origin, on the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the origin.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The beginning of its second, to which accesses are known.
    pub(super) const fn whole_seconds(self) -> Self {
        Self(self.0 / 1000 * 1000)
    }

    /// The moment `millis` later; the last one there is if that is out of range.
    pub const fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// How long ago `earlier` was; nothing if it is yet to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

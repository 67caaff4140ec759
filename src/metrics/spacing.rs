//! How often the log is told of what may happen thousands of times a second.
//!
//! Counters say how many there were; the log says what one of them was like.

use std::time::{Duration, Instant};

/// The least time between two lines of one kind.
const EVERY: Duration = Duration::from_secs(1);

/// Spaces out log lines of one kind about one thing.
#[derive(Debug, Default)]
pub struct Spacing {
    next: Option<Instant>,
    untold: u64,
}

impl Spacing {
    /// Whether a line may be written now: how many were not, since the last one that was.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|at| now < at) {
            self.untold += 1;
            return None;
        }
        self.next = Some(now + EVERY);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{EVERY, Spacing};

    #[test]
    fn a_line_passes_now_and_then_and_tells_how_many_did_not() {
        let (mut spacing, start) = (Spacing::default(), Instant::now());
        let ms = Duration::from_millis(1);
        assert_eq!(spacing.pass(start), Some(0));
        for passed in [0, 1, 500, 999] {
            assert_eq!(spacing.pass(start + passed * ms), None);
        }
        // Time runs anew from the line that passed, not from the first.
        let second = start + EVERY + 300 * ms;
        assert_eq!(spacing.pass(second), Some(4));
        assert_eq!(spacing.pass(start + 2 * EVERY), None);
        assert_eq!(spacing.pass(second + EVERY), Some(1));
        assert_eq!(spacing.pass(second + 1000 * EVERY), Some(0));
    }

    #[test]
    fn however_many_come_at_most_one_a_second_passes_and_none_is_forgotten() {
        let (mut spacing, start) = (Spacing::default(), Instant::now());
        let told = |at: u32| spacing.pass(start + Duration::from_millis(u64::from(at)));
        let lines: Vec<u64> = (0..=10_000).filter_map(told).collect();
        assert_eq!(lines, [0, 999, 999, 999, 999, 999, 999, 999, 999, 999, 999]);
    }
}

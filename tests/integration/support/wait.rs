//! Waiting for a condition: the only place of the tests where time passes on purpose.

use std::time::{Duration, Instant};

/// How long anything may take that should happen at once. Generous: it is only waited out by a
/// test that fails, and the machine may be busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(2);

/// Looks at `condition` until it holds; false if it does not within `limit`.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::park_timeout(POLL);
    }
    true
}

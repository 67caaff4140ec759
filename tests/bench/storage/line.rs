//! How far apart two cores are: the time that a cache line takes from one to the other and back.
//!
//! Two threads that share a store wait that long for what the other has written. On one chip of
//! cores it is some 80 ns, from chip to chip some 400, and a virtual machine may be moved between
//! the two while it runs: without it, two measurements cannot be compared.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Rounds of one measurement, and measurements, the fastest of which tells: one in which another
/// program had a core says nothing.
const ROUNDS: u32 = 10_000;
const TRIES: usize = 8;

/// From core to core and back; `None` where there is one core only.
pub(crate) fn round_trip() -> Option<Duration> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores > 1).then(|| (0..TRIES).map(|_| measure()).min()).flatten()
}

fn measure() -> Duration {
    let line = AtomicU64::new(0);
    let await_then_add = |awaited: u64| {
        while line.load(Ordering::Acquire) != awaited {
            spin_loop();
        }
        line.store(awaited + 1, Ordering::Release);
    };
    thread::scope(|scope| {
        scope.spawn(|| (0..u64::from(ROUNDS)).for_each(|round| await_then_add(2 * round + 1)));
        await_then_add(0);
        let start = Instant::now();
        (1..u64::from(ROUNDS)).for_each(|round| await_then_add(2 * round));
        start.elapsed() / (ROUNDS - 1)
    })
}

//! A soak: a cache server at full load for as long as is wanted, and what must hold throughout.
//!
//! ```text
//!  plan ─▶ many clients, each with keys of its own ─▶ cache server, both protocols
//!             │ what they have stored (ledger)            │ resident memory (watch)
//!             └──────────────▶ report: figures, or the first thing that was wrong
//! ```
//!
//! A client knows what it stored last under each of its keys ([`ledger`]), so that a read may miss,
//! but never gives an older value, a dead one or another key's. It comes and goes: connections live
//! for some requests. What all do follows the phase ([`phase`]), which changes as time goes by.
//! A reply that is not expected, a connection that ends by itself and memory above the bound are
//! errors; the first one ends the soak.

mod client;
mod ledger;
mod phase;
pub(crate) mod random;
mod watch;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::Client;
use watch::Watch;

/// A cache server to be loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) pid: u32,
    pub(crate) memcache: u16,
    pub(crate) redis: u16,
}

/// How long, how much, and what is held against it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) time: Duration,
    /// Clients at a time, half of them for each protocol.
    pub(crate) clients: u32,
    /// The most resident memory that the process may ever have, in bytes.
    pub(crate) resident_bytes_max: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) connections: u64,
    /// Resident memory before the first request, and the most of it, in bytes.
    pub(crate) resident_start_bytes: u64,
    pub(crate) resident_peak_bytes: u64,
}

/// What the threads share: counters, the end, and the first thing that went wrong.
#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    connections: AtomicU64,
    ended: AtomicBool,
    wrong: Mutex<Option<String>>,
}

impl Shared {
    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Ends the soak for this reason, unless there has been one before.
    fn fail(&self, why: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get_or_insert(why);
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Loads the server as planned; the figures, with the first thing that went wrong if anything did.
pub(crate) fn run(target: Target, plan: &Plan) -> (Report, Result<(), String>) {
    let shared = Shared::default();
    let mut watch = Watch::new(target.pid, plan.resident_bytes_max);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..plan.clients {
            let shared = &shared;
            scope.spawn(move || {
                if let Err(why) = Client::new(number, target, start, shared).work() {
                    shared.fail(format!("client {number}, {:.1?}: {why}", start.elapsed()));
                }
            });
        }
        while start.elapsed() < plan.time && !shared.is_ended() {
            std::thread::park_timeout(Watch::PAUSE);
            if let Err(why) = watch.look() {
                shared.fail(format!("{:.1?}: {why}", start.elapsed()));
            }
        }
        shared.ended.store(true, Ordering::Relaxed);
    });
    // The kernel's own record of the most; between two looks it may have been more.
    if let Err(why) = watch.look_back() {
        shared.fail(why);
    }
    report(&shared, &watch)
}

fn report(shared: &Shared, watch: &Watch) -> (Report, Result<(), String>) {
    let report = Report {
        requests: shared.requests.load(Ordering::Relaxed),
        hits: shared.hits.load(Ordering::Relaxed),
        misses: shared.misses.load(Ordering::Relaxed),
        connections: shared.connections.load(Ordering::Relaxed),
        resident_start_bytes: watch.start_bytes(),
        resident_peak_bytes: watch.peak_bytes(),
    };
    let wrong = shared.wrong.lock().unwrap_or_else(PoisonError::into_inner).take();
    (report, wrong.map_or(Ok(()), Err))
}

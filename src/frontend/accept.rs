//! The listener thread: takes clients in batches, at a bounded rate.
//!
//! ```text
//!  listener of each pool ─ batch, so many a second ─▶ (handshakes) ─▶ Dealer ─▶ workers
//! ```
//! A flood of new clients is slowed down here and costs established ones little: a worker is
//! woken once for each batch, and at most [`RATE`] clients a second get through.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::dealer::{Dealer, lock};
use super::handshakes::Handshakes;
use crate::metrics::ListenerMetric;
use crate::net::{Accepted, Acceptor, Listener};
use crate::signal::Phase;

/// Clients taken at once.
const BATCH: usize = 64;

/// New clients a second that each listener lets through when more than [`BURST`] come at once.
const RATE: u32 = 2000;

/// New clients that a listener lets through at once after a quiet time.
const BURST: u32 = 4000;

/// How long a listener rests when there are no file descriptors left, and how long it waits for
/// clients before it looks whether the process drains.
pub(super) const REST: Duration = Duration::from_millis(100);

/// On what terms a listener takes clients.
#[derive(Clone)]
pub struct Terms {
    /// How many there may be at a time.
    pub max_clients: Option<u64>,
    /// How their handshakes are made, if they are to speak TLS.
    pub handshakes: Option<Handshakes>,
}

/// Takes clients of one listener on the terms of the day until there are none or the process
/// drains; then the listener is closed.
///
/// # Errors
/// The operating system's, on registering the listener.
pub(super) async fn listen(
    listener: Listener,
    dealer: Dealer,
    mut terms: watch::Receiver<Option<Terms>>,
) -> io::Result<()> {
    let acceptor = listener.register()?;
    let dealer = Arc::new(Mutex::new(dealer));
    let life = Arc::clone(lock(&dealer).life());
    let mut bucket = Bucket::full(Instant::now());
    let mut batch = Vec::with_capacity(BATCH);
    let mut handshakes = None;
    while life.phase() != Phase::Draining {
        let Some(now) = terms.borrow_and_update().clone() else { break };
        lock(&dealer).hold(now.max_clients, now.handshakes.is_some());
        handshakes = now.handshakes;
        let most = bucket.available(Instant::now()).min(BATCH as u32);
        let most = handshakes.as_ref().map_or(most, |handshakes| most.min(handshakes.room()));
        if most == 0 {
            sleep(Duration::from_secs(1) / (RATE / 16)).await;
            continue;
        }
        let bound = lock(&dealer).bound();
        accept_batch(&acceptor, (most as usize, bound), &mut batch, &dealer).await;
        bucket.take(batch.len() as u32);
        lock(&dealer).keep_descriptors(&mut batch, bound, Instant::now().into_std());
        match &handshakes {
            Some(handshakes) => handshakes.begin(&mut batch, &dealer),
            None => lock(&dealer).deal(&mut batch),
        }
    }
    take_last(&acceptor, &dealer, handshakes.is_some()).await;
    Ok(())
}

/// Those who had connected before the drain, and perhaps sent something, are served; but those who
/// are to shake hands first, and so have asked for nothing yet, are closed.
async fn take_last(acceptor: &Acceptor, dealer: &Mutex<Dealer>, shake: bool) {
    let mut batch = Vec::with_capacity(BATCH);
    for _ in 0..BURST as usize / BATCH {
        // No time at all: those only who are there.
        let accepted = acceptor.accept(BATCH, u64::MAX, &mut batch);
        let accepted = tokio::time::timeout(Duration::ZERO, accepted);
        let more = matches!(accepted.await, Ok(Ok(())));
        if shake {
            lock(dealer).decline(&mut batch);
        } else {
            lock(dealer).deal(&mut batch);
        }
        if !more {
            break;
        }
    }
}

async fn accept_batch(
    acceptor: &Acceptor,
    (most, bound): (usize, u64),
    batch: &mut Vec<Accepted>,
    dealer: &Mutex<Dealer>,
) {
    // The phase is looked at now and then even if nobody comes.
    let accepted = tokio::time::timeout(REST, acceptor.accept(most, bound, batch)).await;
    if let Ok(Err(error)) = accepted {
        let registry = lock(dealer).failed(&error, Instant::now().into_std());
        registry.listener.add(ListenerMetric::AcceptPaused, 1);
        sleep(REST).await;
        registry.listener.sub(ListenerMetric::AcceptPaused, 1);
    }
}

/// Lets [`RATE`] through each second and [`BURST`] at once.
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: f64::from(BURST), filled: now }
    }

    fn available(&mut self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * f64::from(RATE)).min(f64::from(BURST));
        self.tokens as u32
    }

    fn take(&mut self, n: u32) {
        self.tokens -= f64::from(n);
    }
}

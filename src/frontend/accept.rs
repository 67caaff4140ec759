//! The listener thread: takes clients in batches and deals them out to the workers.
//!
//! ```text
//!  listener of each pool ─ batch ─▶ limits ─▶ round robin ─▶ one inbox push for each worker
//! ```
//! A flood of new clients is slowed down here and costs established ones little: a worker is
//! woken once for each batch, and at most [`RATE`] clients a second get through.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::handshakes::Handshakes;
use crate::config::Protocol;
use crate::metrics::{ListenerMetric, PoolMetric, Registry, Spacing};
use crate::net::{Accepted, Acceptor, Inbox, Listener};
use crate::service::Letter;
use crate::signal::{Life, Phase};

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

/// Deals clients of one pool out.
pub struct Dealer {
    pool: u16,
    protocol: Protocol,
    compat: bool,
    max_clients: Option<u64>,
    /// Clients are to speak TLS.
    tls: bool,
    inboxes: Vec<Inbox<Letter>>,
    pub(super) registry: Arc<Registry>,
    life: Arc<Life>,
    /// Held for as long as somebody of the pool may come.
    _lease: Arc<()>,
    next: usize,
    dealt: u64,
    /// Spaces out what the log is told of failures.
    notes: Spacing,
}

impl Dealer {
    /// The dealer of the pool with this number.
    pub fn new(
        (pool, protocol, compat): (u16, Protocol, bool),
        inboxes: Vec<Inbox<Letter>>,
        (registry, life): (Arc<Registry>, Arc<Life>),
        lease: Arc<()>,
    ) -> Self {
        Self {
            pool,
            protocol,
            compat,
            max_clients: None,
            tls: false,
            _lease: lease,
            inboxes,
            registry,
            life,
            next: 0,
            dealt: 0,
            notes: Spacing::default(),
        }
    }

    fn hold(&mut self, terms: &Terms) {
        self.max_clients = terms.max_clients;
        self.tls = terms.handshakes.is_some();
    }

    /// Clients of this pool that are here or on their way to a worker.
    fn present(&self) -> u64 {
        let layout = self.registry.layout();
        let total = layout.pool(self.pool.into(), PoolMetric::ClientConnectionsTotal);
        let here = layout.pool(self.pool.into(), PoolMetric::ClientConnections);
        self.dealt.saturating_sub(total) + here
    }

    /// Deals a batch out, as evenly as can be; what no worker has room for is closed.
    pub(super) fn deal(&mut self, batch: &mut Vec<Accepted>) {
        let listener = &self.registry.listener;
        listener.add(ListenerMetric::Accepted, batch.len() as u64);
        let room = self.max_clients.map_or(u64::MAX, |max| max.saturating_sub(self.present()));
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(batch.len());
        for refused in batch.drain(fits..) {
            listener.add(ListenerMetric::RejectedMax, 1);
            self.turn_away(refused);
        }
        let workers = self.inboxes.len();
        let mut hands: Vec<Vec<Letter>> = Vec::new();
        hands.resize_with(workers, Vec::new);
        for accepted in batch.drain(..) {
            hands[self.next].push(Letter::Client(self.pool, accepted));
            self.next = (self.next + 1) % workers;
        }
        for (inbox, mut hand) in self.inboxes.iter().zip(hands) {
            if hand.is_empty() {
                continue;
            }
            let dealt = hand.len();
            inbox.push_all(&mut hand);
            self.dealt += (dealt - hand.len()) as u64;
            listener.add(ListenerMetric::RejectedMax, hand.len() as u64);
        }
    }

    /// Tells a client why it is not served, if the socket takes that at once, and closes it.
    fn turn_away(&self, accepted: Accepted) {
        let text: &[u8] = match self.protocol {
            _ if self.compat => b"",
            Protocol::Memcache | Protocol::Ping => b"ERROR Too many open connections\r\n",
            Protocol::Redis => b"-ERR max number of clients reached\r\n",
        };
        // Whether it could be told or not, it is closed.
        let _ = match accepted {
            // It would not understand a plain word.
            Accepted::Tcp(_) if self.tls => Ok(0),
            Accepted::Tcp(mut socket) => io::Write::write(&mut socket, text),
            Accepted::Unix(mut socket) => io::Write::write(&mut socket, text),
            Accepted::Secured(_) => Ok(0),
        };
    }
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
    let life = Arc::clone(&lock(&dealer).life);
    let mut bucket = Bucket::full(Instant::now());
    let mut batch = Vec::with_capacity(BATCH);
    let mut handshakes = None;
    while life.phase() != Phase::Draining {
        let Some(now) = terms.borrow_and_update().clone() else { break };
        lock(&dealer).hold(&now);
        handshakes = now.handshakes;
        let most = bucket.available(Instant::now()).min(BATCH as u32);
        let most = handshakes.as_ref().map_or(most, |handshakes| most.min(handshakes.room()));
        if most == 0 {
            sleep(Duration::from_secs(1) / (RATE / 16)).await;
            continue;
        }
        accept_batch(&acceptor, most as usize, &mut batch, &dealer).await;
        bucket.take(batch.len() as u32);
        match &handshakes {
            Some(handshakes) => handshakes.begin(&mut batch, &dealer),
            None => lock(&dealer).deal(&mut batch),
        }
    }
    if handshakes.is_none() {
        take_last(&acceptor, &dealer).await;
    }
    Ok(())
}

/// The dealer: held for a moment each time, by tasks of one thread.
fn lock(dealer: &Mutex<Dealer>) -> MutexGuard<'_, Dealer> {
    dealer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those who had connected before the drain, and perhaps sent something, are served.
async fn take_last(acceptor: &Acceptor, dealer: &Mutex<Dealer>) {
    let mut batch = Vec::with_capacity(BATCH);
    for _ in 0..BURST as usize / BATCH {
        // No time at all: those only who are there.
        let accepted = tokio::time::timeout(Duration::ZERO, acceptor.accept(BATCH, &mut batch));
        let more = matches!(accepted.await, Ok(Ok(())));
        lock(dealer).deal(&mut batch);
        if !more {
            break;
        }
    }
}

async fn accept_batch(
    acceptor: &Acceptor,
    most: usize,
    batch: &mut Vec<Accepted>,
    dealer: &Mutex<Dealer>,
) {
    // The phase is looked at now and then even if nobody comes.
    let accepted = tokio::time::timeout(REST, acceptor.accept(most, batch)).await;
    if let Ok(Err(error)) = accepted {
        let registry = {
            let mut dealer = lock(dealer);
            if let Some(untold) = dealer.notes.pass(Instant::now().into_std()) {
                let untold = (untold > 0).then_some(untold);
                tracing::warn!(%error, pool = dealer.pool, untold, "accept failed, listener rests");
            }
            Arc::clone(&dealer.registry)
        };
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

//! TLS handshakes of a listener's clients: on its thread, so many at a time, each for so long.
//!
//! ```text
//!  accepted ─▶ begin ─▶ a task each ─▶ Accepted::secure ─▶ Dealer ─▶ a worker
//!                         └ failed, late: counted, closed
//! ```
//! While all places are taken nobody else is accepted: a flood of handshakes delays new clients,
//! and no worker knows of it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::dealer::Dealer;
use crate::config::ListenTls;
use crate::metrics::{ListenerMetric, Spacing};
use crate::net::{Accepted, HandshakeError, TlsAcceptor};

/// What the handshakes of one listener share.
#[derive(Clone)]
pub struct Handshakes {
    pool: Arc<str>,
    tls: TlsAcceptor,
    limit: Duration,
    places: Arc<Semaphore>,
    /// Spaces out what the log is told of failures.
    notes: Arc<Mutex<Spacing>>,
}

impl Handshakes {
    /// Those of a pool's listener with these settings.
    pub fn new(pool: &str, tls: TlsAcceptor, settings: &ListenTls) -> Self {
        Self {
            pool: pool.into(),
            tls,
            limit: settings.handshake_time,
            places: Arc::new(Semaphore::new(settings.handshakes as usize)),
            notes: Arc::default(),
        }
    }

    /// How many more may begin.
    pub(super) fn room(&self) -> u32 {
        u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX)
    }

    /// Begins with each client of a batch, for all of which there is room.
    pub(super) fn begin(&self, batch: &mut Vec<Accepted>, dealer: &Arc<Mutex<Dealer>>) {
        for accepted in batch.drain(..) {
            // Nobody else takes places.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { break };
            let (tls, limit) = (self.tls.clone(), self.limit);
            let (dealer, notes) = (Arc::clone(dealer), Arc::clone(&self.notes));
            let pool = Arc::clone(&self.pool);
            tokio::spawn(async move {
                let secured = accepted.secure(&tls, limit).await;
                drop(place);
                // A handshake is some hundred microseconds of computing. A worker that wants this
                // core need not wait for the next one too.
                thread::yield_now();
                let mut dealer = dealer.lock().unwrap_or_else(PoisonError::into_inner);
                let counter = match &secured {
                    Ok(_) => ListenerMetric::TlsOk,
                    Err(HandshakeError::Late) => ListenerMetric::TlsTimedOut,
                    Err(_) => ListenerMetric::TlsFailed,
                };
                dealer.registry.listener.add(counter, 1);
                match secured {
                    Ok(accepted) => dealer.deal(&mut vec![accepted]),
                    // Whoever only looks whether somebody listens.
                    Err(HandshakeError::Failed(error))
                        if error.kind() == io::ErrorKind::UnexpectedEof => {}
                    Err(error) => tell(&notes, &pool, &error),
                }
            });
        }
    }
}

/// At most one line a second: any scanner fails here.
fn tell(notes: &Mutex<Spacing>, pool: &str, error: &HandshakeError) {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(untold) = notes.pass(Instant::now()) {
        let untold = (untold > 0).then_some(untold);
        tracing::info!(%error, pool, untold, "a client's TLS handshake failed");
    }
}

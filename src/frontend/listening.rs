//! The listener thread: a task for each listener, which come and go.
//!
//! ```text
//!  admin ─ open ─▶ Listening ─ bell ─▶ run ─▶ listen (a task each) ◀─ watch ─ Terms, or none: close
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::accept::{REST, Terms, listen};
use super::dealer::Dealer;
use crate::net::Listener;
use crate::signal::{Life, Phase};

/// A listener to be accepted from.
pub struct Opening {
    /// The open socket.
    pub listener: Listener,
    /// Whose clients it brings.
    pub dealer: Dealer,
    /// On what terms, as they change; `None` closes it.
    pub terms: watch::Receiver<Option<Terms>>,
}

/// What the listener thread is to open; clone it freely.
#[derive(Clone, Default)]
pub struct Listening(Arc<Desk>);

#[derive(Default)]
struct Desk {
    /// As many as there are pools at most.
    openings: Mutex<Vec<Opening>>,
    bell: Notify,
}

impl Listening {
    /// Has a listener accepted from.
    pub fn open(&self, opening: Opening) {
        self.0.openings.lock().unwrap_or_else(PoisonError::into_inner).push(opening);
        self.0.bell.notify_one();
    }

    /// Takes clients until the process drains: the work of the thread.
    pub async fn run(self, life: Arc<Life>) {
        let mut tasks = JoinSet::new();
        loop {
            for Opening { listener, dealer, terms } in self.take() {
                tasks.spawn(listen(listener, dealer, terms));
            }
            if life.phase() == Phase::Draining && tasks.is_empty() {
                return;
            }
            tokio::select! {
                () = self.0.bell.notified() => {}
                Some(ended) = tasks.join_next() => {
                    if let Ok(Err(error)) = ended {
                        tracing::error!(%error, "a listener has failed");
                    }
                }
                // Nobody would notice the drain.
                () = sleep(REST), if tasks.is_empty() => {}
            }
        }
    }

    fn take(&self) -> Vec<Opening> {
        std::mem::take(&mut *self.0.openings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

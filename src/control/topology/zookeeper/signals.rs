//! What wakes the loop: events of watches and of the session, each brought by a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use zookeeper_client::{EventType, PersistentWatcher, SessionState, StateWatcher};

/// Marks that the tasks set and the loop takes.
pub(super) struct Signals {
    /// For each source: it is to be read again.
    dirty: Vec<AtomicBool>,
    connected: AtomicBool,
    /// The connection is another one than when the watches were set.
    fresh: AtomicBool,
    /// The connection was lost since the last look.
    lost: AtomicBool,
    end: Mutex<Option<SessionState>>,
    wake: Arc<Notify>,
}

impl Signals {
    /// Of a session that is connected, over so many sources, all yet to be read.
    pub(super) fn new(sources: usize, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            dirty: (0..sources).map(|_| AtomicBool::new(true)).collect(),
            connected: AtomicBool::new(true),
            fresh: AtomicBool::new(true),
            lost: AtomicBool::new(false),
            end: Mutex::new(None),
            wake,
        })
    }

    /// True if the source was marked; it no longer is.
    pub(super) fn take(&self, source: usize) -> bool {
        self.dirty[source].swap(false, Ordering::Relaxed)
    }

    /// Has every source read again.
    pub(super) fn mark_all(&self) {
        self.dirty.iter().for_each(|dirty| dirty.store(true, Ordering::Relaxed));
    }

    /// Whether the session is connected now.
    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// True if the connection was lost since the last call.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// True if watches are to be set: at first, and on each connection after that. The library
    /// (0.11.2) means to renew persistent ones by itself, but sends the server the others alone.
    pub(super) fn take_fresh(&self) -> bool {
        self.fresh.swap(false, Ordering::Relaxed)
    }

    /// They could not be set.
    pub(super) fn mark_fresh(&self) {
        self.fresh.store(true, Ordering::Relaxed);
    }

    /// How the session has ended, if it has.
    pub(super) fn end(&self) -> Option<SessionState> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the events of a watch, until the session ends. What an event says does not matter:
    /// events get lost and run together.
    pub(super) async fn bring_events(self: Arc<Self>, source: usize, mut watch: PersistentWatcher) {
        loop {
            let event = watch.changed().await;
            if event.event_type == EventType::Session {
                // After a terminal one the watch must not be asked again.
                if is_end(event.session_state) {
                    return;
                }
                continue;
            }
            self.dirty[source].store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    /// Brings the states of the session, until it ends.
    pub(super) async fn bring_states(self: Arc<Self>, mut states: StateWatcher) {
        loop {
            let state = states.changed().await;
            match state {
                SessionState::Disconnected => {
                    self.connected.store(false, Ordering::Relaxed);
                    self.lost.store(true, Ordering::Relaxed);
                }
                SessionState::SyncConnected | SessionState::ConnectedReadOnly => {
                    // Events of the time between are lost (ZOOKEEPER-4698).
                    self.mark_all();
                    self.mark_fresh();
                    self.connected.store(true, Ordering::Relaxed);
                }
                _ => {
                    self.connected.store(false, Ordering::Relaxed);
                    *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
                }
            }
            self.wake.notify_one();
            if is_end(state) {
                return;
            }
        }
    }
}

const fn is_end(state: SessionState) -> bool {
    matches!(state, SessionState::Expired | SessionState::AuthFailed | SessionState::Closed)
}

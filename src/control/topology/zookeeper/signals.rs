//! What wakes the loop: events of watches and of the session, each brought by a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use zookeeper_client::{EventType, PersistentWatcher, SessionState, StateWatcher};

/// Marks that the tasks set and the loop takes.
pub(super) struct Signals {
    /// Counts what has every source read again.
    rounds: AtomicU64,
    connected: AtomicBool,
    /// Counts connections.
    connections: AtomicU64,
    /// The connection was lost since the last look.
    lost: AtomicBool,
    end: Mutex<Option<SessionState>>,
    wake: Arc<Notify>,
}

impl Signals {
    /// Of a session that is connected.
    pub(super) fn new(wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            rounds: AtomicU64::new(1),
            connected: AtomicBool::new(true),
            connections: AtomicU64::new(1),
            lost: AtomicBool::new(false),
            end: Mutex::new(None),
            wake,
        })
    }

    /// How often every source was to be read, the first time included.
    pub(super) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Has every source read again.
    pub(super) fn mark_all(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the session is connected now.
    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// True if the connection was lost since the last call.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// The number of the connection, from 1 on: watches are to be set on each. The library (0.11.2)
    /// means to renew persistent ones by itself, but sends the server the others alone.
    pub(super) fn connection(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How the session has ended, if it has.
    pub(super) fn end(&self) -> Option<SessionState> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the events of a watch as a mark that its source is to be read, until the session ends.
    /// What an event says does not matter: events get lost and run together.
    pub(super) async fn bring_events(
        self: Arc<Self>,
        dirty: Arc<AtomicBool>,
        mut watch: PersistentWatcher,
    ) {
        loop {
            let event = watch.changed().await;
            if event.event_type == EventType::Session {
                // After a terminal one the watch must not be asked again.
                if is_end(event.session_state) {
                    return;
                }
                continue;
            }
            dirty.store(true, Ordering::Relaxed);
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
                    self.connections.fetch_add(1, Ordering::Relaxed);
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

//! One pool's source in ZooKeeper, as its group's session reads it and speaks of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::peers::{ACKS, Peers};
use super::session::Session;
use super::signals::Signals;
use super::{RETRY, permitted};
use crate::config::Format;
use crate::control::topology::follow::Follower;
use crate::control::topology::snapshot::unix_time;
use crate::topology::Phase;

/// What is known of it, and was said.
pub(super) struct Watched {
    pub(super) path: String,
    pub(super) format: Format,
    /// The name of our acknowledgements.
    pub(super) id: String,
    pub(super) follower: Follower,
    pub(super) again: Option<Instant>,
    /// Something has happened to it.
    pub(super) dirty: Arc<AtomicBool>,
    /// Up to which round it has been read, and the connection on which it is watched; 0: none.
    pub(super) round: u64,
    pub(super) watched: u64,
    /// Brings the events of its watch.
    pub(super) events: Option<JoinHandle<()>>,
    pub(super) acknowledged: Option<(u64, Phase)>,
    /// Who else has acknowledged what is active.
    pub(super) peers: Peers,
}

impl Watched {
    /// The source of a pool at its path, of which nothing is known; `id` names the process.
    pub(super) fn new((path, format): (String, Format), id: String, follower: Follower) -> Self {
        Self {
            path,
            format,
            id,
            follower,
            again: None,
            dirty: Arc::default(),
            round: 0,
            watched: 0,
            events: None,
            acknowledged: None,
            peers: Peers::new(Instant::now()),
        }
    }

    /// In a session that is new to it nothing has been read, watched or said.
    pub(super) fn begin(&mut self) {
        (self.round, self.watched, self.acknowledged) = (0, 0, None);
        self.follower.begin_term();
    }

    /// True if it is to be read; no longer after that.
    pub(super) fn take_dirty(&mut self, signals: &Signals) -> bool {
        let round = signals.rounds();
        let due = std::mem::replace(&mut self.round, round) != round;
        self.dirty.swap(false, Ordering::Relaxed) || due
    }

    pub(super) async fn read(&mut self, session: &Session) {
        let sent = Instant::now();
        // A reading that is lost with its connection is not waited for.
        let read = timeout(session.timeout(), session.read(&self.path, self.format)).await;
        let now = Instant::now();
        match read {
            Ok(Ok(nodes)) => {
                self.follower.heard(sent + permitted(session.timeout()));
                self.again = self.follower.see(&nodes, now);
                // The pointer is watched, and not the version that it leads to before that is there.
                if self.format == Format::Native && nodes.len() == 1 {
                    self.again = Some(now + RETRY);
                }
            }
            Ok(Err(error)) => {
                let (pool, path) = (&self.follower.desk().pool, &self.path);
                tracing::warn!(pool, path, %error, "the topology cannot be read");
                self.again = Some(now + RETRY);
            }
            Err(_) => {
                let (pool, path) = (&self.follower.desk().pool, &self.path);
                tracing::warn!(pool, path, "the topology is not read in time");
                self.again = Some(now + RETRY);
            }
        }
    }

    /// What is followed, as far as it is to be acknowledged.
    pub(super) fn followed(&self) -> Option<(u64, Phase)> {
        let admitted = self.follower.admitted().filter(|_| self.format == Format::Native)?;
        Some((admitted.stamp, admitted.document.phase))
    }

    /// When those are to be counted who are behind what is active.
    pub(super) fn count_due(&mut self) -> Option<Instant> {
        let active = self.follower.active().filter(|_| self.format == Format::Native)?;
        Some(self.peers.due(active, Instant::now()))
    }

    /// Whether what is followed has not been acknowledged.
    pub(super) fn is_behind(&self) -> bool {
        self.followed() != self.acknowledged
    }

    /// Says to whoever waits for all proxies what this one follows.
    pub(super) async fn acknowledge(&mut self, session: &Session) {
        let Some(what) = self.followed() else { return };
        let text = serde_json::json!({
            "epoch": what.0,
            "phase": what.1.name(),
            "digest": self.follower.digest(),
            "since": unix_time(),
        });
        let text = text.to_string();
        let said = session.say((&self.path, ACKS), &self.id, &text);
        let why = match timeout(session.timeout(), said).await {
            Ok(Ok(())) => return self.acknowledged = Some(what),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "not in time".to_owned(),
        };
        let (pool, epoch) = (&self.follower.desk().pool, what.0);
        tracing::warn!(pool, epoch, why, "the topology cannot be acknowledged");
    }
}

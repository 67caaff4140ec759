//! What a fleet is to follow and what it acknowledges, read and written by whoever leads it.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use zookeeper_client::Error;

use super::session::Session;
use crate::config::{Format, ZooKeeper};
use crate::control::topology::decode::{Decoder, native};
use crate::control::topology::fleet::{Ack, Awaited, Look};
use crate::topology::{Document, Server};

/// Nobody who leads a fleet waits longer for an ensemble that elects, or for an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// What the client says of an ensemble that takes longer to make a session than that may last.
const TIMEOUT: &str = "timeout";
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// Versions that are looked through for a server that has left the ring.
const EARLIER: u64 = 1000;
/// Where it stands, below the source, who is awaited.
const AWAITED: &str = "awaited";

/// A session with the ensemble of one fleet, and the next one if that is lost.
pub struct Fleet {
    session: Session,
    place: ZooKeeper,
    pool: String,
}

impl Fleet {
    /// The fleet of this pool, whose native topology is at `place`. An ensemble that does not answer
    /// is asked once more.
    ///
    /// # Errors
    /// Why the ensemble cannot be reached.
    pub async fn open(pool: &str, place: &ZooKeeper) -> Result<Self, String> {
        let open = || async { timeout(LIMIT, Session::open(place)).await.map_err(late)? };
        let session = match open().await {
            Err(why) if why == TIMEOUT => open().await?,
            opened => opened?,
        };
        Ok(Self { session, place: place.clone(), pool: pool.to_owned() })
    }

    /// What is there now. An ensemble that does not answer is asked again for a while.
    ///
    /// # Errors
    /// It cannot be read, or is no topology.
    pub async fn look(&mut self) -> Result<Look, String> {
        let end = Instant::now() + LIMIT;
        loop {
            // A session that ends takes its time over it: a fresh one is asked in any case.
            let last = Instant::now() >= end;
            let why = match timeout(LIMIT, self.read()).await.map_err(late) {
                Ok(Ok(look)) => return Ok(look),
                Ok(Err(why)) | Err(why) => why,
            };
            if last {
                return Err(why);
            }
            sleep(PAUSE).await;
            if let Ok(Ok(session)) = timeout(LIMIT, Session::open(&self.place)).await {
                self.session = session;
            }
        }
    }

    async fn read(&self) -> Result<Look, String> {
        let failed = |error: Error| error.to_string();
        // What is said to a version is read behind it.
        let nodes = self.session.read(&self.place.path, Format::Native).await.map_err(failed)?;
        let proposal = Decoder::of(&self.pool, Format::Native).decode(&nodes);
        let document = proposal.map_err(|refusal| refusal.to_string())?.document;
        document.check().map_err(|error| error.to_string())?;
        let said = self.session.said(&self.place.path, "acks").await.map_err(failed)?;
        let acks = said.iter().map(|(id, text)| Ack::read(id, text)).collect();
        let awaited = self.session.told(&self.place.path, AWAITED).await.map_err(failed)?;
        let awaited = match awaited {
            Some(text) => serde_json::from_str(&text).map_err(|error| error.to_string())?,
            None => Awaited::default(),
        };
        Ok(Look { document, acks, awaited })
    }

    /// Makes the topology, of which nothing is there yet, with its first version.
    ///
    /// # Errors
    /// It is there; it cannot be written.
    pub async fn found(&mut self, first: &Document) -> Result<(), String> {
        let made = self.session.found(&self.place.path, first);
        match timeout(LIMIT, made).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Error::NodeExists)) => {
                Err(format!("there is a version already at {}", self.place.path))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(elapsed) => Err(late(elapsed)),
        }
    }

    /// A server that is in no ring any more, as the last version before `epoch` that has it in one
    /// says; `None` if none of the last ones has.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn last_known(&self, epoch: u64, name: &str) -> Result<Option<Server>, String> {
        for epoch in (epoch.saturating_sub(EARLIER)..epoch).rev() {
            let read = self.session.read_earlier(&self.place.path, epoch);
            let node = timeout(LIMIT, read).await.map_err(late)?;
            let Some(node) = node.map_err(|error| error.to_string())? else { continue };
            // One that nobody could follow says nothing.
            let text = String::from_utf8_lossy(&node.data).into_owned();
            let Ok(document) = native::read(&text) else { continue };
            let known = document.all_servers().into_iter().find(|server| server.name == name);
            if known.is_some() {
                return Ok(known);
            }
        }
        Ok(None)
    }

    /// Writes the version that follows the one that was looked at, and who is awaited in it.
    ///
    /// # Errors
    /// It cannot be written; somebody else has written one meanwhile.
    pub async fn publish(&mut self, next: &Document, awaited: &Awaited) -> Result<(), String> {
        let text = serde_json::to_string(awaited).map_err(|error| error.to_string())?;
        let end = Instant::now() + LIMIT;
        loop {
            let written = self.session.publish_with(&self.place.path, next, Some((AWAITED, &text)));
            let (why, lasts) = match timeout(LIMIT, written).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Error::BadVersion | Error::NodeExists)) => {
                    ("somebody else has written a version meanwhile: look again".to_owned(), true)
                }
                Ok(Err(error)) => (error.to_string(), error == Error::NoAuth),
                Err(elapsed) => (late(elapsed), false),
            };
            // It may have been written although nobody said so. If nothing was, it still may be: by
            // another session, if this one has ended.
            let now = self.look().await?.document;
            if now == *next {
                return Ok(());
            }
            if lasts || now.epoch.checked_add(1) != Some(next.epoch) || Instant::now() >= end {
                return Err(why);
            }
            sleep(PAUSE).await;
        }
    }
}

fn late(_: tokio::time::error::Elapsed) -> String {
    "it does not answer in time".to_owned()
}

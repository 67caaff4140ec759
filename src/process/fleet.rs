//! A fleet's topology for whoever leads it from the command line: each call waits for its answer.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::StartError;
use crate::config::{Config, Format, Place, Pool};
#[cfg(feature = "zookeeper")]
use crate::control::topology::Fleet as Session;
use crate::control::topology::fleet::{Awaited, Look};
use crate::topology::{Document, Server};

/// Whether a pool's proxies are led by versions in ZooKeeper.
pub fn is_fleet(pool: &Pool) -> bool {
    let source = pool.topology.as_ref();
    source.is_some_and(|it| it.format == Format::Native && matches!(it.place, Place::ZooKeeper(_)))
}

/// Whether the program can look where the servers of all pools come from.
///
/// # Errors
/// [`StartError::NoZooKeeper`] of the first where it cannot.
pub fn can_follow(config: &Config) -> Result<(), StartError> {
    let wants = |pool: &&Pool| {
        pool.topology.as_ref().is_some_and(|source| matches!(source.place, Place::ZooKeeper(_)))
    };
    match config.pools.iter().find(wants) {
        Some(pool) if !cfg!(feature = "zookeeper") => {
            Err(StartError::NoZooKeeper(pool.name.clone()))
        }
        _ => Ok(()),
    }
}

/// A session with its ensemble.
pub struct Fleet {
    runtime: Runtime,
    #[cfg(feature = "zookeeper")]
    session: Session,
}

#[cfg(feature = "zookeeper")]
impl Fleet {
    /// That of a pool.
    ///
    /// # Errors
    /// The pool is led by something else, or the ensemble cannot be reached.
    pub fn open(pool: &Pool) -> Result<Self, String> {
        let place = pool.topology.as_ref().map(|source| &source.place);
        let Some(Place::ZooKeeper(place)) = place.filter(|_| is_fleet(pool)) else {
            return Err(format!("pool {} has no native topology in ZooKeeper", pool.name));
        };
        let runtime = super::runtime().map_err(|error| error.to_string())?;
        let session = runtime.block_on(Session::open(&pool.name, place))?;
        Ok(Self { runtime, session })
    }

    /// What is there now.
    ///
    /// # Errors
    /// It cannot be read, or is no topology.
    pub fn look(&mut self) -> Result<Look, String> {
        self.runtime.block_on(self.session.look())
    }

    /// Makes the topology, of which nothing is there yet, with its first version.
    ///
    /// # Errors
    /// It is there; it cannot be written.
    pub fn found(&mut self, first: &Document) -> Result<(), String> {
        self.runtime.block_on(self.session.found(first))
    }

    /// A server that is in no ring any more, as the last version before `epoch` that has it in one
    /// says.
    ///
    /// # Errors
    /// Earlier versions cannot be read.
    pub fn last_known(&mut self, epoch: u64, name: &str) -> Result<Option<Server>, String> {
        self.runtime.block_on(self.session.last_known(epoch, name))
    }

    /// Writes the version that follows the one that was looked at, and who is awaited in it.
    ///
    /// # Errors
    /// It cannot be written; somebody else has written one meanwhile.
    pub fn publish(&mut self, next: &Document, awaited: &Awaited) -> Result<(), String> {
        self.runtime.block_on(self.session.publish(next, awaited))
    }
}

#[cfg(not(feature = "zookeeper"))]
impl Fleet {
    /// None.
    ///
    /// # Errors
    /// Always.
    pub fn open(_: &Pool) -> Result<Self, String> {
        Err("this program is built without ZooKeeper".to_owned())
    }

    /// Nothing.
    ///
    /// # Errors
    /// Always.
    pub fn look(&mut self) -> Result<Look, String> {
        Err(String::new())
    }

    /// Nothing.
    ///
    /// # Errors
    /// Always.
    pub fn found(&mut self, _: &Document) -> Result<(), String> {
        Err(String::new())
    }

    /// Nothing.
    ///
    /// # Errors
    /// Always.
    pub fn last_known(&mut self, _: u64, _: &str) -> Result<Option<Server>, String> {
        Err(String::new())
    }

    /// Nothing.
    ///
    /// # Errors
    /// Always.
    pub fn publish(&mut self, _: &Document, _: &Awaited) -> Result<(), String> {
        Err(String::new())
    }
}

impl Fleet {
    /// Lets the session live on for so long.
    pub fn rest(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }
}

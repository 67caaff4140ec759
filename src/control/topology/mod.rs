//! Sources of a pool's servers beside the configuration: files and ZooKeeper.
//!
//! ```text
//!  file, zookeeper: bytes ─▶ decode ─▶ admission ─▶ follow: apply ─▶ snapshot, acknowledgement
//!                                          │          └─▶ desk ◀─ admin door: show, accept
//!                                          └ refused: counted, said once, nothing changes
//! ```
//! All of it on the admin thread. Losing a source changes nothing: what was last followed serves,
//! from memory or, after a restart, from the snapshot. Only while a pool goes from one ring to another
//! does it rest on keys that move when ZooKeeper is out of sight (`follow::standing`). `fleet` is for
//! whoever leads all proxies on such a way.

pub mod admission;
pub mod decode;
mod desk;
mod file;
pub mod fleet;
mod follow;
mod refusal;
pub mod snapshot;
#[cfg(feature = "zookeeper")]
mod zookeeper;

pub use desk::{Desk, Report};
pub use refusal::{Reason, Refusal};
#[cfg(feature = "zookeeper")]
pub use zookeeper::{Fleet, watch_over};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::{Config, Place, Pool, TopologySource};
use crate::control::reload::Reloader;
use crate::routing::Board;
use follow::{Follower, Force};

/// The sources of all pools that have one.
#[derive(Default)]
pub struct Sources {
    desks: Vec<Arc<Desk>>,
    files: Vec<(PathBuf, Follower)>,
    #[cfg(feature = "zookeeper")]
    groups: Vec<zookeeper::Group>,
}

impl Sources {
    /// Reads each source once and gives its pool the servers and rings to start with: those of the source; if
    /// that does not answer in the time that the pool allows, those of the snapshot; if there is
    /// none, those of the configuration, perhaps none. Never fails: a process without servers
    /// answers errors until its source is there.
    pub async fn open(config: &mut Config) -> Self {
        let mut sources = Self::default();
        let mut wait = Duration::ZERO;
        for pool in &config.pools {
            if let Some(source) = &pool.topology {
                wait = wait.max(source.startup_wait);
                sources.add(pool, source);
            }
        }
        for (path, follower) in &mut sources.files {
            follower.see(&file::read(path), std::time::Instant::now());
        }
        #[cfg(feature = "zookeeper")]
        sources.read_groups(wait).await;
        for follower in sources.followers() {
            let name = follower.desk().pool.clone();
            let given = follower.begin();
            if let Some(pool) = config.pools.iter_mut().find(|pool| pool.name == name) {
                given.put(pool);
            }
        }
        sources
    }

    /// What operators see of them.
    pub fn desks(&self) -> &[Arc<Desk>] {
        &self.desks
    }

    /// Follows all sources for ever; what they say is put in force by `reloader`, and has ended
    /// and settled when `board` says so. To be called within the runtime of the admin thread.
    pub fn follow(mut self, reloader: &Arc<Reloader>, board: &Arc<Board>) {
        let pools = reloader.current();
        for follower in self.followers() {
            let name = follower.desk().pool.clone();
            let number =
                pools.pools.iter().position(|pool| pool.name == name).unwrap_or(usize::MAX);
            if follower.admitted().is_some() {
                reloader.keep(&name, follower.given());
            }
            let reloader = Arc::clone(reloader);
            let apply = move |pool: &str, given| {
                reloader.give(pool, given).map(drop).map_err(|it| it.to_string())
            };
            let board = Arc::clone(board);
            tokio::spawn(follow::watch_fence(
                Arc::clone(follower.desk()),
                (Arc::clone(&board), number),
            ));
            follower.apply_by(Force { apply: Box::new(apply), board, number });
        }
        for (path, follower) in self.files {
            tokio::spawn(file::follow(path, follower));
        }
        #[cfg(feature = "zookeeper")]
        for group in self.groups {
            tokio::spawn(group.follow());
        }
    }

    fn add(&mut self, pool: &Pool, source: &TopologySource) {
        let what = described(source);
        match &source.place {
            Place::File(path) => {
                let desk = self.desk(pool, what, Arc::default());
                self.files.push((path.clone(), Follower::new(pool, source, desk)));
            }
            #[cfg(feature = "zookeeper")]
            Place::ZooKeeper(place) => {
                let known = self.groups.iter().position(|group| group.reaches(place));
                let number = known.unwrap_or_else(|| {
                    self.groups.push(zookeeper::Group::new(place, Arc::default()));
                    self.groups.len() - 1
                });
                let desk = self.desk(pool, what, self.groups[number].wake());
                let follower = Follower::new(pool, source, desk);
                self.groups[number].add(place, source.format, &proxy_id(pool), follower);
            }
            #[cfg(not(feature = "zookeeper"))]
            Place::ZooKeeper(_) => {
                let desk = self.desk(pool, what, Arc::default());
                tracing::error!(pool = pool.name, "this program is built without ZooKeeper");
                // A file that is never there: what was last known serves.
                self.files.push((PathBuf::new(), Follower::new(pool, source, desk)));
            }
        }
    }

    fn desk(&mut self, pool: &Pool, source: String, wake: Arc<Notify>) -> Arc<Desk> {
        let desk = Arc::new(Desk::new(&pool.name, source, pool.placement(), wake));
        self.desks.push(Arc::clone(&desk));
        desk
    }

    fn followers(&mut self) -> Vec<&mut Follower> {
        let followers: Vec<&mut Follower> = self.files.iter_mut().map(|(_, it)| it).collect();
        #[cfg(feature = "zookeeper")]
        let followers = {
            let mut followers = followers;
            followers.extend(self.groups.iter_mut().flat_map(zookeeper::Group::followers));
            followers
        };
        followers
    }

    /// All groups at a time: one that does not answer keeps no other waiting.
    #[cfg(feature = "zookeeper")]
    async fn read_groups(&mut self, wait: Duration) {
        let reading: Vec<_> =
            self.groups.drain(..).map(|group| tokio::spawn(group.first(wait))).collect();
        for group in reading {
            match group.await {
                Ok(group) => self.groups.push(group),
                Err(error) => tracing::error!(%error, "a source of servers has failed"),
            }
        }
    }
}

/// The source in one line, as snapshots name it.
fn described(source: &TopologySource) -> String {
    let format = source.format.name();
    match &source.place {
        Place::File(path) => format!("file {} {format}", path.display()),
        Place::ZooKeeper(place) => {
            format!("zookeeper {}{}{} {format}", place.connect, place.chroot, place.path)
        }
    }
}

/// What acknowledgements call this process: the host, where it listens, and its number there. Two
/// that listen at one place must not take each other's for their own.
#[cfg(feature = "zookeeper")]
fn proxy_id(pool: &Pool) -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    format!("{host}-{}-{}", pool.listen, std::process::id()).replace('/', "_")
}

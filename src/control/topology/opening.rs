//! Sources that are not followed yet: those of a start, or of pools that a reload brings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::{Place, Pool, TopologySource};
use crate::control::given::Given;
use crate::control::topology::admission::Admitted;
use crate::control::topology::desk::Desk;
use crate::control::topology::follow::Follower;
#[cfg(feature = "zookeeper")]
use crate::control::topology::zookeeper::{Door, Group};
use crate::control::topology::{described, file};

/// Some pools and the followers of their sources.
#[derive(Default)]
pub(super) struct Opening {
    pub(super) files: Vec<(PathBuf, Follower)>,
    #[cfg(feature = "zookeeper")]
    pub(super) groups: Vec<Group>,
    /// Those of groups that are followed already.
    #[cfg(feature = "zookeeper")]
    doors: Vec<Door>,
    /// The longest that one of the pools allows for the first reading.
    wait: Duration,
}

/// What is in force in a pool that has served so far: the desk of the source that it had, and what
/// the new one is judged against.
pub(super) struct Before {
    pub(super) desk: Option<Arc<Desk>>,
    pub(super) admitted: Option<Admitted>,
}

impl Opening {
    /// Nothing; a pool whose ensemble has one of these doors will be sent in there.
    #[cfg(feature = "zookeeper")]
    pub(super) fn beside(doors: Vec<Door>) -> Self {
        Self { doors, ..Self::default() }
    }

    /// Adds a pool, if it has a source. `before`: it serves already.
    pub(super) fn add(&mut self, pool: &Pool, before: Option<Before>) {
        let Some(source) = &pool.topology else { return };
        self.wait = self.wait.max(source.startup_wait);
        match &source.place {
            Place::File(path) => {
                let follower = follower((pool, source), Arc::default(), before);
                self.files.push((path.clone(), follower));
            }
            #[cfg(feature = "zookeeper")]
            Place::ZooKeeper(place) => {
                let number = self.group(place);
                let wake = self.groups[number].door().wake();
                let follower = follower((pool, source), wake, before);
                let id = crate::control::topology::proxy_id(pool);
                self.groups[number].add(place, source.format, &id, follower);
            }
            #[cfg(not(feature = "zookeeper"))]
            Place::ZooKeeper(_) => {
                // No configuration asks for it. A file that is never there: what was last known serves.
                let follower = follower((pool, source), Arc::default(), before);
                self.files.push((PathBuf::new(), follower));
            }
        }
    }

    /// The number of the group of this ensemble.
    #[cfg(feature = "zookeeper")]
    fn group(&mut self, place: &crate::config::ZooKeeper) -> usize {
        let known = self.groups.iter().position(|group| group.door().reaches(place));
        known.unwrap_or_else(|| {
            let door = self.doors.iter().find(|door| door.reaches(place));
            let door = door.cloned().unwrap_or_else(|| Door::new(place));
            self.groups.push(Group::new(door));
            self.groups.len() - 1
        })
    }

    /// Reads each source once, for no longer than its pools allow, and no longer than `limit`.
    pub(super) async fn read(&mut self, limit: Duration) {
        for (path, follower) in &mut self.files {
            follower.see(&file::read(path), Instant::now());
        }
        #[cfg(feature = "zookeeper")]
        self.read_groups(self.wait.min(limit)).await;
        #[cfg(not(feature = "zookeeper"))]
        let _ = (self.wait, limit);
    }

    /// What the pools begin with: what the source has said; if it has not, the snapshot; if there
    /// is none, the servers of the configuration, perhaps none.
    pub(super) fn begin(&mut self) -> Vec<(String, Given)> {
        let begin = |follower: &mut Follower| (follower.desk().pool.clone(), follower.begin());
        self.followers().into_iter().map(begin).collect()
    }

    pub(super) fn followers(&mut self) -> Vec<&mut Follower> {
        let followers: Vec<&mut Follower> = self.files.iter_mut().map(|(_, it)| it).collect();
        #[cfg(feature = "zookeeper")]
        let followers = {
            let mut followers = followers;
            followers.extend(self.groups.iter_mut().flat_map(Group::followers));
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

fn follower(
    (pool, source): (&Pool, &TopologySource),
    wake: Arc<Notify>,
    before: Option<Before>,
) -> Follower {
    let (what, placement) = (described(source), pool.placement());
    let Some(Before { desk, admitted }) = before else {
        let desk = Desk::new(&pool.name, what, placement, wake);
        return Follower::new(pool, source, Arc::new(desk));
    };
    let desk = match desk {
        Some(desk) => desk.succeeded(what, placement, wake),
        None => {
            let desk = Desk::new(&pool.name, what, placement, wake);
            desk.start_with(&pool.servers);
            desk
        }
    };
    Follower::beside(pool, source, (Arc::new(desk), admitted))
}

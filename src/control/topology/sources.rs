//! The sources of all pools, as pools come, change and go with the configuration.
//!
//! ```text
//!  start:  open ─ first reading ─▶ follow ─▶ a task for each file and each ensemble
//!  reload: first (pools that are new) ─▶ the swap ─▶ settle: tasks begin, end, or begin anew
//!             └ refused: thrown away, nothing has changed ┘
//! ```
//! A source that is followed anew, because it or what it is judged by has changed, begins beside
//! what is in force in its pool: that serves until the source has something else to say that is
//! admitted in its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::config::{Config, Pool};
use crate::control::given::Given;
use crate::control::topology::admission::Admitted;
use crate::control::topology::desk::Desk;
use crate::control::topology::follow::{Apply, Follower, Force, watch_fence};
use crate::control::topology::opening::{Before, Opening};
#[cfg(feature = "zookeeper")]
use crate::control::topology::zookeeper::Door;
use crate::control::topology::{described, file};
use crate::metrics::Registry;
use crate::routing::Board;
use crate::topology::{Document, Node};

/// A reload waits for the first reading of a new pool's source no longer than this, however long
/// the pool would have a start wait: it is answered within the time of an admin connection.
const RELOAD_WAIT: Duration = Duration::from_secs(2);

/// All of them, in one hand.
#[derive(Clone, Default)]
pub struct Sources(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Read, and not followed yet: the process is about to start.
    opening: Option<Opening>,
    way: Option<Way>,
    followed: Vec<Followed>,
    #[cfg(feature = "zookeeper")]
    doors: Vec<Door>,
}

/// The way into the running process.
#[derive(Clone)]
struct Way {
    apply: Apply,
    board: Arc<Board>,
    registry: Arc<Registry>,
}

/// The source of one pool.
struct Followed {
    desk: Arc<Desk>,
    /// The pool's number.
    number: usize,
    /// What ends with it.
    tasks: Vec<AbortHandle>,
    /// Where it is to be sent away.
    #[cfg(feature = "zookeeper")]
    door: Option<Door>,
}

/// Sources of pools that a configuration adds, read once and not followed yet. Dropped, it leaves
/// nothing behind.
#[derive(Default)]
pub(in crate::control) struct Begun(Opening);

impl Sources {
    /// Reads each source once and gives its pool the servers and rings to start with: those of the source; if
    /// that does not answer in the time that the pool allows, those of the snapshot; if there is
    /// none, those of the configuration, perhaps none. Never fails: a process without servers
    /// answers errors until its source is there.
    pub async fn open(config: &mut Config) -> Self {
        let mut opening = Opening::default();
        config.pools.iter().for_each(|pool| opening.add(pool, None));
        opening.read(Duration::MAX).await;
        for (name, given) in opening.begin() {
            if let Some(pool) = config.pools.iter_mut().find(|pool| pool.name == name) {
                given.put(pool);
            }
        }
        let sources = Self::default();
        sources.state().opening = Some(opening);
        sources
    }

    /// What operators see of them, in the order of the pools.
    pub fn desks(&self) -> Vec<Arc<Desk>> {
        self.state().followed.iter().map(|followed| Arc::clone(&followed.desk)).collect()
    }

    /// What the sources have said before they are followed, by the names of the pools.
    pub fn said(&self) -> Vec<(String, Given)> {
        let mut state = self.state();
        let followers = state.opening.iter_mut().flat_map(Opening::followers);
        let said = followers.filter(|follower| follower.admitted().is_some());
        said.map(|follower| (follower.desk().pool.clone(), follower.given())).collect()
    }

    /// Follows all sources of the pools of `config` from now on; what they say is put in force by
    /// `apply`, and has ended and settled when `board` says so; `registry` knows the numbers of pools,
    /// and is told whose sources there are. To be called within the runtime of the admin thread.
    pub fn follow(
        &self,
        config: &Config,
        apply: impl Fn(&str, Given) -> Result<(), String> + Send + Sync + 'static,
        (board, registry): (Arc<Board>, Arc<Registry>),
    ) {
        let mut state = self.state();
        let opening = state.opening.take().unwrap_or_default();
        state.way = Some(Way { apply: Arc::new(apply), board, registry });
        state.start(opening);
        state.arrange(config);
    }

    /// Reads the sources of pools that `new` has and `old` has not, for a short time, as a start
    /// does.
    pub(in crate::control) async fn first(
        &self,
        old: &Config,
        new: &Config,
    ) -> (Begun, Vec<(String, Given)>) {
        let mut opening = self.state().opening();
        let added = |pool: &&Pool| old.pools.iter().all(|other| other.name != pool.name);
        new.pools.iter().filter(added).for_each(|pool| opening.add(pool, None));
        opening.read(RELOAD_WAIT).await;
        let given = opening.begin();
        (Begun(opening), given)
    }

    /// A configuration is in force in the place of another: sources that have come with it are
    /// followed, those that have gone no more, those that have changed anew.
    pub(in crate::control) fn settle(&self, begun: Begun, (old, new): (&Config, &Config)) {
        let mut state = self.state();
        let Begun(begun) = begun;
        let mut changed = state.opening();
        for pool in &new.pools {
            let Some(before) = old.pools.iter().find(|other| other.name == pool.name) else {
                continue;
            };
            if follows(before) != follows(pool) {
                let ended = state.end(&pool.name);
                changed.add(pool, Some(in_force(pool, ended)));
            }
        }
        for pool in &old.pools {
            if new.pools.iter().all(|other| other.name != pool.name) {
                state.end(&pool.name);
            }
        }
        state.start(begun);
        state.start(changed);
        state.arrange(new);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Room for sources that are to be followed beside those that are.
    fn opening(&self) -> Opening {
        #[cfg(feature = "zookeeper")]
        let opening = Opening::beside(self.doors.clone());
        #[cfg(not(feature = "zookeeper"))]
        let opening = Opening::default();
        opening
    }

    /// Follows what has been opened. Nothing happens before the process runs.
    fn start(&mut self, opening: Opening) {
        let Some(way) = self.way.clone() else { return };
        for (path, mut follower) in opening.files {
            let mut followed = way.let_in(&mut follower);
            followed.tasks.push(tokio::spawn(file::follow(path, follower)).abort_handle());
            self.followed.push(followed);
        }
        #[cfg(feature = "zookeeper")]
        for mut group in opening.groups {
            let door = group.door().clone();
            for follower in group.followers() {
                let followed = way.let_in(follower);
                self.followed.push(Followed { door: Some(door.clone()), ..followed });
            }
            if self.doors.iter().any(|known| known.is(&door)) {
                door.join(group);
            } else {
                self.doors.push(door);
                tokio::spawn(group.follow());
            }
        }
    }

    /// Follows the source of a pool no more, if it has one; what operators have seen of it.
    fn end(&mut self, pool: &str) -> Option<Arc<Desk>> {
        let at = self.followed.iter().position(|followed| followed.desk.pool == pool)?;
        let Followed { desk, number, tasks, .. } = &self.followed[at];
        desk.end();
        tasks.iter().for_each(AbortHandle::abort);
        if let Some(permit) = self.way.as_ref().and_then(|way| way.board.permit(*number)) {
            permit.revoke();
        }
        #[cfg(feature = "zookeeper")]
        if let Some(door) = &self.followed[at].door {
            door.leave(desk);
        }
        Some(self.followed.remove(at).desk)
    }

    /// Brings what is followed into the order of the pools, and tells whose figures there are.
    fn arrange(&mut self, config: &Config) {
        let place = |name: &str| config.pools.iter().position(|pool| pool.name == name);
        self.followed.sort_by_key(|followed| place(&followed.desk.pool));
        // A group that nobody needs any more ends by itself.
        #[cfg(feature = "zookeeper")]
        self.doors.retain(|door| {
            let behind = |followed: &Followed| followed.door.as_ref().is_some_and(|it| it.is(door));
            self.followed.iter().any(behind)
        });
        if let Some(way) = &self.way {
            let banks = self.followed.iter().map(|followed| Arc::clone(&followed.desk.metrics));
            way.registry.set_topologies(banks.collect());
        }
    }
}

impl Way {
    /// Lets a follower put in force what it admits.
    fn let_in(&self, follower: &mut Follower) -> Followed {
        let desk = Arc::clone(follower.desk());
        let layout = self.registry.layout();
        let number = layout.present().find(|(_, shape)| shape.name == desk.pool);
        let number = number.map_or(usize::MAX, |(number, _)| number);
        let board = Arc::clone(&self.board);
        let fence = watch_fence(Arc::clone(&desk), (Arc::clone(&board), number));
        follower.apply_by(Force { apply: Arc::clone(&self.apply), board, number });
        let tasks = vec![tokio::spawn(fence).abort_handle()];
        #[cfg(feature = "zookeeper")]
        let followed = Followed { desk, number, tasks, door: None };
        #[cfg(not(feature = "zookeeper"))]
        let followed = Followed { desk, number, tasks };
        followed
    }
}

/// All that a follower of the pool's source rests on: it is another one if any of it is.
pub(in crate::control) fn follows(pool: &Pool) -> impl PartialEq + use<'_> {
    let source = pool.topology.as_ref();
    source.map(|source| {
        let tls = pool.server_tls.is_some();
        (source, &pool.routing, pool.placement(), tls, pool.why_one_ring().next())
    })
}

/// What a pool has that stays, and that its new source is judged against: by its own stamps if it
/// is the same source, or else as something that any source may follow upon.
fn in_force(pool: &Pool, desk: Option<Arc<Desk>>) -> Before {
    let same = |desk: &&Arc<Desk>| {
        pool.topology.as_ref().is_some_and(|source| described(source) == desk.source)
    };
    let known = desk.as_ref().filter(same).and_then(|desk| desk.admitted());
    let admitted = known.or_else(|| {
        let current: Vec<Node> = pool.servers.iter().cloned().map(Node::plain).collect();
        let document = Document { current, ..Document::default() };
        (!document.current.is_empty()).then_some(Admitted { stamp: 0, document })
    });
    Before { desk, admitted }
}

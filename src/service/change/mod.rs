//! Another configuration, taken over by a worker between two of its requests.
//!
//! ```text
//!  admin ─ parsed, checked, rings built ─▶ Latest ─ a letter ─▶ adopt ─┬▶ servers that stay: as before
//!                                                                      ├▶ that come: dialled when asked
//!                                                                      └▶ that go: leaving (servers)
//! ```
//! A server is known by its index in its pool's list; a change gives all of them new ones. Those
//! that are leaving stand behind the others until they owe nothing: nobody routes to them, and
//! whatever is under way on their connections finds them. What remembers an index is renumbered.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::TlsConnector;
use crate::cache::near::Near;
use crate::config::{Dead, NearMode, Pool as Settings};
use crate::metrics::{PoolMetrics, ServerMetric, WorkerMetrics};
use crate::routing::{DualRing, Router};
use crate::service::dispatch::Turn;
use crate::service::pool::{Pool, Server, backoff};
use crate::service::proxy::{Duty, GATHER_SHARE, Link, Proxy};
use crate::service::replies::Clients;

/// What every worker is to hold.
#[derive(Debug)]
pub struct Snapshot {
    /// Bytes that all buffers of one worker may hold.
    pub buffers: usize,
    /// How long clients of pools that have been removed may take to finish.
    pub grace: Duration,
    /// The pools by their numbers.
    pub pools: Vec<Plan>,
}

/// What a worker is to hold of one pool.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its settings, with its servers.
    pub settings: Arc<Settings>,
    /// The way to them.
    pub router: Router,
    /// The ways to them while they are of two rings.
    pub rings: Carried,
    /// What TLS to them is made with.
    pub tls: Option<TlsConnector>,
    /// Its near cache.
    pub near: Option<Arc<Near>>,
    /// Nobody comes any more, and whoever is there is to leave.
    pub removed: bool,
    /// Held for as long as anything of the pool is there.
    pub lease: Arc<()>,
}

/// Rings that come together with the servers that they are over.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// As [`Board::carry`](crate::routing::Board::carry) counts it; 0: the pool keeps what it has.
    pub version: u64,
    /// None if the pool's own ring serves alone.
    pub rings: Option<Arc<DualRing>>,
}

/// Where one worker finds what it is to hold next; a later one takes the place of an earlier one.
#[derive(Debug, Default)]
pub struct Latest(Mutex<Option<News>>);

/// A snapshot, and this worker's banks for it.
type News = (Arc<Snapshot>, Arc<WorkerMetrics>);

impl Latest {
    /// Puts it there; the worker is told by a letter.
    pub fn put(&self, snapshot: Arc<Snapshot>, banks: Arc<WorkerMetrics>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((snapshot, banks));
    }

    /// Takes what there is.
    pub fn take(&self) -> Option<News> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Plan {
    /// The same pool with other settings and TLS. The ring is built anew only if it is another.
    pub fn with(&self, settings: Arc<Settings>, tls: Option<TlsConnector>) -> Self {
        let (old, new) = (&self.settings, &settings);
        let same = |old: &Settings, new: &Settings| {
            old.servers == new.servers && old.routing == new.routing && old.dead == new.dead
        };
        if same(old, new) {
            return Self { settings, tls, near: None, ..self.clone() };
        }
        Self { rings: self.rings.clone(), ..Self::new(settings, tls, Arc::clone(&self.lease)) }
    }

    /// The plan of a pool with these settings: builds its ring. A server that is marked down is
    /// off it only where dead ones are.
    pub fn new(settings: Arc<Settings>, tls: Option<TlsConnector>, lease: Arc<()>) -> Self {
        let router = Router::new(&settings.routing, &settings.servers);
        let live = live_by_state(&settings);
        let router = if live.contains(&false) { router.with_live(&live) } else { router };
        let rings = Carried::default();
        Self { settings, router, rings, tls, near: None, removed: false, lease }
    }
}

/// Which servers of a pool are on its ring as far as the topology says.
pub(super) fn live_by_state(settings: &Settings) -> Vec<bool> {
    let on = |down: bool| !(down && settings.dead == Dead::Rehash);
    settings.servers.iter().map(|server| on(server.is_down())).collect()
}

/// True if a connection that serves under the one settings serves as well under the other.
fn same_connections(old: &Settings, new: &Settings) -> bool {
    old.server_tls == new.server_tls
        && old.redis_auth == new.redis_auth
        && old.redis_user == new.redis_user
        && old.redis_db == new.redis_db
        && old.server_connections == new.server_connections
        && tracks(old) == tracks(new)
}

/// Whether servers are asked to tell of changes.
fn tracks(settings: &Settings) -> bool {
    settings.near_cache.as_ref().is_some_and(|near| near.mode == NearMode::Tracked)
}

/// The new index of each server that there was.
pub(super) type Moves = Vec<Option<usize>>;

/// What has become of a pool's servers.
struct Shift {
    pool: usize,
    moves: Moves,
    /// Those that are new, or have another address or state.
    fresh: Vec<usize>,
    leaving: Range<usize>,
}

impl Proxy {
    /// Holds what a snapshot says from now on. Returns the banks to count in.
    pub fn adopt<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        snapshot: &Snapshot,
        banks: &WorkerMetrics,
    ) -> Arc<WorkerMetrics> {
        self.gathers.set_limit(snapshot.buffers / GATHER_SHARE);
        self.tls = snapshot.pools.iter().map(|plan| plan.tls.clone()).collect();
        let mut shifts = Vec::new();
        let (mut pools, mut headings) = (Vec::new(), Vec::new());
        for (number, plan) in snapshot.pools.iter().enumerate() {
            let bank = banks.pools.get(number).cloned().unwrap_or_default();
            let new = number >= self.pools.len();
            if new {
                self.pools.push(Pool::bare(plan, self.compat));
                self.pools[number].retired = plan.removed;
            }
            if plan.removed && self.pools[number].retired {
                self.end_lease(number);
                let counted = self.metrics.pools.get(number);
                pools.push(counted.cloned().unwrap_or(bank));
                continue;
            }
            let before = Arc::clone(&self.pools[number].settings);
            let count = self.pools[number].count();
            let (bank, shift) = self.reshape(number, plan, &bank);
            let stood = self.pools[number].standing();
            let carried = self.take_carried(number, &plan.rings, turn.now);
            headings.extend(carried.then_some((number as u16, stood)));
            let same = before.servers[..count] == plan.settings.servers
                && before.routing == plan.settings.routing;
            self.change_near(turn, number, (plan.near.as_ref(), same));
            pools.push(bank);
            shifts.push(shift);
        }
        self.metrics = Arc::new(banks.over(pools));
        for shift in shifts {
            self.carry_through(turn, &shift);
        }
        for (pool, stood) in headings {
            self.change_heading(turn, pool, stood);
        }
        self.begin_parked_again(turn);
        Arc::clone(&self.metrics)
    }

    /// A pool that has been removed has no client left: its servers leave.
    pub fn retire<C: Clients>(&mut self, turn: &mut Turn<'_, C>, pool: u16) {
        let number = pool as usize;
        let owner = &self.pools[number];
        let settings = Settings { servers: Vec::new(), ..Settings::clone(&owner.settings) };
        let lease = owner.lease.clone().unwrap_or_default();
        let plan = Plan { removed: true, ..Plan::new(Arc::new(settings), None, lease) };
        self.pools[number].rings = None;
        let (bank, shift) = self.reshape(number, &plan, &self.metrics.pools[number].clone());
        let mut pools = self.metrics.pools.clone();
        pools[number] = bank;
        self.metrics = Arc::new(self.metrics.over(pools));
        self.carry_through(turn, &shift);
        self.pools[number].retired = true;
        self.end_lease(number);
    }

    /// Whether that has been done.
    pub fn is_retired(&self, pool: u16) -> bool {
        self.pools.get(pool as usize).is_none_or(|pool| pool.retired)
    }

    fn end_lease(&mut self, number: usize) {
        if self.links.iter().all(|link| link.pool as usize != number || link.duty == Duty::Gone) {
            self.pools[number].lease = None;
        }
    }

    /// Renumbers a pool's servers: those of the plan, in its order, then those that are leaving.
    fn reshape(&mut self, number: usize, plan: &Plan, bank: &PoolMetrics) -> (PoolMetrics, Shift) {
        let bare = Pool::bare(plan, self.compat);
        let old = std::mem::replace(&mut self.pools[number], bare);
        // Other rings come with the plan, if any do.
        self.pools[number].rings.clone_from(&old.rings);
        self.pools[number].passage.clone_from(&old.passage);
        let count = old.count();
        let keep = same_connections(&old.settings, &plan.settings);
        let nodes = &old.settings.servers;
        let known: HashMap<&str, usize> =
            nodes[..count].iter().map(|node| node.name.as_str()).zip(0..).collect();
        let backoff = backoff(&plan.settings, self.compat);
        let mut moves: Moves = vec![None; nodes.len()];
        let mut before: Vec<Option<Server>> = old.servers.into_iter().map(Some).collect();
        let left: Vec<bool> =
            (0..nodes.len()).map(|at| at >= count && self.has_left(number, at)).collect();
        let (mut servers, mut fresh, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        let mut live = live_by_state(&plan.settings);
        for (at, node) in plan.settings.servers.iter().enumerate() {
            let alike = |&old: &usize| {
                keep && nodes[old].address == node.address && nodes[old].is_down() == node.is_down()
            };
            let index = known.get(node.name.as_str()).copied().filter(alike);
            let kept = index.and_then(|index| Some((index, before[index].take()?)));
            if let Some((index, mut server)) = kept {
                moves[index] = Some(at);
                server.health.adopt(backoff);
                let dropped = match old.settings.dead {
                    Dead::Rehash => !old.live[index],
                    _ => !server.health.is_up(),
                };
                live[at] &= !(dropped && plan.settings.dead == Dead::Rehash);
                servers.push(server);
            } else {
                fresh.push(at);
                let block = self.new_block(number, (at, false));
                blocks.push(block.0..block.0 + block.1);
                servers.push(Server::new(backoff, block, node.is_down()));
            }
        }
        let mut banks = bank.servers.clone();
        banks.truncate(servers.len());
        let mut all = plan.settings.servers.clone();
        for (index, server) in before.into_iter().enumerate() {
            let Some(server) = server else { continue };
            if left[index] {
                self.give_blocks_back(&server);
                continue;
            }
            moves[index] = Some(servers.len());
            all.push(nodes[index].clone());
            banks.push(self.metrics.pools[number].servers[index].clone());
            servers.push(server);
        }
        self.renumber(number, &moves, &blocks);
        // An operation goes on with whoever has the name now.
        let named = |old: usize| {
            let name = nodes.get(old).map(|node| &node.name);
            plan.settings.servers.iter().position(|node| Some(&node.name) == name)
        };
        self.slots.renumber(number as u16, named);
        let leaving = live.len()..servers.len();
        let pool = &mut self.pools[number];
        if !leaving.is_empty() {
            pool.settings = Arc::new(Settings { servers: all, ..Settings::clone(&plan.settings) });
        }
        pool.hold(servers, live, &live_by_state(&plan.settings));
        (bank.over(banks), Shift { pool: number, moves, fresh, leaving })
    }

    /// Tells everything that remembers the index of a server; connections in `blocks` know theirs.
    fn renumber(&mut self, pool: usize, moves: &Moves, blocks: &[Range<u32>]) {
        let new = |link: u32| blocks.iter().any(|block| block.contains(&link));
        for (number, link) in (0..).zip(&mut self.links) {
            if link.pool as usize == pool && !new(number) {
                let moved = moves.get(link.server as usize).copied().flatten();
                link.server = moved.unwrap_or_default() as u16;
            }
        }
        self.gathers.renumber(pool as u16, moves);
    }

    /// What a change of a pool's servers means for connections.
    fn carry_through<C: Clients>(&mut self, turn: &mut Turn<'_, C>, shift: &Shift) {
        let pool = &self.pools[shift.pool];
        let settings = Arc::clone(&pool.settings);
        let of_it = |link: &&mut Link| link.pool as usize == shift.pool;
        for link in self.links.iter_mut().filter(of_it) {
            link.connection.adopt(&settings);
        }
        for &server in &shift.fresh {
            let down = settings.servers[server].is_down();
            let bank = &self.metrics.pools[shift.pool].servers[server];
            bank.set(ServerMetric::Up, u64::from(!down));
            self.end_former(turn, (shift.pool, server));
            let first = self.pools[shift.pool].servers[server].first;
            if settings.preconnect && !down {
                let end = first + settings.server_connections;
                (first..end).for_each(|link| self.dial(link));
            }
        }
        self.follow_topics(turn, shift.pool, (&shift.moves, &shift.fresh));
        self.renumber_moves(turn, shift.pool as u16);
        for server in shift.leaving.clone() {
            self.leave_server(turn, (shift.pool, server));
        }
    }
}

#[cfg(test)]
mod tests;

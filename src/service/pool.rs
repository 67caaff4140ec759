//! A pool as one worker holds it: its router, its servers and their health.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::change::Plan;
use super::expansion::{Passage, rings};
use super::notes::Notes;
use crate::backend::{Backoff, Greeting, Health};
use crate::config::{Dead, Node, Pool as Settings, Protocol};
use crate::protocol::{Rules, memcache, redis};
use crate::routing::{DualRing, Router};

/// The first pause before a failed server is tried again, and the longest (faults F01, F18).
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Arguments, and bytes of one, that are taken from a client that has not given the password
/// (CVE-2021-32675).
const STRANGERS: (usize, u64) = (10, 16 * 1024);

/// One pool.
pub(super) struct Pool {
    pub(super) settings: Arc<Settings>,
    pub(super) compat: bool,
    pub(super) rules: Rules,
    pub(super) rules_for_strangers: Rules,
    /// In RESP2 (and memcache), and in RESP3.
    pub(super) greetings: [Arc<Greeting>; 2],
    pub(super) servers: Vec<Server>,
    pub(super) router: Router,
    /// Which of its servers are on the ring; those behind them in the list are leaving.
    pub(super) live: Vec<bool>,
    /// Held while anything of the pool is there; none of one that is there from the start.
    pub(super) lease: Option<Arc<()>>,
    /// It has been removed, and nobody uses it any more.
    pub(super) retired: bool,
    /// Connections on which a server should tell of changes and does not.
    pub(super) unheard: u32,
    /// While it goes from one ring to another.
    pub(super) rings: Option<Arc<DualRing>>,
    /// Since when, and what that means for operations under way.
    pub(super) passage: Passage,
}

/// One server of a pool.
pub(super) struct Server {
    pub(super) health: Health,
    pub(super) notes: Notes,
    /// The number of its first connection, and how many there are; the others follow. No other
    /// server of the worker has it.
    pub(super) first: u32,
    pub(super) connections: u32,
    /// Likewise of those that speak RESP3, once there are any.
    pub(super) first_resp3: Option<u32>,
    /// Uploads that have connections of their own now.
    pub(super) uploads: usize,
    /// Connections lent to sessions now, and those that wait for the next.
    pub(super) lent: usize,
    pub(super) spare: [Vec<u32>; 2],
    /// The connection that subscriptions are on.
    pub(super) subscriber: Option<u32>,
    /// It does not tell of changes, as far as is known.
    pub(super) refuses_tracking: bool,
    /// It has answered that it cannot serve now, and nothing else since.
    pub(super) unavailable: bool,
}

impl Server {
    /// One whose connections are numbered from `first` on; `down`: it is never dialled.
    pub(super) fn new(backoff: Backoff, (first, connections): (u32, u32), down: bool) -> Self {
        let seed = RandomState::new().build_hasher().finish();
        let health = Health::new(backoff, seed);
        Self {
            health: if down { health.marked_down() } else { health },
            notes: Notes::default(),
            first,
            connections,
            uploads: 0,
            lent: 0,
            spare: Default::default(),
            subscriber: None,
            first_resp3: None,
            unavailable: false,
            refuses_tracking: false,
        }
    }
}

impl Pool {
    /// A pool whose connections are numbered from `first` on.
    pub(super) fn new(settings: Arc<Settings>, compat: bool, first: u32) -> Self {
        let backoff = backoff(&settings, compat);
        let step = settings.server_connections;
        let server = |(index, node): (u32, &Node)| {
            Server::new(backoff, (first + index * step, step), node.is_down())
        };
        let rules = rules(&settings, compat);
        let (args_per_request, value_bytes) = STRANGERS;
        let rings = settings.two_rings().map(|it| Arc::new(rings(&settings, it)));
        Self {
            rules,
            rules_for_strangers: Rules { args_per_request, value_bytes, ..rules },
            greetings: [false, true].map(|resp3| Arc::new(Greeting::of(&settings, compat, resp3))),
            servers: (0..).zip(&settings.servers).map(server).collect(),
            router: Router::new(&settings.routing, &settings.servers),
            live: vec![true; settings.servers.len()],
            unheard: 0,
            passage: Passage::from_start(rings.as_deref(), Instant::now()),
            rings,
            settings,
            compat,
            lease: None,
            retired: false,
        }
    }

    /// The pool of a plan, which [holds](Self::hold) no servers yet.
    pub(super) fn bare(plan: &Plan, compat: bool) -> Self {
        let rules = rules(&plan.settings, compat);
        let (args_per_request, value_bytes) = STRANGERS;
        Self {
            rules,
            rules_for_strangers: Rules { args_per_request, value_bytes, ..rules },
            greetings: [false, true]
                .map(|resp3| Arc::new(Greeting::of(&plan.settings, compat, resp3))),
            servers: Vec::new(),
            router: plan.router.clone(),
            live: Vec::new(),
            settings: Arc::clone(&plan.settings),
            compat,
            lease: Some(Arc::clone(&plan.lease)),
            retired: false,
            unheard: 0,
            rings: None,
            passage: Passage::default(),
        }
    }

    /// Takes its servers: as many as `live` are the pool's, the others are leaving. The router is
    /// one over those that are true in `routed`.
    pub(super) fn hold(&mut self, servers: Vec<Server>, live: Vec<bool>, routed: &[bool]) {
        if live != routed {
            self.router = self.router.with_live(&live);
        }
        self.servers = servers;
        self.live = live;
    }

    /// How many servers it has, not counting those that are leaving.
    pub(super) fn count(&self) -> usize {
        self.live.len()
    }

    /// Takes a dead server off the ring or puts it back, if the pool re-hashes. Returns whether
    /// the ring changed.
    pub(super) fn set_live(&mut self, server: usize, live: bool) -> bool {
        if self.rings.is_some() || self.settings.dead != Dead::Rehash || self.live[server] == live {
            return false;
        }
        if !live && !self.may_lose_one() {
            return false;
        }
        self.live[server] = live;
        self.router = self.router.with_live(&self.live);
        true
    }

    /// A server that is down and nevertheless on the ring, because too many others were down, and
    /// that may be taken off now.
    pub(super) fn overdue(&self) -> Option<usize> {
        let down = |&server: &usize| self.live[server] && !self.servers[server].health.is_up();
        (0..self.count()).find(down).filter(|_| self.may_lose_one())
    }

    /// With half of the servers gone it is more likely us or the network than them, and the rest
    /// could not carry the load (faults F17). twemproxy knows no such limit.
    fn may_lose_one(&self) -> bool {
        let live = self.live.iter().filter(|&&live| live).count();
        self.compat || live.saturating_sub(1) * 2 >= self.live.len()
    }

    /// Appends the protocol's line for a failure that we report.
    pub(super) fn write_error(&self, text: &str, out: &mut Vec<u8>) {
        let prefix: &[u8] = match self.settings.protocol {
            Protocol::Memcache | Protocol::Ping => b"SERVER_ERROR ",
            Protocol::Redis => b"-ERR ",
        };
        out.extend_from_slice(prefix);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Appends a refusal's line.
    pub(super) fn write_refusal(&self, refusal: &crate::protocol::Refusal, out: &mut Vec<u8>) {
        match self.settings.protocol {
            Protocol::Memcache | Protocol::Ping => memcache::write_refusal(refusal, out),
            Protocol::Redis => redis::write_refusal(refusal, out),
        }
    }
}

pub(super) fn backoff(settings: &Settings, compat: bool) -> Backoff {
    let ejects = settings.dead == Dead::Rehash;
    let (first, most) = if compat { (Duration::ZERO, Duration::ZERO) } else { PAUSE };
    Backoff {
        first,
        most,
        limit: (ejects || !compat).then_some(settings.server_failure_limit.max(1)),
        rest: ejects.then_some(settings.server_retry_timeout),
    }
}

fn rules(settings: &Settings, compat: bool) -> Rules {
    let limits = &settings.limits;
    Rules {
        compat,
        cache: settings.cache.is_some(),
        lenient_lf: settings.lenient_lf,
        key_bytes: limits.key_bytes,
        value_bytes: limits.value_bytes,
        keys_per_request: limits.keys_per_request,
        args_per_request: limits.args_per_request,
        line_bytes: limits.line_bytes,
    }
}

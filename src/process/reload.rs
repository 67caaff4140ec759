//! Another configuration for the running threads: built aside, then handed out.
//!
//! ```text
//!  Config ─▶ certificates, numbers, listeners, rings ── any of them fails: thrown away
//!              └▶ Registry::publish ─▶ Latest + letter (workers) ─▶ Terms, Opening (listener) ─▶ log
//! ```
//! Pools have numbers, which clients and counters go by. A pool keeps its own as long as it is
//! there; the number of one that has been removed is used again when no thread holds its lease.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::near::Nears;
use super::tls::{self, Acceptors, Connectors};
use super::{can_follow, pass_of, serve_names, shape_of};
use crate::cache::Clock;
use crate::config::{Config, Listen, Pool, Protocol};
use crate::control::Log;
use crate::frontend::{Dealer, Handshakes, Listening, Opening, Terms};
use crate::metrics::Registry;
use crate::net::{Inbox, Listener, Resolver, TlsAcceptor, TlsConnector};
use crate::routing::Board;
use crate::service::{Carried, Latest, Letter, Plan, Snapshot, rings};
use crate::signal::{Life, Phase};
use crate::topology::Server;

/// What of the process takes part in a change.
pub(super) struct Threads {
    pub(super) registry: Arc<Registry>,
    pub(super) life: Arc<Life>,
    pub(super) log: Arc<Log>,
    pub(super) resolver: Resolver,
    pub(super) listening: Listening,
    /// Of each worker, its letters and where it finds its next configuration.
    pub(super) workers: Vec<(Inbox<Letter>, Arc<Latest>)>,
    /// The near caches, and the clock they go by.
    pub(super) nears: (Nears, Clock),
    /// The rings of pools that have two.
    pub(super) board: Arc<Board>,
}

/// The pools of the running process.
pub(super) struct Changer {
    threads: Threads,
    state: Mutex<State>,
}

struct State {
    places: Vec<Place>,
    resolvers: usize,
    level: String,
}

/// A pool at its number.
struct Place {
    plan: Plan,
    /// What its listener is told; none of a pool on standard input.
    terms: Option<watch::Sender<Option<Terms>>>,
}

/// A pool at its number as it is to be.
struct Next {
    plan: Plan,
    terms: Terms,
    /// Its listener, if it is new.
    opened: Option<Listener>,
}

impl Changer {
    /// The pools that the process starts with, in the order of `config`, whose listeners, where
    /// they have one, are open; names are looked up by as many threads as they need.
    pub(super) fn start(
        threads: Threads,
        config: &Config,
        (acceptors, connectors): (Acceptors, &Connectors),
        listeners: Vec<Option<Listener>>,
    ) -> Self {
        let resolvers = Resolver::threads(addresses(config));
        let state = State { places: Vec::new(), resolvers, level: config.log.level.clone() };
        let changer = Self { threads, state: Mutex::new(state) };
        let mut places = Vec::new();
        for (number, (pool, listener)) in config.pools.iter().zip(listeners).enumerate() {
            let lease = Arc::default();
            let terms = terms_of(pool, acceptors.get(number).cloned().flatten());
            let terms =
                listener.map(|it| changer.open(it, (number, pool, config.compat), terms, &lease));
            let tls = connectors.get(number).cloned().flatten();
            let plan = Plan::new(Arc::new(pool.clone()), tls, lease);
            places.push(Place { plan, terms });
        }
        changer.locked().places = places;
        changer
    }

    /// Puts `config` in force in all threads.
    ///
    /// # Errors
    /// What of it cannot be had; then nothing has changed.
    pub(super) fn swap(&self, config: &Config) -> Result<(), String> {
        if self.threads.life.phase() == Phase::Draining {
            return Err("the process is about to end".to_owned());
        }
        can_follow(config).map_err(|error| error.to_string())?;
        let state = &mut *self.locked();
        let (acceptors, connectors) = tls::load(config).map_err(|error| error.to_string())?;
        let tls = acceptors.into_iter().zip(connectors.iter().cloned());
        let mut next: Vec<Option<Next>> = state.places.iter().map(|_| None).collect();
        for (pool, (acceptor, connector)) in config.pools.iter().zip(tls) {
            let (number, built) = state.build(pool, (acceptor, connector), &next)?;
            if number == next.len() {
                next.push(None);
            }
            next[number] = Some(built);
        }
        let resolvers = Resolver::threads(addresses(config));
        serve_names(&self.threads.resolver, state.resolvers..resolvers)
            .map_err(|error| error.to_string())?;
        // From here on nothing can fail.
        self.threads.board.grow(next.len());
        let (nears, clock) = &self.threads.nears;
        for (pool, near) in config.pools.iter().zip(nears.of(&config.pools, *clock)) {
            let of_it = |next: &&mut Next| next.plan.settings.name == pool.name;
            if let Some(next) = next.iter_mut().flatten().find(of_it) {
                next.plan.near = near;
            }
        }
        state.resolvers = state.resolvers.max(resolvers);
        for (number, next) in next.iter_mut().enumerate() {
            if let Some(next) = next {
                next.plan.rings = self.carried(number, (state.places.get(number), &next.plan));
            }
        }
        self.hand_out(state, next, config);
        if config.log.level != state.level {
            self.threads.log.set_level(&config.log.level);
            state.level.clone_from(&config.log.level);
        }
        Ok(())
    }

    /// The rings that a pool is given with its servers, if it is new or these come from elsewhere
    /// than the configuration; the same as before if it keeps all that.
    fn carried(&self, number: usize, (before, plan): (Option<&Place>, &Plan)) -> Carried {
        let settings = &plan.settings;
        let old = before.map(|place| &place.plan).filter(|plan| !plan.removed);
        let same = |old: &Plan| {
            let (old, new) = (&old.settings, settings);
            old.servers == new.servers && old.two_rings() == new.two_rings()
        };
        if old.is_some_and(|old| settings.topology.is_none() || same(old)) {
            return plan.rings.clone();
        }
        let permit = self.threads.board.permit(number);
        let rings = settings.two_rings().map(|expansion| {
            let known = self.threads.board.rings(number);
            let known = known.filter(|_| old.is_some_and(|old| same_ways(&old.settings, settings)));
            let rings = match known {
                Some(known) => {
                    let known = known.at_phase(expansion.phase);
                    known.giving_up(&settings.servers, &expansion.dead_old)
                }
                None => rings(settings, expansion),
            };
            Arc::new(rings.with_pass(permit.and_then(|permit| pass_of(settings, &permit))))
        });
        Carried { version: self.threads.board.carry(number, rings.clone()), rings }
    }

    fn hand_out(&self, state: &mut State, next: Vec<Option<Next>>, config: &Config) {
        let shape = |next: &Option<Next>| next.as_ref().map(|it| shape_of(&it.plan.settings));
        let layout = self.threads.registry.publish(next.iter().map(shape).collect());
        let mut openings = Vec::new();
        let mut plans = Vec::new();
        for (number, next) in next.into_iter().enumerate() {
            let Some(Next { plan, terms, opened }) = next else {
                plans.push(state.remove(number));
                continue;
            };
            state.put(number, &plan, &terms);
            openings.extend(opened.map(|listener| (number, listener, terms)));
            plans.push(plan);
        }
        let snapshot = Arc::new(Snapshot {
            buffers: buffers_of(config),
            grace: config.drain_timeout,
            pools: plans,
        });
        for ((inbox, latest), banks) in self.threads.workers.iter().zip(&layout.workers) {
            latest.put(Arc::clone(&snapshot), Arc::clone(banks));
            inbox.push(Letter::Configuration);
        }
        // Their clients come to workers that know of the pool by then.
        for (number, listener, terms) in openings {
            let place = &mut state.places[number];
            let pool = (number, &*place.plan.settings, config.compat);
            place.terms = Some(self.open(listener, pool, terms, &place.plan.lease));
        }
    }

    /// Has a listener accepted from.
    fn open(
        &self,
        listener: Listener,
        (number, pool, compat): (usize, &Pool, bool),
        terms: Terms,
        lease: &Arc<()>,
    ) -> watch::Sender<Option<Terms>> {
        let (sender, receiver) = watch::channel(Some(terms));
        let inboxes = self.threads.workers.iter().map(|(inbox, _)| inbox.clone()).collect();
        let shared = (Arc::clone(&self.threads.registry), Arc::clone(&self.threads.life));
        let identity: (u16, Protocol, bool) = (number as u16, pool.protocol, compat);
        let dealer = Dealer::new(identity, inboxes, shared, Arc::clone(lease));
        self.threads.listening.open(Opening { listener, dealer, terms: receiver });
        sender
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Builds what there is to be of a pool, at a number that nobody has in `taken`.
    fn build(
        &self,
        pool: &Pool,
        (acceptor, connector): (Option<TlsAcceptor>, Option<TlsConnector>),
        taken: &[Option<Next>],
    ) -> Result<(usize, Next), String> {
        let known = |Place { plan, .. }: &Place| !plan.removed && plan.settings.name == pool.name;
        let known = self.places.iter().position(known);
        let settings = Arc::new(pool.clone());
        let terms = terms_of(pool, acceptor);
        if let Some(number) = known {
            let plan = self.places[number].plan.with(settings, connector);
            return Ok((number, Next { plan, terms, opened: None }));
        }
        let free = |number: &usize| match (self.places.get(*number), taken.get(*number)) {
            (_, Some(Some(_))) => false,
            (Some(place), _) => place.is_free(),
            (None, _) => true,
        };
        let number = (0..=u16::MAX.into()).find(free);
        let number = number.ok_or("too many pools have come and gone: needs a restart")?;
        if pool.listen == Listen::Stdio {
            return Err(format!("pools.{}.listen: stdio is there from the start only", pool.name));
        }
        let opened = Listener::open(pool).map_err(|error| error.to_string())?;
        let plan = Plan::new(settings, connector, Arc::default());
        Ok((number, Next { plan, terms, opened: Some(opened) }))
    }

    /// A pool is at its number from now on.
    fn put(&mut self, number: usize, plan: &Plan, terms: &Terms) {
        match self.places.get_mut(number) {
            Some(place) if !place.plan.removed => {
                place.plan = plan.clone();
                if let Some(told) = &place.terms {
                    told.send_replace(Some(terms.clone()));
                }
            }
            place => {
                let new = Place { plan: plan.clone(), terms: None };
                match place {
                    Some(place) => *place = new,
                    None => self.places.push(new),
                }
            }
        }
    }

    /// Nobody is to come to the pool of this number any more. Its plan is what it was, so that
    /// those who are there may finish.
    fn remove(&mut self, number: usize) -> Plan {
        let place = &mut self.places[number];
        place.plan.removed = true;
        // The listener closes when it sees that.
        if let Some(told) = place.terms.take() {
            told.send_replace(None);
        }
        place.plan.clone()
    }
}

impl Place {
    /// True if nothing of its pool is left in any thread: no lease but the place's own.
    fn is_free(&self) -> bool {
        self.plan.removed && Arc::strong_count(&self.plan.lease) == 1
    }
}

/// Whether two rings are the same, in whatever phase.
fn same_ways(old: &Pool, new: &Pool) -> bool {
    let (Some(before), Some(after)) = (old.two_rings(), new.two_rings()) else { return false };
    let alike = |old: &[Server], new: &[Server]| {
        let names = |servers: &[Server]| -> Vec<(String, u32)> {
            servers.iter().map(|server| (server.name.clone(), server.weight)).collect()
        };
        names(old) == names(new)
    };
    old.routing == new.routing
        && before.moving.pin == after.moving.pin
        && alike(&old.servers, &new.servers)
        && alike(&before.current, &after.current)
        && alike(&before.target, &after.target)
}

/// Bytes that the buffers of one worker may hold.
fn buffers_of(config: &Config) -> usize {
    usize::try_from(config.buffers).unwrap_or(usize::MAX) / config.workers.max(1)
}

fn addresses(config: &Config) -> impl Iterator<Item = &crate::config::Address> {
    config.pools.iter().flat_map(|pool| &pool.servers).map(|server| &server.address)
}

fn terms_of(pool: &Pool, acceptor: Option<TlsAcceptor>) -> Terms {
    let tls = acceptor.zip(pool.tls.as_ref());
    Terms {
        max_clients: pool.max_clients.map(u64::from),
        handshakes: tls.map(|(tls, settings)| Handshakes::new(&pool.name, tls, settings)),
    }
}

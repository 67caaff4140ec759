//! The composition root: builds the parts, starts the threads, ends them.
//!
//! ```text
//!  log ─▶ doors, listeners (a port in use ends the start here)
//!           └─▶ stores ─▶ resolver ─▶ workers ─▶ listener ─▶ admin
//! ```
//! `reload` has what of it another configuration changes while it runs.
//!
//! No other place starts a thread. Threads share nothing but what is made here: the registry of
//! counters, the phase, an inbox for each worker, and stores of items.

mod cgroup;
mod fleet;
mod memory;
mod nanny;
mod near;
mod reload;
mod stores;
mod tls;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::coop::unconstrained;

use crate::config::{Config, Listen, Place, Pool, Protocol};
use crate::control::topology::Sources;
use crate::control::{self, ControlPlane, Doors, Log, Reloader, Source};
use crate::frontend::{Listening, Reach, Worker};
use crate::metrics::{PoolShape, Registry, ResolverMetric};
use crate::net::{
    BindError, Inbox, Listener, Mail, Resolver, Stdio, TlsError, look_up, stand_back,
};
use crate::routing::{Board, Pass, Permit};
use crate::service::{Latest, Letter, Standalone, rings};
use crate::signal::{Life, Phase};
pub use fleet::{Fleet, can_follow, is_fleet};
pub use nanny::watch_over;
pub use tls::faults as tls_faults;

use near::Nears;
use reload::{Changer, Threads};
use stores::Stores;

/// Clients that may be on their way to one worker; what comes on top is closed.
const INBOX_CLIENTS: usize = 4096;

/// How long the listener may take to end once the workers have.
const LISTENER_END: Duration = Duration::from_millis(500);

/// Why the process could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener of a pool.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The files of a pool's TLS.
    #[error("pool {pool}: {cause}")]
    Tls {
        /// The pool.
        pool: String,
        /// What is wrong with them.
        cause: TlsError,
    },
    /// A pool's servers come from where this program cannot look.
    #[error("pool {0}: this program is built without ZooKeeper (cargo's feature \"zookeeper\")")]
    NoZooKeeper(String),
    /// The admin or statistics listener, the log, a thread or a runtime.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A process that has everything open and serves once it is run.
pub struct Process {
    admin: Runtime,
    doors: Doors,
    plane: ControlPlane,
    log: Arc<Log>,
    workers: Vec<JoinHandle<()>>,
    listener: JoinHandle<()>,
}

impl Process {
    /// Opens all listeners and starts all threads but the calling one, which becomes the admin
    /// thread with [`Process::run`]. `source`: where `config` came from, if it can be read again.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running that would outlive the program.
    pub fn start(mut config: Config, source: Option<Source>) -> Result<Self, StartError> {
        if config.compat {
            // Before the first thread: each takes over what is held back.
            control::hold_faults()?;
        }
        can_follow(&config)?;
        let log = Arc::new(Log::install(&config.log)?);
        memory::settle(&config);
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let admin = runtime()?;
        let sources = admin.block_on(Sources::open(&mut config));
        let doors = open_doors(&admin, &config)?;
        let (acceptors, connectors) = tls::load(&config)?;
        let listeners = open_listeners(&config)?;
        let registry = Arc::new(registry_of(&config));
        let stores = Stores::open(&config);
        let nears = Nears::default();
        let near_caches = nears.of(&config.pools, stores.clock());
        let caches = stores.caches(&config, &registry);
        let (life, config) = (Arc::new(Life::default()), Arc::new(config));
        let board = Arc::new(board_of(&config));
        let resolver = start_resolver(&config, &registry)?;
        let (mut mailboxes, mut workers) = (Vec::new(), Vec::new());
        for number in 0..config.workers {
            let (inbox, mail) = Inbox::new(INBOX_CLIENTS);
            let latest: Arc<Latest> = Arc::default();
            mailboxes.push((inbox.clone(), Arc::clone(&latest)));
            let parts = (Arc::clone(&config), Arc::clone(&registry), Arc::clone(&life));
            let standalone = Standalone::new(&caches, &config.pools, stores.clock(), &inbox);
            let tls = Arc::clone(&connectors);
            let (near, place) = (near_caches.clone(), (Arc::clone(&board), number));
            let reach = (standalone, resolver.clone(), tls, near, latest, place);
            workers.push(start_worker(number, parts, (inbox, mail), reach)?);
        }
        let inboxes: Vec<Inbox<Letter>> = mailboxes.iter().map(|(it, _)| it.clone()).collect();
        let listening = Listening::default();
        let listener = start_listener(listening.clone(), &life)?;
        let threads = Threads {
            registry: Arc::clone(&registry),
            life: Arc::clone(&life),
            log: Arc::clone(&log),
            resolver,
            listening,
            workers: mailboxes,
            nears: (nears.clone(), stores.clock()),
            board: Arc::clone(&board),
        };
        let changer = Changer::start(threads, &config, (acceptors, &connectors), listeners);
        let done = Arc::new(Notify::new());
        if let Some(pool) = config.pools.iter().position(|pool| pool.listen == Listen::Stdio) {
            start_stdio(pool as u16, &inboxes[0], &done)?;
        }
        life.advance(Phase::Ready);
        announce(&config, &doors);
        let (compat, admin_bank) = (config.compat, Arc::clone(&registry.admin));
        let running = Config::clone(&config);
        let swap = move |new: &Config| changer.swap(new);
        let reloader = Reloader::new(running, source, swap, admin_bank).over(sources.clone());
        let plane = ControlPlane {
            hot_keys: nears.hot_keys(),
            upkeep: Box::new(stores.upkeep(nears, Arc::clone(&registry))),
            done,
            sources,
            registry,
            life,
            board,
            wake: Arc::new(move || inboxes.iter().for_each(|inbox| inbox.push(Letter::Phase))),
            log: Arc::clone(&log),
            reloader: Arc::new(reloader),
            compat,
        };
        Ok(Self { admin, doors, plane, log, workers, listener })
    }

    /// Serves until a signal ends the process. Returns its exit code.
    pub fn run(self) -> u8 {
        let code = self.admin.block_on(control::run(self.doors, self.plane));
        // Threads that have not finished by now are past the drain's time: they end with us. Only
        // the listener may need a moment: it takes the files of unix sockets away.
        drop(self.workers);
        let end = Instant::now() + LISTENER_END;
        while !self.listener.is_finished() && Instant::now() < end {
            thread::park_timeout(LISTENER_END / 100);
        }
        tracing::info!(code, "end");
        // Its tasks hold the log, which is written out when nobody holds it any more.
        drop(self.admin);
        drop(self.log);
        if code == control::FAULT {
            control::die_of_fault();
        }
        code
    }
}

fn open_doors(admin: &Runtime, config: &Config) -> io::Result<Doors> {
    let _within = admin.enter();
    Doors::open(config)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// As many threads as names of servers may need; they end with the process.
fn start_resolver(config: &Config, registry: &Arc<Registry>) -> io::Result<Resolver> {
    let metrics = Arc::clone(&registry.resolver);
    let count = move |found: bool| {
        metrics.add(ResolverMetric::LookUps, 1);
        metrics.add(ResolverMetric::Failures, u64::from(!found));
    };
    let resolver = Resolver::new(Box::new(look_up), Box::new(count));
    let servers = config.pools.iter().flat_map(|pool| &pool.servers);
    let threads = Resolver::threads(servers.map(|server| &server.address));
    serve_names(&resolver, 0..threads)?;
    Ok(resolver)
}

/// Threads that look names up, with these numbers.
fn serve_names(resolver: &Resolver, numbers: Range<usize>) -> io::Result<()> {
    for number in numbers {
        let resolver = resolver.clone();
        let name = format!("resolver-{number}");
        thread::Builder::new().name(name).spawn(move || resolver.serve())?;
    }
    Ok(())
}

/// The rings that pools have at first.
fn board_of(config: &Config) -> Board {
    let of = |pool: usize, permit: &Arc<Permit>| {
        let settings = &config.pools[pool];
        let expansion = settings.two_rings()?;
        Some(rings(settings, expansion).with_pass(pass_of(settings, permit)))
    };
    Board::new(config.pools.len(), config.workers, of)
}

/// By which permit keys that move are acted on in a pool: in one whose proxies follow ZooKeeper, by
/// that of the session.
fn pass_of(settings: &Pool, permit: &Arc<Permit>) -> Option<Pass> {
    let source = settings.topology.as_ref()?;
    let term = settings.two_rings().map_or(0, |expansion| expansion.term);
    matches!(source.place, Place::ZooKeeper(_)).then(|| Pass::new(Arc::clone(permit), term))
}

fn start_worker(
    number: usize,
    (config, registry, life): (Arc<Config>, Arc<Registry>, Arc<Life>),
    mail: (Inbox<Letter>, Mail<Letter>),
    reach: Reach,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime()?;
    thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        // The worker is one task that never yields within a turn: the runtime's budget for
        // fairness between tasks would only cut its turns short.
        runtime.block_on(unconstrained(async move {
            let metrics = Arc::clone(&registry.layout().workers[number]);
            Worker::new(&config, mail, metrics, life, reach).run().await;
        }));
    })
}

fn start_listener(listening: Listening, life: &Arc<Life>) -> io::Result<JoinHandle<()>> {
    let (runtime, life) = (runtime()?, Arc::clone(life));
    let run = move || {
        stand_back();
        runtime.block_on(listening.run(life));
    };
    thread::Builder::new().name("listener".into()).spawn(run)
}

/// The listener of each pool; one on standard input has none.
fn open_listeners(config: &Config) -> Result<Vec<Option<Listener>>, BindError> {
    let open = |pool: &Pool| match pool.listen {
        Listen::Stdio => Ok(None),
        _ => Listener::open(pool).map(Some),
    };
    config.pools.iter().map(open).collect()
}

/// Makes standard input and output a client of `pool`; when it has ended, so does the process.
fn start_stdio(pool: u16, inbox: &Inbox<Letter>, done: &Arc<Notify>) -> io::Result<()> {
    let (client, stdio) = Stdio::open()?;
    let (read, write) = stdio.copiers();
    inbox.push(Letter::Client(pool, client));
    thread::Builder::new().name("stdin".into()).spawn(read)?;
    let done = Arc::clone(done);
    thread::Builder::new().name("stdout".into()).spawn(move || {
        write();
        done.notify_one();
    })?;
    Ok(())
}

/// Counters of the pools that there are at first.
fn registry_of(config: &Config) -> Registry {
    Registry::new(config.pools.iter().map(shape_of).collect(), config.workers)
}

fn shape_of(pool: &Pool) -> PoolShape {
    PoolShape {
        name: pool.name.clone(),
        protocol: match pool.protocol {
            Protocol::Memcache => "memcache",
            Protocol::Redis => "redis",
            Protocol::Ping => "ping",
        },
        servers: pool.servers.iter().map(|server| server.name.clone()).collect(),
        near_cache: pool.near_cache.is_some(),
        connections: pool.server_connections,
    }
}

/// One line that says what is served where.
fn announce(config: &Config, doors: &Doors) {
    let listen: Vec<String> =
        config.pools.iter().map(|pool: &Pool| Listen::to_string(&pool.listen)).collect();
    let per_server = |pool: &Pool| pool.servers.len() * pool.server_connections as usize;
    let connections: usize = config.pools.iter().map(per_server).sum();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pools = config.pools.len(),
        listen = listen.join(","),
        admin = doors.admin_addr().map(|addr| addr.to_string()),
        stats = doors.stats_addr().map(|addr| addr.to_string()),
        workers = config.workers,
        max_server_connections = connections * config.workers,
        "ready"
    );
}

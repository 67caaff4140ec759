//! What the measurements share: the machine's cores, the servers, the tracer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use crate::peers::{Backends, Duty, Failure, Kind, Proxy, Running};
use crate::probe::{Tracer, Window, tracer, usage};
use crate::scenario::{Figure, Scenario};
use crate::wire::Protocol;

/// Cores that two workers, their load and the servers need.
const CORES_FOR_TWO_WORKERS: usize = 4;

/// The machine, divided, and what runs on it all the time.
pub(crate) struct Stage {
    backends: HashMap<(Protocol, Kind), Backends>,
    /// Where the proxy runs.
    proxy_cores: Vec<usize>,
    /// Where load, servers and tracer run.
    pub(crate) load_cores: Vec<usize>,
    /// Measured time of one load.
    pub(crate) time: Duration,
    /// What counts system calls, if something does.
    pub(crate) tracer: Option<Tracer>,
    /// What was counted already: once per proxy and scenario, as it varies little.
    counted: Vec<(&'static str, String)>,
}

impl Stage {
    /// Divides the cores: the last ones for the proxy, the others for load and servers.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(time: Duration) -> Result<Self, Failure> {
        let cores = usage::cores()?;
        let workers = if cores.len() >= CORES_FOR_TWO_WORKERS { 2 } else { 1 };
        let (load, proxy) = match cores.len() {
            1 => (cores.as_slice(), cores.as_slice()),
            count => cores.split_at(count - workers),
        };
        let mut set = rustix::thread::CpuSet::new();
        load.iter().for_each(|core| set.set(*core));
        rustix::thread::sched_setaffinity(None, &set)?;
        Ok(Self {
            backends: HashMap::new(),
            proxy_cores: proxy.to_vec(),
            load_cores: load.to_vec(),
            time,
            tracer: tracer(),
            counted: Vec::new(),
        })
    }

    /// Where one worker runs.
    pub(crate) fn last_core(&self) -> &[usize] {
        &self.proxy_cores[self.proxy_cores.len().saturating_sub(1)..]
    }

    /// Whether two workers, load and servers can have cores of their own.
    pub(crate) fn has_room_for_two(&self) -> bool {
        self.cores() >= CORES_FOR_TWO_WORKERS
    }

    /// Cores in all.
    pub(crate) fn cores(&self) -> usize {
        let shared = self.load_cores == self.proxy_cores;
        self.load_cores.len() + if shared { 0 } else { self.proxy_cores.len() }
    }

    /// A fresh proxy in front of the scenario's servers, the values stored behind it.
    ///
    /// # Errors
    /// What a child says when it does not start, or the reply that was not "stored".
    pub(crate) fn start(
        &mut self,
        scenario: &Scenario,
        proxy: &Proxy,
        workers: usize,
    ) -> Result<Running, Failure> {
        let protocol = scenario.workload.protocol;
        let backends = match self.backends.entry((protocol, scenario.servers)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Backends::start(protocol, scenario.servers, &self.load_cores)?)
            }
        };
        let cpus = &self.proxy_cores[self.proxy_cores.len().saturating_sub(workers)..];
        let running = proxy.start(&Duty { protocol, servers: &backends.ports, workers, cpus })?;
        backends.ensure_filled(running.port, &scenario.workload)?;
        Ok(running)
    }

    /// Starts to watch `proxy`, and what the others on this machine take from it.
    ///
    /// # Errors
    /// When the proxy is gone.
    pub(crate) fn watch(&self, proxy: &Running) -> Result<Window, Failure> {
        let servers = self.backends.values().flat_map(Backends::pids);
        Ok(Window::open(proxy.pid(), servers.chain([std::process::id()]).collect())?)
    }

    /// The tracer, if the scenario wants system calls counted and they were not yet.
    pub(crate) fn tracer_for(&mut self, scenario: &Scenario, proxy: &Proxy) -> Option<Tracer> {
        let wanted = scenario.goals.iter().any(|goal| goal.figure == Figure::Syscalls);
        let this = (proxy.name, scenario.name.clone());
        if !wanted || self.counted.contains(&this) {
            return None;
        }
        self.counted.push(this);
        self.tracer
    }
}

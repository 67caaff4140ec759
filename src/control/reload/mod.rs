//! A running process takes another configuration: the one entry for whoever brings one.
//!
//! ```text
//!  SIGHUP, POST /reload, the watched file ─▶ reload ─ load ─ new sources: first ─┐
//!  a source of a pool's servers ─▶ give ─────────────────────────────────────────┴▶ diff ─▶ swap ─▶ workers
//!                                                                  refused: as it was ┘        └▶ sources
//! ```
//! All of it happens on the admin thread. A configuration is taken over whole or not at all.

mod diff;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use thiserror::Error;

use crate::config::{self, Config};
use crate::control::given::Given;
use crate::control::topology::Sources;
use crate::metrics::{AdminMetric, AdminMetrics};
use diff::diff;
pub(super) use watch::watch;

/// What has changed, a line each; none if nothing has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Each names its setting.
    pub changes: Vec<String>,
}

/// Why everything is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The configuration is not valid: all of its errors, a line each.
    #[error("{0}")]
    Invalid(String),
    /// It is, but a running process cannot take these settings over, a line each.
    #[error("{}", .0.join("\n"))]
    NeedsRestart(Vec<String>),
    /// Something that it needs cannot be had: an address, a certificate.
    #[error("{0}")]
    Unable(String),
    /// There is no such pool with servers.
    #[error("no pool {0} with servers")]
    NoPool(String),
    /// The process was not started from a file.
    #[error("there is no configuration file to read again")]
    NoFile,
}

/// The file that the process was started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path.
    pub file: PathBuf,
    /// It is read as twemproxy would.
    pub compat: bool,
}

/// See [`Reloader::new`].
type Swap = Box<dyn Fn(&Config) -> Result<(), String> + Send + Sync>;

/// Takes configurations over.
pub struct Reloader {
    source: Option<Source>,
    swap: Swap,
    admin: Arc<AdminMetrics>,
    sources: Sources,
    state: Mutex<Running>,
    /// Held by whoever takes over a file: one at a time.
    turn: tokio::sync::Mutex<()>,
}

struct Running {
    config: Arc<Config>,
    given: Givens,
}

/// What pools have that does not come from the file.
type Givens = HashMap<String, Given>;

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Reloader {
    /// For a process that runs with `config`, which came from `source` if from any file. `swap`
    /// puts a configuration in force whose difference to the last one has been allowed, or fails
    /// with nothing changed.
    pub fn new(
        config: Config,
        source: Option<Source>,
        swap: impl Fn(&Config) -> Result<(), String> + Send + Sync + 'static,
        admin: Arc<AdminMetrics>,
    ) -> Self {
        let swap: Swap = Box::new(swap);
        admin.set(AdminMetric::ConfigTime, wall_clock_micros());
        let state = Mutex::new(Running { config: Arc::new(config), given: HashMap::new() });
        let (sources, turn) = (Sources::default(), tokio::sync::Mutex::default());
        Self { source, swap, admin, sources, state, turn }
    }

    /// The same, over pools whose servers come from these sources.
    pub fn over(self, sources: Sources) -> Self {
        Self { sources, ..self }
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&self.running().config)
    }

    /// The file that [`Reloader::reload`] reads.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// Puts `new` in force. What a source has given a pool stays with it for as long as that has a
    /// source. Pools that are new begin with what their sources say within a short time.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed then.
    pub async fn apply(&self, new: Config) -> Result<Applied, Refused> {
        let _turn = self.turn.lock().await;
        let old = {
            let running = self.running();
            // For what cannot be taken over no source need be asked.
            running.judge(&running.proposed(&new, &[]).0)?;
            Arc::clone(&running.config)
        };
        let (begun, given) = self.sources.first(&old, &new).await;
        let mut running = self.running();
        let old = Arc::clone(&running.config);
        let (new, givens) = running.proposed(&new, &given);
        let applied = self.put_in_force(&mut running, (new, givens))?;
        let new = Arc::clone(&running.config);
        drop(running);
        self.sources.settle(begun, (&old, &new));
        Ok(applied)
    }

    /// Reads the file again and puts it in force; counts that, and tells the log. `by`: who asked
    /// for it.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed then.
    pub async fn reload(&self, by: &str) -> Result<Applied, Refused> {
        let done = self.read_again().await;
        match &done {
            Ok(applied) => {
                self.admin.add(AdminMetric::ReloadsOk, 1);
                self.admin.set(AdminMetric::ConfigTime, wall_clock_micros());
                self.current().warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                for change in &applied.changes {
                    tracing::info!(by, "{change}");
                }
                tracing::info!(by, changes = applied.changes.len(), "configuration reloaded");
            }
            Err(refused) => {
                self.admin.add(AdminMetric::ReloadsRefused, 1);
                for line in refused.to_string().lines() {
                    tracing::error!(by, "{line}");
                }
                tracing::error!(by, "configuration not reloaded, everything is as it was");
            }
        }
        done
    }

    /// What the file says now, which need not be what is in force.
    ///
    /// # Errors
    /// It cannot be read or is not valid, or there is none.
    pub fn written(&self) -> Result<Config, Refused> {
        let source = self.source.as_ref().ok_or(Refused::NoFile)?;
        let read = config::load(&source.file, source.compat);
        read.map_err(|errors| Refused::Invalid(errors.to_string()))
    }

    async fn read_again(&self) -> Result<Applied, Refused> {
        self.apply(self.written()?).await
    }

    /// The pool has started with this, whatever the file says: it keeps it.
    pub fn keep(&self, pool: &str, given: Given) {
        self.running().given.insert(pool.to_owned(), given);
    }

    /// The same configuration, with these servers and rings in a pool from now on, whatever the
    /// file says.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed then.
    pub fn give(&self, pool: &str, given: Given) -> Result<Applied, Refused> {
        let mut running = self.running();
        let config = Arc::clone(&running.config);
        if !config.pools.iter().any(|it| it.name == pool && it.topology.is_some()) {
            return Err(Refused::NoPool(pool.to_owned()));
        }
        let proposed = running.proposed(&config, &[(pool.to_owned(), given)]);
        self.put_in_force(&mut running, proposed)
    }

    fn put_in_force(
        &self,
        running: &mut Running,
        (new, given): (Config, Givens),
    ) -> Result<Applied, Refused> {
        let changes = running.judge(&new)?;
        (self.swap)(&new).map_err(Refused::Unable)?;
        (running.config, running.given) = (Arc::new(new), given);
        Ok(Applied { changes })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Whoever panicked with it had not put anything in force yet.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// `new` as it is to be in force, and what is given its pools then: what they have and `more`.
    fn proposed(&self, new: &Config, more: &[(String, Given)]) -> (Config, Givens) {
        let (mut new, mut givens) = (new.clone(), Givens::new());
        for pool in new.pools.iter_mut().filter(|pool| pool.topology.is_some()) {
            let given = more.iter().find(|(name, _)| *name == pool.name).map(|(_, given)| given);
            let given = given.or_else(|| self.given.get(&pool.name)).cloned();
            let before = self.config.pools.iter().find(|other| other.name == pool.name);
            // What serves goes on until the source has been heard.
            let before = before.filter(|it| it.topology.is_none() && it.two_rings().is_none());
            let given = given.or_else(|| before.map(Given::of));
            if let Some(given) = given {
                given.put(pool);
                givens.insert(pool.name.clone(), given);
            }
        }
        (new, givens)
    }

    /// What `new` changes, a line each.
    fn judge(&self, new: &Config) -> Result<Vec<String>, Refused> {
        let found = diff(&self.config, new);
        if found.refused.is_empty() {
            return Ok(found.changes);
        }
        Err(Refused::NeedsRestart(found.refused))
    }
}

/// Microseconds since 1970.
fn wall_clock_micros() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

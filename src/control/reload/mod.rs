//! A running process takes another configuration: the one entry for whoever brings one.
//!
//! ```text
//!  SIGHUP, POST /reload, the watched file ─▶ reload ─ load ─┐
//!  a source of a pool's servers ─▶ give ────────────────────┴▶ apply ─▶ diff ─▶ swap ─▶ workers
//!                                                                └─ refused: as it was
//! ```
//! All of it happens on the admin thread. A configuration is taken over whole or not at all.

mod diff;
mod given;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use thiserror::Error;

use crate::config::{self, Config};
use crate::metrics::{AdminMetric, AdminMetrics};
use diff::diff;
pub(super) use given::{Given, Walk};
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
    state: Mutex<Running>,
}

struct Running {
    config: Arc<Config>,
    /// What pools have that does not come from the file.
    given: HashMap<String, Given>,
}

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
        Self { source, swap, admin, state }
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&self.running().config)
    }

    /// The file that [`Reloader::reload`] reads.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// Puts `new` in force. What a source has given a pool stays with it.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed then.
    pub fn apply(&self, new: Config) -> Result<Applied, Refused> {
        let mut running = self.running();
        self.put_in_force(&mut running, new)
    }

    /// Reads the file again and puts it in force; counts that, and tells the log. `by`: who asked
    /// for it.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed then.
    pub fn reload(&self, by: &str) -> Result<Applied, Refused> {
        let done = self.read_again();
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

    fn read_again(&self) -> Result<Applied, Refused> {
        let source = self.source.as_ref().ok_or(Refused::NoFile)?;
        let read = config::load(&source.file, source.compat);
        self.apply(read.map_err(|errors| Refused::Invalid(errors.to_string()))?)
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
        let new = Config::clone(&running.config);
        if !new.pools.iter().any(|it| it.name == pool && it.cache.is_none()) {
            return Err(Refused::NoPool(pool.to_owned()));
        }
        let before = running.given.insert(pool.to_owned(), given);
        let done = self.put_in_force(&mut running, new);
        if done.is_err() {
            match before {
                Some(before) => running.given.insert(pool.to_owned(), before),
                None => running.given.remove(pool),
            };
        }
        done
    }

    fn put_in_force(&self, running: &mut Running, mut new: Config) -> Result<Applied, Refused> {
        for pool in new.pools.iter_mut().filter(|pool| pool.cache.is_none()) {
            if let Some(given) = running.given.get(&pool.name) {
                given.put(pool);
            }
        }
        let found = diff(&running.config, &new);
        if !found.refused.is_empty() {
            return Err(Refused::NeedsRestart(found.refused));
        }
        (self.swap)(&new).map_err(Refused::Unable)?;
        running.config = Arc::new(new);
        Ok(Applied { changes: found.changes })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Whoever panicked with it had not put anything in force yet.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Microseconds since 1970.
fn wall_clock_micros() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

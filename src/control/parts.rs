//! What the admin thread holds of the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::control::log::Log;
use crate::control::reload::Reloader;
use crate::control::topology::Sources;
use crate::metrics::Registry;
use crate::routing::Board;
use crate::signal::Life;

/// The admin thread's handles on the rest of the process.
pub struct ControlPlane {
    /// Every counter.
    pub registry: Arc<Registry>,
    /// The phase, which only this thread moves to draining.
    pub life: Arc<Life>,
    /// Called after each change of the phase: has listener and workers look at it.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// The rings of pools that have two.
    pub board: Arc<Board>,
    /// The process's log; whoever ends the process should hold it to the last.
    pub log: Arc<Log>,
    /// What is in force, and the way to another configuration.
    pub reloader: Arc<Reloader>,
    /// Behave as twemproxy where that differs.
    pub compat: bool,
    /// Called every [`UPKEEP`]: gives back what has expired, counts what is stored.
    pub upkeep: Box<dyn Fn() + Send + Sync>,
    /// The keys of a pool that are asked for most.
    pub hot_keys: HotKeys,
    /// Where servers of pools come from beside the configuration.
    pub sources: Sources,
    /// Rung when the process has done all it was started for: drains it.
    pub done: Arc<Notify>,
}

/// The keys that a near cache is asked for most, those first, by the name of its pool; `None` if
/// that has none.
pub type HotKeys = Arc<dyn Fn(&str) -> Option<Vec<HotKey>> + Send + Sync>;

/// A key that is asked for often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The key.
    pub key: Vec<u8>,
    /// Requests for it, lately, about.
    pub requests: u64,
    /// Bytes of its value, when that was last seen.
    pub value_bytes: usize,
}

/// How often stored items are looked after: expired bytes are free again within the second.
pub(super) const UPKEEP: Duration = Duration::from_millis(100);

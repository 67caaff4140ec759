//! What HTTP and statistics make their answers of.

use std::sync::Arc;
use std::time::Instant;

use crate::control::log::Log;
use crate::control::parts::{ControlPlane, HotKeys};
use crate::control::reload::Reloader;
use crate::control::topology::Sources;
use crate::metrics::{AdminMetric, Exposition, Registry};
use crate::routing::Board;
use crate::signal::Life;

/// What the answers of HTTP and statistics are made of.
pub(crate) struct Answers {
    pub(crate) registry: Arc<Registry>,
    pub(crate) life: Arc<Life>,
    pub(crate) log: Arc<Log>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) board: Arc<Board>,
    /// Has the workers look at the board.
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
    pub(crate) exposition: Exposition,
    pub(crate) hot_keys: HotKeys,
    /// Where servers come from beside the configuration.
    pub(crate) sources: Sources,
    /// The shape of the statistics port's answer.
    pub(crate) shape: Shape,
    /// The clock; tests turn it forward.
    pub(crate) now: fn() -> Instant,
}

/// Which statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// twemproxy's, key for key.
    Twemproxy,
    /// Ours: a superset.
    Full,
}

impl Answers {
    pub(super) fn new(plane: &ControlPlane) -> Result<Self, impl std::error::Error + use<>> {
        let shape = if plane.compat { Shape::Twemproxy } else { Shape::Full };
        Exposition::new(Arc::clone(&plane.registry)).map(|exposition| Self {
            registry: Arc::clone(&plane.registry),
            life: Arc::clone(&plane.life),
            log: Arc::clone(&plane.log),
            reloader: Arc::clone(&plane.reloader),
            board: Arc::clone(&plane.board),
            wake: Arc::clone(&plane.wake),
            exposition,
            hot_keys: Arc::clone(&plane.hot_keys),
            sources: plane.sources.clone(),
            shape,
            now: Instant::now,
        })
    }

    /// Brings the counters that this thread keeps for others up to date. To be called before the
    /// registry is shown.
    pub(crate) fn refresh(&self) {
        self.registry.admin.set(AdminMetric::LogDropped, self.log.dropped());
        self.sources.desks().iter().for_each(|desk| desk.refresh());
    }
}

//! The door of a group that is followed: pools come to its ensemble and go with the configuration.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Group, Watched};
use crate::config::ZooKeeper;
use crate::control::topology::desk::Desk;

/// Where the group of an ensemble finds who is to come and to go.
#[derive(Clone)]
pub(in crate::control::topology) struct Door {
    place: ZooKeeper,
    wake: Arc<Notify>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Those who are to come, and the desks of those who are to go.
type Waiting = (Vec<Watched>, Vec<Arc<Desk>>);

impl Door {
    /// That of the ensemble of `place`.
    pub(in crate::control::topology) fn new(place: &ZooKeeper) -> Self {
        Self { place: place.clone(), wake: Arc::default(), waiting: Arc::default() }
    }

    /// The ensemble, and the path of the first who asked for it.
    pub(super) fn place(&self) -> &ZooKeeper {
        &self.place
    }

    /// True if a pool's source is reached by the same session.
    pub(in crate::control::topology) fn reaches(&self, place: &ZooKeeper) -> bool {
        ZooKeeper { path: self.place.path.clone(), ..place.clone() } == self.place
    }

    /// True if it is the door of the same group.
    pub(in crate::control::topology) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.waiting, &other.waiting)
    }

    /// What the desks of its pools ring.
    pub(in crate::control::topology) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Sends in the pools of a group that is not followed itself.
    pub(in crate::control::topology) fn join(&self, group: Group) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).0.extend(group.pools);
        self.wake.notify_one();
    }

    /// Sends the pool of this desk away.
    pub(in crate::control::topology) fn leave(&self, desk: &Arc<Desk>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).1.push(Arc::clone(desk));
        self.wake.notify_one();
    }

    /// Who waits.
    pub(super) fn take(&self) -> Waiting {
        mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

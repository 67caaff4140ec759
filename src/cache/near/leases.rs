//! Connections that entries were filled over, each with the time until which they are believed.
//!
//! ```text
//!  connected ─▶ open ─▶ Lease (a place, and which life of it) ─▶ kept in every entry
//!  heard of  ─▶ extend: entries are believed until …
//!  lost      ─▶ close: another life; all entries of the last one are gone, in one step
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::storage::Time;

/// Connections of one pool, all workers together, that entries can be filled over; further ones
/// pass requests on.
const PLACES: u32 = 8192;

/// One life of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) place: u32,
    pub(super) life: u32,
}

/// All of a near cache.
#[derive(Debug)]
pub(super) struct Leases {
    places: Box<[Place]>,
    free: Mutex<Vec<u32>>,
}

#[derive(Debug, Default)]
struct Place {
    life: AtomicU32,
    /// Milliseconds on the storage clock.
    until: AtomicU64,
}

impl Leases {
    pub(super) fn new() -> Self {
        let places = (0..PLACES).map(|_| Place::default()).collect();
        Self { places, free: Mutex::new((0..PLACES).rev().collect()) }
    }

    /// A new connection, which nothing is believed of yet; `None` if there are too many.
    pub(super) fn open(&self) -> Option<Lease> {
        let place = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let it = &self.places[place as usize];
        // In this order: whoever sees the new life does not see the time of the last one.
        it.until.store(0, Ordering::Release);
        let life = it.life.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        Some(Lease { place, life })
    }

    /// What came over it is believed until then.
    pub(super) fn extend(&self, lease: Lease, until: Time) {
        let it = &self.places[lease.place as usize];
        it.until.fetch_max(until.millis(), Ordering::Release);
    }

    /// It has ended.
    pub(super) fn close(&self, lease: Lease) {
        let it = &self.places[lease.place as usize];
        it.life.fetch_add(1, Ordering::AcqRel);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(lease.place);
    }

    /// Whether it is alive.
    pub(super) fn lives(&self, lease: Lease) -> bool {
        let place = self.places.get(lease.place as usize);
        place.is_some_and(|it| it.life.load(Ordering::SeqCst) == lease.life)
    }

    /// Until when what came over it is believed; `None` if it has ended.
    pub(super) fn until(&self, lease: Lease) -> Option<Time> {
        // The time first: one of a later life would be told by that.
        let until = self.places.get(lease.place as usize)?.until.load(Ordering::SeqCst);
        self.lives(lease).then(|| Time::from_millis(until))
    }
}

#[cfg(test)]
mod tests {
    use super::{Leases, Time};

    #[test]
    fn what_was_filled_over_a_lost_connection_is_gone_with_it() {
        let leases = Leases::new();
        let first = leases.open().unwrap();
        assert_eq!(leases.until(first), Some(Time::default()));
        leases.extend(first, Time::from_millis(50));
        leases.extend(first, Time::from_millis(20));
        assert_eq!(leases.until(first), Some(Time::from_millis(50)));
        leases.close(first);
        assert_eq!(leases.until(first), None);
        let second = leases.open().unwrap();
        assert_eq!(second.place, first.place);
        assert_eq!(leases.until(first), None);
        assert_eq!(leases.until(second), Some(Time::default()));
    }
}

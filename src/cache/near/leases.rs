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
    /// How many there have been.
    opened: AtomicU64,
}

#[derive(Debug, Default)]
struct Place {
    life: AtomicU32,
    /// Which of all that there have been it is, the first being 1.
    number: AtomicU64,
    /// Milliseconds on the storage clock.
    until: AtomicU64,
}

impl Leases {
    pub(super) fn new() -> Self {
        let places = (0..PLACES).map(|_| Place::default()).collect();
        Self { places, free: Mutex::new((0..PLACES).rev().collect()), opened: AtomicU64::new(0) }
    }

    /// A new connection, which nothing is believed of yet; `None` if there are too many.
    pub(super) fn open(&self) -> Option<Lease> {
        let place = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let it = &self.places[place as usize];
        // In this order: whoever sees the new life does not see the time of the last one.
        it.until.store(0, Ordering::Release);
        it.number.store(self.opened.fetch_add(1, Ordering::SeqCst) + 1, Ordering::Release);
        let life = it.life.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        Some(Lease { place, life })
    }

    /// What came over it is believed until then.
    pub(super) fn extend(&self, lease: Lease, until: Time) {
        // What is said of one that has ended is not for the next one in its place.
        if self.lives(lease) {
            let it = &self.places[lease.place as usize];
            it.until.fetch_max(until.millis(), Ordering::Release);
        }
    }

    /// It has ended.
    pub(super) fn close(&self, lease: Lease) {
        let life = &self.places[lease.place as usize].life;
        let next = lease.life.wrapping_add(1);
        // Ended once: two connections would share the place otherwise.
        if life.compare_exchange(lease.life, next, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(lease.place);
    }

    /// How many there have been so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Whether it is alive, and was already when there had been so many.
    pub(super) fn is_among(&self, lease: Lease, first: u64) -> bool {
        let place = self.places.get(lease.place as usize);
        self.lives(lease) && place.is_some_and(|it| it.number.load(Ordering::SeqCst) <= first)
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
        leases.close(first);
        assert_eq!(leases.until(first), None);
        let second = leases.open().unwrap();
        assert_eq!(second.place, first.place);
        assert_eq!(leases.until(first), None);
        let third = leases.open().unwrap();
        assert_ne!(third.place, second.place);
        assert!(leases.is_among(second, 2) && !leases.is_among(third, 2));
        assert!(leases.is_among(third, leases.opened()) && !leases.is_among(first, 3));
        leases.extend(first, Time::from_millis(70));
        assert_eq!(leases.until(second), Some(Time::default()));
    }
}

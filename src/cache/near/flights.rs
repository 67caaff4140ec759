//! Fills under way, as all workers see them: who misses what another worker has asked for already
//! waits until that is over, and looks again.
//!
//! ```text
//!  one worker  ─▶ begin ─▶ server ─▶ stored ─▶ end ─▶ wake …
//!  another one ─▶ flies ─▶ wait ──────────────────────────▶ looks again
//! ```
//! A flight is a word in a table, and flies or not by one atomic step; a lock is taken only by
//! those who wait and by whoever wakes them. Waiting is no promise: what is found afterwards is an
//! entry like any other, or nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Flights that can be told of at a time; of others nobody but their own worker knows.
const PLACES: usize = 1 << 12;

/// In a word: somebody waits. Above it a number, and in the upper half that of the key's hash.
const WAITED: u64 = 1;

/// Called once a flight has ended.
pub type Wake = Box<dyn FnOnce() + Send>;

/// A fill that others may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    place: u32,
    word: u64,
}

/// All of a near cache.
pub(super) struct Flights {
    places: Box<[AtomicU64]>,
    number: AtomicU32,
    /// Who waits, each with the place and the key in it.
    waiting: Mutex<Vec<(u32, u32, Wake)>>,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            number: AtomicU32::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.places) as u64
    }

    /// Whether others have asked for what has this hash.
    pub(super) fn flies(&self, hash: u64) -> bool {
        let word = self.at(hash).1.load(Ordering::Acquire);
        word != 0 && key_of(word) == key_of(hash)
    }

    /// A fill of what has this hash is about to be sent: it must be ended. `None` if there is no room
    /// to tell of it, or another one flies.
    pub(super) fn begin(&self, hash: u64) -> Option<Flight> {
        let (place, at) = self.at(hash);
        // Another number each time, so that nobody ends another's; no word is 0.
        let number = self.number.fetch_add(1, Ordering::Relaxed) & (u32::MAX >> 1) | 1 << 30;
        let word = key_of(hash) | u64::from(number << 1);
        let begun = at.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire);
        begun.ok().map(|_| Flight { place, word })
    }

    /// Has `wake` called when the flight for this hash ends; false if there is none any more.
    pub(super) fn wait(&self, hash: u64, wake: Wake) -> bool {
        let (place, at) = self.at(hash);
        // Held from before the word says so until the list does: whoever ends it looks there then.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let flies = |word| (key_of(word) == key_of(hash) && word != 0).then_some(word | WAITED);
        let found = at.fetch_update(Ordering::AcqRel, Ordering::Acquire, flies);
        if found.is_ok() {
            waiting.push((place, (key_of(hash) >> 32) as u32, wake));
        }
        found.is_ok()
    }

    /// It has ended, however.
    pub(super) fn end(&self, flight: Flight) {
        let Some(at) = self.places.get(flight.place as usize) else { return };
        let own = |word: u64| (word & !WAITED == flight.word).then_some(0);
        let Ok(word) = at.fetch_update(Ordering::AcqRel, Ordering::Acquire, own) else { return };
        if word & WAITED == 0 {
            return;
        }
        let its = (flight.place, (flight.word >> 32) as u32);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let woken: Vec<_> =
            waiting.extract_if(.., |(place, key, _)| (*place, *key) == its).collect();
        drop(waiting);
        woken.into_iter().for_each(|(_, _, wake)| wake());
    }

    fn at(&self, hash: u64) -> (u32, &AtomicU64) {
        let place = (hash >> 8) as usize & (PLACES - 1);
        (place as u32, &self.places[place])
    }
}

const fn key_of(hash: u64) -> u64 {
    hash >> 32 << 32
}

impl std::fmt::Debug for Flights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::{Flights, Wake};

    const KEY: u64 = 0x1234_5678_9abc_def0;

    fn add(count: &Arc<AtomicU64>, number: u64) -> Wake {
        let count = Arc::clone(count);
        Box::new(move || {
            count.fetch_add(number, Ordering::SeqCst);
        })
    }

    #[test]
    fn one_key_has_one_flight() {
        let flights = Flights::new();
        let first = flights.begin(KEY).unwrap();
        assert!(flights.flies(KEY) && flights.begin(KEY).is_none());
        // Another key of the same place is not told of.
        let other = KEY ^ 1 << 40;
        assert!(!flights.flies(other) && flights.begin(other).is_none());
        flights.end(first);
        assert!(!flights.flies(KEY));
        let second = flights.begin(KEY).unwrap();
        // What has ended ends no other.
        flights.end(first);
        assert!(flights.flies(KEY));
        flights.end(second);
        assert!(!flights.wait(KEY, Box::new(|| panic!("there is none"))));
    }

    #[test]
    fn who_waits_is_woken_by_the_flight_that_it_waits_for() {
        let flights = Flights::new();
        let other = KEY ^ 1 << 8;
        let (flight, second) = (flights.begin(KEY).unwrap(), flights.begin(other).unwrap());
        let woken = Arc::new(AtomicU64::new(0));
        assert!(flights.wait(KEY, add(&woken, 1)) && flights.wait(KEY, add(&woken, 10)));
        assert!(flights.wait(other, add(&woken, 100)));
        flights.end(flight);
        assert_eq!(woken.load(Ordering::SeqCst), 11);
        flights.end(second);
        assert_eq!(woken.load(Ordering::SeqCst), 111);
    }

    /// Whoever is told that there is a flight is woken, whichever moment it ends at.
    #[test]
    fn nobody_is_forgotten() {
        const WAITS: u64 = 3000;
        let (flights, asked) = (Flights::new(), AtomicU64::new(0));
        let woken = Arc::new(AtomicU64::new(0));
        thread::scope(|scope| {
            let wait = || {
                while asked.load(Ordering::SeqCst) < WAITS {
                    asked.fetch_add(flights.wait(KEY, add(&woken, 1)).into(), Ordering::SeqCst);
                }
            };
            scope.spawn(wait);
            scope.spawn(wait);
            scope.spawn(|| {
                while asked.load(Ordering::SeqCst) < WAITS {
                    let flight = flights.begin(KEY).unwrap();
                    thread::yield_now();
                    flights.end(flight);
                }
            });
        });
        assert_eq!(asked.load(Ordering::SeqCst), woken.load(Ordering::SeqCst));
    }
}

//! The permit to act on keys that move, for as long as the session with ZooKeeper cannot have
//! expired: the self-fence of a pool that many proxies take from one ring to the other.
//!
//! ```text
//!  admin ─ grant: an answered request was sent then ─▶ term, until ─ one atomic look ─▶ workers
//! ```
//! Whoever walks the fleet on waits for every live session. A process that may have lost its own
//! must stop before the ensemble can notice; so it goes by the monotonic clock and by what it has
//! asked itself, and each worker looks at the clock for itself: no other thread has to wake up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How long keys that move may be acted on. One thread grants, all look.
#[derive(Debug)]
pub struct Permit {
    base: Instant,
    /// Microseconds behind `base`; 0 if there is none.
    until: AtomicU64,
    /// Counts sessions: what began in one does not go on in the next.
    term: AtomicU64,
}

/// The permit as the rings of one term have it.
#[derive(Clone, Debug)]
pub struct Pass {
    permit: Arc<Permit>,
    term: u64,
}

impl Permit {
    /// None yet; times before `base` are none either.
    pub fn new(base: Instant) -> Self {
        Self { base, until: AtomicU64::new(0), term: AtomicU64::new(0) }
    }

    /// Grants it to a term until then. For one thread.
    pub fn grant(&self, term: u64, until: Instant) {
        let micros = until.saturating_duration_since(self.base).as_micros();
        // Whoever sees the time sees the term: the other order would lend it to an earlier one.
        self.term.store(term, Ordering::Relaxed);
        self.until.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// The last term that it was granted to; 0 before that.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Takes it back.
    pub fn revoke(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether a term has it at `now`, which must have been read after what it is asked for came.
    pub fn holds(&self, term: u64, now: Instant) -> bool {
        let until = self.until.load(Ordering::Acquire);
        let now = now.saturating_duration_since(self.base).as_micros();
        now < u128::from(until) && self.term.load(Ordering::Relaxed) == term
    }
}

impl Pass {
    /// That of a term.
    pub fn new(permit: Arc<Permit>, term: u64) -> Self {
        Self { permit, term }
    }

    /// The term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// See [`Permit::holds`].
    pub fn holds(&self, now: Instant) -> bool {
        self.permit.holds(self.term, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_one_terms_and_ends_by_itself() {
        let (base, second) = (Instant::now(), Duration::from_secs(1));
        let permit = Arc::new(Permit::new(base));
        let [first, next] = [1, 2].map(|term| Pass::new(Arc::clone(&permit), term));
        assert!(!first.holds(base) && !permit.holds(0, base), "nobody has granted it");
        permit.grant(1, base + second * 4);
        assert!(first.holds(base) && first.holds(base + second * 3));
        assert!(!first.holds(base + second * 4), "whatever other threads do");
        assert!(!next.holds(base));
        permit.grant(2, base + second * 9);
        assert!(!first.holds(base) && next.holds(base + second * 8));
        permit.revoke();
        assert!(!next.holds(base));
    }
}

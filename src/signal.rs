//! What the admin thread tells the others: drain, and nothing else yet.
//!
//! A [`Phase`] is published once and read by listener and workers; they are woken by the net
//! layer, never through this value.

use std::sync::atomic::{AtomicU8, Ordering};

/// The stage of the process's life, in the order in which it passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Listeners are not all open yet.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what is in flight; no new work is wanted.
    Draining,
}

impl Phase {
    /// The phase in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The published phase.
#[derive(Debug)]
pub struct Life(AtomicU8);

impl Default for Life {
    fn default() -> Self {
        Self(AtomicU8::new(Phase::Starting as u8))
    }
}

impl Life {
    /// Moves on to `phase`; a step backwards is ignored.
    pub fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::signal::{Life, Phase};

    #[test]
    fn a_life_never_goes_backwards() {
        let life = Life::default();
        assert_eq!(life.phase(), Phase::Starting);
        life.advance(Phase::Draining);
        life.advance(Phase::Ready);
        assert_eq!(life.phase(), Phase::Draining);
    }
}

//! Old servers that are given up while a pool goes from one ring to another: their keys go ahead.
//!
//! ```text
//!  pool          warm ──────────────────────────▶ drain ─▶ new
//!  one that is     unread (as in drain) ─▶ skipped (as in new)
//!  given up
//! ```
//! An old server that is dead keeps everything on its keys that move from being changed, since its
//! copies cannot be deleted. If it were passed over at once, a proxy that has not heard of it would
//! go on reading there what others have changed since. So all stop reading it first. That is what
//! the last phases do for all keys, and keys of a server that is given up are in these phases.

use std::collections::BTreeMap;

use crate::topology::document::Phase;

/// How far an old server is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GivenUp {
    /// Nobody reads it; old copies are still deleted there, and what cannot be is refused.
    Unread,
    /// Nobody asks it anything about keys that move.
    Skipped,
}

/// Old servers that are given up, by name.
pub type DeadOld = BTreeMap<String, GivenUp>;

impl GivenUp {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Unread, Self::Skipped];

    /// As documents have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Skipped => "skipped",
        }
    }

    /// That of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The phase that keys are in which move away from such a server, where those of others are in
    /// `phase`.
    pub fn phase(self, phase: Phase) -> Phase {
        phase.max(match self {
            Self::Unread => Phase::Drain,
            Self::Skipped => Phase::New,
        })
    }
}

/// Which are given up, and how far: `cache02 unread, cache03 skipped`, or `none`.
pub fn tell(dead_old: &DeadOld) -> String {
    let words: Vec<String> =
        dead_old.iter().map(|(name, it)| format!("{name} {}", it.name())).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{GivenUp, Phase};

    #[test]
    fn keys_of_a_server_that_is_given_up_go_ahead() {
        let phases = |phase| GivenUp::ALL.map(|it| it.phase(phase));
        assert_eq!(phases(Phase::Warm), [Phase::Drain, Phase::New]);
        assert_eq!(phases(Phase::Drain), [Phase::Drain, Phase::New]);
        assert_eq!(phases(Phase::New), [Phase::New, Phase::New]);
        for it in GivenUp::ALL {
            assert_eq!(GivenUp::of_name(it.name()), Some(it));
        }
    }
}

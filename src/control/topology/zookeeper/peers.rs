//! How many proxies of a fleet are behind the version that is active, as each of them counts.
//!
//! ```text
//!  another version │ mark of the folder ─▶ read all ─▶ left: those who have not acknowledged it
//!  the same mark ────────────────────────▶ read those left ─┘
//! ```
//! Who has acknowledged a version says so until it ends. One that ends, or comes back with another
//! session, leaves its mark at the folder. So a look costs one short answer while nothing happens,
//! however many they are.

use std::time::{Duration, Instant};

use zookeeper_client::Error;

use super::session::Session;
use super::{ANTI_ENTROPY, jittered};
use crate::control::topology::fleet::{Ack, Active};

/// Where they say it, below the source.
pub(super) const ACKS: &str = "acks";

/// From a new version to the first look: by then most have acknowledged it.
const FIRST: Duration = Duration::from_secs(1);
/// Between two looks while somebody is behind, or keys move; else it is that of everything else.
const OFTEN: Duration = Duration::from_secs(3);
/// Each is this part of it more or less, so that a fleet does not look at once.
const JITTER: f64 = 0.5;

/// What one proxy knows of all that there are.
pub(super) struct Peers {
    /// What they are to acknowledge.
    active: Active,
    /// The mark of the folder when all that are left were found out; none before that.
    mark: Option<i64>,
    /// Those who have not acknowledged it.
    left: Vec<String>,
    due: Instant,
}

impl Peers {
    /// Nothing.
    pub(super) fn new(now: Instant) -> Self {
        Self { active: Active::default(), mark: None, left: Vec::new(), due: now }
    }

    /// This is active; when it is to be counted.
    pub(super) fn due(&mut self, active: &Active, now: Instant) -> Instant {
        if self.active != *active {
            (self.active, self.mark) = (active.clone(), None);
            self.due = now + jittered(FIRST, JITTER);
        }
        self.due
    }

    /// Counts those behind it who say something below `path`.
    ///
    /// # Errors
    /// They cannot be read; what was counted last stands.
    pub(super) async fn count(&mut self, session: &Session, path: &str) -> Result<usize, Error> {
        let calm = self.left.is_empty() && !self.active.phase.is_between();
        self.due = Instant::now() + jittered(if calm { ANTI_ENTROPY } else { OFTEN }, JITTER);
        // What is given up half way is begun anew.
        let known = self.mark.take();
        let mark = session.mark(path, ACKS).await?;
        let (asked, mark) = match known == Some(mark) {
            true => (self.left.clone(), mark),
            false => session.names(path, ACKS).await?,
        };
        let said = session.said_by(path, ACKS, &asked).await?;
        self.left = left(&self.active, &said);
        self.mark = Some(mark);
        Ok(self.left.len())
    }
}

/// Who of those that say this, by name and text, has not acknowledged what is active.
fn left(active: &Active, said: &[(String, String)]) -> Vec<String> {
    let missing = |(id, text): &(String, String)| {
        active.missed_by(&Ack::read(id, text)).is_some().then(|| id.clone())
    };
    said.iter().filter_map(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Phase;

    #[test]
    fn who_says_something_else_is_left() {
        let active = Active { epoch: 7, phase: Phase::Warm, digest: "d".to_owned() };
        let said = [
            ("same", r#"{"epoch":7,"phase":"warm","digest":"d","since":1}"#),
            ("before", r#"{"epoch":6,"phase":"warm","digest":"d"}"#),
            ("phase", r#"{"epoch":7,"phase":"drain","digest":"d"}"#),
            ("rings", r#"{"epoch":7,"phase":"warm","digest":"e"}"#),
            ("fresh", r#"{"epoch":0,"phase":"none"}"#),
            ("broken", "?"),
        ];
        let said = said.map(|(id, text)| (id.to_owned(), text.to_owned()));
        assert_eq!(left(&active, &said), ["before", "phase", "rings", "fresh", "broken"]);
    }

    #[test]
    fn each_version_is_looked_at_soon_and_anew() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        let active = |epoch| Active { epoch, ..Active::default() };
        let due = peers.due(&active(1), now);
        assert!(due > now && due <= now + FIRST.mul_f64(1.0 + JITTER));
        peers.mark = Some(5);
        assert_eq!(peers.due(&active(1), now + OFTEN), due, "the same is no news");
        assert_eq!(peers.mark, Some(5));
        assert!(peers.due(&active(2), now + OFTEN) > due);
        assert_eq!(peers.mark, None);
    }
}

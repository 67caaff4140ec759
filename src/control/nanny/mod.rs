//! The nanny's judgement: which server of a topology is to be marked down or up. No sockets, no
//! clock.
//!
//! ```text
//!  own probes ─▶ Probe (hysteresis) ─▶ view ┐
//!  views of others ─────────────────────────┴▶ Nanny: quorum, cap, one a window ─▶ Decision
//! ```
//! A server that is marked down stays on the ring: its keys are answered as `dead:` says. What an
//! operator has marked is left alone.

mod probe;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::topology::{Document, State};

pub use probe::{Judgement, Probe, ProbeRules};

/// When a mark is set or taken away.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Observers that must agree; also more than half of those that have said anything lately.
    pub quorum: usize,
    /// Views older than this count for nothing.
    pub view_life: Duration,
    /// One mark is set or taken away in this time.
    pub window: Duration,
    /// The part of the servers that is never marked down, 0 to 1; one server never is.
    pub min_live_ratio: f64,
    /// How long a server stays marked after its first fall in a row, and after many.
    pub hold: (Duration, Duration),
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            quorum: 2,
            view_life: Duration::from_secs(10),
            window: Duration::from_secs(30),
            min_live_ratio: 0.5,
            hold: (Duration::from_secs(10), Duration::from_secs(3600)),
        }
    }
}

/// The author of documents that nannies write.
pub const AUTHOR: &str = "twinring nanny";

/// What one observer holds of the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Names of those that fail.
    pub failing: BTreeSet<String>,
    /// Names of those that have been well for long enough.
    pub well: BTreeSet<String>,
}

/// What is to be written, or would be in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The server.
    pub node: String,
    /// Its state from now on.
    pub to: State,
    /// Who saw what.
    pub why: String,
}

/// Everything that a nanny is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Orders {
    /// When a mark is set or taken away.
    pub rules: Rules,
    /// What its own looks come to.
    pub probes: ProbeRules,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// Judges one topology.
#[derive(Debug)]
pub struct Nanny {
    rules: Rules,
    views: BTreeMap<String, (View, Instant)>,
    /// Servers that nannies have marked down, and since when.
    marked: BTreeMap<String, Instant>,
    /// How often a server fell, and when it last did.
    falls: BTreeMap<String, (u32, Instant)>,
    states: BTreeMap<String, State>,
    last: Option<Instant>,
}

impl Nanny {
    /// A nanny that knows nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            views: BTreeMap::new(),
            marked: BTreeMap::new(),
            falls: BTreeMap::new(),
            states: BTreeMap::new(),
            last: None,
        }
    }

    /// An observer's view, which takes the place of the one that it had.
    pub fn observe(&mut self, observer: &str, view: View, now: Instant) {
        self.views.insert(observer.to_owned(), (view, now));
    }

    /// The topology as it is now, whoever wrote it: a mark that a nanny has set is a nanny's to
    /// take away, so that another one may go on where one was stopped.
    pub fn saw(&mut self, document: &Document, now: Instant) {
        let servers = document.all_servers().into_iter();
        let states: BTreeMap<String, State> =
            servers.map(|server| (server.name, server.state)).collect();
        for (name, state) in &states {
            let before = self.states.get(name).copied();
            if *state != State::Down {
                self.marked.remove(name);
            } else if before.is_some_and(|before| before != State::Down)
                && document.author == AUTHOR
            {
                self.marked.insert(name.clone(), now);
                let falls = self.falls.entry(name.clone()).or_insert((0, now));
                *falls = (falls.0.saturating_add(1), now);
            }
        }
        self.marked.retain(|name, _| states.contains_key(name));
        self.falls.retain(|name, _| states.contains_key(name));
        self.states = states;
    }

    /// What is to be done now; nothing most of the time. Who acts on it says so by
    /// [`Nanny::acted`], and sees the document that it has written by [`Nanny::saw`].
    pub fn decide(&mut self, now: Instant) -> Option<Decision> {
        let life = self.rules.view_life;
        self.views.retain(|_, (_, at)| now.saturating_duration_since(*at) <= life);
        if self.last.is_some_and(|last| now < last + self.rules.window) {
            return None;
        }
        self.rise(now).or_else(|| self.fall())
    }

    /// A decision has been written.
    pub fn acted(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// How many observers hold this of a server, if they are enough.
    fn agreed(&self, holds: impl Fn(&View) -> bool) -> Option<usize> {
        let count = self.views.values().filter(|(view, _)| holds(view)).count();
        (count >= self.rules.quorum.max(1) && count * 2 > self.views.len()).then_some(count)
    }

    fn rise(&self, now: Instant) -> Option<Decision> {
        let mut held = self.marked.iter().filter(|(name, since)| now >= **since + self.hold(name));
        held.find_map(|(name, _)| {
            let count = self.agreed(|view| view.well.contains(name))?;
            let why = format!("well for {count} of {} observers", self.views.len());
            Some(Decision { node: name.clone(), to: State::Up, why })
        })
    }

    fn fall(&self) -> Option<Decision> {
        let live: Vec<&String> = self
            .states
            .iter()
            .filter(|(_, state)| **state != State::Down)
            .map(|(name, _)| name)
            .collect();
        let least = (self.states.len() as f64 * self.rules.min_live_ratio).ceil().max(1.0);
        if live.len() as f64 - 1.0 < least {
            return None;
        }
        live.into_iter().find_map(|name| {
            let count = self.agreed(|view| view.failing.contains(name))?;
            let why = format!("fails for {count} of {} observers", self.views.len());
            Some(Decision { node: name.clone(), to: State::Down, why })
        })
    }

    /// Half as long again with each fall, up to the longest.
    fn hold(&self, name: &str) -> Duration {
        let (first, longest) = self.rules.hold;
        let falls = self.falls.get(name).map_or(0, |(falls, _)| falls.saturating_sub(1).min(64));
        let factor = 1.5_f64.powi(i32::try_from(falls).unwrap_or(i32::MAX));
        Duration::try_from_secs_f64(first.as_secs_f64() * factor).unwrap_or(longest).min(longest)
    }
}

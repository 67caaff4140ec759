//! What the server had, and when: the history of every key, against which each hit is judged.

use std::collections::VecDeque;

/// How long the past is kept, in milliseconds; what is not found in it is older.
const KEPT: u64 = 1_000;

/// Something that a key was, for a while. Versions rise over all keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) version: u64,
    pub(super) present: bool,
    /// From when on it is no longer there, though it may not be removed yet.
    pub(super) expiry: Option<u64>,
    /// When something else took its place.
    replaced: u64,
}

impl State {
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.present && self.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// The last moment at which this was what a reader would have found.
    fn last(&self) -> u64 {
        self.expiry.map_or(self.replaced, |expiry| expiry.min(self.replaced))
    }
}

/// What is wrong with a value that was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It was not current within the bound.
    TooOld,
    /// It was, but the server's time for it is over.
    Expired,
}

/// All keys.
#[derive(Debug)]
pub(super) struct Truth {
    keys: Vec<VecDeque<State>>,
    version: u64,
}

impl Truth {
    pub(super) fn new(keys: usize) -> Self {
        let nothing = State { version: 0, present: false, expiry: None, replaced: u64::MAX };
        Self { keys: vec![VecDeque::from([nothing]); keys], version: 0 }
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// A version that no value had.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(super) fn current(&self, key: usize) -> State {
        *self.keys[key].back().unwrap()
    }

    /// A key is given a value and a time, or (not `present`) removed.
    pub(super) fn change(&mut self, key: usize, now: u64, next: (u64, bool, Option<u64>)) {
        let (version, present, expiry) = next;
        let states = &mut self.keys[key];
        states.back_mut().unwrap().replaced = now;
        states.push_back(State { version, present, expiry, replaced: u64::MAX });
        while states.front().is_some_and(|state| state.replaced + KEPT < now) {
            states.pop_front();
        }
    }

    /// Whether a version that is served at `now` was current at some moment of the last `bound`
    /// milliseconds, and has not outlived the time that the server gave it then.
    pub(super) fn judge(&self, key: usize, version: u64, now: u64, bound: u64) -> Option<Fault> {
        let mut fault = Some(Fault::TooOld);
        let states = self.keys[key].iter().filter(|state| state.version == version);
        for state in states.filter(|state| state.last() >= now.saturating_sub(bound)) {
            if state.expiry.is_none_or(|expiry| now < expiry) {
                return None;
            }
            fault = Some(Fault::Expired);
        }
        fault
    }
}

//! What is promised, checked at every read: which values have gone, when, and who has said so.
//!
//! A value is dead once a write that began when it was known has been acknowledged. Of keys that move,
//! between the ends, no read that begins then may be shown it (the contract of two rings); of all
//! others none after `S`, and none of the proxy that has acknowledged that write (promises 1 and 2 of
//! [`crate::cache::near`]). What the near cache shows must beside that have been asked for, or its
//! server been heard of, within `S` and since the proxy's rings were set last (promise 3), and be
//! within the time that its server gave it (promise 4).

use std::collections::{BTreeMap, BTreeSet};

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    /// 1. Nothing older than a write that this proxy has acknowledged.
    OwnWrites,
    /// 2. Nothing that was gone for longer than the bound; of keys between two servers nothing that
    ///    was gone at all.
    Staleness,
    /// 3. Nothing without the server for longer than that, or of other rings.
    Contact,
    /// 4. No longer life than the server gave.
    Life,
    /// A server is not asked for a key that another one has.
    Place,
}

/// A moment: what has happened before it, and its millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) event: u64,
    pub(super) at: u64,
}

#[derive(Debug)]
struct Death {
    first: Moment,
    /// When each proxy has acknowledged it.
    own: BTreeMap<usize, u64>,
}

/// All that is known of one key's values.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Values that are there, or were.
    seen: BTreeSet<String>,
    dead: BTreeMap<String, Death>,
    /// When the server's time for a value is over.
    ends: BTreeMap<String, u64>,
    /// When each proxy has asked for it last.
    asked: BTreeMap<usize, Moment>,
}

/// Under which conditions a value was shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) proxy: usize,
    /// When the read began.
    pub(super) begun: Moment,
    pub(super) now: u64,
    /// Milliseconds for which it may have been gone; `None`: it may not.
    pub(super) bound: Option<u64>,
    /// By the near cache: since when it must have been asked for, when its server was heard of.
    pub(super) near: Option<(u64, u64)>,
    /// How long a value may be there over its time.
    pub(super) slack: u64,
}

impl Known {
    /// Values that whoever begins to write now will have replaced.
    pub(super) fn begin(&self) -> Vec<String> {
        self.seen.iter().filter(|value| !self.dead.contains_key(*value)).cloned().collect()
    }

    pub(super) fn see(&mut self, value: &str) {
        self.seen.insert(value.to_owned());
    }

    pub(super) fn ends(&mut self, value: &str, end: u64) {
        self.ends.entry(value.to_owned()).or_insert(end);
    }

    pub(super) fn asked(&mut self, proxy: usize, when: Moment) {
        self.asked.insert(proxy, when);
    }

    /// They are gone, as a proxy has told a client, or nobody.
    pub(super) fn kill(&mut self, values: Vec<String>, by: Option<usize>, now: Moment) {
        for value in values {
            let death = || Death { first: now, own: BTreeMap::new() };
            let death = self.dead.entry(value).or_insert_with(death);
            if let Some(proxy) = by {
                death.own.entry(proxy).or_insert(now.event);
            }
        }
    }

    /// What is wrong with a value that a client was shown.
    pub(super) fn judge(&self, value: &str, shown: &Shown) -> Option<(Promise, &'static str)> {
        let Shown { proxy, begun, now, bound, near, slack } = *shown;
        if let Some(death) = self.dead.get(value) {
            if death.own.get(&proxy).is_some_and(|event| *event < begun.event) {
                return Some((Promise::OwnWrites, "an own write is not seen"));
            }
            match bound {
                None if death.first.event < begun.event => {
                    return Some((Promise::Staleness, "it moves, and shows what was gone"));
                }
                Some(bound) if death.first.at + bound < begun.at => {
                    return Some((Promise::Staleness, "gone for too long"));
                }
                _ => {}
            }
        }
        let (since, heard) = near?;
        let asked = self.asked.get(&proxy).copied().unwrap_or_default();
        if asked.event < since {
            return Some((Promise::Contact, "kept over a change of rings"));
        }
        let contact = if heard == 0 { asked.at } else { heard };
        if bound.is_some_and(|bound| contact + bound < now) {
            return Some((Promise::Contact, "its server was not heard of for too long"));
        }
        // Whoever is not told of changes asks for a value and its time one after the other: if that
        // was replaced in between its own time is not known, but how long ago it was replaced.
        let replaced = self.dead.get(value).map_or(u64::MAX, |death| death.first.at);
        let end = self.ends.get(value).copied().unwrap_or(u64::MAX).saturating_add(slack);
        let over = end <= now && !(replaced < end && heard == 0);
        over.then_some((Promise::Life, "its time was over"))
    }
}

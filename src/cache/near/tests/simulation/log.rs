//! What has happened: counted, and the last of it kept for whoever must explain a breach.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// Events kept of each key, and of what concerns all keys.
const KEPT: usize = 40;

/// Where something happened: a proxy and its worker, or elsewhere.
pub(super) type Place = Option<(usize, usize)>;

#[derive(Clone, Copy, Debug)]
struct Event {
    number: u64,
    now: u64,
    place: Place,
    what: &'static str,
    version: u64,
}

#[derive(Debug)]
pub(super) struct Log {
    /// The last one is of what concerns all.
    keys: Vec<VecDeque<Event>>,
    number: u64,
    pub(super) now: u64,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Log {
    pub(super) fn new(keys: usize) -> Self {
        let keys = vec![VecDeque::with_capacity(KEPT); keys + 1];
        Self { keys, number: 0, now: 0, counts: BTreeMap::new() }
    }

    /// Something happened to a key.
    pub(super) fn note(&mut self, what: &'static str, place: Place, key: usize, version: u64) {
        *self.counts.entry(what).or_default() += 1;
        self.number += 1;
        let events = &mut self.keys[key];
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(Event { number: self.number, now: self.now, place, what, version });
    }

    /// Something happened that concerns all keys, or none in particular.
    pub(super) fn note_all(&mut self, what: &'static str, place: Place, number: u64) {
        self.note(what, place, self.keys.len() - 1, number);
    }

    /// The last events of a key and of all, one a line.
    pub(super) fn tell(&self, key: usize) -> String {
        let mut events: Vec<Event> = self.keys[key].iter().copied().collect();
        let first = events.first().map_or(0, |event| event.number);
        let common = self.keys[self.keys.len() - 1].iter();
        events.extend(common.filter(|event| event.number > first));
        events.sort_by_key(|event| event.number);
        let mut text = String::new();
        for Event { now, place, what, version, .. } in events {
            let place = place.map_or_else(
                || "server".to_owned(),
                |(proxy, worker)| format!("proxy {proxy}.{worker}"),
            );
            writeln!(text, "  {now:>7} ms  {place:<10} {what} ({version})").unwrap();
        }
        text
    }
}

//! What a key had, and when: by that it is judged how old an answer was.
//!
//! One writer changes the keys, one change after the other, at the server itself. A change takes
//! effect at a moment that nobody knows, between its sending and its acknowledgement; so a value may
//! have been current from the sending of its own change to the acknowledgement of the next one.
//! What a read overlaps is allowed: the judgement is exact, and a slow machine cannot spoil it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Of all keys.
pub(super) struct Timeline {
    begun: Instant,
    keys: HashMap<String, Vec<Change>>,
}

/// A key has another value from some moment on, or none.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) sent: Instant,
    pub(super) acked: Instant,
    pub(super) version: Option<u64>,
    /// Between these moments it ends by itself.
    pub(super) expires: Option<(Instant, Instant)>,
}

/// An answer to a read.
pub(super) struct Read {
    pub(super) key: String,
    pub(super) version: Option<u64>,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), keys: HashMap::new() }
    }

    /// Notes a change; those of one key come in their order.
    pub(super) fn note(&mut self, key: &str, change: Change) {
        self.keys.entry(key.to_owned()).or_default().push(change);
    }

    /// How long before the read was sent its answer had ceased to be current, at least; `None` if
    /// it never was before the answer came.
    pub(super) fn age(&self, read: &Read) -> Option<Duration> {
        let changes = self.keys.get(&read.key).map_or(&[][..], Vec::as_slice);
        let mut times: Vec<(Instant, Option<Instant>)> = Vec::new();
        if read.version.is_none() {
            times.push((self.begun, changes.first().map(|change| change.acked)));
        }
        for (at, change) in changes.iter().enumerate() {
            let replaced = changes.get(at + 1).map(|next| next.acked);
            if change.version == read.version {
                let ends = [replaced, change.expires.map(|(_, latest)| latest)];
                times.push((change.sent, ends.into_iter().flatten().min()));
            }
            if let (Some((earliest, _)), None) = (change.expires, read.version) {
                times.push((earliest, replaced));
            }
        }
        let seen = times.into_iter().filter(|(from, _)| *from <= read.received);
        let age = |until: Instant| read.sent.saturating_duration_since(until);
        seen.map(|(_, until)| until.map_or(Duration::ZERO, age)).min()
    }
}

#[test]
fn answers_are_as_old_as_the_next_change() {
    let begun = Instant::now();
    let at = |millis| begun + Duration::from_millis(millis);
    let mut timeline = Timeline { begun, keys: HashMap::new() };
    let change = |sent, version| Change { sent, acked: sent, version, expires: None };
    timeline.note("k", Change { acked: at(110), ..change(at(100), Some(1)) });
    let expires = Some((at(350), at(360)));
    timeline.note("k", Change { acked: at(210), expires, ..change(at(200), Some(2)) });
    timeline.note("k", Change { acked: at(510), ..change(at(500), Some(3)) });
    let age = |version, sent: u64| {
        let read = Read { key: "k".to_owned(), version, sent: at(sent), received: at(sent + 1) };
        timeline.age(&read).map(|age| age.as_millis())
    };
    for (version, sent, wanted) in [
        (None, 50, Some(0)),
        (None, 110, Some(0)),
        (None, 130, Some(20)),
        (Some(1), 98, None),
        (Some(1), 99, Some(0)),
        (Some(1), 210, Some(0)),
        (Some(1), 260, Some(50)),
        (Some(2), 360, Some(0)),
        (Some(2), 400, Some(40)),
        (None, 348, Some(238)),
        (None, 349, Some(0)),
        (None, 520, Some(10)),
        (Some(3), 900, Some(0)),
        (Some(4), 900, None),
    ] {
        assert_eq!(age(version, sent), wanted, "{version:?} at {sent}");
    }
}

//! The keys that are asked for most, for whoever wants to know.
//!
//! Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k
//! Elements in Data Streams", ICDT 2005) over a sample of the requests: a newcomer takes the place
//! of the least and counts on from there. Counts fade by half every ten seconds. A worker that
//! finds the table in use passes on: it is a sample.

use std::sync::Mutex;

/// Keys that are kept; half as many are told reliably.
const PLACES: usize = 128;

/// Seconds after which counts are halved.
const FADE_SECONDS: u32 = 10;

/// Requests of which one is noted.
pub(super) const SAMPLED: u64 = 32;

/// A key that is asked for often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The key.
    pub key: Vec<u8>,
    /// Requests for it, lately, about.
    pub requests: u64,
    /// Bytes of its value, when that was last seen.
    pub value_bytes: usize,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Hot(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    keys: Vec<HotKey>,
    seconds: u32,
}

impl Hot {
    /// Notes a sampled request for a key.
    pub(super) fn note(&self, key: &[u8]) {
        let Ok(mut table) = self.0.try_lock() else { return };
        let keys = &mut table.keys;
        if let Some(known) = keys.iter_mut().find(|known| known.key == key) {
            known.requests += SAMPLED;
            return;
        }
        if keys.len() < PLACES {
            keys.push(HotKey { key: key.to_vec(), requests: SAMPLED, value_bytes: 0 });
            return;
        }
        if let Some(least) = keys.iter_mut().min_by_key(|known| known.requests) {
            least.key.clear();
            least.key.extend_from_slice(key);
            least.requests += SAMPLED;
            least.value_bytes = 0;
        }
    }

    /// Notes how large the value of a key is, if that is in the table.
    pub(super) fn weigh(&self, key: &[u8], bytes: usize) {
        let Ok(mut table) = self.0.try_lock() else { return };
        if let Some(known) = table.keys.iter_mut().find(|known| known.key == key) {
            known.value_bytes = bytes;
        }
    }

    /// Lets counts fade; to be called once a second.
    pub(super) fn fade(&self) {
        let Ok(mut table) = self.0.lock() else { return };
        table.seconds += 1;
        if !table.seconds.is_multiple_of(FADE_SECONDS) {
            return;
        }
        for known in &mut table.keys {
            known.requests /= 2;
        }
        table.keys.retain(|known| known.requests > 0);
    }

    /// All of them, those asked for most first.
    pub(super) fn report(&self) -> Vec<HotKey> {
        let Ok(table) = self.0.lock() else { return Vec::new() };
        let mut keys = table.keys.clone();
        drop(table);
        keys.sort_by(|a, b| (b.requests, &a.key).cmp(&(a.requests, &b.key)));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::{Hot, PLACES, SAMPLED};

    #[test]
    fn the_hottest_keys_are_found_among_many() {
        let hot = Hot::default();
        for round in 0..20_000_u32 {
            hot.note(format!("cold{round}").as_bytes());
            for key in 0..8 {
                if round % (key + 2) == 0 {
                    hot.note(format!("hot{key}").as_bytes());
                }
            }
        }
        hot.weigh(b"hot0", 77);
        let report = hot.report();
        assert_eq!(report.len(), PLACES);
        let first: Vec<&[u8]> = report.iter().take(8).map(|known| &known.key[..]).collect();
        for key in 0..8 {
            let name = format!("hot{key}");
            assert!(first.contains(&name.as_bytes()), "{name}: {first:?}");
        }
        assert_eq!((&report[0].key[..], report[0].value_bytes), (&b"hot0"[..], 77));
        assert!(report[0].requests >= 10_000 * SAMPLED);
    }

    #[test]
    fn counts_fade() {
        let hot = Hot::default();
        hot.note(b"once");
        (0..200).for_each(|_| hot.fade());
        assert_eq!(hot.report(), []);
    }
}

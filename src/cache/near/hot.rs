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

/// In columns: most requests are for keys that are not in it, and to find that out, and the least,
/// must touch little memory.
#[derive(Debug, Default)]
struct Table {
    hashes: Vec<u64>,
    requests: Vec<u64>,
    keys: Vec<Known>,
    seconds: u32,
}

#[derive(Debug)]
struct Known {
    key: Vec<u8>,
    value_bytes: usize,
}

impl Table {
    fn find(&self, key: &[u8], hash: u64) -> Option<usize> {
        let at = self.hashes.iter().position(|known| *known == hash)?;
        (self.keys[at].key == key).then_some(at)
    }
}

impl Hot {
    /// Notes a sampled request for a key, which has this hash.
    pub(super) fn note(&self, key: &[u8], hash: u64) {
        let Ok(mut table) = self.0.try_lock() else { return };
        if let Some(at) = table.find(key, hash) {
            table.requests[at] += SAMPLED;
            return;
        }
        if table.keys.len() < PLACES {
            table.hashes.push(hash);
            table.requests.push(SAMPLED);
            table.keys.push(Known { key: key.to_vec(), value_bytes: 0 });
            return;
        }
        let least = (0..PLACES).min_by_key(|at| table.requests[*at]).unwrap_or(0);
        table.hashes[least] = hash;
        table.requests[least] += SAMPLED;
        let known = &mut table.keys[least];
        known.key.clear();
        known.key.extend_from_slice(key);
        known.value_bytes = 0;
    }

    /// Notes how large the value of a key is, if that is in the table.
    pub(super) fn weigh(&self, (key, hash): (&[u8], u64), bytes: usize) {
        let Ok(mut table) = self.0.try_lock() else { return };
        if let Some(at) = table.find(key, hash) {
            table.keys[at].value_bytes = bytes;
        }
    }

    /// Lets counts fade; to be called once a second.
    pub(super) fn fade(&self) {
        let Ok(mut table) = self.0.lock() else { return };
        table.seconds += 1;
        if !table.seconds.is_multiple_of(FADE_SECONDS) {
            return;
        }
        table.requests.iter_mut().for_each(|requests| *requests /= 2);
        for at in
            (0..table.keys.len()).rev().filter(|at| table.requests[*at] == 0).collect::<Vec<_>>()
        {
            table.hashes.swap_remove(at);
            table.requests.swap_remove(at);
            table.keys.swap_remove(at);
        }
    }

    /// All of them, those asked for most first.
    pub(super) fn report(&self) -> Vec<HotKey> {
        let Ok(table) = self.0.lock() else { return Vec::new() };
        let key = |(known, requests): (&Known, &u64)| {
            let Known { key, value_bytes } = known;
            HotKey { key: key.clone(), requests: *requests, value_bytes: *value_bytes }
        };
        let mut keys: Vec<HotKey> = table.keys.iter().zip(&table.requests).map(key).collect();
        drop(table);
        keys.sort_by(|a, b| (b.requests, &a.key).cmp(&(a.requests, &b.key)));
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use super::{Hot, PLACES, SAMPLED};

    fn hash(key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        hasher.finish()
    }

    #[test]
    fn the_hottest_keys_are_found_among_many() {
        let hot = Hot::default();
        let note = |name: String| hot.note(name.as_bytes(), hash(name.as_bytes()));
        for round in 0..20_000_u32 {
            note(format!("cold{round}"));
            for key in 0..8 {
                if round % (key + 2) == 0 {
                    note(format!("hot{key}"));
                }
            }
        }
        hot.weigh((b"hot0", hash(b"hot0")), 77);
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
        hot.note(b"once", hash(b"once"));
        (0..200).for_each(|_| hot.fade());
        assert_eq!(hot.report(), []);
    }
}

//! Any operations on a store and on a map: the same at every step, but that a store with little
//! memory may have evicted something.

#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use twinring::config::{Eviction, Storage};
use twinring::storage::{Amend, Item, Key, Marks, NewItem, PutError, Settings, Store, Time};

/// Some values are larger than an item may be.
const ITEM_MAX: usize = 60_000;

#[derive(Arbitrary, Clone, Debug)]
struct Put {
    len: u16,
    ttl: Option<u32>,
    flags: u32,
    marks: (bool, bool, bool),
    cas: Option<u64>,
    draft: bool,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Put(u8, Put),
    Amend { key: u8, ttl: Option<Option<u32>>, cas: Option<u64>, renew: bool },
    Peek(u8),
    Read(u8),
    Remove(u8),
    Pass { millis: u32 },
    Sweep(u8),
    ClearAt { millis: u16 },
    Scan,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    expiry: Option<Time>,
    marks: Marks,
}

impl Entry {
    fn of(item: Item<'_>) -> Self {
        let mut value = Vec::new();
        item.value.write_to(&mut value);
        let Item { flags, cas, expiry, marks, .. } = item;
        Self { value, flags, cas, expiry, marks }
    }
}

struct Pair {
    store: Store,
    model: HashMap<Vec<u8>, Entry>,
    clear_at: Option<Time>,
    now: Time,
    ample: bool,
}

impl Pair {
    fn new(ample: bool, shards: u8) -> Self {
        let small = shards & 4 != 0;
        let store = Store::new(Settings {
            memory: if ample { 256 << 20 } else { 1 << 20 },
            item_max: ITEM_MAX,
            shards: usize::from(shards % 4),
            version: 1,
            storage: if small { Storage::Cuckoo { item_size: 4 << 10 } } else { Storage::Segcache },
            eviction: Eviction::Merge,
        });
        Self { store, model: HashMap::new(), clear_at: None, now: Time::from_millis(1), ample }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(key, put) => self.put(&bytes(*key), put),
            Step::Amend { key, ttl, cas, renew } => {
                let expiry = ttl.map(|ttl| self.at(ttl));
                self.amend(&bytes(*key), Amend { expiry, marks: None, cas: *cas, renew: *renew });
            }
            Step::Peek(key) => self.look(&bytes(*key), false),
            Step::Read(key) => self.look(&bytes(*key), true),
            Step::Remove(key) => self.remove(&bytes(*key)),
            Step::Pass { millis } => self.pass(u64::from(*millis)),
            Step::Sweep(budget) => _ = self.store.sweep(self.now, usize::from(*budget)),
            Step::ClearAt { millis } => {
                let at = self.now.after(u64::from(*millis));
                self.store.clear_at(at, self.now);
                self.clear_at = Some(at);
                self.pass(0);
            }
            Step::Scan => self.scan(),
        }
    }

    fn at(&self, ttl: Option<u32>) -> Option<Time> {
        ttl.map(|ttl| self.now.after(u64::from(ttl)))
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(millis);
        if self.clear_at.is_some_and(|at| at <= self.now) {
            self.clear_at = None;
            self.model.clear();
        }
        self.forget_dead();
    }

    fn forget_dead(&mut self) {
        self.model.retain(|_, entry| entry.expiry.is_none_or(|at| at > self.now));
    }

    fn put(&mut self, bytes: &[u8], put: &Put) {
        let value: Vec<u8> = (0..put.len).map(|at| (at ^ put.flags as u16) as u8).collect();
        let (fetched, stale, won) = put.marks;
        let marks = Marks { fetched, stale, won };
        let (expiry, flags, cas) = (self.at(put.ttl), put.flags, put.cas);
        let (key, parts) = (self.store.key(bytes), value.split_at(value.len() / 3));
        let item = NewItem { value: &[parts.0, parts.1], flags, expiry, marks, cas };
        let stored = if put.draft {
            self.put_draft(key, &item)
        } else {
            self.store.lock(key, self.now).put(key, &item, self.now)
        };
        self.model.remove(bytes);
        match stored {
            Ok(given) => {
                assert!(cas.is_none_or(|cas| cas == given));
                let entry = Entry { value, flags, cas: given, expiry, marks };
                self.model.insert(bytes.to_vec(), entry);
                self.forget_dead();
            }
            Err(PutError::TooLarge) => {
                let most = self.store.settings().item_max;
                assert!(bytes.len() + value.len() > most || !self.ample);
            }
            Err(PutError::Full) => assert!(!self.ample, "there is room"),
        }
    }

    fn put_draft(&self, key: Key<'_>, item: &NewItem<'_>) -> Result<u64, PutError> {
        let drafted = self.store.draft(item.len()).and_then(|mut draft| {
            item.value.iter().try_for_each(|part| draft.write(part, self.now))?;
            Ok(draft)
        });
        let mut locked = self.store.lock(key, self.now);
        match drafted {
            Ok(draft) => locked.put_draft(key, draft, item, self.now),
            Err(error) => {
                locked.remove(key, self.now);
                Err(error)
            }
        }
    }

    fn amend(&mut self, bytes: &[u8], change: Amend) {
        let key = self.store.key(bytes);
        let amended = self.store.lock(key, self.now).amend(key, change, self.now);
        let Some(cas) = amended else { return self.lost(bytes) };
        let entry = self.model.get_mut(bytes).expect("nothing comes back");
        if !change.renew {
            assert_eq!(cas, change.cas.unwrap_or(entry.cas));
        }
        entry.cas = cas;
        entry.expiry = change.expiry.unwrap_or(entry.expiry);
        self.forget_dead();
    }

    fn look(&mut self, bytes: &[u8], read: bool) {
        let (key, now) = (self.store.key(bytes), self.now);
        let mut locked = self.store.lock(key, now);
        let item = if read { locked.read(key, now) } else { locked.peek(key, now) };
        let found = item.map(Entry::of);
        drop(locked);
        if found.is_none() {
            return self.lost(bytes);
        }
        assert_eq!(found.as_ref(), self.model.get(bytes));
        self.model.entry(bytes.to_vec()).and_modify(|entry| entry.marks.fetched |= read);
    }

    fn remove(&mut self, bytes: &[u8]) {
        let key = self.store.key(bytes);
        if self.store.lock(key, self.now).remove(key, self.now) {
            assert!(self.model.remove(bytes).is_some(), "nothing comes back");
        } else {
            self.lost(bytes);
        }
    }

    /// The store does not have it: so it was evicted if the model does.
    fn lost(&mut self, bytes: &[u8]) {
        let was_there = self.model.remove(bytes).is_some();
        assert!(!(was_there && self.ample), "nothing is evicted while there is room");
    }

    fn scan(&self) {
        let mut shown = HashMap::new();
        let mut cursor = 0;
        loop {
            cursor = self.store.scan(cursor, self.now, &mut |key, item| {
                shown.insert(key.to_vec(), Entry::of(item));
            });
            if cursor == 0 {
                break;
            }
        }
        assert!(shown.iter().all(|(key, entry)| self.model.get(key) == Some(entry)));
        assert!(!self.ample || shown.len() == self.model.len(), "all that is there is shown");
    }
}

/// Keys of several lengths, the shortest of one byte.
fn bytes(key: u8) -> Vec<u8> {
    vec![key; 1 + usize::from(key % 5) * 75]
}

fuzz_target!(|input: (bool, u8, Vec<Step>)| {
    let (ample, shards, steps) = input;
    let mut pair = Pair::new(ample, shards);
    steps.iter().for_each(|step| pair.step(step));
    (0..=u8::MAX).for_each(|key| pair.look(&bytes(key), false));
    let usage = pair.store.usage(pair.now);
    assert!(usage.memory <= pair.store.settings().memory, "memory is bounded");
});

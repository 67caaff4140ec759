//! The plain engine: a map that evicts nothing. Others must behave as it does, but for eviction.

use std::collections::HashMap;

use crate::storage::engine::{Amend, Engine, PutError, Usage};
use crate::storage::item::{Item, Key, Marks, NewItem, Value};
use crate::storage::time::Time;

/// Slots of a scan's cursor: it goes through the hashes in this many steps.
const SCAN_STEPS: u64 = 64;

/// A map from keys to items.
#[derive(Debug)]
pub(super) struct Plain {
    items: HashMap<Vec<u8>, Entry>,
    version: u64,
    usage: Usage,
    item_max: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    expiry: Option<Time>,
    marks: Marks,
    accessed: Time,
}

impl Plain {
    /// Empty; versions begin after `version`, an item has at most `item_max` bytes.
    pub(super) fn new(version: u64, item_max: usize) -> Self {
        Self { items: HashMap::new(), version, usage: Usage::default(), item_max }
    }

    fn find(&mut self, key: Key<'_>, now: Time) -> Option<&mut Entry> {
        let dead = self.items.get(key.bytes)?.expiry.is_some_and(|at| at <= now);
        if dead {
            self.drop_entry(key.bytes);
            self.usage.expired += 1;
        }
        self.items.get_mut(key.bytes)
    }

    fn drop_entry(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.items.remove(key) else { return false };
        self.usage.items -= 1;
        self.usage.bytes -= (key.len() + entry.value.len()) as u64;
        true
    }

    fn renew(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

impl Entry {
    fn seen(&self) -> Item<'_> {
        Item {
            value: Value::Whole(&self.value),
            flags: self.flags,
            cas: self.cas,
            expiry: self.expiry,
            marks: self.marks,
            accessed: self.accessed,
        }
    }
}

impl Engine for Plain {
    fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        self.find(key, now).map(|entry| entry.seen())
    }

    fn read(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        let entry = self.find(key, now)?;
        let (marks, accessed) = (entry.marks, entry.accessed);
        entry.marks.fetched = true;
        entry.accessed = now.whole_seconds();
        Some(Item { marks, accessed, ..entry.seen() })
    }

    fn put(&mut self, key: Key<'_>, item: &NewItem<'_>, now: Time) -> Result<u64, PutError> {
        self.drop_entry(key.bytes);
        if key.bytes.len() + item.len() > self.item_max {
            return Err(PutError::TooLarge);
        }
        let fresh = self.renew();
        let cas = item.cas.unwrap_or(fresh);
        let entry = Entry {
            hash: key.hash,
            value: item.value.concat(),
            flags: item.flags,
            cas,
            expiry: item.expiry,
            marks: item.marks,
            accessed: now.whole_seconds(),
        };
        self.usage.items += 1;
        self.usage.stored += 1;
        self.usage.bytes += (key.bytes.len() + entry.value.len()) as u64;
        self.items.insert(key.bytes.to_vec(), entry);
        Ok(cas)
    }

    fn amend(&mut self, key: Key<'_>, change: Amend, now: Time) -> Option<u64> {
        let fresh = if change.renew { Some(self.renew()) } else { None };
        let entry = self.find(key, now)?;
        entry.expiry = change.expiry.unwrap_or(entry.expiry);
        entry.marks = change.marks.unwrap_or(entry.marks);
        entry.cas = change.cas.or(fresh).unwrap_or(entry.cas);
        Some(entry.cas)
    }

    fn remove(&mut self, key: Key<'_>, now: Time) -> bool {
        self.find(key, now).is_some() && self.drop_entry(key.bytes)
    }

    fn clear(&mut self) {
        self.items.clear();
        self.usage.items = 0;
        self.usage.bytes = 0;
    }

    fn sweep(&mut self, now: Time, _budget: usize) -> bool {
        let dead = |entry: &Entry| entry.expiry.is_some_and(|at| at <= now);
        let keys: Vec<Vec<u8>> = self
            .items
            .iter()
            .filter(|(_, entry)| dead(entry))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.drop_entry(&key);
            self.usage.expired += 1;
        }
        false
    }

    fn scan(&mut self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        let alive = |entry: &Entry| entry.expiry.is_none_or(|at| at > now);
        for (key, entry) in &self.items {
            if entry.hash % SCAN_STEPS == cursor && alive(entry) {
                visit(key, entry.seen());
            }
        }
        (cursor + 1) % SCAN_STEPS
    }

    fn usage(&self) -> Usage {
        Usage { memory: self.usage.bytes, ..self.usage }
    }
}

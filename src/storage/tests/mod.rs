//! What a store promises, whatever is behind its face.

mod bounds;
mod eviction;
mod expiry;
mod large;
mod model;
mod plain;
mod together;

use super::{Item, NewItem, PutError, Settings, Storage, Store, Time};
use crate::config::Eviction;

/// Bytes that are more than a test stores.
const AMPLE: u64 = 64 << 20;

/// A moment that is none of the first.
const START: Time = Time::from_millis(1_234_567);

fn settings(memory: u64, shards: usize) -> Settings {
    Settings {
        memory,
        item_max: 8 << 20,
        shards,
        version: 1 << 60,
        storage: Storage::Segcache,
        eviction: Eviction::Merge,
    }
}

/// Of each engine; the cells of small items hold all but one of 4 KiB.
fn engines(memory: u64, shards: usize) -> [Settings; 2] {
    let storage = Storage::Cuckoo { item_size: 4 << 10 };
    [settings(memory, shards), Settings { storage, ..settings(memory, shards) }]
}

fn stores(memory: u64, shards: usize) -> impl Iterator<Item = Store> {
    engines(memory, shards).into_iter().map(Store::new)
}

fn store(memory: u64, shards: usize) -> Store {
    Store::new(settings(memory, shards))
}

fn put(store: &Store, key: &[u8], value: &[u8], now: Time) -> Result<u64, PutError> {
    put_until(store, key, value, None, now)
}

fn put_until(
    store: &Store,
    key: &[u8],
    value: &[u8],
    expiry: Option<Time>,
    now: Time,
) -> Result<u64, PutError> {
    let key = store.key(key);
    let item = NewItem { value: &[value], expiry, ..NewItem::default() };
    store.lock(key, now).put(key, &item, now)
}

fn get(store: &Store, key: &[u8], now: Time) -> Option<Vec<u8>> {
    let key = store.key(key);
    store.lock(key, now).read(key, now).map(bytes)
}

fn is_there(store: &Store, key: &[u8], now: Time) -> bool {
    let key = store.key(key);
    store.lock(key, now).peek(key, now).is_some()
}

fn remove(store: &Store, key: &[u8], now: Time) -> bool {
    let key = store.key(key);
    store.lock(key, now).remove(key, now)
}

fn bytes(item: Item<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.value.write_to(&mut bytes);
    bytes
}

/// Bytes in which a mistake in place or length shows.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + seed + (at >> 8)) as u8).collect()
}

//! Many threads at once: what a command does is done as one.

use std::collections::HashSet;
use std::thread;

use super::{START, bytes, get, put, store, stores};
use crate::storage::{NewItem, Store};

const THREADS: usize = 4;
const ROUNDS: usize = 5_000;

fn add_one(store: &Store, key: &[u8]) -> u64 {
    let key = store.key(key);
    let mut locked = store.lock(key, START);
    let text = locked.read(key, START).map(bytes).unwrap_or_default();
    let number: u64 = String::from_utf8(text).unwrap().parse().unwrap_or(0) + 1;
    let text = number.to_string();
    let item = NewItem { value: &[text.as_bytes()], ..NewItem::default() };
    locked.put(key, &item, START).unwrap()
}

#[test]
fn no_increment_is_lost_and_no_version_given_twice() {
    for store in stores(64 << 20, 8) {
        let work = || (0..ROUNDS).map(|round| add_one(&store, &[b'a' + (round % 5) as u8]));
        let versions: Vec<u64> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|_| scope.spawn(|| work().collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let sum: u64 = (b'a'..b'f')
            .map(|key| String::from_utf8(get(&store, &[key], START).unwrap()).unwrap())
            .map(|text| text.parse::<u64>().unwrap())
            .sum();
        assert_eq!(sum as usize, THREADS * ROUNDS);
        // A shard has each version once; shards count alike, so the same one may be there for
        // another key.
        assert!(versions.iter().collect::<HashSet<_>>().len() >= ROUNDS * THREADS / 5);
        store.check_integrity(START);
    }
}

#[test]
fn one_of_several_adds_wins() {
    for store in stores(64 << 20, 8) {
        let add = |number: usize| {
            let bytes = number.to_be_bytes();
            let key = store.key(&bytes);
            let mut locked = store.lock(key, START);
            locked.peek(key, START).is_none() && locked.put(key, &NewItem::default(), START).is_ok()
        };
        let won: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| (0..ROUNDS).filter(|number| add(*number)).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(won, ROUNDS);
    }
}

#[test]
fn several_keys_change_as_one() {
    for store in stores(64 << 20, 16) {
        let keys: Vec<[u8; 1]> = (0..6).map(|number| [number]).collect();
        let rename = |round: usize| {
            let (from, to) = (store.key(&keys[round % 6]), store.key(&keys[round / 6 % 6]));
            let mut locked = store.lock_keys([from, to].into_iter(), START);
            let Some(value) = locked.peek(from, START).map(bytes) else { return };
            locked.remove(from, START);
            let old = locked.peek(to, START).map(bytes).unwrap_or_default();
            let item = NewItem { value: &[&value, &old], ..NewItem::default() };
            locked.put(to, &item, START).unwrap();
        };
        for key in &keys {
            put(&store, key, key, START).unwrap();
        }
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let rename = &rename;
                scope.spawn(move || (0..ROUNDS).for_each(|round| rename(round * (thread + 1))));
            }
        });
        let mut all: Vec<u8> =
            keys.iter().filter_map(|key| get(&store, key, START)).flatten().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5], "nothing is lost, nothing is there twice");
    }
}

#[test]
fn threads_that_all_need_memory_get_it() {
    let store = store(16 << 20, 4);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = format!("{thread} {round}");
                    let len = [200, 3_000, 40_000][round % 3];
                    // Large ones may find all of it in others' hands.
                    let stored = put(store, key.as_bytes(), &vec![1; len], START);
                    assert!(stored.is_ok() || len == 40_000);
                    assert!(store.taken() <= 16 << 20);
                }
            });
        }
    });
    store.check_integrity(START);
}

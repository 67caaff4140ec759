//! When memory is short: bounded whatever comes, and what is used stays.

use super::{START, get, is_there, pattern, put, put_until, remove, settings, store};
use crate::storage::{Eviction, PutError, Settings, Store};

const MEMORY: u64 = 4 << 20;

fn with(eviction: Eviction) -> Store {
    Store::new(Settings { eviction, ..settings(MEMORY, 1) })
}

/// Stores `count` items of about 500 bytes.
fn flood(store: &Store, name: &str, count: usize) {
    for number in 0..count {
        put(store, format!("{name} {number}").as_bytes(), &pattern(470, number), START).unwrap();
    }
}

fn count_there(store: &Store, name: &str, count: usize) -> usize {
    let there = |number: &usize| is_there(store, format!("{name} {number}").as_bytes(), START);
    (0..count).filter(there).count()
}

#[test]
fn memory_is_bounded_whatever_the_sizes() {
    for (memory, shards) in [(1 << 20, 1), (9 << 20, 2), (20 << 20, 16)] {
        let store = store(memory, shards);
        for round in 0..6 {
            for number in 0..10_000_usize {
                let len = [0, 10, 100, 1_000, 5_000, 40_000][(number / 7 + round) % 6];
                let ttl = [None, Some(START.after(9_000)), Some(START.after(1 << 33))][number % 3];
                let key = format!("{round} {number}");
                let stored = put_until(&store, key.as_bytes(), &pattern(len, 3), ttl, START);
                assert!(stored.is_ok(), "{stored:?} of {len} bytes in {memory}");
                assert!(store.taken() <= memory);
            }
        }
        assert!(store.usage(START).memory > memory * 8 / 10, "memory is used");
        store.check_integrity(START);
    }
}

#[test]
fn what_is_read_outlasts_a_flood() {
    let store = with(Eviction::Merge);
    flood(&store, "hot", 500);
    for round in 0..40 {
        flood(&store, &format!("cold {round}"), 1_000);
        for number in 0..500 {
            get(&store, format!("hot {number}").as_bytes(), START);
        }
    }
    let there = count_there(&store, "hot", 500);
    assert!(there >= 490, "{there} of 500 hot items");
    store.check_integrity(START);
}

#[test]
fn first_in_is_first_out() {
    let store = with(Eviction::Fifo);
    flood(&store, "some", 20_000);
    let (old, new) = (count_there(&store, "some", 10_000), store.usage(START).items as usize);
    assert_eq!(old, 0);
    let newest = (20_000 - new..20_000)
        .all(|number| is_there(&store, format!("some {number}").as_bytes(), START));
    assert!(newest, "the last {new} are there");
    store.check_integrity(START);
}

#[test]
fn any_may_be_chosen() {
    let store = with(Eviction::Random);
    flood(&store, "some", 20_000);
    let old = count_there(&store, "some", 12_000);
    assert!(old > 0, "not only the last are there");
    store.check_integrity(START);
}

#[test]
fn nothing_is_removed_if_nothing_may_be() {
    let store = with(Eviction::None);
    let mut count = 0;
    let refused = loop {
        let key = format!("some {count}");
        match put(&store, key.as_bytes(), &pattern(470, count), START) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, PutError::Full);
    assert_eq!(count_there(&store, "some", count), count);
    assert!(
        put(&store, b"some 7", &pattern(470, 8), START).is_ok(),
        "one may take another's place"
    );
    assert!((0..100).all(|number| remove(&store, format!("some {number}").as_bytes(), START)));
    flood(&store, "other", 60);
    store.check_integrity(START);
}

#[test]
fn there_is_an_end_to_looking_for_room_if_nothing_may_be_removed() {
    // Three such items fill three quarters of a segment: none is ever full, and none has dead.
    for len in [470, 8 << 10, 15 << 10] {
        let store = with(Eviction::None);
        let mut keys = (0..).map(|number| format!("{len} {number}"));
        let refused =
            keys.find_map(|key| put(&store, key.as_bytes(), &pattern(len, 1), START).err());
        assert_eq!(refused, Some(PutError::Full));
        store.check_integrity(START);
    }
}

#[test]
fn overwriting_over_and_over_loses_nothing() {
    let store = with(Eviction::Merge);
    for round in 0..60_000_usize {
        let number = round * 7_919 % 1_000;
        let value = pattern(round * 31 % 2_000, number);
        put(&store, number.to_string().as_bytes(), &value, START).unwrap();
    }
    let lost = (0..1_000).filter(|number| !is_there(&store, number.to_string().as_bytes(), START));
    assert_eq!(lost.count(), 0, "1 MB of items in 4 MiB");
    assert_eq!(store.usage(START).evicted, 0);
    store.check_integrity(START);
}

#[test]
fn what_is_removed_does_not_come_back() {
    let store = with(Eviction::Merge);
    for round in 0..30 {
        flood(&store, "some", 500);
        for number in 0..500 {
            get(&store, format!("some {number}").as_bytes(), START);
            remove(&store, format!("some {number}").as_bytes(), START);
        }
        flood(&store, &format!("other {round}"), 2_000);
        assert_eq!(count_there(&store, "some", 500), 0);
    }
}

#[test]
fn many_small_items_and_their_index_fit() {
    let store = store(MEMORY, 1);
    for number in 0..200_000 {
        put(&store, format!("{number:08}").as_bytes(), b"", START).unwrap();
        assert!(store.taken() <= MEMORY);
    }
    let usage = store.usage(START);
    let each = usage.memory / usage.items;
    assert!(each <= 8 + 24, "{each} bytes for an item of 8");
    store.check_integrity(START);
}

#[test]
fn items_of_many_lifetimes_share_little_memory() {
    let store = store(MEMORY, 1);
    for number in 0..100_000_u64 {
        let expiry = START.after(1_000 + number * 7_919 % 100_000_000);
        let key = number.to_string();
        put_until(&store, key.as_bytes(), &pattern(100, 1), Some(expiry), START).unwrap();
    }
    let usage = store.usage(START);
    assert!(usage.bytes > MEMORY * 6 / 10, "{} of {MEMORY} are used", usage.bytes);
}

//! Lengths and numbers at their bounds: nothing is cut short.

use super::{AMPLE, START, bytes, is_there, pattern, put, put_until, settings, store, stores};
use crate::storage::{Amend, Item, Marks, NewItem, PutError, Settings, Store};

/// Half a segment of a store of one shard with ample memory: longer values stand by themselves.
const HALF: usize = 128 << 10;

#[test]
fn keys_and_values_of_any_length_come_back() {
    let lengths = [0, 1, 254, 255, 256, 257, 65_535, 65_536, HALF - 65_536, HALF - 300];
    let store = store(AMPLE, 1);
    for key_len in [1, 2, 250, 254, 255, 256, 257, 65_534, 65_535] {
        for value_len in lengths.into_iter().chain(HALF - 40..HALF + 2).chain([1 << 20, 3 << 20]) {
            let (key, value) = (pattern(key_len, 1), pattern(value_len, 2));
            put(&store, &key, &value, START).unwrap();
            assert_eq!(super::get(&store, &key, START), Some(value), "{key_len}, {value_len}");
        }
    }
    store.check_integrity(START);
}

#[test]
fn a_key_of_300_bytes_survives_the_drain_of_its_segment() {
    let store = store(1 << 20, 1);
    for round in 0..200 {
        put(&store, &pattern(300, round), &pattern(8_000, round), START).unwrap();
        store.check_integrity(START);
    }
    let usage = store.usage(START);
    assert!(usage.evicted > 0 && usage.items > 50, "{usage:?}");
}

#[test]
fn an_item_has_at_most_as_many_bytes_as_allowed() {
    let store = Store::new(Settings { item_max: 1_000, ..settings(AMPLE, 1) });
    assert!(put(&store, b"key", &pattern(997, 0), START).is_ok());
    assert_eq!(put(&store, b"key", &pattern(998, 0), START), Err(PutError::TooLarge));
    assert!(!is_there(&store, b"key", START), "what was there is gone");
    assert_eq!(store.draft(1_001).err(), Some(PutError::TooLarge));
    let mut draft = store.draft(10).unwrap();
    assert!(draft.write(b"0123456789", START).is_ok());
    assert_eq!(draft.write(b"0", START), Err(PutError::TooLarge));
}

#[test]
fn a_key_has_at_most_65535_bytes() {
    let store = store(AMPLE, 1);
    assert!(put(&store, &pattern(65_535, 0), b"", START).is_ok());
    assert_eq!(put(&store, &pattern(65_536, 0), b"", START), Err(PutError::TooLarge));
}

#[test]
fn a_value_is_bytes_and_no_number() {
    for store in stores(AMPLE, 1) {
        for value in ["007", "-0", "+1", " 1", "18446744073709551616", "1e3", ""] {
            put(&store, b"key", value.as_bytes(), START).unwrap();
            assert_eq!(super::get(&store, b"key", START).as_deref(), Some(value.as_bytes()));
        }
    }
}

#[test]
fn all_that_an_item_remembers_comes_back() {
    for store in stores(AMPLE, 1) {
        let key = store.key(b"key");
        for number in 0..1 << 8 {
            let bit = |at: u32| number & (1 << at) != 0;
            let item = NewItem {
                value: &[b"a", b"", b"bc"],
                flags: if bit(0) { u32::MAX - number } else { 0 },
                expiry: bit(1).then(|| START.after(if bit(2) { 1 << 40 } else { 1 << 20 })),
                marks: Marks { fetched: bit(3), stale: bit(4), won: bit(5) },
                cas: bit(6).then_some(if bit(7) { u64::MAX } else { 0 }),
            };
            let cas = store.lock(key, START).put(key, &item, START).unwrap();
            let mut locked = store.lock(key, START);
            let seen = locked.peek(key, START).unwrap();
            assert_eq!(
                (seen.flags, seen.expiry, seen.marks),
                (item.flags, item.expiry, item.marks)
            );
            assert_eq!((seen.cas, seen.accessed), (cas, START.whole_seconds()));
            assert_eq!(bytes(seen), b"abc");
        }
    }
}

#[test]
fn versions_never_repeat() {
    for store in stores(1 << 20, 1) {
        let key = store.key(b"key");
        let mut last = store.settings().version;
        for round in 0..5_000 {
            let cas = match round % 3 {
                0 => put(&store, b"key", b"value", START).unwrap(),
                1 => put(&store, b"key", &pattern(3_000, round), START).unwrap(),
                _ => {
                    let renew = Amend { renew: true, ..Amend::default() };
                    store.lock(key, START).amend(key, renew, START).unwrap()
                }
            };
            assert!(cas > last);
            let seen = store.lock(key, START).peek(key, START).map(|item| item.cas);
            assert_eq!(seen, Some(cas));
            last = cas;
            if round % 100 == 99 {
                store.clear_at(START, START);
                put(&store, b"key", b"value", START).unwrap();
            }
        }
    }
}

#[test]
fn an_expiry_of_any_length_comes_back_to_the_millisecond() {
    let store = store(AMPLE, 1);
    let key = store.key(b"key");
    let lengths = [1, (1 << 24) - 2, (1 << 24) - 1, 1 << 24, (1 << 32) - 2, (1 << 32) - 1, 1 << 32];
    for before in lengths {
        for after in lengths {
            put_until(&store, b"key", b"value", Some(START.after(before)), START).unwrap();
            let mut locked = store.lock(key, START);
            let expiry = |item: Item<'_>| item.expiry;
            assert_eq!(locked.peek(key, START).and_then(expiry), Some(START.after(before)));
            for wanted in [Some(START.after(after)), None, Some(START.after(after))] {
                let change = Amend { expiry: Some(wanted), ..Amend::default() };
                assert!(locked.amend(key, change, START).is_some());
                assert_eq!(locked.peek(key, START).and_then(expiry), wanted);
            }
        }
    }
    store.check_integrity(START);
}

#[test]
fn an_item_costs_at_most_24_bytes_beside_key_and_value() {
    const ITEMS: u64 = 1 << 20;
    for minutes in [&[][..], &[60], &[1, 10, 60]] {
        let store = store(64 << 20, 8);
        for number in 0..ITEMS {
            let minutes = minutes.get(number as usize % minutes.len().max(1));
            let expiry = minutes.map(|minutes| START.after(minutes * 60_000));
            let key = format!("{number:024}");
            put_until(&store, key.as_bytes(), &[0; 32], expiry, START).unwrap();
        }
        let usage = store.usage(START);
        assert!(usage.evicted > ITEMS / 10, "it is full: {usage:?}");
        let beside = (usage.memory - usage.bytes) as f64 / usage.items as f64;
        assert!(beside <= 24.0, "{beside:.1} bytes with {minutes:?} minutes");
    }
}

//! Items live as long as they were told to, to the millisecond, and not longer.

use super::{AMPLE, START, get, is_there, put, put_until, store, stores};
use crate::storage::{Amend, NewItem, Store, Time};

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

fn expire(store: &Store, key: &[u8], expiry: Option<Time>, now: Time) {
    let key = store.key(key);
    let change = Amend { expiry: Some(expiry), ..Amend::default() };
    assert!(store.lock(key, now).amend(key, change, now).is_some());
}

#[track_caller]
fn dies_at(store: &Store, key: &[u8], expiry: Time) {
    let before = Time::from_millis(expiry.millis() - 1);
    assert!(is_there(store, key, before), "not a millisecond early");
    assert!(!is_there(store, key, expiry), "not a millisecond late");
}

#[test]
fn an_item_lives_to_the_millisecond() {
    for days in [0, 1, 30, 49, 50, 97, 5_000, 20_000] {
        for millis in [1, 2, 999, 1_000, 1_001, 5_000, 20_000, 30_000, 2_047_999] {
            for store in stores(AMPLE, 1) {
                let expiry = START.after(days * DAY + millis);
                put_until(&store, b"key", b"value", Some(expiry), START).unwrap();
                let key = store.key(b"key");
                let told = store.lock(key, START).peek(key, START).and_then(|item| item.expiry);
                assert_eq!(told, Some(expiry));
                dies_at(&store, b"key", expiry);
            }
        }
    }
}

#[test]
fn an_item_in_an_old_segment_lives_its_whole_time() {
    // One that is put in just before the others in its segment die is not born dead.
    for store in stores(AMPLE, 1) {
        for age in (0..100 * SECOND).step_by(617) {
            let now = START.after(age);
            for ttl in [5 * SECOND, 20 * SECOND, 30 * SECOND] {
                let key = format!("{age} {ttl}").into_bytes();
                put_until(&store, &key, b"value", Some(now.after(ttl)), now).unwrap();
            }
            store.sweep(now, usize::MAX);
            for (age, ttl) in
                (0..=age).step_by(617).flat_map(|age| [(age, 5), (age, 20), (age, 30)])
            {
                let (key, ttl) = (format!("{age} {}", ttl * SECOND).into_bytes(), ttl * SECOND);
                assert_eq!(is_there(&store, &key, now), START.after(age + ttl) > now);
            }
        }
    }
}

#[test]
fn what_is_dead_already_is_not_seen_at_all() {
    for store in stores(AMPLE, 1) {
        put(&store, b"key", b"before", START).unwrap();
        put_until(&store, b"key", b"value", Some(START), START).unwrap();
        assert_eq!(get(&store, b"key", START), None);
        put_until(&store, b"key", b"value", Some(Time::default()), START).unwrap();
        assert_eq!(get(&store, b"key", START), None);
    }
}

#[test]
fn an_expiry_can_be_changed_to_any_other() {
    let expiries = [
        None,
        Some(START.after(500)),
        Some(START.after(90 * SECOND)),
        Some(START.after(60 * DAY)),
        Some(START.after(4_000 * DAY)),
    ];
    for first in expiries {
        for second in expiries {
            for store in stores(AMPLE, 1) {
                put_until(&store, b"key", b"value", first, START).unwrap();
                put_until(&store, b"other", b"value", first, START).unwrap();
                expire(&store, b"key", second, START);
                while store.sweep(START, 1) {}
                assert_eq!(get(&store, b"key", START).as_deref(), Some(&b"value"[..]));
                let last = Some(START.after(10_000 * DAY));
                let mut both = [(b"other".as_slice(), first), (b"key", second)];
                both.sort_by_key(|(_, expiry)| expiry.or(last));
                for (key, expiry) in both {
                    dies_at_least(&store, key, expiry, last);
                }
                store.check_integrity(START);
            }
        }
    }
}

fn dies_at_least(store: &Store, key: &[u8], expiry: Option<Time>, last: Option<Time>) {
    let before = expiry.or(last).map_or(0, |at| at.millis() - 1);
    // Another key's death may be swept up to then, but not this one's.
    store.sweep(Time::from_millis(before), usize::MAX);
    assert!(is_there(store, key, Time::from_millis(before)));
    if let Some(at) = expiry {
        assert!(!is_there(store, key, at));
    }
}

#[test]
fn the_memory_of_the_dead_comes_back_and_of_nobody_else() {
    let store = store(AMPLE, 4);
    let fresh = store.taken();
    for number in 0..20_000_u64 {
        let expiry = START.after(10 * SECOND + number % 400);
        let key = number.to_string();
        put_until(&store, key.as_bytes(), &[1; 100], Some(expiry), START).unwrap();
    }
    put(&store, b"for ever", b"value", START).unwrap();
    let full = store.usage(START);
    while store.sweep(START.after(10 * SECOND - 1), 500) {}
    assert_eq!(store.usage(START), full, "nothing is swept early");
    let end = START.after(10 * SECOND + 400);
    while store.sweep(end, 500) {}
    let swept = store.usage(end);
    assert_eq!((swept.items, swept.expired), (1, 20_000));
    assert!(swept.memory < full.memory / 5, "{} of {}", swept.memory, full.memory);
    assert!(fresh < full.memory);
    store.check_integrity(end);
}

#[test]
fn a_sweep_takes_no_more_steps_than_it_is_given() {
    for store in stores(AMPLE, 1) {
        for number in 0..1_000 {
            let key = format!("{number}");
            put_until(&store, key.as_bytes(), b"value", Some(START.after(1)), START).unwrap();
        }
        let end = START.after(1);
        let mut left = 1_000;
        while store.sweep(end, 50) {
            let items = store.usage(end).items;
            assert!(left - items <= 50, "{left} to {items}");
            left = items;
        }
        assert!(left <= 50);
        assert_eq!(store.usage(end).items, 0);
    }
}

#[test]
fn clearing_may_be_put_off() {
    for store in stores(AMPLE, 4) {
        for number in 0..100 {
            put(&store, format!("{number}").as_bytes(), b"before", START).unwrap();
        }
        let at = START.after(5 * SECOND);
        store.clear_at(at, START);
        put(&store, b"0", b"between", START.after(SECOND)).unwrap();
        assert_eq!(
            get(&store, b"0", Time::from_millis(at.millis() - 1)),
            Some(b"between".to_vec())
        );
        assert!((0..100).all(|number| !is_there(&store, format!("{number}").as_bytes(), at)));
        put(&store, b"0", b"after", at).unwrap();
        assert_eq!(get(&store, b"0", at.after(DAY)), Some(b"after".to_vec()));
        store.check_integrity(at);
    }
}

#[test]
fn a_changed_expiry_leaves_the_rest_as_it_is() {
    for store in stores(AMPLE, 1) {
        let key = store.key(b"key");
        let item = NewItem { value: &[b"va", b"lue"], flags: u32::MAX, ..NewItem::default() };
        let cas = store.lock(key, START).put(key, &item, START).unwrap();
        expire(&store, b"key", Some(START.after(DAY)), START.after(SECOND));
        let mut locked = store.lock(key, START);
        let seen = locked.peek(key, START.after(SECOND)).unwrap();
        assert_eq!((seen.cas, seen.flags), (cas, u32::MAX));
        assert_eq!(super::bytes(seen), b"value");
    }
}

#[test]
fn an_item_that_gets_an_expiry_of_the_same_length_is_given_back_in_time() {
    // The expiry takes four bytes: "value" without one is as long as "v" with one.
    let store = store(AMPLE, 1);
    put(&store, b"key", b"value", START).unwrap();
    put_until(&store, b"key", b"v", Some(START.after(SECOND)), START).unwrap();
    let later = START.after(2 * SECOND);
    store.sweep(later, usize::MAX);
    assert_eq!((store.usage(later).items, store.usage(later).expired), (0, 1));
}

//! Who is told of what, and of what not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use super::{Change, Wake, Watch, Watched};
use crate::storage::{Amend, Eviction, Marks, NewItem, Settings, Storage, Store, Time};

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn store(shards: usize) -> Store {
    let eviction = Eviction::Merge;
    let storage = Storage::Segcache;
    Store::new(Settings {
        memory: 32 << 20,
        item_max: 1 << 20,
        shards,
        version: 0,
        eviction,
        storage,
    })
}

/// One who wants to be told.
fn watch(store: &Store, id: u64) -> Watch {
    let watch = store.watch(id, Wake::default());
    watch.listen(false);
    watch
}

fn put(store: &Store, key: &str, expiry: Option<Time>, now: Time) {
    let item = NewItem { value: &[b"value"], expiry, ..NewItem::default() };
    let key = store.key(key.as_bytes());
    store.lock(key, now).put(key, &item, now).unwrap();
}

fn remove(store: &Store, key: &str, now: Time) -> bool {
    let key = store.key(key.as_bytes());
    store.lock(key, now).remove(key, now)
}

fn read(store: &Store, key: &str, watch: &Watch, now: Time) {
    let key = store.key(key.as_bytes());
    store.lock(key, now).watch(key, watch, now);
}

/// What one has been told: keys, `*` for everything.
fn told(watch: &Watch) -> String {
    let word = |change: &Change| match change {
        Change::Key(key) => String::from_utf8_lossy(key).into_owned(),
        Change::All => "*".to_owned(),
    };
    watch.take().iter().map(word).collect::<Vec<_>>().join(" ")
}

fn watched(store: &Store, now: Time) -> (u64, u64, u64) {
    let Watched { watchers, keys, pairs, .. } = store.watched(now);
    (watchers, keys, pairs)
}

#[test]
fn each_is_told_once_of_what_it_has_read() {
    let (store, now) = (store(4), at(0));
    let (one, two) = (watch(&store, 1), watch(&store, 2));
    put(&store, "a", None, now);
    for key in ["a", "b"] {
        read(&store, key, &one, now);
    }
    for _ in 0..3 {
        read(&store, "a", &two, now);
    }
    assert_eq!(watched(&store, now), (2, 2, 3));
    for key in ["a", "a", "c", "b", "b"] {
        put(&store, key, None, now);
    }
    assert_eq!((told(&one), told(&two)), ("a b".to_owned(), "a".to_owned()));
    assert_eq!((watched(&store, now), store.watched(now).told), ((2, 0, 0), 3));
    assert_eq!(told(&one), "");
}

#[test]
fn whatever_changes_an_item_is_told_and_what_does_not_is_not() {
    let (store, now) = (store(1), at(0));
    let one = watch(&store, 1);
    let key = store.key(b"a");
    let told_of = |change: Amend| {
        put(&store, "a", None, now);
        read(&store, "a", &one, now);
        store.lock(key, now).amend(key, change, now).unwrap();
        let early = told(&one);
        put(&store, "a", None, now);
        told(&one);
        early
    };
    let marks = Some(Marks { fetched: true, ..Marks::default() });
    assert_eq!(told_of(Amend { marks, ..Amend::default() }), "");
    assert_eq!(told_of(Amend { expiry: Some(None), ..Amend::default() }), "a");
    assert_eq!(told_of(Amend { cas: Some(7), ..Amend::default() }), "a");
    assert_eq!(told_of(Amend { renew: true, ..Amend::default() }), "a");
    assert!(remove(&store, "a", now));
    read(&store, "a", &one, now);
    assert!(!remove(&store, "a", now));
    assert_eq!(told(&one), "");
    let mut draft = store.draft(5).unwrap();
    draft.write(b"value", now).unwrap();
    store.lock(key, now).put_draft(key, draft, &NewItem::default(), now).unwrap();
    assert_eq!(told(&one), "a");
}

#[test]
fn nobody_is_told_who_does_not_want_to_be() {
    let (store, now) = (store(1), at(0));
    let (one, two) = (watch(&store, 1), watch(&store, 2));
    one.listen(true);
    for key in ["a", "b", "c"] {
        read(&store, key, &one, now);
        read(&store, key, &two, now);
    }
    let change = |key: &str, id: u64| {
        let key = store.key(key.as_bytes());
        let mut locked = store.lock(key, now);
        locked.act_for(id);
        locked.put(key, &NewItem::default(), now).unwrap();
    };
    change("a", 1);
    two.stop();
    change("b", 2);
    two.listen(false);
    change("c", 2);
    assert_eq!((told(&one), told(&two)), ("b c".to_owned(), "a c".to_owned()));
    let mut all = store.lock_all(now);
    all.act_for(1);
    all.clear();
    drop(all);
    assert_eq!((told(&one), told(&two)), ("*".to_owned(), "*".to_owned()));
}

#[test]
fn who_is_told_something_is_woken_once_until_it_looks() {
    let (store, now) = (store(4), at(0));
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let wake = Wake::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let one = store.watch(1, wake);
    one.listen(false);
    for _ in 0..2 {
        for key in ["a", "b", "c"] {
            read(&store, key, &one, now);
        }
        for key in ["a", "b", "c"] {
            put(&store, key, None, now);
        }
        assert_eq!(told(&one), "a b c");
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
    // Who acts looks by itself.
    read(&store, "a", &one, now);
    let key = store.key(b"a");
    let mut locked = store.lock(key, now);
    locked.act_for(1);
    locked.remove(key, now);
    drop(locked);
    assert_eq!((told(&one).as_str(), count.load(Ordering::Relaxed)), ("a", 2));
}

#[test]
fn an_item_that_dies_is_told_of_without_anybody_asking() {
    let store = store(4);
    let one = watch(&store, 1);
    for (key, expiry) in [("c", 300), ("a", 100), ("b", 200)] {
        put(&store, key, Some(at(expiry)), at(0));
        read(&store, key, &one, at(0));
    }
    read(&store, "none", &one, at(0));
    store.tell_due(at(99));
    assert_eq!(told(&one), "");
    store.tell_due(at(250));
    let mut dead: Vec<_> = told(&one).split(' ').map(str::to_owned).collect();
    dead.sort();
    assert_eq!(dead, ["a", "b"]);
    // Seen dead by somebody who reads: the old news comes first.
    let two = watch(&store, 2);
    read(&store, "c", &two, at(300));
    assert_eq!((told(&one), told(&two)), ("c".to_owned(), String::new()));
    assert_eq!(watched(&store, at(300)), (2, 2, 2));
    // More than one look at a shard takes.
    for number in 0..3000 {
        let key = format!("k{number}");
        put(&store, &key, Some(at(400)), at(300));
        read(&store, &key, &one, at(300));
    }
    store.tell_due(at(400));
    assert_eq!(one.take().len(), 3000);
}

#[test]
fn an_item_that_went_unnoticed_is_told_of_when_it_is_removed() {
    let store = store(1);
    let one = watch(&store, 1);
    put(&store, "a", Some(at(100)), at(0));
    read(&store, "a", &one, at(0));
    assert!(!remove(&store, "a", at(100)));
    assert_eq!(told(&one), "a");
}

#[test]
fn everything_is_told_of_once_at_once_or_later() {
    let store = store(4);
    let (one, two) = (watch(&store, 1), watch(&store, 2));
    let fill = |now: Time| {
        for number in 0..50 {
            let key = format!("k{number}");
            put(&store, &key, None, now);
            read(&store, &key, &one, now);
        }
    };
    fill(at(0));
    store.clear_at(at(0), at(0));
    assert_eq!((told(&one), told(&two)), ("*".to_owned(), "*".to_owned()));
    fill(at(0));
    store.clear_at(at(1000), at(0));
    store.tell_due(at(999));
    assert_eq!((told(&one), told(&two)), (String::new(), String::new()));
    // Some shards are cleared by who comes first.
    put(&store, "k1", None, at(1000));
    put(&store, "k2", None, at(1000));
    store.tell_due(at(1000));
    assert_eq!((told(&one), told(&two)), ("*".to_owned(), "*".to_owned()));
    store.tell_due(at(1001));
    assert_eq!((told(&one), watched(&store, at(1001))), (String::new(), (2, 0, 0)));
}

#[test]
fn a_full_table_lets_go_what_dies_first_then_what_is_oldest() {
    let (store, now) = (store(1), at(0));
    store.limit_watched(3);
    let one = watch(&store, 1);
    for (key, expiry) in [("old", None), ("new", None), ("dying", Some(at(100)))] {
        put(&store, key, expiry, now);
        read(&store, key, &one, now);
    }
    assert_eq!(told(&one), "");
    read(&store, "more", &one, now);
    assert_eq!(told(&one), "dying");
    read(&store, "most", &one, now);
    assert_eq!((told(&one).as_str(), watched(&store, now)), ("old", (1, 3, 3)));
    // Long keys count for several.
    let long = "x".repeat(740);
    read(&store, &long, &one, now);
    assert_eq!((told(&one).as_str(), watched(&store, now)), ("new more", (1, 2, 2)));
}

#[test]
fn who_has_gone_leaves_nothing_that_grows() {
    let (store, now) = (store(1), at(0));
    let one = watch(&store, 1);
    for id in 2..10_000 {
        read(&store, "a", &watch(&store, id), now);
    }
    read(&store, "a", &one, now);
    let (watchers, keys, pairs) = watched(&store, now);
    assert!((watchers, keys) == (1, 1) && pairs <= 8, "{watchers} {keys} {pairs}");
    put(&store, "a", None, now);
    assert_eq!(told(&one), "a");
    read(&store, "a", &one, now);
    drop(one);
    store.tell_due(now);
    assert_eq!(watched(&store, now), (0, 0, 0));
}

/// Keys, and the versions of their items as one has seen them; `None` for what it does not know.
type Copies = [Option<Option<u64>>; 3];

const KEYS: [&str; 3] = ["a", "b", "c"];

fn version(store: &Store, key: &str, watch: Option<&Watch>) -> Option<u64> {
    let (key, now) = (store.key(key.as_bytes()), at(0));
    let mut locked = store.lock(key, now);
    let seen = locked.read(key, now).map(|item| item.cas);
    if let Some(watch) = watch {
        locked.watch(key, watch, now);
    }
    seen
}

/// Reads what it does not know and forgets what it is told of, again and again.
fn keep_copies(store: &Store, watch: &Watch, copies: &mut Copies, rounds: usize) {
    for _ in 0..rounds {
        for (copy, key) in copies.iter_mut().zip(KEYS) {
            copy.get_or_insert_with(|| version(store, key, Some(watch)));
        }
        forget(watch, copies);
    }
}

fn forget(watch: &Watch, copies: &mut Copies) {
    for change in watch.take() {
        let Change::Key(changed) = change else { continue };
        let place = KEYS.iter().position(|key| key.as_bytes() == &*changed);
        copies[place.unwrap()] = None;
    }
}

/// Whoever misses a change has an old copy, if it was the last one: so there are many last ones.
#[test]
fn no_change_is_lost_whoever_reads_meanwhile() {
    const ROUNDS: usize = 500;
    let (store, turn) = (&store(4), &Barrier::new(4));
    std::thread::scope(|scope| {
        for id in [1, 2] {
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    turn.wait();
                    (0..6).for_each(|step| put(store, KEYS[(step + id) % 3], None, at(0)));
                    turn.wait();
                }
            });
            scope.spawn(move || {
                let (mut copies, one, mut stale) = (Copies::default(), watch(store, id as u64), 0);
                for _ in 0..ROUNDS {
                    turn.wait();
                    keep_copies(store, &one, &mut copies, 10);
                    turn.wait();
                    forget(&one, &mut copies);
                    let current = KEYS.map(|key| Some(version(store, key, None)));
                    let pairs = copies.iter().zip(current);
                    stale += pairs.filter(|(copy, now)| copy.is_some() && **copy != *now).count();
                }
                assert_eq!(stale, 0);
            });
        }
    });
}

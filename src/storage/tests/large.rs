//! Values that stand by themselves: stored in pieces, read in pieces, and always paid for.

use bytes::Bytes;

use super::{START, bytes, get, is_there, pattern, put, put_until, settings, store};
use crate::storage::{Eviction, NewItem, PutError, Settings, Store, Value};

const MIB: usize = 1 << 20;

fn pieces(store: &Store, key: &[u8]) -> Vec<Bytes> {
    let key = store.key(key);
    let mut locked = store.lock(key, START);
    match locked.read(key, START).map(|item| item.value) {
        Some(Value::Pieces(pieces)) => pieces.to_vec(),
        _ => Vec::new(),
    }
}

fn draft(store: &Store, key: &[u8], value: &[u8]) -> Result<u64, PutError> {
    let mut draft = store.draft(value.len())?;
    for part in value.chunks(100_000) {
        draft.write(part, START)?;
    }
    let key = store.key(key);
    store.lock(key, START).put_draft(key, draft, &NewItem::default(), START)
}

#[test]
fn a_value_comes_in_whole_or_by_and_by() {
    let store = store(64 << 20, 4);
    for len in [0, 1, 100, 40_000, MIB - 1, MIB, MIB + 1, 5 * MIB + 3] {
        let value = pattern(len, 1);
        put(&store, b"whole", &value, START).unwrap();
        draft(&store, b"draft", &value).unwrap();
        assert_eq!(get(&store, b"whole", START).as_ref(), Some(&value));
        assert_eq!(get(&store, b"draft", START).as_ref(), Some(&value));
        assert!(pieces(&store, b"draft").iter().all(|piece| piece.len() <= MIB));
    }
    store.check_integrity(START);
}

#[test]
fn a_piece_is_paid_for_until_its_last_reader_is_gone() {
    let store = store(64 << 20, 1);
    let before = store.taken();
    put(&store, b"key", &pattern(6 * MIB, 1), START).unwrap();
    let held = pieces(&store, b"key");
    assert!(super::remove(&store, b"key", START));
    assert!(store.taken() >= before + 6 * MIB as u64, "a reader still has it");
    assert_eq!(held.concat(), pattern(6 * MIB, 1));
    drop(held);
    assert!(store.taken() < before + MIB as u64, "nobody has it");
}

#[test]
fn memory_that_readers_hold_is_not_had_by_evicting_everything() {
    let store = store(16 << 20, 1);
    for number in 0..20_000 {
        put(&store, format!("small {number}").as_bytes(), &[1; 300], START).unwrap();
    }
    put(&store, b"large", &pattern(7 * MIB, 1), START).unwrap();
    let held = pieces(&store, b"large");
    super::remove(&store, b"large", START);
    put(&store, b"large", &pattern(7 * MIB, 1), START).unwrap();
    let held_too = pieces(&store, b"large");
    super::remove(&store, b"large", START);
    assert_eq!(put(&store, b"large", &pattern(7 * MIB, 1), START), Err(PutError::Full));
    assert!(store.taken() <= 16 << 20);
    drop((held, held_too));
    put(&store, b"large", &pattern(7 * MIB, 1), START).unwrap();
    store.check_integrity(START);
}

#[test]
fn a_draft_that_is_given_up_gives_its_memory_back() {
    let store = store(64 << 20, 4);
    let before = store.taken();
    let mut draft = store.draft(8 * MIB).unwrap();
    draft.write(&pattern(5 * MIB, 1), START).unwrap();
    assert!(store.taken() >= before + 5 * MIB as u64);
    drop(draft);
    assert_eq!(store.taken(), before);
}

#[test]
fn large_values_take_the_place_of_small_ones_in_all_shards() {
    let store = Store::new(Settings { item_max: 30 * MIB, ..settings(32 << 20, 8) });
    for number in 0..60_000 {
        put(&store, format!("small {number}").as_bytes(), &[1; 600], START).unwrap();
    }
    assert!(store.usage(START).evicted > 0, "memory is full");
    for number in 0..10 {
        let key = format!("large {number}");
        let value = pattern(20 * MIB, number);
        if number % 2 == 0 {
            put(&store, key.as_bytes(), &value, START).unwrap();
        } else {
            draft(&store, key.as_bytes(), &value).unwrap();
        }
        assert_eq!(get(&store, key.as_bytes(), START), Some(value));
        assert!(store.taken() <= 32 << 20);
    }
    store.check_integrity(START);
    for number in 0..60_000 {
        put(&store, format!("small {number}").as_bytes(), &[1; 600], START).unwrap();
    }
    assert!(store.usage(START).items > 20_000, "and the other way round");
    store.check_integrity(START);
}

#[test]
fn large_items_expire_and_are_swept() {
    let store = store(64 << 20, 1);
    let before = store.taken();
    for number in 0..5 {
        let expiry = Some(START.after(1_000 + number));
        put_until(&store, &[number as u8], &pattern(2 * MIB, 1), expiry, START).unwrap();
    }
    while store.sweep(START.after(999), 1) {}
    assert_eq!(store.usage(START).items, 5);
    assert!(
        !is_there(&store, &[0], START.after(1_000)) && is_there(&store, &[1], START.after(1_000))
    );
    while store.sweep(START.after(2_000), 1) {}
    assert_eq!((store.usage(START).items, store.usage(START).expired), (0, 5));
    assert!(store.taken() < before + MIB as u64);
}

#[test]
fn what_is_read_outlasts_a_flood_of_large_values() {
    let store = store(32 << 20, 1);
    put(&store, b"hot", &pattern(2 * MIB, 1), START).unwrap();
    for number in 0..200_usize {
        put(&store, &number.to_be_bytes(), &pattern(3 * MIB, 1), START).unwrap();
        assert!(get(&store, b"hot", START).is_some(), "after {number}");
    }
}

#[test]
fn too_large_for_the_memory_is_refused() {
    let settings = Settings { item_max: 1 << 30, ..settings(8 << 20, 2) };
    let store = Store::new(Settings { eviction: Eviction::Fifo, ..settings });
    put(&store, b"other", b"value", START).unwrap();
    assert_eq!(store.draft(100 * MIB).err(), Some(PutError::TooLarge));
    assert_eq!(put(&store, b"key", &vec![1; 9 * MIB], START), Err(PutError::Full));
    assert!(put(&store, b"key", &vec![1; 5 * MIB], START).is_ok());
    let key = store.key(b"key");
    assert_eq!(
        store.lock(key, START).peek(key, START).map(bytes).map(|all| all.len()),
        Some(5 * MIB)
    );
    store.check_integrity(START);
}

//! The engine by itself: that it never contradicts itself, and what only it can be asked.

use std::collections::{BTreeSet, HashSet};

use super::{Cuckoo, cell, room};
use crate::config::{Eviction, Storage};
use crate::storage::budget::Budget;
use crate::storage::engine::{Engine, PutError, Start};
use crate::storage::item::{KeyHasher, NewItem};
use crate::storage::time::Time;
use crate::storage::{Settings, Store};

const CELL_LEN: usize = 64;
const NOW: Time = Time::from_millis(1_234_567);

impl Cuckoo {
    /// Panics unless cells, the bytes beside them, and counts agree.
    pub(super) fn check(&self) {
        let (mut keys, mut payload) = (HashSet::new(), 0);
        for place in (0..self.table.cells()).filter(|place| self.table.is_taken(*place)) {
            let cell = self.table.cell(place);
            let hash = self.start.keys.hash(cell::key(cell));
            assert!(self.table.places(hash).contains(&place), "an item is in a cell of its own");
            assert!(self.table.is_tagged(place, hash), "a cell is found by its key");
            assert!(keys.insert(cell::key(cell)), "a key has one item");
            payload += cell::payload(cell);
        }
        assert_eq!(
            (self.counters.usage.items, self.counters.usage.bytes),
            (keys.len() as u64, payload as u64)
        );
    }
}

/// An engine of so many cells.
fn engine(cells: u64, eviction: Eviction) -> Cuckoo {
    let memory = (CELL_LEN as u64 + 1) * cells + size_of::<Cuckoo>() as u64;
    // A part is left to drafts.
    let memory = memory + (memory / 63 + 1).min(super::DRAFTS.1);
    let start = Start {
        budget: Budget::new(memory, 1 << 20),
        keys: KeyHasher::new(),
        share: memory,
        item_max: room(CELL_LEN),
        version: 1 << 60,
        eviction,
    };
    let engine = Cuckoo::new(start, CELL_LEN);
    assert_eq!(engine.table.cells() as u64, cells);
    engine
}

fn put(engine: &mut Cuckoo, key: &str, expiry: Option<Time>, now: Time) -> Result<u64, PutError> {
    let item = NewItem { value: &[b"value"], expiry, ..NewItem::default() };
    let keys = engine.start.keys.clone();
    engine.put(keys.key(key.as_bytes()), &item, now)
}

fn is_there(engine: &mut Cuckoo, key: &str, now: Time) -> bool {
    let keys = engine.start.keys.clone();
    engine.peek(keys.key(key.as_bytes()), now).is_some()
}

fn place_of(engine: &Cuckoo, key: &str) -> Option<usize> {
    engine.table.find(engine.start.keys.key(key.as_bytes()))
}

fn fill(engine: &mut Cuckoo, count: usize) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|number| format!("some {number}")).collect();
    keys.iter().for_each(|key| _ = put(engine, key, None, NOW));
    keys
}

#[test]
fn a_full_table_stays_full_and_knows_the_last() {
    let mut engine = engine(1_000, Eviction::Random);
    for number in 0..20_000 {
        let key = format!("{number}");
        put(&mut engine, &key, None, NOW).unwrap();
        assert!(is_there(&mut engine, &key, NOW), "the one just stored is not evicted");
    }
    engine.check();
    let usage = engine.usage();
    assert_eq!((usage.items, usage.evicted, usage.stored), (1_000, 19_000, 20_000));
}

#[test]
fn items_move_before_one_is_evicted() {
    let mut engine = engine(20_000, Eviction::Random);
    fill(&mut engine, 20_000);
    // With one move it would be 1150, without any 2800.
    let evicted = engine.usage().evicted;
    assert!((700..980).contains(&evicted), "{evicted} of 20000 that fill all cells");
    engine.check();
}

#[test]
fn what_moves_moves_up_and_little_moves_at_once() {
    let mut engine = engine(500, Eviction::Random);
    let mut places: Vec<Option<usize>> = Vec::new();
    let mut moved = 0;
    for number in 0..3_000 {
        put(&mut engine, &number.to_string(), None, NOW).unwrap();
        let mut moves = 0;
        for (number, before) in places.iter_mut().enumerate() {
            let after = place_of(&engine, &number.to_string());
            if let (Some(before), Some(after)) = (*before, after) {
                assert!(before <= after);
                moves += u32::from(before != after);
            }
            *before = after;
        }
        places.push(place_of(&engine, &number.to_string()));
        assert!(moves <= super::MOVES_MAX);
        moved += moves;
    }
    assert!(moved > 100, "{moved} moves");
}

#[test]
fn a_scan_shows_all_that_is_there_however_much_moves() {
    for round in 0..20 {
        let mut engine = engine(2_000, Eviction::Random);
        let steady = fill(&mut engine, 1_000);
        let (mut shown, mut cursor, mut number) = (BTreeSet::new(), 0, 0);
        loop {
            cursor = engine.scan(cursor, NOW, &mut |key, _| _ = shown.insert(key.to_vec()));
            if cursor == 0 {
                break;
            }
            for _ in 0..10 + round {
                put(&mut engine, &format!("other {number}"), None, NOW).unwrap();
                number += 1;
            }
        }
        let mut missed = steady.iter().filter(|key| !shown.contains(key.as_bytes()));
        let missed = missed.find(|key| is_there(&mut engine, key, NOW));
        assert_eq!(missed, None);
        assert!(steady.iter().any(|key| is_there(&mut engine, key, NOW)));
    }
}

#[test]
fn a_scan_of_a_large_table_passes_what_is_empty() {
    let mut engine = engine(1_000_000, Eviction::Random);
    put(&mut engine, "key", None, NOW).unwrap();
    let (mut cursor, mut calls, mut shown) = (0, 0, 0);
    loop {
        cursor = engine.scan(cursor, NOW, &mut |_, _| shown += 1);
        calls += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!(shown == 1 && calls < 300, "{shown} shown, {calls} calls");
    assert_eq!(engine.scan(u64::MAX, NOW, &mut |_, _| shown += 1), 0, "a cursor of nobody's");
}

#[test]
fn nothing_goes_where_nothing_may() {
    let mut engine = engine(1_000, Eviction::None);
    let stored: Vec<String> = (0..5_000)
        .map(|number| number.to_string())
        .filter(|key| match put(&mut engine, key, None, NOW) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, PutError::Full);
                assert!(!is_there(&mut engine, key, NOW), "what is refused is not there");
                false
            }
        })
        .collect();
    assert!(stored.len() > 950, "{} of 1000 cells are used", stored.len());
    assert!(stored.iter().all(|key| is_there(&mut engine, key, NOW)));
    assert!(stored.iter().all(|key| put(&mut engine, key, None, NOW).is_ok()), "in its own place");
    assert_eq!(engine.usage().evicted, 0);
    engine.check();
}

#[test]
fn what_expires_first_goes_first() {
    let mut engine = engine(1_000, Eviction::Expiry);
    for number in 0..2_000_u64 {
        let expiry = (number % 2 == 0).then(|| NOW.after(1_000_000 - number));
        put(&mut engine, &number.to_string(), expiry, NOW).unwrap();
    }
    let there = |engine: &mut Cuckoo, rest| {
        (0..2_000).filter(|n| n % 2 == rest && is_there(engine, &n.to_string(), NOW)).count()
    };
    let (mortal, immortal) = (there(&mut engine, 0), there(&mut engine, 1));
    // By chance there would be as many of both.
    assert!(immortal > 2 * mortal, "{immortal} that never expire, {mortal} that do");
}

#[test]
fn cells_of_the_dead_are_free() {
    let mut engine = engine(1_000, Eviction::None);
    let end = NOW.after(5);
    let mut stored = 0;
    for number in 0..4_000 {
        stored += u64::from(put(&mut engine, &number.to_string(), Some(end), NOW).is_ok());
    }
    let late = Time::from_millis(end.millis() - 1);
    assert!(
        (0..50).any(|number| put(&mut engine, &format!("{number} early"), None, late).is_err())
    );
    for number in 0..200 {
        assert!(put(&mut engine, &format!("{number} late"), None, end).is_ok(), "{number}");
    }
    while engine.sweep(end, 10) {}
    let usage = engine.usage();
    assert_eq!((usage.evicted, usage.expired), (0, stored), "each dead item is counted once");
    engine.check();
}

#[test]
fn an_item_fills_its_cell_and_no_more() {
    let storage = Storage::Cuckoo { item_size: CELL_LEN };
    let settings = Settings {
        memory: 1 << 20,
        item_max: usize::MAX,
        shards: 1,
        version: 1,
        storage,
        eviction: Eviction::Random,
    };
    let store = Store::new(settings);
    let most = store.settings().item_max;
    assert_eq!(most, CELL_LEN - 28);
    for key_len in 1..=most {
        let (bytes, value) = (vec![b'k'; key_len], vec![b'v'; most + 1 - key_len]);
        let key = store.key(&bytes);
        let mut locked = store.lock(key, NOW);
        let fits = NewItem { value: &[&value[1..]], ..NewItem::default() };
        assert!(locked.put(key, &fits, NOW).is_ok());
        let seen = locked.peek(key, NOW).map(|item| item.value.len());
        assert_eq!(seen, Some(most - key_len));
        let too_large = NewItem { value: &[&value], ..NewItem::default() };
        assert_eq!(locked.put(key, &too_large, NOW), Err(PutError::TooLarge));
        assert!(locked.peek(key, NOW).is_none(), "what was there is gone");
    }
    let (bytes, item) = (vec![b'k'; most + 1], NewItem::default());
    let key = store.key(&bytes);
    assert_eq!(store.lock(key, NOW).put(key, &item, NOW), Err(PutError::TooLarge));
    assert_eq!(store.draft(most + 1).err(), Some(PutError::TooLarge));
    store.check_integrity(NOW);
}

#[test]
fn a_value_comes_in_by_and_by_however_full_the_table_is() {
    for memory in [512 << 10, 64 << 20] {
        let storage = Storage::Cuckoo { item_size: 4 << 10 };
        let settings = Settings {
            memory,
            item_max: usize::MAX,
            shards: 8,
            version: 1,
            storage,
            eviction: Eviction::Random,
        };
        let store = Store::new(settings);
        for number in 0..20_000_u32 {
            let bytes = number.to_be_bytes();
            let (key, value) = (store.key(&bytes), [1; 4_000]);
            let mut draft = store.draft(value.len()).unwrap();
            draft.write(&value, NOW).unwrap();
            store.lock(key, NOW).put_draft(key, draft, &NewItem::default(), NOW).unwrap();
            assert!(store.taken() <= memory);
        }
        let usage = store.usage(NOW);
        assert!(usage.memory <= memory && usage.bytes > memory * 9 / 10, "{usage:?}");
        store.check_integrity(NOW);
    }
}

#[test]
fn a_table_that_is_cleared_is_empty_and_goes_on() {
    let mut engine = engine(1_000, Eviction::Random);
    let keys = fill(&mut engine, 900);
    let last = put(&mut engine, "last", None, NOW).unwrap();
    engine.clear();
    assert!(keys.iter().all(|key| !is_there(&mut engine, key, NOW)));
    assert_eq!((engine.usage().items, engine.usage().bytes), (0, 0));
    assert!(put(&mut engine, "last", None, NOW).unwrap() > last, "no version comes again");
    engine.check();
}

#[test]
fn a_few_cells_are_a_table_as_well() {
    for cells in 1..8 {
        let mut engine = engine(cells, Eviction::Random);
        for number in 0..200 {
            put(&mut engine, &(number % 13).to_string(), None, NOW).unwrap();
            engine.check();
        }
        assert!(engine.usage().items <= cells);
    }
}

//! The index by itself: every item is found, whatever its hash, while the table grows.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Index, Place, in_scan};
use crate::storage::budget::Budget;

/// An index, and what should be in it.
struct Pair {
    index: Index,
    hashes: HashMap<u32, u64>,
}

fn place(number: u32) -> Place {
    Place { segment: number >> 16, offset: number & 0xffff }
}

fn number(place: Place) -> u32 {
    (place.segment << 16) | place.offset
}

impl Pair {
    fn new() -> Self {
        Self { index: Index::new(Budget::new(64 << 20, 1 << 20)), hashes: HashMap::new() }
    }

    fn insert(&mut self, item: u32, hash: u64) {
        assert!(self.try_insert(item, hash));
    }

    fn try_insert(&mut self, item: u32, hash: u64) -> bool {
        let hashes = &self.hashes;
        let prepared = self.index.prepare(|place| hashes[&number(place)]);
        if prepared {
            self.hashes.insert(item, hash);
            let hashes = &self.hashes;
            self.index.insert(hash, place(item), 1, |place| hashes[&number(place)]);
        }
        prepared
    }

    fn remove(&mut self, item: u32) {
        let hash = self.hashes[&item];
        let found = self.index.find_place(hash, place(item)).unwrap();
        let hashes = &self.hashes;
        self.index.remove(found, |place| hashes[&number(place)]);
        self.hashes.remove(&item);
    }

    fn check(&self) {
        assert_eq!(self.index.items() as usize, self.hashes.len());
        for (item, hash) in &self.hashes {
            assert!(self.index.find_place(*hash, place(*item)).is_some(), "{item} of {hash:x}");
        }
        assert!(self.index.is_paid());
    }
}

/// A hash that looks like one.
fn mixed(number: u32) -> u64 {
    let hash = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[test]
fn all_are_found_while_it_grows_and_after_some_have_gone() {
    let mut pair = Pair::new();
    let mut grew = 0;
    for item in 0..60_000 {
        pair.insert(item, mixed(item));
        grew += u32::from(pair.index.growing());
        if item % 3 == 0 {
            pair.remove(item / 3 * 2);
        }
        if item % 2_000 == 0 {
            pair.check();
        }
    }
    assert!(grew > 1_000, "it grew {grew} times");
    pair.check();
    pair.index.clear();
    pair.hashes.clear();
    pair.check();
}

#[test]
fn a_search_ends_soon_however_many_items_have_come_and_gone() {
    let mut pair = Pair::new();
    let (mut first, mut next) = (0, 0);
    let is_full = |index: &Index| !index.growing() && index.items() + 1 >= index.table.items_max();
    while next < 20_000 || !is_full(&pair.index) {
        pair.insert(next, mixed(next));
        next += 1;
    }
    // As many again, many times over: the oldest goes for each that comes.
    for _ in 0..400_000 {
        pair.remove(first);
        pair.insert(next, mixed(next));
        (first, next) = (first + 1, next + 1);
    }
    let steps = (0..10_000).map(|other| pair.index.steps(mixed(u32::MAX / 2 + other)));
    let (all, most) = steps.fold((0, 0), |(all, most), steps| (all + steps, most.max(steps)));
    assert!(all < 20_000 && most < 16, "{all} buckets for 10,000 searches, {most} at most");
    pair.check();
}

#[test]
fn items_of_one_hash_all_find_a_place() {
    for hash in [0, u64::MAX, 0x7fff_ffff_0000_0000] {
        let mut pair = Pair::new();
        for item in 0..3_000 {
            pair.insert(item, hash);
        }
        for item in 3_000..6_000 {
            pair.insert(item, mixed(item));
        }
        pair.check();
        (0..3_000).step_by(2).for_each(|item| pair.remove(item));
        pair.check();
    }
}

#[test]
fn a_scan_shows_all_that_is_there_throughout_while_the_table_grows() {
    let mut pair = Pair::new();
    (0..5_000).for_each(|item| pair.insert(item, mixed(item)));
    let (mut cursor, mut next_item, mut shown) = (0, 5_000, HashMap::<u32, u32>::new());
    loop {
        let (places, next) = pair.index.scan(cursor, |place| pair.hashes[&number(place)]);
        for item in places.into_iter().map(number) {
            if in_scan(pair.hashes[&item], cursor, next) {
                *shown.entry(item).or_default() += 1;
            }
        }
        if next == 0 {
            break;
        }
        cursor = next;
        for _ in 0..40 {
            pair.insert(next_item, mixed(next_item));
            next_item += 1;
        }
    }
    assert!(next_item > 10_000, "it has grown meanwhile");
    assert!((0..5_000).all(|item| shown.get(&item) == Some(&1)), "each once");
}

#[test]
fn without_memory_it_says_so_and_loses_nothing() {
    let mut pair =
        Pair { index: Index::new(Budget::new(100 << 10, 1 << 20)), hashes: HashMap::new() };
    let mut item = 0;
    while pair.try_insert(item, mixed(item)) {
        item += 1;
    }
    assert!(item > 3_500, "{item} in 100 KiB");
    pair.check();
    let spare: Arc<Budget> = Arc::clone(&pair.index.budget);
    assert!(spare.used() <= 100 << 10);
}

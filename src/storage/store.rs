//! The store: shards, each an engine behind its lock, and what concerns all of them.
//!
//! A shard's lock is held for one command, some hundred nanoseconds; the standard mutex spins a
//! little and then parks, and costs no system call where nobody else waits. Several shards are
//! locked in ascending order, so that no two threads wait for each other.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::engine::{Amend, Engine, PutError, Usage};
use super::item::{Item, Key, NewItem};
use super::plain::Plain;
use super::time::Time;

/// What a store is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes that items and index may take in all.
    pub memory: u64,
    /// Bytes of the largest item, key included.
    pub item_max: usize,
    /// Shards; rounded up to a power of two.
    pub shards: usize,
    /// Versions begin here: above all that an earlier process may have given out.
    pub version: u64,
}

/// All shards.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Shard]>,
    keys: RandomState,
    settings: Settings,
}

/// 128 bytes: x86 fetches cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<State>);

/// What one lock guards.
#[derive(Debug)]
struct State {
    engine: Plain,
    /// When everything that is there then is to be removed.
    clear_at: Option<Time>,
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings) -> Self {
        let shards = settings.shards.max(1).next_power_of_two();
        let shard = |_| {
            let engine = Plain::new(settings.version, settings.item_max);
            Shard(Mutex::new(State { engine, clear_at: None }))
        };
        Self { shards: (0..shards).map(shard).collect(), keys: RandomState::new(), settings }
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// `bytes` as a key of this store.
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.keys.hash_one(bytes) }
    }

    /// The upper bits choose the shard; the lower ones are the engine's.
    fn shard_of(&self, key: Key<'_>) -> usize {
        let bits = self.shards.len().trailing_zeros();
        (key.hash.checked_shr(64 - bits)).unwrap_or(0) as usize
    }

    /// Takes the shard of one key.
    pub fn lock(&self, key: Key<'_>, now: Time) -> Locked<'_> {
        self.take(self.shard_of(key), now)
    }

    /// Takes the shards of several keys.
    pub fn lock_keys<'k>(&self, keys: impl Iterator<Item = Key<'k>>, now: Time) -> Locked<'_> {
        let mut numbers: Vec<usize> = keys.map(|key| self.shard_of(key)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        self.take_all(&numbers, now)
    }

    /// Takes all shards.
    pub fn lock_all(&self, now: Time) -> Locked<'_> {
        let numbers: Vec<usize> = (0..self.shards.len()).collect();
        self.take_all(&numbers, now)
    }

    fn take(&self, number: usize, now: Time) -> Locked<'_> {
        Locked { store: self, first: Some(self.guard(number, now)), others: Vec::new() }
    }

    fn take_all(&self, numbers: &[usize], now: Time) -> Locked<'_> {
        let mut guards = numbers.iter().map(|&number| self.guard(number, now));
        let first = guards.next();
        Locked { store: self, first, others: guards.collect() }
    }

    fn guard(&self, number: usize, now: Time) -> Guard<'_> {
        let mut state = self.shards[number].0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.clear_at.is_some_and(|at| at <= now) {
            state.clear_at = None;
            state.engine.clear();
        }
        Guard { number, state }
    }

    /// Removes, at `at`, everything that is there then. A later call takes the place of an
    /// earlier one that has not come about.
    pub fn clear_at(&self, at: Time, now: Time) {
        for number in 0..self.shards.len() {
            let mut guard = self.guard(number, now);
            guard.state.clear_at = (at > now).then_some(at);
            if at <= now {
                guard.state.engine.clear();
            }
        }
    }

    /// Takes memory of expired items back, a little in each shard; true if there is more to do.
    pub fn sweep(&self, now: Time, budget: usize) -> bool {
        let one = |number| self.guard(number, now).state.engine.sweep(now, budget);
        (0..self.shards.len()).map(one).fold(false, |more, shard| more | shard)
    }

    /// Shows some items, beginning at `cursor` (0 at first); returns where to go on, 0 at the
    /// end. The shard is locked meanwhile.
    pub fn scan(&self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        let shards = self.shards.len() as u64;
        let (number, within) = (cursor % shards, cursor / shards);
        let next = self.guard(number as usize, now).state.engine.scan(within, now, visit);
        match next {
            0 if number + 1 == shards => 0,
            0 => number + 1,
            within => within * shards + number,
        }
    }

    /// How full all shards are together.
    pub fn usage(&self, now: Time) -> Usage {
        let mut sum = Usage::default();
        for number in 0..self.shards.len() {
            let usage = self.guard(number, now).state.engine.usage();
            sum.items += usage.items;
            sum.bytes += usage.bytes;
            sum.memory += usage.memory;
            sum.stored += usage.stored;
            sum.evicted += usage.evicted;
            sum.expired += usage.expired;
        }
        sum
    }
}

#[derive(Debug)]
struct Guard<'a> {
    number: usize,
    state: MutexGuard<'a, State>,
}

/// Shards that nobody else can touch now. Keys of other shards have no items here, and cannot get
/// any: lock the shards of all keys that a command names.
#[derive(Debug)]
pub struct Locked<'a> {
    store: &'a Store,
    first: Option<Guard<'a>>,
    others: Vec<Guard<'a>>,
}

impl Locked<'_> {
    fn engine(&mut self, key: Key<'_>) -> Option<&mut Plain> {
        let number = self.store.shard_of(key);
        let mut guards = self.first.iter_mut().chain(&mut self.others);
        guards.find(|guard| guard.number == number).map(|guard| &mut guard.state.engine)
    }

    /// See [`Engine::peek`].
    pub fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        self.engine(key)?.peek(key, now)
    }

    /// See [`Engine::read`].
    pub fn read(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        self.engine(key)?.read(key, now)
    }

    /// See [`Engine::put`].
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put(&mut self, key: Key<'_>, item: &NewItem<'_>, now: Time) -> Result<u64, PutError> {
        self.engine(key).ok_or(PutError::Full)?.put(key, item, now)
    }

    /// See [`Engine::amend`].
    pub fn amend(&mut self, key: Key<'_>, change: Amend, now: Time) -> Option<u64> {
        self.engine(key)?.amend(key, change, now)
    }

    /// See [`Engine::remove`].
    pub fn remove(&mut self, key: Key<'_>, now: Time) -> bool {
        self.engine(key).is_some_and(|engine| engine.remove(key, now))
    }

    /// Removes everything in the shards that are locked.
    pub fn clear(&mut self) {
        self.first.iter_mut().chain(&mut self.others).for_each(|guard| guard.state.engine.clear());
    }

    /// Items in the shards that are locked.
    pub fn items(&self) -> u64 {
        self.first.iter().chain(&self.others).map(|guard| guard.state.engine.usage().items).sum()
    }
}

//! The store: shards, each an engine behind its lock, and what concerns all of them.
//!
//! A shard's lock is held for one command, some hundred nanoseconds; the standard mutex spins a
//! little and then parks, and costs no system call where nobody else waits. Several shards are
//! locked in ascending order, so that no two threads wait for each other. Memory is one budget: a
//! shard that needs some evicts its own items, and those of others only if it has far less than
//! they have; it never waits for their locks then.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use crate::config::{Eviction, Storage};
use crate::storage::budget::{Budget, Charge};
use crate::storage::draft::{Draft, Loan};
use crate::storage::engine::{Engine, PutError, Start, Usage};
use crate::storage::item::{Item, Key, KeyHasher};
use crate::storage::locked::Locked;
use crate::storage::time::Time;
use crate::storage::watch::{News, Table, Watchers};

mod chosen;
mod guards;

pub(super) use chosen::Chosen;
pub(super) use guards::{Guard, Guards};
use guards::{Numbers, SHARDS_MAX};

/// Memory is at least this: less holds nothing.
const MEMORY_MIN: u64 = 512 << 10;

/// Bytes for each shard, at least; with less there are fewer shards.
const SHARE_MIN: u64 = 4 << 20;

/// Segments in a shard's share, at least, as far as their bounds allow.
const SEGMENTS: u64 = 256;

/// The smallest and the largest segment: either way an offset has 20 bits.
const SEGMENT_LEN: (u64, u64) = (32 << 10, 1 << 20);

/// Versions of a shard before those of the next begin: items of different keys seldom have the
/// same. (Those of one key never do, for they come from one counter.)
const VERSION_BITS: u32 = 26;

/// The part of the memory that drafts may have together.
const DRAFTS_PART: u64 = 2;

/// Times that memory is asked for in vain before it is given up.
const TRIES_MAX: usize = 8;

/// What a store is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes that items and index may take in all.
    pub memory: u64,
    /// Bytes of the largest item, key included.
    pub item_max: usize,
    /// Shards; rounded up to a power of two of at most 256, and fewer if there is little memory.
    pub shards: usize,
    /// Versions begin here: above all that an earlier process may have given out.
    pub version: u64,
    /// How items are kept.
    pub storage: Storage,
    /// What is removed when memory is short.
    pub eviction: Eviction,
}

/// All shards.
#[derive(Debug)]
pub struct Store {
    shards: Arc<Shards>,
}

/// What a store and its drafts share.
#[derive(Debug)]
pub(super) struct Shards {
    list: Box<[Shard]>,
    keys: KeyHasher,
    settings: Settings,
    budget: Arc<Budget>,
    share: u64,
    /// Who is told of changes.
    watchers: Arc<Watchers>,
    /// Whose turn it is to give memory.
    turn: AtomicUsize,
    /// Bytes of the drafts under way.
    drafts: AtomicU64,
    /// What the shards take whatever is in them.
    _fixed: Option<Charge>,
}

/// 128 bytes: x86 fetches cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<State>);

/// What one lock guards; the engine's counters are in the cache line of the lock.
#[derive(Debug)]
#[repr(C)]
struct State {
    engine: Chosen,
    /// When everything that is there then is to be removed.
    clear_at: Option<Time>,
    /// Keys whose next change somebody is to be told of.
    watched: Table,
}

impl State {
    /// Removes what was to be removed by now.
    #[cold]
    fn clear_now(&mut self) {
        self.clear_at = None;
        self.engine.clear();
        self.watched.flush();
    }
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings) -> Self {
        Self { shards: Arc::new(Shards::new(settings)) }
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.shards.settings
    }

    /// What it shares with its drafts.
    pub(super) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// `bytes` as a key of this store.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.shards.keys.key(bytes)
    }

    /// Takes the shard of one key.
    #[inline]
    pub fn lock(&self, key: Key<'_>, now: Time) -> Locked<'_> {
        let number = self.shards.number(key);
        Locked::new(&self.shards, Guards::One(number, self.shards.guard(number, now)))
    }

    /// Reads one item, and shows it while its shard is locked. As [`Locked::read`], and less to do
    /// where there is nothing else to be done meanwhile.
    #[inline]
    pub fn read<T>(&self, key: Key<'_>, now: Time, see: impl FnOnce(Item<'_>) -> T) -> Option<T> {
        let mut guard = self.shards.guard(self.shards.number(key), now);
        guard.engine_mut().read_with(key, now, see)
    }

    /// Takes the shards of several keys.
    pub fn lock_keys<'k>(&self, keys: impl Iterator<Item = Key<'k>>, now: Time) -> Locked<'_> {
        let mut numbers = Numbers::default();
        keys.for_each(|key| numbers.add(self.shards.number(key)));
        self.take(numbers, now)
    }

    /// Takes all shards.
    pub fn lock_all(&self, now: Time) -> Locked<'_> {
        let mut numbers = Numbers::default();
        (0..self.shards.list.len()).for_each(|number| numbers.add(number));
        self.take(numbers, now)
    }

    fn take(&self, numbers: Numbers, now: Time) -> Locked<'_> {
        let shards = &*self.shards;
        Locked::new(shards, Guards::take(numbers, |number| shards.guard(number, now)))
    }

    /// A value of `len` bytes that is to come in by and by. Its memory is taken as it comes. So
    /// that those under way do not keep each other from all memory, together they may have half of
    /// it; a larger one comes in alone.
    ///
    /// # Errors
    /// [`PutError::TooLarge`] if no item may be so large, [`PutError::Full`] if others must come
    /// in first.
    pub fn draft(&self, len: usize) -> Result<Draft, PutError> {
        if len > self.shards.settings.item_max || len as u64 > self.shards.budget.limit() {
            return Err(PutError::TooLarge);
        }
        Draft::new(&self.shards, len).ok_or(PutError::Full)
    }

    /// Whether a draft of so many bytes may begin now.
    pub fn has_place_for(&self, len: u64) -> bool {
        let others = self.shards.drafts.load(Ordering::Relaxed);
        self.shards.drafts_with(others, len).is_some()
    }

    /// So many bytes of the store's memory for something else, until the loan is dropped.
    ///
    /// # Errors
    /// [`PutError::Full`] if there is no memory that items could be evicted from.
    pub fn lend(&self, bytes: u64, now: Time) -> Result<Loan, PutError> {
        Loan::take(&self.shards, bytes, now)
    }

    /// Removes, at `at`, everything that is there then. A later call takes the place of an
    /// earlier one that has not come about.
    pub fn clear_at(&self, at: Time, now: Time) {
        let mut news = News::new(&self.shards.watchers);
        for mut guard in self.shards.guards(now) {
            guard.clear_at((at > now).then_some(at));
            if at <= now {
                guard.clear(&mut news);
            }
        }
        if at <= now {
            news.add_flush();
        }
    }

    /// Takes memory of expired items back, a little in each shard; true if there is more to do.
    pub fn sweep(&self, now: Time, budget: usize) -> bool {
        let one = |mut guard: Guard<'_>| guard.engine_mut().sweep(now, budget);
        self.shards.guards(now).map(one).fold(false, |more, shard| more | shard)
    }

    /// Shows some items, beginning at `cursor` (0 at first); returns where to go on, 0 at the
    /// end. The shard is locked meanwhile.
    pub fn scan(&self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        let (number, within) = self.shards.place_of(cursor);
        let next = self.shards.guard(number, now).engine_mut().scan(within, now, visit);
        self.shards.cursor_after(number, next)
    }

    /// How full all shards are together.
    pub fn usage(&self, now: Time) -> Usage {
        self.shards.guards(now).fold(Usage::default(), |sum, guard| sum.plus(guard.usage()))
    }

    /// Bytes that are taken of the budget.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.shards.budget.used()
    }

    /// Panics if an engine contradicts itself.
    #[cfg(test)]
    pub(super) fn check_integrity(&self, now: Time) {
        self.shards.guards(now).for_each(|guard| guard.engine().check_integrity());
    }
}

impl Shards {
    fn new(mut settings: Settings) -> Self {
        settings.item_max = settings.item_max.min(Chosen::item_max(settings.storage));
        let memory = settings.memory.max(MEMORY_MIN);
        let wanted = settings.shards.clamp(1, SHARDS_MAX).next_power_of_two() as u64;
        let affordable = 1 << (memory / SHARE_MIN).max(1).ilog2();
        let count = wanted.min(affordable);
        let share = memory / count;
        let (least, most) = SEGMENT_LEN;
        let segment_len = (1 << (share / SEGMENTS).max(1).ilog2()).clamp(least, most);
        let (keys, budget) = (KeyHasher::new(), Budget::new(memory, segment_len as usize));
        let start = Start {
            budget: Arc::clone(&budget),
            keys: keys.clone(),
            share,
            item_max: settings.item_max,
            version: settings.version,
            eviction: settings.eviction,
        };
        let engine = |number| {
            let version = settings.version + (number << VERSION_BITS);
            Chosen::new(settings.storage, Start { version, ..start.clone() })
        };
        let engines: Vec<Chosen> = (0..count).map(engine).collect();
        let fixed = engines.iter().map(|engine| engine.fixed_cost()).sum();
        let state = |engine| State { engine, clear_at: None, watched: Table::default() };
        let shard = |engine| Shard(Mutex::new(state(engine)));
        let list: Box<[Shard]> = engines.into_iter().map(shard).collect();
        let _fixed = budget.take(fixed);
        let (watchers, turn, drafts) = (Arc::default(), AtomicUsize::new(0), AtomicU64::new(0));
        let shards = Self { list, keys, settings, budget, share, watchers, turn, drafts, _fixed };
        shards
            .guards(Time::default())
            .for_each(|mut guard| guard.engine_mut().keep(shards.keeps()));
        shards
    }

    /// What a shard keeps while others have more.
    pub(super) fn keeps(&self) -> u64 {
        if self.list.len() == 1 { 0 } else { self.share / 2 }
    }

    /// What all memory is taken from.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Who is told of changes.
    #[inline]
    pub(super) fn watchers(&self) -> &Arc<Watchers> {
        &self.watchers
    }

    /// Keys of each shard that may be watched.
    pub(super) fn watched_max(&self) -> usize {
        self.watchers.keys_max().div_ceil(self.list.len())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// The lowest bits of the hash choose the shard; the others are the engine's.
    #[inline]
    pub(super) fn number(&self, key: Key<'_>) -> usize {
        key.hash as usize & (self.list.len() - 1)
    }

    /// The shard that a cursor of all shards is in, and the cursor within it.
    pub(super) fn place_of(&self, cursor: u64) -> (usize, u64) {
        let shards = self.list.len() as u64;
        ((cursor % shards) as usize, cursor / shards)
    }

    /// Where to go on after a shard whose own cursor is `next` now.
    pub(super) fn cursor_after(&self, number: usize, next: u64) -> u64 {
        let (shards, number) = (self.list.len() as u64, number as u64);
        match next {
            0 if number + 1 == shards => 0,
            0 => number + 1,
            within => within * shards + number,
        }
    }

    #[inline]
    pub(super) fn guard(&self, number: usize, now: Time) -> Guard<'_> {
        let state = self.list[number].0.lock().unwrap_or_else(PoisonError::into_inner);
        Guard::new(state, now)
    }

    fn guards(&self, now: Time) -> impl Iterator<Item = Guard<'_>> {
        (0..self.list.len()).map(move |number| self.guard(number, now))
    }

    fn try_guard(&self, number: usize, now: Time) -> Option<Guard<'_>> {
        let state = match self.list[number].0.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Guard::new(state, now))
    }

    /// What drafts under way come to with another one of `len` bytes, if it may begin.
    fn drafts_with(&self, others: u64, len: u64) -> Option<u64> {
        let most = self.budget.limit() / DRAFTS_PART;
        (others == 0 || others + len <= most).then_some(others + len)
    }

    /// Whether a draft of so many bytes may begin; it is counted then.
    pub(super) fn admit_draft(&self, len: u64) -> bool {
        let sum = |others: u64| self.drafts_with(others, len);
        self.drafts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    /// A draft has come to its end.
    pub(super) fn forget_draft(&self, len: u64) {
        self.drafts.fetch_sub(len, Ordering::Relaxed);
    }

    /// Does something that says how many bytes of memory it lacks, and evicts for these from any
    /// shard, until it is done.
    pub(super) fn with_room<T>(
        &self,
        now: Time,
        mut act: impl FnMut() -> Result<T, u64>,
    ) -> Result<T, PutError> {
        let mut tries = 0;
        loop {
            let wanted = match act() {
                Ok(done) => return Ok(done),
                Err(wanted) => wanted,
            };
            let keeps = if tries == 0 { self.keeps() } else { 0 };
            let found = self.relieve((wanted, keeps), |_| false, now);
            // Others may have been quicker; shards may have been locked: some tries for that.
            tries += 1;
            if !found && tries > TRIES_MAX {
                return Err(PutError::Full);
            }
        }
    }

    /// Evicts from shards that are not `held` until so many bytes can be had, nothing of those
    /// that have no more than `keeps`; false if that does not come about.
    pub(super) fn relieve(
        &self,
        (bytes, keeps): (u64, u64),
        held: impl Fn(usize) -> bool,
        now: Time,
    ) -> bool {
        let (turn, count) = (self.turn.fetch_add(1, Ordering::Relaxed), self.list.len());
        let mut others = (0..count).map(|step| turn.wrapping_add(step) % count);
        others.any(|number| {
            let Some(mut guard) = (!held(number)).then(|| self.try_guard(number, now)).flatten()
            else {
                return false;
            };
            guard.engine_mut().keep(keeps);
            let found = guard.engine_mut().give_up(bytes, now);
            guard.engine_mut().keep(self.keeps());
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;
    use std::ptr;

    use super::*;

    #[test]
    fn what_is_written_most_is_in_the_cache_line_of_the_lock() {
        let cells = Storage::Cuckoo { item_size: 64 };
        for storage in [Storage::Segcache, cells] {
            let (memory, version, eviction) = (MEMORY_MIN, 1, Eviction::Merge);
            let settings =
                Settings { memory, item_max: 1 << 10, shards: 1, version, storage, eviction };
            let shards = Shards::new(settings);
            let line = ptr::from_ref(&shards.list[0]).addr() / 64;
            let guard = shards.guard(0, Time::default());
            let counters = guard.engine().counters();
            assert_eq!(ptr::from_ref(counters).addr() / 64, line, "{storage:?}");
            let stored = ptr::from_ref(&counters.usage.stored).addr();
            assert_eq!(stored / 64, line, "{storage:?}");
        }
        assert_eq!(offset_of!(State, engine), 0);
    }
}

//! What a command sees of the store: the shards of its keys, which nobody else can touch.

use std::array;
use std::cell::Cell;
use std::hint::black_box;

use super::draft::Draft;
use super::engine::{Amend, Engine, PutError, Usage};
use super::item::{Item, Key, NewItem};
use super::store::{Chosen, Guard, Guards, Shards};
use super::time::Time;
use super::watch::{News, Watch, Watched};

/// Keys for which memory is waited at the same time: more than the processor can do at once.
const APPROACHED: usize = 16;

/// Bytes that come from memory together.
const CACHE_LINE: usize = 64;

/// Lines of an item that are waited for: in most cases its key and the beginning of its value.
const LINES: usize = 3;

/// Shards that nobody else can touch now. Keys of other shards have no items here, and cannot get
/// any: lock the shards of all keys that a command names.
#[derive(Debug)]
pub struct Locked<'a> {
    shards: &'a Shards,
    guards: Guards<'a>,
    /// The last field: it is told when the shards have been given back.
    news: News<'a>,
}

impl<'a> Locked<'a> {
    #[inline]
    pub(super) fn new(shards: &'a Shards, guards: Guards<'a>) -> Self {
        Self { shards, guards, news: News::new(shards.watchers()) }
    }

    #[inline]
    fn guard(&mut self, key: Key<'_>) -> Option<&mut Guard<'a>> {
        self.guards.get_mut(self.shards.number(key))
    }

    #[inline]
    fn engine(&mut self, key: Key<'_>) -> Option<&mut Chosen> {
        self.guard(key).map(Guard::engine_mut)
    }

    /// The item of a key has changed, or it was removed and perhaps was not there.
    fn note(&mut self, key: Key<'_>, was_there: bool) {
        let watched = self.guard(key).map(Guard::watched).filter(|watched| !watched.is_empty());
        let told = watched.and_then(|watched| watched.take(key.bytes, was_there));
        self.news.add_all(told);
    }

    /// Says who makes the changes to come, by the number of its [`Watch`].
    pub fn act_for(&mut self, id: u64) {
        self.news.act_for(id);
    }

    /// Has somebody told of the next change of `key`, as which counts that it gets an item.
    pub fn watch(&mut self, key: Key<'_>, watch: &Watch, now: Time) {
        let found = self.peek(key, now).map(|item| item.expiry);
        let most = self.shards.watched_max();
        let Some(watched) = self.guard(key).map(Guard::watched) else { return };
        let dead = watched.take_dead(key.bytes, now);
        watched.add(key.bytes, found, watch.watcher());
        let excess: Vec<_> = watched.excess(most).collect();
        self.news.add_all(dead);
        self.news.add_all(excess);
    }

    /// How much is watched in the shards that are locked.
    pub fn watched(&mut self) -> Watched {
        let guards = self.guards.all_mut().iter_mut();
        guards.fold(self.shards.watchers().watched(), |sum, guard| sum.and(guard.watched()))
    }

    /// See [`Engine::peek`].
    pub fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        self.engine(key)?.peek(key, now)
    }

    /// Brings what reading these keys will look at nearer to the processor, for all of them at the
    /// same time. Of each that is read by itself first its bucket is waited for, then its item.
    ///
    /// So the steps are apart: where memory is looked at, there is nothing else to do, and the
    /// processor comes to the last of them before the first is there.
    pub fn approach(&self, keys: &[Key<'_>]) {
        for keys in keys.chunks(APPROACHED) {
            let engines: [Option<&Chosen>; APPROACHED] = array::from_fn(|at| {
                Some(self.guards.get(self.shards.number(*keys.get(at)?))?.engine())
            });
            let known = |at: usize| Some((engines[at]?, *keys.get(at)?));
            let buckets: [&[u8]; APPROACHED] =
                array::from_fn(|at| known(at).map_or(&[][..], |(engine, key)| engine.bucket(key)));
            look_at(&buckets, 1);
            let items: [&[u8]; APPROACHED] = array::from_fn(|at| {
                known(at).map_or(&[][..], |(engine, key)| engine.likely(key, buckets[at]))
            });
            look_at(&items, LINES);
        }
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
        let stored = self.with_room(key, now, |engine| engine.put(key, item, now));
        self.note(key, true);
        stored
    }

    /// Stores a value that has come in by and by; that of `item` does not matter.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_draft(
        &mut self,
        key: Key<'_>,
        draft: Draft,
        item: &NewItem<'_>,
        now: Time,
    ) -> Result<u64, PutError> {
        let pieces = draft.finish();
        let store = |engine: &mut Chosen| engine.put_pieces(key, pieces.clone(), item, now);
        let stored = self.with_room(key, now, store);
        self.note(key, true);
        stored
    }

    /// Stores something; if its shard has too little to evict from, others are asked first for
    /// what they have more than their part, then for all they have.
    fn with_room(
        &mut self,
        key: Key<'_>,
        now: Time,
        mut store: impl FnMut(&mut Chosen) -> Result<u64, PutError>,
    ) -> Result<u64, PutError> {
        let usual = self.shards.keeps();
        let mut stored = store(self.engine(key).ok_or(PutError::Full)?);
        for keeps in [usual, 0] {
            if stored != Err(PutError::Full) {
                break;
            }
            let Some(wanted) = self.engine(key).and_then(|engine| engine.wanted()) else { break };
            self.shards.relieve((wanted, keeps), |number| self.guards.has(number), now);
            let engine = self.engine(key).ok_or(PutError::Full)?;
            engine.keep(keeps);
            stored = store(engine);
            engine.keep(usual);
        }
        stored
    }

    /// See [`Engine::amend`].
    pub fn amend(&mut self, key: Key<'_>, change: Amend, now: Time) -> Option<u64> {
        let version = self.engine(key)?.amend(key, change, now)?;
        // Marks alone are of no interest to who has read the item.
        if change.expiry.is_some() || change.renew || change.cas.is_some() {
            self.note(key, true);
        }
        Some(version)
    }

    /// See [`Engine::remove`].
    pub fn remove(&mut self, key: Key<'_>, now: Time) -> bool {
        let removed = self.engine(key).is_some_and(|engine| engine.remove(key, now));
        self.note(key, removed);
        removed
    }

    /// Removes everything in the shards that are locked.
    pub fn clear(&mut self) {
        self.guards.all_mut().iter_mut().for_each(|guard| guard.clear(&mut self.news));
        self.news.add_flush();
    }

    /// Items in the shards that are locked.
    pub fn items(&self) -> u64 {
        self.usage().items
    }
    /// How full the shards that are locked are together.
    pub fn usage(&self) -> Usage {
        self.guards.all().iter().fold(Usage::default(), |sum, guard| sum.plus(guard.usage()))
    }

    /// As [`Store::scan`](super::Store::scan), where all shards are locked.
    pub fn scan(&mut self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        let (number, within) = self.shards.place_of(cursor);
        let guard = self.guards.get_mut(number);
        let next = guard.map_or(0, |guard| guard.engine_mut().scan(within, now, visit));
        self.shards.cursor_after(number, next)
    }

    /// Shows some items from the place on that `random` says; none if there is none at all.
    pub fn sample(&mut self, random: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) {
        let found = Cell::new(false);
        let mut note = |key: &[u8], item: Item<'_>| {
            found.set(true);
            visit(key, item);
        };
        let mut guards: Vec<_> = self.guards.all_mut().iter_mut().collect();
        let turn = random as usize % guards.len().max(1);
        guards.rotate_left(turn);
        for guard in guards {
            let (mut cursor, mut rounds) = (random >> 32, 0);
            // From there to the end, then from the start.
            while rounds < 2 {
                cursor = guard.engine_mut().scan(cursor, now, &mut note);
                if found.get() {
                    return;
                }
                rounds += usize::from(cursor == 0);
            }
        }
    }
}

/// Looks at the first lines of each.
fn look_at(all: &[&[u8]], lines: usize) {
    let byte = |bytes: &&[u8], line: usize| bytes.get(line * CACHE_LINE).copied().unwrap_or(0);
    let one = |bytes: &&[u8]| (0..lines).fold(0, |sum, line| sum ^ byte(bytes, line));
    black_box(all.iter().fold(0, |sum, bytes| sum ^ one(bytes)));
}

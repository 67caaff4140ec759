//! What a command sees of the store: the shards of its keys, which nobody else can touch.

use std::cell::Cell;
use std::hint::black_box;

use super::draft::Draft;
use super::engine::{Amend, Engine, PutError, Usage};
use super::item::{Item, Key, NewItem};
use super::store::{Chosen, Guard, Shards};
use super::time::Time;
use super::watch::{News, Watch, Watched};

/// Keys for which memory is waited at the same time: more than the processor can do at once.
const APPROACHED: usize = 16;

/// Shards that nobody else can touch now. Keys of other shards have no items here, and cannot get
/// any: lock the shards of all keys that a command names.
#[derive(Debug)]
pub struct Locked<'a> {
    shards: &'a Shards,
    first: Option<Guard<'a>>,
    others: Vec<Guard<'a>>,
    /// The last field: it is told when the shards have been given back.
    news: News<'a>,
}

impl<'a> Locked<'a> {
    pub(super) fn new(
        shards: &'a Shards,
        first: Option<Guard<'a>>,
        others: Vec<Guard<'a>>,
    ) -> Self {
        Self { shards, first, others, news: News::new(shards.watchers()) }
    }

    fn guard(&mut self, key: Key<'_>) -> Option<&mut Guard<'a>> {
        let number = self.shards.number(key);
        let mut guards = self.first.iter_mut().chain(&mut self.others);
        guards.find(|guard| guard.number == number)
    }

    fn engine(&mut self, key: Key<'_>) -> Option<&mut Chosen> {
        self.guard(key).map(Guard::engine)
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
        let guards = self.first.iter_mut().chain(&mut self.others);
        guards.fold(self.shards.watchers().watched(), |sum, guard| sum.and(guard.watched()))
    }

    fn holds(&self, number: usize) -> bool {
        self.first.iter().chain(&self.others).any(|guard| guard.number == number)
    }

    /// See [`Engine::peek`].
    pub fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        self.engine(key)?.peek(key, now)
    }

    /// Brings what reading these keys will look at nearer to the processor, for all of them at the
    /// same time. Of each that is read by itself first its bucket is waited for, then its item.
    pub fn approach(&mut self, keys: &[Key<'_>]) {
        for keys in keys.chunks(APPROACHED) {
            let mut places = [(0, 0); APPROACHED];
            for (key, place) in keys.iter().zip(&mut places) {
                let number = self.shards.number(*key);
                let engines = self.first.iter_mut().chain(&mut self.others);
                let engine = engines.enumerate().find(|(_, guard)| guard.number == number);
                *place = engine.map_or((0, 0), |(at, guard)| (at, guard.engine().guess(*key)));
            }
            let mut seen = 0;
            for (at, place) in places.into_iter().take(keys.len()) {
                let guard = match at {
                    0 => self.first.as_mut(),
                    other => self.others.get_mut(other - 1),
                };
                seen ^= guard.map_or(0, |guard| guard.engine().touch(place));
            }
            black_box(seen);
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
            self.shards.relieve((wanted, keeps), |number| self.holds(number), now);
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
        let guards = self.first.iter_mut().chain(&mut self.others);
        guards.for_each(|guard| guard.clear(&mut self.news));
        self.news.add_flush();
    }

    /// Items in the shards that are locked.
    pub fn items(&self) -> u64 {
        self.usage().items
    }
    /// How full the shards that are locked are together.
    pub fn usage(&self) -> Usage {
        let guards = self.first.iter().chain(&self.others);
        guards.fold(Usage::default(), |sum, guard| sum.plus(guard.usage()))
    }

    /// As [`Store::scan`](super::Store::scan), where all shards are locked.
    pub fn scan(&mut self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        let (number, within) = self.shards.place_of(cursor);
        let mut guards = self.first.iter_mut().chain(&mut self.others);
        let guard = guards.find(|guard| guard.number == number);
        let next = guard.map_or(0, |guard| guard.engine().scan(within, now, visit));
        self.shards.cursor_after(number, next)
    }

    /// Shows some items from the place on that `random` says; none if there is none at all.
    pub fn sample(&mut self, random: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) {
        let found = Cell::new(false);
        let mut note = |key: &[u8], item: Item<'_>| {
            found.set(true);
            visit(key, item);
        };
        let mut guards: Vec<_> = self.first.iter_mut().chain(&mut self.others).collect();
        let turn = random as usize % guards.len().max(1);
        guards.rotate_left(turn);
        for guard in guards {
            let (mut cursor, mut rounds) = (random >> 32, 0);
            // From there to the end, then from the start.
            while rounds < 2 {
                cursor = guard.engine().scan(cursor, now, &mut note);
                if found.get() {
                    return;
                }
                rounds += usize::from(cursor == 0);
            }
        }
    }
}

//! What a command sees of the store: the shards of its keys, which nobody else can touch.

use std::cell::Cell;

use super::draft::Draft;
use super::engine::{Amend, Engine, PutError, Usage};
use super::item::{Item, Key, NewItem};
use super::store::{Chosen, Guard, Shards};
use super::time::Time;

/// Shards that nobody else can touch now. Keys of other shards have no items here, and cannot get
/// any: lock the shards of all keys that a command names.
#[derive(Debug)]
pub struct Locked<'a> {
    shards: &'a Shards,
    first: Option<Guard<'a>>,
    others: Vec<Guard<'a>>,
}

impl<'a> Locked<'a> {
    pub(super) fn new(
        shards: &'a Shards,
        first: Option<Guard<'a>>,
        others: Vec<Guard<'a>>,
    ) -> Self {
        Self { shards, first, others }
    }

    fn engine(&mut self, key: Key<'_>) -> Option<&mut Chosen> {
        let number = self.shards.number(key);
        let mut guards = self.first.iter_mut().chain(&mut self.others);
        guards.find(|guard| guard.number == number).map(Guard::engine)
    }

    fn holds(&self, number: usize) -> bool {
        self.first.iter().chain(&self.others).any(|guard| guard.number == number)
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
        self.with_room(key, now, |engine| engine.put(key, item, now))
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
        self.with_room(key, now, |engine| engine.put_pieces(key, pieces.clone(), item, now))
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
        self.engine(key)?.amend(key, change, now)
    }

    /// See [`Engine::remove`].
    pub fn remove(&mut self, key: Key<'_>, now: Time) -> bool {
        self.engine(key).is_some_and(|engine| engine.remove(key, now))
    }

    /// Removes everything in the shards that are locked.
    pub fn clear(&mut self) {
        self.first.iter_mut().chain(&mut self.others).for_each(|guard| guard.engine().clear());
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

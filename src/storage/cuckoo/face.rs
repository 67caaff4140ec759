//! The engine as others see it.

use crate::storage::engine::{Amend, Engine, PutError, Usage};
use crate::storage::item::{Item, Key, NewItem};
use crate::storage::time::Time;

use super::{Cuckoo, cell};

/// Cells that a call of scan passes, at most: the bytes beside them are a page.
const SCAN_CELLS: usize = 4096;

/// Items after which a call of scan ends.
const SCAN_ITEMS: usize = 24;

/// Cells that are looked at in one step of a sweep.
const SWEPT_AT_ONCE: usize = 16;

impl Engine for Cuckoo {
    fn peek(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        let place = self.find_alive(key, now)?;
        Some(cell::item(self.table.cell(place)))
    }

    fn read(&mut self, key: Key<'_>, now: Time) -> Option<Item<'_>> {
        let place = self.find_alive(key, now)?;
        let cell = self.table.cell_mut(place);
        let Item { marks, accessed, .. } = cell::item(cell);
        cell::touch(cell, now);
        Some(Item { marks, accessed, ..cell::item(cell) })
    }

    fn put(&mut self, key: Key<'_>, item: &NewItem<'_>, now: Time) -> Result<u64, PutError> {
        if key.bytes.len() + item.len() > self.start.item_max {
            self.remove_any(key);
            return Err(PutError::TooLarge);
        }
        let fresh = self.counters.renew();
        let cas = item.cas.unwrap_or(fresh);
        if item.expiry.is_some_and(|at| at <= now) {
            self.remove_any(key);
            self.counters.usage.expired += 1;
        } else {
            self.store(key, item, cas, now)?;
        }
        self.counters.usage.stored += 1;
        Ok(cas)
    }

    fn amend(&mut self, key: Key<'_>, change: Amend, now: Time) -> Option<u64> {
        let fresh = if change.renew { Some(self.counters.renew()) } else { None };
        let place = self.find_alive(key, now)?;
        Some(cell::amend(self.table.cell_mut(place), change, fresh))
    }

    fn remove(&mut self, key: Key<'_>, now: Time) -> bool {
        let place = self.find_alive(key, now);
        if let Some(place) = place {
            self.empty(place);
        }
        place.is_some()
    }

    fn clear(&mut self) {
        self.table.clear();
        self.swept = 0;
        self.counters.usage = Usage { items: 0, bytes: 0, ..self.counters.usage };
    }

    fn sweep(&mut self, now: Time, budget: usize) -> bool {
        for _ in 0..budget.max(1) {
            let end = self.swept + SWEPT_AT_ONCE;
            // The next step goes on behind the item that this one removes.
            let dead = (self.swept..end.min(self.table.cells())).find(|place| {
                self.table.is_taken(*place) && cell::is_dead(self.table.cell(*place), now)
            });
            if let Some(place) = dead {
                self.empty(place);
                self.counters.usage.expired += 1;
            }
            self.swept = dead.map_or(end, |place| place + 1);
            if self.swept >= self.table.cells() {
                self.swept = 0;
                return false;
            }
        }
        true
    }

    fn scan(&mut self, cursor: u64, now: Time, visit: &mut dyn FnMut(&[u8], Item<'_>)) -> u64 {
        let mut place = self.table.place_at(cursor);
        let end = place + SCAN_CELLS;
        for _ in 0..SCAN_ITEMS {
            let Some(taken) = self.table.next_taken(place, end) else {
                return self.table.position_of(end);
            };
            let bytes = self.table.cell(taken);
            if !cell::is_dead(bytes, now) {
                visit(cell::key(bytes), cell::item(bytes));
            }
            place = taken + 1;
        }
        self.table.position_of(place)
    }

    fn usage(&self) -> Usage {
        Usage { memory: self.table.memory(), ..self.counters.usage }
    }

    #[cfg(test)]
    fn check_integrity(&self) {
        self.check();
    }
}

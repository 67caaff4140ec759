//! Changes, and who is told of them: whoever has read a key can be told once that what it has read
//! is no longer so.
//!
//! ```text
//!  Locked::watch ─▶ Table, one in each shard, under its lock: key ─▶ watchers
//!                     │ changed, removed, due, or the table is full: the key is taken out
//!                     └▶ News ─ the shards are given back ─▶ Watcher: what has changed ─▶ Wake
//!                                              Watch::take ◀──────┘
//! ```
//! Reading and watching are one critical section, and so are a change and the taking out: no
//! change is missed. Whoever has made a change goes on only after all have been told. Where nobody
//! watches, a change costs one look at an empty table.
//!
//! * `table`: the watched keys of one shard.
//! * `watcher`: those who are told, and the way to them.

mod table;
#[cfg(test)]
mod tests;
mod watcher;

use super::store::Store;
use super::time::Time;

pub(super) use table::Table;
pub use watcher::{Change, Wake, Watch};
pub(super) use watcher::{News, Watchers};

/// Keys that are taken out because their time has come while a shard is locked once.
const DUE_AT_ONCE: usize = 256;

/// How much is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Those who want to be told.
    pub watchers: u64,
    /// Keys, those included whose watchers have gone.
    pub keys: u64,
    /// Watchers of each key, summed over all keys.
    pub pairs: u64,
    /// Changes that watchers have been told of so far.
    pub told: u64,
}

impl Watched {
    /// With what another table holds.
    pub(super) fn and(self, table: &Table) -> Self {
        let (keys, pairs) = (table.len() as u64, table.pairs() as u64);
        Self { keys: self.keys + keys, pairs: self.pairs + pairs, ..self }
    }
}

impl Store {
    /// One who may be told of changes, `id` being its own, and is woken by `wake` then.
    pub fn watch(&self, id: u64, wake: Wake) -> Watch {
        Watch::new(id, wake, self.shards().watchers())
    }

    /// Says how many keys may be watched at once. A long key, or one with many watchers, counts
    /// for several.
    pub fn limit_watched(&self, keys: usize) {
        self.shards().watchers().limit(keys);
    }

    /// Tells of what has come about by itself: items whose time has come, and what was to be
    /// removed at a time that has passed.
    pub fn tell_due(&self, now: Time) {
        let shards = self.shards();
        let mut flushed = false;
        for number in 0..shards.count() {
            let mut more = true;
            while more {
                let mut news = News::new(shards.watchers());
                let mut guard = shards.guard(number, now);
                let table = guard.watched();
                flushed |= table.take_flushed();
                if shards.watchers().nobody() {
                    news.bury(std::mem::take(table));
                }
                more = news.add_all(table.due(now).take(DUE_AT_ONCE)) == DUE_AT_ONCE;
            }
        }
        if flushed {
            News::new(shards.watchers()).add_flush();
        }
    }

    /// How much is watched in all shards.
    pub fn watched(&self, now: Time) -> Watched {
        let shards = self.shards();
        let all = (0..shards.count()).map(|number| shards.guard(number, now));
        all.fold(shards.watchers().watched(), |sum, mut guard| sum.and(guard.watched()))
    }
}

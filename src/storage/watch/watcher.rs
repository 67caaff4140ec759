//! Those who are told of changes, and the way to them.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Watched;
use super::table::{Table, Told};

/// Keys that may be watched at once, as in Redis, unless something else is said.
const KEYS: usize = 1_000_000;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The item of this key.
    Key(Arc<[u8]>),
    /// Everything was removed.
    All,
}

/// How one who is told something is woken; not at all by default. No shard is locked then.
#[derive(Clone, Default)]
pub struct Wake(Option<Arc<dyn Fn() + Send + Sync>>);

impl Wake {
    /// By calling this, from any thread.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(wake)))
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

/// One who is told of changes.
#[derive(Debug)]
pub(in crate::storage) struct Watcher {
    id: u64,
    wake: Wake,
    listens: AtomicBool,
    /// It is not told of changes of keys that it has made itself.
    skips_own: AtomicBool,
    /// There is something in `changes`.
    has_news: AtomicBool,
    /// What it has not taken yet: no more than the keys that it watches, and one change of all in
    /// between.
    changes: Mutex<Vec<Change>>,
}

impl Watcher {
    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it wants to be told.
    pub(super) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Tells it of a change that `actor` has made; true if it was told.
    fn tell(&self, change: &Change, actor: u64) -> bool {
        let own = actor == self.id;
        let skips = own && *change != Change::All && self.skips_own.load(Ordering::Relaxed);
        if skips || !self.listens() {
            return false;
        }
        let mut changes = lock(&self.changes);
        if *change == Change::All && changes.last() == Some(change) {
            return false;
        }
        let first = changes.is_empty();
        changes.push(change.clone());
        self.has_news.store(true, Ordering::Release);
        drop(changes);
        // Who acts looks by itself when it has done so.
        if let Some(wake) = self.wake.0.as_ref().filter(|_| first && !own) {
            wake();
        }
        true
    }
}

/// The right of one to be told of changes; given back when it is dropped.
#[derive(Debug)]
pub struct Watch {
    watcher: Arc<Watcher>,
    all: Arc<Watchers>,
}

impl Watch {
    pub(super) fn new(id: u64, wake: Wake, all: &Arc<Watchers>) -> Self {
        let watcher = Watcher {
            id,
            wake,
            listens: AtomicBool::new(false),
            skips_own: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            changes: Mutex::default(),
        };
        Self { watcher: Arc::new(watcher), all: Arc::clone(all) }
    }

    /// Wants to be told from now on; of its own changes of keys only unless `skips_own`.
    pub fn listen(&self, skips_own: bool) {
        self.watcher.skips_own.store(skips_own, Ordering::Relaxed);
        self.watcher.listens.store(true, Ordering::Relaxed);
        let mut listening = lock(&self.all.listening);
        listening.insert(self.watcher.id, Arc::clone(&self.watcher));
        self.all.count.store(listening.len(), Ordering::Relaxed);
    }

    /// Wants to be told no more. The keys that it watched are remembered as far as nobody needs
    /// their room.
    pub fn stop(&self) {
        self.watcher.listens.store(false, Ordering::Relaxed);
        let mut listening = lock(&self.all.listening);
        listening.remove(&self.watcher.id);
        self.all.count.store(listening.len(), Ordering::Relaxed);
    }

    /// What it has been told since the last time, in order.
    pub fn take(&self) -> Vec<Change> {
        if !self.watcher.has_news.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut changes = lock(&self.watcher.changes);
        self.watcher.has_news.store(false, Ordering::Release);
        std::mem::take(&mut changes)
    }

    pub(in crate::storage) fn watcher(&self) -> &Arc<Watcher> {
        &self.watcher
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
        // Tables may hold the watcher for a while.
        self.take();
    }
}

/// All who want to be told of changes in one store.
#[derive(Debug)]
pub(in crate::storage) struct Watchers {
    listening: Mutex<BTreeMap<u64, Arc<Watcher>>>,
    /// How many they are.
    count: AtomicUsize,
    keys_max: AtomicUsize,
    told: AtomicU64,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            listening: Mutex::default(),
            count: AtomicUsize::new(0),
            keys_max: AtomicUsize::new(KEYS),
            told: AtomicU64::new(0),
        }
    }
}

impl Watchers {
    /// True if nobody wants to be told. Under a shard's lock that holds for all who have ever
    /// watched a key of it.
    pub(super) fn nobody(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Says how many keys may be watched in all.
    pub(super) fn limit(&self, keys: usize) {
        self.keys_max.store(keys, Ordering::Relaxed);
    }

    /// How many keys may be watched in all.
    pub(in crate::storage) fn keys_max(&self) -> usize {
        self.keys_max.load(Ordering::Relaxed)
    }

    /// What is known without looking at the tables.
    pub(in crate::storage) fn watched(&self) -> Watched {
        let watchers = self.count.load(Ordering::Relaxed) as u64;
        Watched { watchers, told: self.told.load(Ordering::Relaxed), ..Watched::default() }
    }
}

/// What watchers are to be told, and are when it is dropped: after the shards have been given back.
#[derive(Debug)]
pub(in crate::storage) struct News<'a> {
    all: &'a Watchers,
    /// Who makes the changes; 0 for nobody who watches.
    actor: u64,
    /// Most commands have none, and this is one word to look at. (Never shared: of what a `Box` holds
    /// the end would be a part of each place where the news end, too large to be compiled into it.)
    pieces: Option<Rc<Pieces>>,
}

#[derive(Debug, Default)]
struct Pieces(Vec<Piece>);

/// One of the things that wait until the shards have been given back.
#[derive(Debug)]
enum Piece {
    /// A key that has changed, and who is to be told.
    Key(Told),
    /// Everything was removed.
    All,
    /// A table that takes a while to be given back.
    Buried { _table: Box<Table> },
}

impl<'a> News<'a> {
    /// Nothing yet.
    #[inline]
    pub(in crate::storage) fn new(all: &'a Watchers) -> Self {
        Self { all, actor: 0, pieces: None }
    }

    /// Says who makes the changes.
    pub(in crate::storage) fn act_for(&mut self, id: u64) {
        self.actor = id;
    }

    /// Takes up what has been taken out of a table; how many keys.
    pub(in crate::storage) fn add_all(&mut self, told: impl IntoIterator<Item = Told>) -> usize {
        let mut added = 0;
        for told in told {
            self.add(Piece::Key(told));
            added += 1;
        }
        added
    }

    /// Everything was removed.
    pub(in crate::storage) fn add_flush(&mut self) {
        self.add(Piece::All);
    }

    /// Takes a table that nobody needs any more.
    pub(in crate::storage) fn bury(&mut self, table: Table) {
        if !table.is_empty() {
            self.add(Piece::Buried { _table: Box::new(table) });
        }
    }

    fn add(&mut self, piece: Piece) {
        if let Some(pieces) = Rc::get_mut(self.pieces.get_or_insert_default()) {
            pieces.0.push(piece);
        }
    }

    #[cold]
    fn deliver(&self, pieces: Rc<Pieces>) {
        let mut count = 0;
        for piece in Rc::into_inner(pieces).into_iter().flat_map(|pieces| pieces.0) {
            count += match piece {
                Piece::Key((key, watchers)) => self.tell(&Change::Key(key), &watchers),
                Piece::All => {
                    let all: Vec<_> = lock(&self.all.listening).values().cloned().collect();
                    self.tell(&Change::All, &all)
                }
                Piece::Buried { .. } => 0,
            };
        }
        if count > 0 {
            self.all.told.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    fn tell(&self, change: &Change, watchers: &[Arc<Watcher>]) -> usize {
        watchers.iter().filter(|watcher| watcher.tell(change, self.actor)).count()
    }
}

impl Drop for News<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(pieces) = self.pieces.take() {
            self.deliver(pieces);
        }
    }
}

/// Nothing that is guarded here can be left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

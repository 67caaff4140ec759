//! The near cache of a pool: hot reads answered here, with a promise about how stale they may be.
//!
//! ```text
//!  read ──▶ look ─┬─ hit ────────────────────────────────▶ client
//!                 └─ miss, hot ─▶ token ─▶ server ─▶ settle (only if the token still holds)
//!  write ─▶ begin_write ─▶ server ─▶ end_write ─▶ client     ┐
//!  push, flush, lost connection, other ring ─▶ forget, flush,│ make entries vanish and
//!                                              close         ┘ tokens void
//! ```
//! The promises, for each entry that is served:
//! 1. Once this proxy has acknowledged a write of a key to any client, no older value is served:
//!    from the write's sending to its reply there is no entry and no token for the key.
//! 2. The value was current at the server within the last `max_age` (or `lease`, where the server
//!    tells of changes): the clock runs from when the fill was *sent*, and a connection is believed
//!    only so long after a question on it that was answered.
//! 3. After that time without the server nothing is served, whatever happened meanwhile.
//! 4. The time that the server gave is never extended.
//!
//! All workers of a pool share it. Nobody waits for anybody: a shard of the storage is locked for
//! one look or one change, everything else here are atomics.

mod entry;
mod fill;
mod flights;
mod hot;
mod leases;
mod name;
mod presence;
mod shunned;
mod sketch;
mod slots;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use super::clock::Clock;
use crate::config::{Admission, Eviction, NearCache, NearMode, Storage};
use crate::storage::{NewItem, PutError, Settings, Store};

pub use crate::storage::{Time, Usage};
pub use entry::{Entry, Kind, Origin};
pub use fill::{Fill, Settled, Token};
use flights::Flights;
pub use flights::{Flight, Wake};
use hot::Hot;
pub use hot::HotKey;
pub use leases::Lease;
use leases::Leases;
pub use name::Name;
use shunned::Shunned;
use slots::Slots;

/// Longer keys are not kept: there is nothing to gain from them. Nor are longer parts of keys.
const KEY_BYTES: usize = 250;
const PART_BYTES: usize = 1024;

/// Bytes of memory for each slot: so many that two keys seldom meet in one at the same time, and so
/// few that all of them stay near the processor.
const MEMORY_PER_SLOT: u64 = 4096;

/// Shards of the storage.
const SHARDS: usize = 32;

/// Room for a key and what stands in front of a value.
const ITEM_ROOM: usize = PART_BYTES + 512;

/// Of how much memory a part must be free for every key that is asked for twice to be let in.
const ROOMY_PART: u64 = 8;

/// The near cache of one pool.
#[derive(Debug)]
pub struct Near {
    settings: NearCache,
    store: Store,
    clock: Clock,
    slots: Slots,
    leases: Leases,
    shunned: Shunned,
    flights: Flights,
    hot: Hot,
    /// Flushes under way, and above them how many flushes there have been.
    flushes: AtomicU64,
    /// Requests for a key, lately, from which on it is kept.
    threshold: AtomicU8,
    /// What had been evicted when the threshold was looked at last.
    evicted: AtomicU64,
}

const FLUSH_ONCE: u64 = 1 << 24;

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// There is an entry, and this was made of it.
    Hit(T),
    /// There is none.
    Miss,
    /// A write of the key, or a flush, is under way: only the server can tell.
    Busy,
    /// There is one, but its server has not been heard of for too long.
    Lapsed,
    /// There is one that is of no use for this.
    Unfit,
}

impl Near {
    /// An empty near cache, on the clock of the process.
    pub fn new(settings: NearCache, clock: Clock) -> Self {
        let memory = settings.memory;
        let count = usize::try_from(memory / MEMORY_PER_SLOT).unwrap_or(usize::MAX);
        let slots = Slots::new(count, settings.life_max());
        let (shunned, flights) = (Shunned::new(), Flights::new());
        let own = slots.bytes() + shunned.bytes() + flights.bytes();
        let value_max = usize::try_from(settings.max_value).unwrap_or(usize::MAX);
        let store = Store::new(Settings {
            memory: memory.saturating_sub(own),
            item_max: value_max.saturating_add(ITEM_ROOM),
            shards: SHARDS,
            version: 0,
            storage: Storage::Segcache,
            eviction: Eviction::Merge,
        });
        Self {
            store,
            clock,
            slots,
            leases: Leases::new(),
            shunned,
            flights,
            hot: Hot::default(),
            flushes: AtomicU64::new(0),
            threshold: AtomicU8::new(ASKED_TWICE),
            evicted: AtomicU64::new(0),
            settings,
        }
    }

    /// What it was told.
    pub fn settings(&self) -> &NearCache {
        &self.settings
    }

    /// The moment `at` on its clock.
    pub fn time(&self, at: Instant) -> Time {
        self.clock.time(at)
    }

    /// `bytes` as a key of this cache; `None` if it does not keep such keys.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Option<Name<'k>> {
        let prefixes = &self.settings.prefixes;
        let covered = prefixes.is_empty() || prefixes.iter().any(|it| bytes.starts_with(it));
        let named = !bytes.is_empty() && bytes.len() <= KEY_BYTES;
        (covered && named).then(|| Name::of(self.store.key(bytes), &self.slots))
    }

    /// Has what is known of keys, as many as there is room for, ready for when they are asked for,
    /// soon; how many.
    #[inline]
    pub fn look_ahead<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> u32 {
        self.slots.look_ahead(keys.map(|key| self.store.key(key).hash()))
    }

    /// `bytes` as a part of a key: some of its fields, in a writing that no other fields of any key
    /// have; `None` if it does not keep such parts.
    pub fn part<'p>(&self, owner: Name<'_>, bytes: &'p [u8]) -> Option<Name<'p>> {
        (bytes.len() <= PART_BYTES).then(|| owner.part(self.store.key(bytes)))
    }

    /// Whether a key has surely no entry and may get one, which is known without the storage; what is
    /// told otherwise [`Near::look`] says. Parts of keys are keys of their own here.
    #[inline]
    pub fn lacks(&self, name: Name<'_>) -> bool {
        let slot = self.slots.at(name.slot);
        slot.happened().is_some()
            && self.flushes.load(Ordering::SeqCst).is_multiple_of(FLUSH_ONCE)
            && !slot.may_have(name.hash())
    }

    /// Looks for an entry and has `show` make something of it, which may decline.
    pub fn look<T>(
        &self,
        name: Name<'_>,
        now: Time,
        show: impl FnOnce(&Entry<'_>) -> Option<T>,
    ) -> Look<T> {
        let Name { key, slot, is_part } = name;
        let slot = self.slots.at(slot);
        let Some(happened) = slot.happened() else { return Look::Busy };
        let flushes = self.flushes.load(Ordering::SeqCst);
        if !flushes.is_multiple_of(FLUSH_ONCE) {
            return Look::Busy;
        }
        if !slot.may_have(key.hash()) {
            return Look::Miss;
        }
        let found = self.store.read(key, now, |item| {
            let Some(entry) = Entry::of(&item) else { return Look::Miss };
            match self.leases.until(entry.origin.lease) {
                _ if entry.flushes != flushes / FLUSH_ONCE => Look::Miss,
                _ if is_part != (entry.kind == Kind::Fields) => Look::Miss,
                // Of a part that is its count (see `settle`).
                _ if is_part && entry.cas != happened => Look::Miss,
                None => Look::Miss,
                // In whole milliseconds of both: what is equal may be over.
                Some(until) if until <= now => Look::Lapsed,
                Some(_) => show(&entry).map_or(Look::Unfit, Look::Hit),
            }
        });
        found.unwrap_or(Look::Miss)
    }

    /// Counts a request for a key that is not here, the `nth` of its worker; how many there have been
    /// lately, this one included.
    #[inline]
    pub fn count(&self, name: Name<'_>, nth: u64) -> u8 {
        self.slots.count(name.slot, name.hash(), nth)
    }

    /// Whether a key that was asked for so often lately is to be kept.
    #[inline]
    pub fn admits(&self, name: Name<'_>, count: u8, now: Time) -> bool {
        let asked = match self.settings.admit {
            Admission::All => true,
            Admission::Hot => count >= self.threshold.load(Ordering::Relaxed),
        };
        asked && !self.is_shunned(name, now)
    }

    /// A fill of a key was of no use: there shall be none for a while.
    pub fn shun(&self, name: Name<'_>, now: Time) {
        self.shunned.add(name.hash(), now);
    }

    /// Whether that is so.
    pub fn is_shunned(&self, name: Name<'_>, now: Time) -> bool {
        self.shunned.has(name.hash(), now)
    }

    /// Whether another worker has asked for a key, and nothing has come of it yet.
    pub fn flies(&self, name: Name<'_>) -> bool {
        self.flights.flies(name.hash())
    }

    /// A fill is about to be sent: others may wait for it until it is ended, if they can be told.
    pub fn begin_flight(&self, name: Name<'_>) -> Option<Flight> {
        self.flights.begin(name.hash())
    }

    /// Has `wake` called when that is over; false if it is already.
    pub fn wait(&self, name: Name<'_>, wake: Wake) -> bool {
        self.flights.wait(name.hash(), wake)
    }

    /// What a fill has brought is stored, or will not be.
    pub fn end_flight(&self, flight: Flight) {
        self.flights.end(flight);
    }

    /// The right to fill a key by a request that is sent at `now`; `None` while it is written.
    pub fn token(&self, name: Name<'_>, lease: Lease, now: Time) -> Option<Token> {
        let flushes = self.flushes.load(Ordering::SeqCst);
        let token = Token {
            slot: name.slot,
            count: self.slots.at(name.slot).happened()?,
            flushes: flushes / FLUSH_ONCE,
            opened: self.leases.opened(),
            origin: Origin { sent: now, lease },
        };
        (flushes.is_multiple_of(FLUSH_ONCE) && self.leases.lives(lease)).then_some(token)
    }

    /// Whether nothing has happened to the key since its token was given.
    pub fn holds(&self, token: &Token) -> bool {
        self.slots.at(token.slot).happened() == Some(token.count)
            && self.flushes.load(Ordering::SeqCst) == token.flushes * FLUSH_ONCE
            && self.leases.lives(token.origin.lease)
    }

    /// Stores what a fill has brought, if its token still holds.
    pub fn settle(&self, name: Name<'_>, token: &Token, fill: &Fill<'_>, now: Time) -> Settled {
        let len: usize = fill.value.iter().map(|piece| piece.len()).sum();
        if len as u64 > self.settings.max_value {
            return Settled::TooBig;
        }
        let deadline = token.origin.sent.after(self.life_of(fill));
        if deadline <= now {
            return Settled::Expired;
        }
        let header = entry::header(fill.kind, token);
        let value: Vec<&[u8]> =
            [&header[..]].into_iter().chain(fill.value.iter().copied()).collect();
        let item = NewItem {
            value: &value,
            flags: fill.flags,
            expiry: Some(deadline),
            // Nobody removes a part: it is over when its key's slot has another count.
            cas: Some(if fill.kind == Kind::Fields { token.count } else { fill.cas }),
            ..NewItem::default()
        };
        let key = name.key;
        let mut locked = self.store.lock(key, now);
        // First made known, then looked at: see `Slots`.
        self.slots.at(name.slot).note(key.hash());
        if !self.holds(token) {
            return Settled::Raced;
        }
        match locked.put(key, &item, now) {
            Ok(_) => Settled::Stored,
            Err(PutError::TooLarge) => Settled::TooBig,
            Err(PutError::Full) => Settled::Full,
        }
    }

    /// Lets the entry of a key live on that the server still has in this version (`cas`), with so
    /// many milliseconds left; false if it has gone, or its token does not hold. A server that has
    /// started again may call another value by the same version: so it must be asked over a
    /// connection that has been there since before the entry was, and the entry's own be there too.
    pub fn renew(
        &self,
        name: Name<'_>,
        token: &Token,
        (cas, left): (u64, Option<u64>),
        now: Time,
    ) -> bool {
        let mut value = Vec::new();
        let mut known = None;
        let key = name.key;
        let mut locked = self.store.lock(key, now);
        if let Some(entry) = locked.peek(key, now).and_then(|item| Entry::of(&item))
            && entry.cas == cas
            && entry.flushes == token.flushes
            && self.leases.lives(entry.origin.lease)
            && self.leases.is_among(token.origin.lease, entry.opened)
        {
            value.extend_from_slice(entry.value);
            known = Some((entry.kind, entry.flags));
        }
        drop(locked);
        let Some((kind, flags)) = known else { return false };
        let value: &[&[u8]] = &[&value];
        let fill = Fill { kind, value, flags, cas, left, tracked: false };
        self.settle(name, token, &fill, now) == Settled::Stored
    }

    /// Milliseconds for which something may be served, from its sending on.
    fn life_of(&self, fill: &Fill<'_>) -> u64 {
        let settings = &self.settings;
        let most = if fill.tracked { settings.tracked_max } else { settings.max_age };
        let most = match fill.kind {
            Kind::Absent => most.min(settings.negative),
            Kind::Plain | Kind::Hash | Kind::Fields => most,
        };
        let most = most.as_millis() as u64;
        fill.left.map_or(most, |left| left.min(most))
    }

    /// A write of a key is about to be sent: its entry goes, and comes back no sooner than after
    /// [`Near::end_write`] with what this returns.
    pub fn begin_write(&self, name: Name<'_>, now: Time) -> u32 {
        self.slots.at(name.slot).begin();
        self.remove(name, now);
        name.slot
    }

    /// The write is answered, and nobody has been told yet.
    pub fn end_write(&self, slot: u32) {
        self.slots.at(slot).end();
    }

    /// A key has changed; true if there was an entry.
    pub fn forget(&self, name: Name<'_>, now: Time) -> bool {
        self.slots.at(name.slot).bump();
        self.remove(name, now)
    }

    fn remove(&self, name: Name<'_>, now: Time) -> bool {
        let Name { key, slot, .. } = name;
        self.slots.at(slot).may_have(key.hash()) && self.store.lock(key, now).remove(key, now)
    }

    /// Everything is forgotten.
    pub fn flush(&self) {
        self.flushes.fetch_add(FLUSH_ONCE, Ordering::SeqCst);
    }

    /// A flush of the servers is about to be sent: there is nothing here until it has ended.
    pub fn begin_flush(&self) {
        self.flushes.fetch_add(FLUSH_ONCE + 1, Ordering::SeqCst);
    }

    /// It is answered, and nobody has been told yet.
    pub fn end_flush(&self) {
        self.flushes.fetch_add(FLUSH_ONCE - 1, Ordering::SeqCst);
    }

    /// A new connection to a server; `None` if there are too many for entries to be told apart.
    pub fn open(&self) -> Option<Lease> {
        self.leases.open()
    }

    /// What has come and will come over a connection is believed until then.
    pub fn extend(&self, lease: Lease, until: Time) {
        self.leases.extend(lease, until);
    }

    /// A connection has ended: all that came over it is gone.
    pub fn close(&self, lease: Lease) {
        self.leases.close(lease);
    }

    /// Notes for the report of hot keys how large a key's value is.
    pub fn weigh(&self, name: Name<'_>, bytes: usize) {
        self.hot.weigh((name.key.bytes, name.hash()), bytes);
    }

    /// Notes a request for the report of hot keys; to be called for one in so many.
    pub fn note_hot(&self, name: Name<'_>) {
        self.hot.note(name.key.bytes, name.hash());
    }

    /// The keys that are asked for most, those asked for most first.
    pub fn hot_keys(&self) -> Vec<HotKey> {
        self.hot.report()
    }

    /// Gives expired memory back, forgets what is over, and lets more keys in or fewer; to be
    /// called some times a second, by one thread.
    pub fn tend(&self, now: Time, steps: usize) {
        self.slots.tend(now);
        self.store.sweep(now, steps);
    }

    /// How full it is; by that it decides which keys are hot enough. To be called once a second.
    pub fn review(&self, now: Time) -> Usage {
        let usage = self.store.usage(now);
        let limit = self.store.settings().memory;
        let evicted = usage.evicted - self.evicted.swap(usage.evicted, Ordering::Relaxed);
        let threshold = self.threshold.load(Ordering::Relaxed);
        let roomy = usage.memory < limit - limit / ROOMY_PART;
        // What is evicted within a second of all that there is should be little.
        let crowded = evicted * 16 > usage.items;
        let next = match (crowded, roomy) {
            (true, _) => threshold.saturating_add(1).min(THRESHOLD_MAX),
            (false, true) => threshold.saturating_sub(1).max(ASKED_TWICE),
            (false, false) => threshold,
        };
        self.threshold.store(next, Ordering::Relaxed);
        self.hot.fade();
        usage
    }

    /// Bytes that items and index may take.
    pub fn memory_limit(&self) -> u64 {
        self.store.settings().memory
    }

    /// Whether servers are to be asked to tell of changes.
    pub fn wants_tracking(&self) -> bool {
        self.settings.mode == NearMode::Tracked
    }
}

/// The lowest threshold: whoever is asked for but once is not kept.
const ASKED_TWICE: u8 = 2;
/// Counts go up to 255, and halve.
const THRESHOLD_MAX: u8 = 64;

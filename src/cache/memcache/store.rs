//! What sets values and numbers: the same for the classic and the meta commands.
//!
//! Each is one critical section: what is there is looked at and replaced under one lock.

use std::borrow::Cow;

use crate::cache::Context;
use crate::cache::memcache::words::{Decimal, unsigned};
use crate::metrics::PoolMetric;
use crate::storage::{Item, Key, Locked, Marks, NewItem, PutError, Time, Value};

/// Spaces that a number is padded with.
static SPACES: [u8; 64] = [b' '; 64];

/// On what terms a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

/// A value to be stored.
pub(super) struct Change<'a> {
    pub(super) mode: Mode,
    pub(super) value: &'a [u8],
    pub(super) flags: u32,
    pub(super) expiry: Option<Time>,
    /// The version that must be there; 0 stands for none.
    pub(super) compare: u64,
    /// The version it is to get.
    pub(super) cas: Option<u64>,
    /// An older version may be stored over a newer one, as a stale one.
    pub(super) invalidate: bool,
    /// Expiry of the item that appending to nothing makes.
    pub(super) vivify: Option<Option<Time>>,
    /// What is there goes even if this is too large to be stored.
    pub(super) displaces: bool,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored, with this version, and so long in all.
    Stored {
        cas: u64,
        len: usize,
    },
    NotStored,
    Exists,
    NotFound,
    TooLarge,
    NoMemory,
}

/// What to put, once the terms are met.
enum Verdict<'a> {
    Put { value: Cow<'a, [u8]>, flags: u32, expiry: Option<Time>, marks: Marks },
    Not(Outcome),
}

/// Stores a value under `key`.
pub(super) fn store(context: &Context<'_>, key: Key<'_>, change: &Change<'_>) -> Outcome {
    let (cache, now) = (context.cache, context.now.time);
    let mut locked = cache.store.lock(key, now);
    let value_len = context.value_len(change.value);
    if !fits(context, key, value_len) {
        if change.displaces {
            locked.remove(key, now);
        }
        context.counters.add(PoolMetric::StoresTooLarge, 1);
        return Outcome::TooLarge;
    }
    context.counters.add(PoolMetric::CacheSets, 1);
    // A plain set need not look at what is there.
    let found = if change.mode == Mode::Set { None } else { locked.peek(key, now) };
    let verdict = judge(found, change);
    count(context, change, &verdict);
    match verdict {
        Verdict::Not(outcome) => outcome,
        // As memcached has it: no room for both parts.
        Verdict::Put { value, .. } if !fits(context, key, context.value_len(&value)) => {
            Outcome::NotStored
        }
        Verdict::Put { value, flags, expiry, marks } => {
            let item = NewItem { value: &[&value], flags, expiry, marks, cas: change.cas };
            put(context, &mut locked, key, &item)
        }
    }
}

fn put(
    context: &Context<'_>,
    locked: &mut Locked<'_>,
    key: Key<'_>,
    item: &NewItem<'_>,
) -> Outcome {
    let len = context.incoming.map_or_else(|| item.len(), |_| context.value_len(&[]));
    match context.put(locked, key, item) {
        Ok(cas) => Outcome::Stored { cas, len },
        Err(PutError::TooLarge) => {
            context.counters.add(PoolMetric::StoresTooLarge, 1);
            Outcome::TooLarge
        }
        Err(PutError::Full) => {
            context.counters.add(PoolMetric::StoresNoMemory, 1);
            Outcome::NoMemory
        }
    }
}

/// Whether a value of this length may be stored.
fn fits(context: &Context<'_>, key: Key<'_>, len: usize) -> bool {
    let most = context.cache.store.settings().item_max;
    len <= context.cache.value_max && key.bytes.len() + len <= most
}

/// Whether the terms are met by what is there, and what is to be stored then.
fn judge<'a>(found: Option<Item<'_>>, change: &Change<'a>) -> Verdict<'a> {
    let fresh = |expiry| Verdict::Put {
        value: Cow::Borrowed(change.value),
        flags: change.flags,
        expiry,
        marks: Marks::default(),
    };
    match (change.mode, found) {
        (Mode::Set, _) | (Mode::Add, None) | (Mode::Replace, Some(_)) => fresh(change.expiry),
        (Mode::Add, Some(_)) | (Mode::Replace, None) => Verdict::Not(Outcome::NotStored),
        (Mode::Append | Mode::Prepend, None) => match change.vivify {
            Some(expiry) => fresh(expiry),
            None => Verdict::Not(Outcome::NotStored),
        },
        (Mode::Append | Mode::Prepend, Some(item)) => {
            if change.compare != 0 && change.compare != item.cas {
                return Verdict::Not(Outcome::Exists);
            }
            let value = Cow::Owned(joined(item.value, change));
            let (flags, expiry) = (item.flags, item.expiry);
            Verdict::Put { value, flags, expiry, marks: Marks::default() }
        }
        (Mode::Cas, None) => Verdict::Not(Outcome::NotFound),
        (Mode::Cas, Some(item)) if change.compare == item.cas => fresh(change.expiry),
        (Mode::Cas, Some(item)) if change.invalidate && (1..item.cas).contains(&change.compare) => {
            let marks = Marks { fetched: false, stale: true, won: item.marks.won };
            let value = Cow::Borrowed(change.value);
            Verdict::Put { value, flags: change.flags, expiry: item.expiry, marks }
        }
        (Mode::Cas, Some(_)) => Verdict::Not(Outcome::Exists),
    }
}

/// The old value and the new one, in the order asked for.
fn joined(old: Value<'_>, change: &Change<'_>) -> Vec<u8> {
    let mut value = Vec::with_capacity(old.len() + change.value.len());
    if change.mode == Mode::Prepend {
        value.extend_from_slice(change.value);
    }
    old.write_to(&mut value);
    if change.mode == Mode::Append {
        value.extend_from_slice(change.value);
    }
    value
}

fn count(context: &Context<'_>, change: &Change<'_>, verdict: &Verdict<'_>) {
    if change.mode != Mode::Cas {
        return;
    }
    let metric = match verdict {
        Verdict::Put { .. } => PoolMetric::CasHits,
        Verdict::Not(Outcome::NotFound) => PoolMetric::CasMisses,
        Verdict::Not(_) => PoolMetric::CasMismatches,
    };
    context.counters.add(metric, 1);
}

/// A change of a number.
pub(super) struct Delta {
    pub(super) up: bool,
    pub(super) by: u64,
    /// The version that must be there; 0 stands for none.
    pub(super) compare: u64,
    /// The version it is to get.
    pub(super) cas: Option<u64>,
}

/// What became of a number.
pub(super) enum Counted {
    Done { number: u64, cas: u64, expiry: Option<Time> },
    NotFound,
    NotNumeric,
    Exists,
    NoMemory,
}

/// Changes the number of `key`, whose shard is locked. Up wraps, down stops at 0; a number that
/// needs no more room than the old text keeps its length, with spaces at its end.
pub(super) fn add(
    context: &Context<'_>,
    locked: &mut Locked<'_>,
    key: Key<'_>,
    delta: &Delta,
) -> Counted {
    let now = context.now.time;
    let (hit, miss) = if delta.up {
        (PoolMetric::IncrHits, PoolMetric::IncrMisses)
    } else {
        (PoolMetric::DecrHits, PoolMetric::DecrMisses)
    };
    let Some(item) = locked.peek(key, now) else {
        context.counters.add(miss, 1);
        return Counted::NotFound;
    };
    // A value in pieces is too large to be a number.
    let Value::Whole(text) = item.value else { return Counted::NotNumeric };
    if text.is_empty() {
        return Counted::NotNumeric;
    }
    if delta.compare != 0 && delta.compare != item.cas {
        return Counted::Exists;
    }
    let Some(old) = unsigned(text) else { return Counted::NotNumeric };
    let number = if delta.up { old.wrapping_add(delta.by) } else { old.saturating_sub(delta.by) };
    context.counters.add(hit, 1);
    let digits = Decimal::of(number);
    let padding = text.len().saturating_sub(digits.text().len());
    // What has outgrown its place is a new item, as in memcached.
    let marks = if digits.text().len() > text.len() { Marks::default() } else { item.marks };
    let (flags, expiry) = (item.flags, item.expiry);
    let spaces = SPACES.get(..padding).map_or_else(|| vec![b' '; padding].into(), Cow::Borrowed);
    let value = &[digits.text(), &spaces];
    let item = NewItem { value, flags, expiry, marks, cas: delta.cas };
    match put(context, locked, key, &item) {
        Outcome::Stored { cas, .. } => Counted::Done { number, cas, expiry },
        _ => Counted::NoMemory,
    }
}

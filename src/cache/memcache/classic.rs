//! The classic commands but for statistics.

use crate::cache::Context;
use crate::cache::memcache::store::{Change, Counted, Delta, Mode, Outcome, add, store};
use crate::cache::memcache::words::{expiry, signed, unsigned, write_number};
use crate::metrics::PoolMetric;
use crate::protocol::{Op, Output, Request, Span};
use crate::storage::{Amend, Item, Key, Time, Value};

/// Keys of a get that are looked up together.
const BATCH: usize = 16;

/// get, gets, gat, gats.
pub(super) fn get(context: &Context<'_>, request: Request<'_>, out: &mut Output) {
    let op = request.head.command.op;
    let with_cas = matches!(op, Op::Gets | Op::Gats);
    let touch = matches!(op, Op::Gat | Op::Gats);
    let until = if touch { Some(exptime(context, request, 1)) } else { None };
    let keys = request.args.get(if touch { 2.. } else { 1.. }).unwrap_or_default();
    let start = out.len();
    let hits = match (keys, until) {
        ([only], None) => Some(get_one(context, only.of(request.bytes), with_cas, out)),
        _ => get_many(context, (request.bytes, keys), (until, with_cas), out),
    };
    let Some(hits) = hits else {
        out.truncate(start);
        return out.extend_from_slice(b"SERVER_ERROR out of memory writing get response\r\n");
    };
    out.extend_from_slice(b"END\r\n");
    let (hit, miss) = if touch {
        (PoolMetric::TouchHits, PoolMetric::TouchMisses)
    } else {
        (PoolMetric::Hits, PoolMetric::Misses)
    };
    context.counters.add(hit, hits);
    context.counters.add(miss, keys.len() as u64 - hits);
}

/// Writes what one key has; how many items that are.
fn get_one(context: &Context<'_>, key: &[u8], with_cas: bool, out: &mut Output) -> u64 {
    let (store, now) = (&context.cache.store, context.now.time);
    let found = store.read(store.key(key), now, |item| write_value(key, item, with_cas, out));
    u64::from(found.is_some())
}

/// Writes what some keys have; they are looked up some at a time, and live until `until` from then
/// on if it says so. How many items that are, `None` if they are more than a reply may have.
fn get_many(
    context: &Context<'_>,
    (bytes, keys): (&[u8], &[Span]),
    (until, with_cas): (Option<Option<Time>>, bool),
    out: &mut Output,
) -> Option<u64> {
    let (store, now) = (&context.cache.store, context.now.time);
    let (mut hits, before) = (0, out.size());
    for (number, spans) in keys.chunks(BATCH).enumerate() {
        let batch: Vec<Key<'_>> = spans.iter().map(|span| store.key(span.of(bytes))).collect();
        let mut locked = store.lock_keys(batch.iter().copied(), now);
        if batch.len() > 1 {
            locked.approach(&batch);
        }
        for (at, key) in batch.iter().enumerate() {
            let Some(item) = locked.read(*key, now) else { continue };
            hits += 1;
            write_value(key.bytes, item, with_cas, out);
            let first = number == 0 && at == 0;
            if !first && out.size() - before > context.cache.reply_max {
                return None;
            }
            if until.is_some() {
                locked.amend(*key, Amend { expiry: until, ..Amend::default() }, now);
            }
        }
    }
    Some(hits)
}

fn write_value(key: &[u8], item: Item<'_>, with_cas: bool, out: &mut Output) {
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    write_number(u64::from(item.flags), out);
    out.push(b' ');
    write_number(item.value.len() as u64, out);
    if with_cas {
        out.push(b' ');
        write_number(item.cas, out);
    }
    out.extend_from_slice(b"\r\n");
    write_bytes(item.value, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends a value; a large one is not copied.
pub(super) fn write_bytes(value: Value<'_>, out: &mut Output) {
    match value {
        Value::Whole(bytes) => out.extend_from_slice(bytes),
        Value::Pieces(pieces) => out.share(pieces),
    }
}

/// The time at a word; the parser has seen that it is one.
fn exptime(context: &Context<'_>, request: Request<'_>, at: usize) -> Option<Time> {
    expiry(signed(request.arg(at)).unwrap_or(-1), context.now)
}

/// The data block of a storage command.
pub(super) fn data<'a>(request: Request<'a>) -> &'a [u8] {
    let end = request.bytes.len().saturating_sub(2);
    request.bytes.get(request.head.line as usize..end).unwrap_or_default()
}

/// set, add, replace, append, prepend, cas.
pub(super) fn update(context: &Context<'_>, request: Request<'_>, mode: Mode) -> &'static [u8] {
    let change = Change {
        mode,
        value: data(request),
        flags: unsigned(request.arg(2)).unwrap_or(0) as u32,
        expiry: exptime(context, request, 3),
        compare: if mode == Mode::Cas { unsigned(request.arg(5)).unwrap_or(0) } else { 0 },
        cas: None,
        invalidate: false,
        vivify: None,
        displaces: mode == Mode::Set,
    };
    match store(context, context.cache.store.key(request.arg(1)), &change) {
        Outcome::Stored { .. } => b"STORED\r\n",
        Outcome::NotStored => b"NOT_STORED\r\n",
        Outcome::Exists => b"EXISTS\r\n",
        Outcome::NotFound => b"NOT_FOUND\r\n",
        Outcome::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
        Outcome::NoMemory => b"SERVER_ERROR out of memory storing object\r\n",
    }
}

/// incr, decr.
pub(super) fn count(context: &Context<'_>, request: Request<'_>, up: bool, out: &mut Output) {
    let key = context.cache.store.key(request.arg(1));
    let delta = Delta { up, by: unsigned(request.arg(2)).unwrap_or(0), compare: 0, cas: None };
    let mut locked = context.cache.store.lock(key, context.now.time);
    let line: &[u8] = match add(context, &mut locked, key, &delta) {
        Counted::Done { number, .. } => {
            write_number(number, out);
            b"\r\n"
        }
        Counted::NotFound | Counted::Exists => b"NOT_FOUND\r\n",
        Counted::NotNumeric => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        Counted::NoMemory => b"SERVER_ERROR out of memory\r\n",
    };
    out.extend_from_slice(line);
}

/// touch.
pub(super) fn touch(context: &Context<'_>, request: Request<'_>) -> &'static [u8] {
    let now = context.now.time;
    let key = context.cache.store.key(request.arg(1));
    let mut locked = context.cache.store.lock(key, now);
    // As memcached: who touches has fetched.
    let found = locked.read(key, now).is_some();
    if !found {
        context.counters.add(PoolMetric::TouchMisses, 1);
        return b"NOT_FOUND\r\n";
    }
    let until = Some(exptime(context, request, 2));
    locked.amend(key, Amend { expiry: until, ..Amend::default() }, now);
    context.counters.add(PoolMetric::TouchHits, 1);
    b"TOUCHED\r\n"
}

/// delete.
pub(super) fn delete(context: &Context<'_>, request: Request<'_>) -> &'static [u8] {
    let now = context.now.time;
    let key = context.cache.store.key(request.arg(1));
    if context.cache.store.lock(key, now).remove(key, now) {
        context.counters.add(PoolMetric::DeleteHits, 1);
        b"DELETED\r\n"
    } else {
        context.counters.add(PoolMetric::DeleteMisses, 1);
        b"NOT_FOUND\r\n"
    }
}

/// flush_all: at once, or when the time that is given has come.
pub(super) fn flush(context: &Context<'_>, request: Request<'_>) -> &'static [u8] {
    context.counters.add(PoolMetric::CacheFlushes, 1);
    let words = request.args.len() - usize::from(request.head.noreply);
    let delay = if words > 1 { signed(request.arg(1)).unwrap_or(0) } else { 0 };
    let now = context.now;
    context.cache.store.clear_at(expiry(delay, now).unwrap_or(now.time), now.time);
    b"OK\r\n"
}

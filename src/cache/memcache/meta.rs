//! The meta commands: mg, ms, md, ma, me.
//!
//! A reply is a code, then what the flags ask for. `W` tells a reader that it has won: it is the
//! one that fetches the value anew; `X` that the value is stale; `Z` that somebody else has won.

use crate::cache::Context;
use crate::cache::memcache::Failure;
use crate::cache::memcache::classic::{data, write_bytes};
use crate::cache::memcache::flags::{Flags, KeyBuffer, Told};
use crate::cache::memcache::store::{Change, Counted, Delta, Mode, Outcome, add, store};
use crate::cache::memcache::words::{Decimal, expiry, seconds_until, write_number};
use crate::metrics::PoolMetric;
use crate::protocol::memcache::write_base64;
use crate::protocol::{Output, Request};
use crate::storage::{Amend, Item, Key, Locked, Marks, NewItem, Time};

const BAD_FORMAT: Failure = "CLIENT_ERROR bad command line format";
const NOT_NUMERIC: Failure = "CLIENT_ERROR cannot increment or decrement non-numeric value";
const NO_MEMORY: Failure = "SERVER_ERROR out of memory storing object";

/// mg: a get that may touch, make and win.
pub(super) fn get(
    context: &Context<'_>,
    request: Request<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let flags = Flags::of(request, 2)?;
    let mut buffer = KeyBuffer::default();
    let bytes = flags.key(request.arg(1), &mut buffer)?;
    let now = context.now.time;
    let key = context.cache.store.key(bytes);
    let mut locked = context.cache.store.lock(key, now);
    let found = if flags.unseen { locked.peek(key, now) } else { locked.read(key, now) };
    count_lookup(context, &flags, found.is_some() || flags.vivify.is_some());
    let change = match (found, flags.vivify) {
        (Some(item), _) => write_item(context, &flags, (bytes, item), false, out),
        (None, Some(seconds)) => {
            let fresh = NewItem { cas: flags.cas, ..NewItem::default() };
            locked.put(key, &fresh, now).map_err(|_| NO_MEMORY)?;
            let Some(item) = locked.peek(key, now) else { return Err(NO_MEMORY) };
            let item = Item { expiry: expiry(seconds, context.now), ..item };
            write_item(context, &flags, (bytes, item), true, out)
        }
        (None, None) if flags.quiet => return Ok(()),
        (None, None) => {
            write_echoed(b"EN", &flags, bytes, out);
            return Ok(());
        }
    };
    if let Some(change) = change {
        locked.amend(key, change, now);
    }
    Ok(())
}

fn count_lookup(context: &Context<'_>, flags: &Flags<'_>, hit: bool) {
    let metric = match (flags.exptime.is_some(), hit) {
        (false, true) => PoolMetric::Hits,
        (false, false) => PoolMetric::Misses,
        (true, true) => PoolMetric::TouchHits,
        (true, false) => PoolMetric::TouchMisses,
    };
    context.counters.add(metric, 1);
}

/// Appends what mg answers for an item, just made if `created`; how the item changes by that.
fn write_item(
    context: &Context<'_>,
    flags: &Flags<'_>,
    (key, item): (&[u8], Item<'_>),
    created: bool,
    out: &mut Output,
) -> Option<Amend> {
    let mut told = Told {
        len: item.value.len() as u64,
        client: item.flags,
        cas: item.cas,
        expiry: item.expiry,
        marks: item.marks,
        accessed: item.accessed,
    };
    let marks = item.marks;
    let mut won = created;
    write_code(flags, told.len, out);
    for (letter, value) in flags.each() {
        match (letter, flags.exptime) {
            (b'T', Some(seconds)) => told.expiry = expiry(seconds, context.now),
            (b'R', _) => {
                won |= !created && !marks.won && told.is_due(flags.recache, context.now);
            }
            (b'O' | b'k', _) => flags.write_echo_of(letter, value, key, out),
            _ => told.write(letter, context.now, out),
        }
    }
    won |= marks.stale && !marks.won;
    for (told, flag) in [(marks.won, b" Z"), (marks.stale, b" X"), (won, b" W")] {
        if told {
            out.extend_from_slice(flag);
        }
    }
    out.extend_from_slice(b"\r\n");
    if flags.value {
        write_bytes(item.value, out);
        out.extend_from_slice(b"\r\n");
    }
    let fetched = marks.fetched || !flags.unseen;
    let marks = Marks { fetched, stale: marks.stale, won: marks.won || won };
    let touched = flags.exptime.is_some() || created;
    (won || touched).then(|| Amend {
        expiry: touched.then_some(told.expiry),
        marks: Some(marks),
        ..Amend::default()
    })
}

/// Appends `VA` and the length if the value is asked for, else `HD`.
fn write_code(flags: &Flags<'_>, len: u64, out: &mut Output) {
    if flags.value {
        out.extend_from_slice(b"VA ");
        write_number(len, out);
    } else {
        out.extend_from_slice(b"HD");
    }
}

/// Appends a reply that tells nothing of an item.
fn write_echoed(code: &[u8], flags: &Flags<'_>, key: &[u8], out: &mut Output) {
    out.extend_from_slice(code);
    flags.write_echo(key, out);
    out.extend_from_slice(b"\r\n");
}

/// ms: a set and its kin.
pub(super) fn set(
    context: &Context<'_>,
    request: Request<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let flags = Flags::of(request, 3)?;
    let mut buffer = KeyBuffer::default();
    let bytes = flags.key(request.arg(1), &mut buffer)?;
    let mode = match (flags.mode, flags.compare) {
        (0 | b'S' | b'R', Some(_)) => Mode::Cas,
        (0 | b'S', None) => Mode::Set,
        (b'R', None) => Mode::Replace,
        (b'E', _) => Mode::Add,
        (b'A', _) => Mode::Append,
        (b'P', _) => Mode::Prepend,
        _ => return Err("CLIENT_ERROR invalid mode for ms M token"),
    };
    let value = data(request);
    let change = Change {
        mode,
        value,
        flags: flags.client,
        expiry: expiry(flags.exptime.unwrap_or(0), context.now),
        compare: flags.compare.unwrap_or(0),
        cas: flags.cas,
        invalidate: flags.invalidate,
        vivify: flags.vivify.map(|seconds| expiry(seconds, context.now)),
        displaces: true,
    };
    let (code, cas, len) = match store(context, context.cache.store.key(bytes), &change) {
        Outcome::Stored { .. } if flags.quiet => return Ok(()),
        Outcome::Stored { cas, len } => (b"HD", cas, len),
        Outcome::NotStored => (b"NS", 0, context.value_len(value)),
        Outcome::Exists => (b"EX", 0, context.value_len(value)),
        Outcome::NotFound => (b"NF", 0, context.value_len(value)),
        Outcome::TooLarge => return Err("SERVER_ERROR object too large for cache"),
        Outcome::NoMemory => return Err(NO_MEMORY),
    };
    out.extend_from_slice(code);
    for (letter, word) in flags.each() {
        match letter {
            b'c' => write_told(b" c", cas, out),
            b's' => write_told(b" s", len as u64, out),
            _ => flags.write_echo_of(letter, word, bytes, out),
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn write_told(flag: &[u8], number: u64, out: &mut Output) {
    out.extend_from_slice(flag);
    write_number(number, out);
}

/// md: a delete that may leave a stale or an empty item.
pub(super) fn delete(
    context: &Context<'_>,
    request: Request<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let flags = Flags::of(request, 2).map_err(any_flag)?;
    let mut buffer = KeyBuffer::default();
    let bytes = flags.key(request.arg(1), &mut buffer).map_err(any_flag)?;
    let now = context.now.time;
    let key = context.cache.store.key(bytes);
    let mut locked = context.cache.store.lock(key, now);
    let found = locked.peek(key, now).map(|item| (item.cas, item.marks));
    let code = match found {
        None => b"NF",
        Some((cas, _)) if flags.compare.is_some_and(|compare| compare != cas) => b"EX",
        Some((cas, marks)) => {
            remove(context, &flags, &mut locked, (key, cas, marks))?;
            b"HD"
        }
    };
    drop(locked);
    if !(code == b"HD" && flags.invalidate) {
        let hit = code == b"HD";
        let metric = if hit { PoolMetric::DeleteHits } else { PoolMetric::DeleteMisses };
        context.counters.add(metric, 1);
    }
    if !(code == b"HD" && flags.quiet) {
        write_echoed(code, &flags, bytes, out);
    }
    Ok(())
}

/// md and ma do not say what is wrong with a flag, but for an opaque.
fn any_flag(failure: Failure) -> Failure {
    if failure.ends_with("too long") { failure } else { "CLIENT_ERROR invalid or duplicate flag" }
}

/// Removes an item, its value, or the belief that it is fresh.
fn remove(
    context: &Context<'_>,
    flags: &Flags<'_>,
    locked: &mut Locked<'_>,
    (key, cas, marks): (Key<'_>, u64, Marks),
) -> Result<(), Failure> {
    let now = context.now.time;
    let until = flags.exptime.map(|seconds| expiry(seconds, context.now));
    let mut marks = marks;
    if flags.remove_value {
        // Everything but the version goes with the value.
        marks = Marks::default();
        let cas = Some(flags.cas.unwrap_or(cas));
        let expiry = until.unwrap_or(None);
        let empty = NewItem { value: &[], flags: flags.client, expiry, marks, cas };
        locked.put(key, &empty, now).map_err(|_| "SERVER_ERROR out of memory")?;
    }
    if flags.invalidate {
        let marks = Some(Marks { stale: true, won: false, ..marks });
        let renew = flags.cas.is_none();
        locked.amend(key, Amend { expiry: until, marks, cas: flags.cas, renew }, now);
    } else if !flags.remove_value {
        locked.remove(key, now);
    }
    Ok(())
}

/// ma: adds to a number, and may make it.
pub(super) fn arithmetic(
    context: &Context<'_>,
    request: Request<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let flags = Flags::of(request, 2).map_err(any_flag)?;
    let mut buffer = KeyBuffer::default();
    let bytes = flags.key(request.arg(1), &mut buffer).map_err(any_flag)?;
    let up = match flags.mode {
        0 | b'I' | b'+' => true,
        b'D' | b'-' => false,
        _ => return Err("CLIENT_ERROR invalid mode for ma M token"),
    };
    let compare = flags.compare.unwrap_or(0);
    let delta = Delta { up, by: flags.delta, compare, cas: flags.cas };
    let now = context.now.time;
    let key = context.cache.store.key(bytes);
    let mut locked = context.cache.store.lock(key, now);
    let (number, cas, until) = match add(context, &mut locked, key, &delta) {
        Counted::Done { number, cas, expiry } => (number, cas, expiry),
        Counted::NotNumeric => return Err(NOT_NUMERIC),
        Counted::NoMemory => return Err("SERVER_ERROR out of memory"),
        Counted::Exists => {
            write_echoed(b"EX", &flags, bytes, out);
            return Ok(());
        }
        Counted::NotFound => {
            let Some(seconds) = flags.vivify else {
                write_echoed(b"NF", &flags, bytes, out);
                return Ok(());
            };
            let number = Decimal::of(flags.initial);
            let value = &[number.text()][..];
            let fresh = NewItem { value, cas: flags.cas, ..NewItem::default() };
            let cas = locked.put(key, &fresh, now);
            let cas = cas.map_err(|_| "SERVER_ERROR Out of memory allocating new item")?;
            let made = Made { number: flags.initial, cas, vivify: Some(seconds) };
            finish(context, &flags, (&mut locked, key), (made, None), out);
            return Ok(());
        }
    };
    // Unlike a number that is made, one that changes is of no interest to who is quiet.
    let start = out.len();
    let made = Made { number, cas, vivify: None };
    finish(context, &flags, (&mut locked, key), (made, until), out);
    if flags.quiet {
        out.truncate(start);
    }
    Ok(())
}

/// A number that ma has made or changed.
struct Made {
    number: u64,
    cas: u64,
    /// It has been made, with this time.
    vivify: Option<i64>,
}

/// Appends what ma answers, and gives the number the times that the flags say.
fn finish(
    context: &Context<'_>,
    flags: &Flags<'_>,
    (locked, key): (&mut Locked<'_>, Key<'_>),
    (made, expires): (Made, Option<Time>),
    out: &mut Output,
) {
    let mut until = expires;
    let digits = Decimal::of(made.number);
    write_code(flags, digits.text().len() as u64, out);
    for (letter, word) in flags.each() {
        match (letter, flags.exptime, made.vivify) {
            (b'T', Some(seconds), _) | (b'N', _, Some(seconds)) => {
                until = expiry(seconds, context.now);
            }
            (b'c', ..) => write_told(b" c", made.cas, out),
            (b't', ..) => match until {
                Some(until) => write_told(b" t", seconds_until(until, context.now.time), out),
                None => out.extend_from_slice(b" t-1"),
            },
            _ => flags.write_echo_of(letter, word, key.bytes, out),
        }
    }
    out.extend_from_slice(b"\r\n");
    if flags.value {
        out.extend_from_slice(digits.text());
        out.extend_from_slice(b"\r\n");
    }
    if until != expires {
        let change = Amend { expiry: Some(until), ..Amend::default() };
        locked.amend(key, change, context.now.time);
    }
}

/// me: one line about an item, for people.
pub(super) fn debug(
    context: &Context<'_>,
    request: Request<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let binary = request.arg(2) == b"b";
    let mut buffer = KeyBuffer::default();
    let word = request.arg(1);
    let bytes = if binary { buffer.decode(word).ok_or(BAD_FORMAT)? } else { word };
    let now = context.now.time;
    let key = context.cache.store.key(bytes);
    let mut locked = context.cache.store.lock(key, now);
    let Some(item) = locked.peek(key, now) else {
        out.extend_from_slice(b"EN\r\n");
        return Ok(());
    };
    out.extend_from_slice(b"ME ");
    if binary {
        write_base64(bytes, out)
    } else {
        out.extend_from_slice(bytes)
    }
    // Counted from the moment it expires: seconds that are left are negative.
    let exp = item.expiry.map_or(1, |expiry| seconds_until(expiry, now));
    let accessed = now.since(item.accessed).as_secs();
    let fetched = if item.marks.fetched { "yes" } else { "no" };
    let size = bytes.len() + item.value.len();
    let text =
        format!(" exp=-{exp} la={accessed} cas={} fetch={fetched} cls=1 size={size}\r\n", item.cas);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

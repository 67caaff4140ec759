//! The commands of the binary protocol.
//!
//! ```text
//!  packet ─▶ execute ─▶ its verb's function ─┬▶ Ok: its reply stands in the output
//!                                            └▶ Err(status): what stands there is taken back
//! ```
//! What a quiet command need not say is taken back as well: a write that was done, a key that was
//! not found.

use crate::cache::memcache::VERSION;
use crate::cache::memcache::classic::write_bytes;
use crate::cache::memcache::stats;
use crate::cache::memcache::store::{Change, Counted, Delta, Mode, Outcome, add, store};
use crate::cache::memcache::words::{Decimal, expiry};
use crate::cache::{After, Context};
use crate::metrics::PoolMetric;
use crate::protocol::memcache::binary::{Packet, Verb};
use crate::protocol::{Failure, Output, Request, Status};
use crate::storage::{Amend, Item, NewItem, Time};

/// The time of a number that is not to be made where there is none.
const NOT_MADE: u32 = u32::MAX;

/// Executes a packet and appends its reply to `out`.
pub(super) fn execute(context: &Context<'_>, request: Request<'_>, out: &mut Output) -> After {
    let Some(packet) = Packet::of(&request) else { return After::Close };
    let start = out.len();
    let done = match packet.verb {
        Verb::Get => get(context, &packet, out),
        Verb::Touch | Verb::GetAndTouch => touch(context, &packet, out),
        Verb::Set | Verb::Add | Verb::Replace => update(context, &packet, out),
        Verb::Append | Verb::Prepend => update(context, &packet, out),
        Verb::Increment | Verb::Decrement => count(context, &packet, out),
        Verb::Delete => delete(context, &packet, out),
        Verb::Flush => flush(context, &packet, out),
        Verb::Stat => stat(context, &packet, out),
        Verb::Version => say(&packet, 0, VERSION.as_bytes(), out),
        Verb::Noop | Verb::Quit => say(&packet, 0, b"", out),
        // Where there are passwords, it was asked before.
        Verb::SaslList | Verb::SaslAuth => Err(Status::Unknown),
    };
    let reads = matches!(packet.verb, Verb::Get | Verb::GetAndTouch);
    match done {
        Ok(()) if packet.quiet && !reads => out.truncate(start),
        Ok(()) => {}
        Err(Status::NotFound) if packet.quiet && reads => out.truncate(start),
        Err(Status::NotFound) if packet.keyed => {
            packet.echo.begin(Status::NotFound, 0, (0, packet.key.len(), 0), out);
            out.extend_from_slice(packet.key);
        }
        Err(status) => {
            out.truncate(start);
            Failure { echo: packet.echo, status }.write(out);
        }
    }
    if packet.verb == Verb::Quit { After::Close } else { After::Stay }
}

/// Appends the reply that all went well, with this version and this value, if there is one.
#[expect(clippy::unnecessary_wraps, reason = "it is the last word of commands that may fail")]
fn say(packet: &Packet<'_>, cas: u64, value: &[u8], out: &mut Output) -> Result<(), Status> {
    packet.echo.reply(cas, (b"", b"", value), out);
    Ok(())
}

/// get, getq, getk, getkq.
fn get(context: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Status> {
    let (store, now) = (&context.cache.store, context.now.time);
    let found = store.read(store.key(packet.key), now, |item| write_item(packet, item, out));
    let metric = if found.is_some() { PoolMetric::Hits } else { PoolMetric::Misses };
    context.counters.add(metric, 1);
    found.ok_or(Status::NotFound)
}

/// touch, gat, gatq, gatk, gatkq.
fn touch(context: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Status> {
    let now = context.now.time;
    let key = context.cache.store.key(packet.key);
    let mut locked = context.cache.store.lock(key, now);
    let Some(item) = locked.read(key, now) else {
        context.counters.add(PoolMetric::TouchMisses, 1);
        return Err(Status::NotFound);
    };
    write_item(packet, item, out);
    let until = Some(time(context, packet.u32_at(0)));
    locked.amend(key, Amend { expiry: until, ..Amend::default() }, now);
    context.counters.add(PoolMetric::TouchHits, 1);
    Ok(())
}

/// Appends an item's flags, its key if that is asked for, and its value unless it is touched only.
fn write_item(packet: &Packet<'_>, item: Item<'_>, out: &mut Output) {
    let key = if packet.keyed { packet.key } else { b"" };
    let valued = packet.verb != Verb::Touch;
    let len = if valued { item.value.len() } else { 0 };
    packet.echo.begin(Status::Done, item.cas, (4, key.len(), len), out);
    out.extend_from_slice(&item.flags.to_be_bytes());
    out.extend_from_slice(key);
    if valued {
        write_bytes(item.value, out);
    }
}

/// When an item with this time is dead.
fn time(context: &Context<'_>, seconds: u32) -> Option<Time> {
    expiry(i64::from(seconds), context.now)
}

/// set, add, replace, append, prepend, loud and quiet. A version makes one of the first three a
/// comparison.
fn update(context: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Status> {
    let mode = match packet.verb {
        Verb::Append => Mode::Append,
        Verb::Prepend => Mode::Prepend,
        _ if packet.cas != 0 => Mode::Cas,
        Verb::Add => Mode::Add,
        Verb::Replace => Mode::Replace,
        _ => Mode::Set,
    };
    let change = Change {
        mode,
        value: packet.value,
        flags: packet.u32_at(0),
        expiry: time(context, packet.u32_at(4)),
        compare: packet.cas,
        cas: None,
        invalidate: false,
        vivify: None,
        displaces: packet.verb == Verb::Set,
    };
    match store(context, context.cache.store.key(packet.key), &change) {
        Outcome::Stored { cas, .. } => say(packet, cas, b"", out),
        Outcome::NotStored if mode == Mode::Add => Err(Status::Exists),
        Outcome::NotStored if mode == Mode::Replace => Err(Status::NotFound),
        Outcome::NotStored => Err(Status::NotStored),
        Outcome::Exists => Err(Status::Exists),
        Outcome::NotFound => Err(Status::NotFound),
        Outcome::TooLarge => Err(Status::TooLarge),
        Outcome::NoMemory => Err(Status::NoMemory),
    }
}

/// increment, decrement: extras are the difference, what to begin with, and the time of that.
fn count(context: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Status> {
    let up = packet.verb == Verb::Increment;
    let delta = Delta { up, by: packet.u64_at(0), compare: packet.cas, cas: None };
    let now = context.now.time;
    let key = context.cache.store.key(packet.key);
    let mut locked = context.cache.store.lock(key, now);
    let (number, cas) = match add(context, &mut locked, key, &delta) {
        Counted::Done { number, cas, .. } => (number, cas),
        Counted::NotNumeric => return Err(Status::NotNumeric),
        Counted::Exists => return Err(Status::Exists),
        Counted::NoMemory => return Err(Status::NoMemory),
        Counted::NotFound => {
            let (initial, seconds) = (packet.u64_at(8), packet.u32_at(16));
            if seconds == NOT_MADE {
                return Err(Status::NotFound);
            }
            let digits = Decimal::of(initial);
            let (value, expiry) = (&[digits.text()][..], time(context, seconds));
            let fresh = NewItem { value, expiry, ..NewItem::default() };
            (initial, locked.put(key, &fresh, now).map_err(|_| Status::NoMemory)?)
        }
    };
    say(packet, cas, &number.to_be_bytes(), out)
}

/// delete, deleteq: of the version that is given, if one is.
fn delete(context: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Status> {
    let now = context.now.time;
    let key = context.cache.store.key(packet.key);
    let mut locked = context.cache.store.lock(key, now);
    let Some(cas) = locked.peek(key, now).map(|item| item.cas) else {
        context.counters.add(PoolMetric::DeleteMisses, 1);
        return Err(Status::NotFound);
    };
    if packet.cas != 0 && packet.cas != cas {
        return Err(Status::Exists);
    }
    locked.remove(key, now);
    context.counters.add(PoolMetric::DeleteHits, 1);
    say(packet, 0, b"", out)
}

/// flush, flushq: at once, or when the time that is given has come.
fn flush(context: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Status> {
    context.counters.add(PoolMetric::CacheFlushes, 1);
    let now = context.now.time;
    context.cache.store.clear_at(time(context, packet.u32_at(0)).unwrap_or(now), now);
    say(packet, 0, b"", out)
}

/// stat: one reply for each figure of the group that the key names, and an empty one.
fn stat(context: &Context<'_>, packet: &Packet<'_>, out: &mut Output) -> Result<(), Status> {
    let mut words = packet.key.split(|byte| *byte == b' ');
    let mut word = || words.next().unwrap_or_default();
    let lines = stats::stats(context, [word(), word(), word()]);
    if lines.starts_with("ERROR") || lines.starts_with("CLIENT_ERROR") {
        return Err(Status::NotFound);
    }
    for line in lines.lines().filter_map(|line| line.strip_prefix("STAT ")) {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        packet.echo.reply(0, (b"", name.as_bytes(), value.as_bytes()), out);
    }
    say(packet, 0, b"", out)
}

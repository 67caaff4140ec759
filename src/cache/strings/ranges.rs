//! Parts of values: APPEND, STRLEN, GETRANGE, SETRANGE, LCS.

use super::task::{Done, Fault, Task, bytes_of, lookup};
use crate::cache::text::{Lcs, Match};
use crate::protocol::{Op, integer};
use crate::storage::Value;

/// Bytes that LCS may take for its table, while the shards of its keys wait.
const LCS_BYTES: u64 = 16 << 20;

/// Executes one of them.
pub(super) fn run(task: &mut Task<'_, '_>) -> Done {
    match task.request.head.command.op {
        Op::Append => append(task),
        Op::StrLen => strlen(task),
        Op::GetRange => getrange(task),
        Op::SetRange => setrange(task),
        _ => lcs(task),
    }
}

/// APPEND key value
fn append(task: &mut Task<'_, '_>) -> Done {
    let more = task.arg(2);
    let (old, kept) = task.taken(task.key).unwrap_or_default();
    task.put(task.key, &[&old, more], kept)?;
    task.reply.integer((old.len() + more.len()) as i64);
    Ok(())
}

/// STRLEN key
fn strlen(task: &mut Task<'_, '_>) -> Done {
    let len = task.read(task.key).map_or(0, |item| item.value.len());
    task.reply.integer(len as i64);
    Ok(())
}

/// The first and the last place that `start` and `end` mean in `len` ones, negative ones being
/// counted from the end; `None` if nothing is between them.
pub(super) fn window(len: usize, start: i64, end: i64) -> Option<(usize, usize)> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let len = len as i64;
    let place = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(len - 1));
    (start <= end).then_some((start as usize, end as usize))
}

/// GETRANGE key start end
fn getrange(task: &mut Task<'_, '_>) -> Done {
    let (start, end) = (task.integer(2)?, task.integer(3)?);
    let now = task.now();
    let (key, touches) = (task.key, task.touches);
    let item = if touches { task.items.read(key, now) } else { task.items.peek(key, now) };
    task.context.counters.add(lookup(item.is_some()), 1);
    let found = item.and_then(|item| Some((item.value, window(item.value.len(), start, end)?)));
    match found {
        Some((value, (first, last))) => {
            task.reply.bulk_pieces(last - first + 1, part(value, first, last + 1));
        }
        None => task.reply.bulk(b""),
    }
    Ok(())
}

/// The pieces of a value from `start` to `end`.
fn part(value: Value<'_>, start: usize, end: usize) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    value.pieces().map(move |piece| {
        let (from, to) = (start.saturating_sub(at), end.saturating_sub(at));
        at += piece.len();
        piece.get(from.min(piece.len())..to.min(piece.len())).unwrap_or_default()
    })
}

/// SETRANGE key offset value
fn setrange(task: &mut Task<'_, '_>) -> Done {
    let (offset, value) = (task.integer(2)?, task.arg(3));
    let offset = usize::try_from(offset).map_err(|_| Fault::text("ERR offset is out of range"))?;
    if value.is_empty() {
        let len = task.peek(task.key).map_or(0, |item| item.value.len());
        task.reply.integer(len as i64);
        return Ok(());
    }
    let end = offset.saturating_add(value.len());
    task.fits(task.key, end)?;
    let (mut bytes, kept) = task.taken(task.key).unwrap_or_default();
    bytes.resize(bytes.len().max(end), 0);
    bytes[offset..end].copy_from_slice(value);
    task.put(task.key, &[&bytes], kept)?;
    task.reply.integer(bytes.len() as i64);
    Ok(())
}

/// What LCS may be told.
#[derive(Default)]
struct Options {
    len: bool,
    ranges: bool,
    with_len: bool,
    len_min: i64,
}

impl Options {
    fn parse(task: &Task<'_, '_>) -> Result<Self, Fault> {
        let mut options = Self::default();
        let mut at = 3;
        while at < task.count() {
            match task.word(at).as_slice() {
                b"idx" => options.ranges = true,
                b"len" => options.len = true,
                b"withmatchlen" => options.with_len = true,
                b"minmatchlen" if at + 1 < task.count() => {
                    at += 1;
                    options.len_min = integer(task.arg(at)).ok_or(Fault::NOT_INTEGER)?;
                }
                _ => return Err(Fault::SYNTAX),
            }
            at += 1;
        }
        if options.ranges && options.len {
            return Err(Fault::text(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// LCS key key [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]
fn lcs(task: &mut Task<'_, '_>) -> Done {
    let (first, second) = (task.key, task.key_at(2));
    let a = task.read(first).map(|item| bytes_of(item.value)).unwrap_or_default();
    let b = task.read(second).map(|item| bytes_of(item.value)).unwrap_or_default();
    let options = Options::parse(task)?;
    if Lcs::cost(a.len(), b.len()) > LCS_BYTES.min(task.context.cache.value_max as u64) {
        return Err(Fault::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let found = Lcs::of(&a, &b);
    if options.ranges {
        reply_ranges(task, &found, &options);
    } else if options.len {
        task.reply.integer(found.text.len() as i64);
    } else {
        task.reply.bulk(&found.text);
    }
    Ok(())
}

fn reply_ranges(task: &mut Task<'_, '_>, found: &Lcs, options: &Options) {
    let long = |found: &&Match| i64::from(found.len()) >= options.len_min;
    let matches = found.matches.iter().filter(long);
    let reply = &mut task.reply;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.clone().count());
    for found in matches {
        reply.array(2 + usize::from(options.with_len));
        for (start, end) in [found.first, found.second] {
            reply.array(2);
            reply.integer(start.into());
            reply.integer(end.into());
        }
        if options.with_len {
            reply.integer(found.len().into());
        }
    }
    reply.bulk(b"len");
    reply.integer(found.text.len() as i64);
}

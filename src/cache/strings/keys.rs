//! Keys, whatever their values: DEL, EXISTS, TYPE, RENAME, COPY, OBJECT.

use super::numbers::number;
use super::task::{Done, Fault, Task};
use crate::protocol::{Op, integer};
use crate::storage::{Item, Key};

/// Bytes of the longest value that Redis keeps in one piece with its header.
const EMBEDDED: usize = 44;

/// DEL, UNLINK, EXISTS, TOUCH key…; TYPE key
pub(super) fn run(task: &mut Task<'_, '_>) -> Done {
    let op = task.request.head.command.op;
    if op == Op::Type {
        let kind = if task.peek(task.key).is_some() { "string" } else { "none" };
        task.reply.status(kind);
        return Ok(());
    }
    let mut count = 0;
    for at in 1..task.count() {
        let key = task.key_at(at);
        let found = match op {
            Op::Del => task.remove(key),
            Op::Exists => task.peek(key).is_some(),
            _ => task.items.read(key, task.context.now.time).is_some(),
        };
        count += i64::from(found);
    }
    task.reply.integer(count);
    Ok(())
}

/// RENAME, RENAMENX key new
pub(super) fn rename(task: &mut Task<'_, '_>) -> Done {
    let only_new = task.request.head.command.op == Op::RenameNx;
    let (from, to) = (task.key, task.key_at(2));
    let Some((value, kept)) = task.taken(from) else {
        return Err(Fault::text("ERR no such key"));
    };
    let done =
        if from.bytes == to.bytes { !only_new } else { !(only_new && task.peek(to).is_some()) };
    if done && from.bytes != to.bytes {
        task.put(to, &[&value], kept)?;
        task.remove(from);
    }
    if only_new {
        return task.reply_whether(done);
    }
    task.reply.ok();
    Ok(())
}

/// COPY key other [DB 0] [REPLACE]
pub(super) fn copy(task: &mut Task<'_, '_>) -> Done {
    let (from, to) = (task.key, task.key_at(2));
    let mut replace = false;
    let mut at = 3;
    while at < task.count() {
        match task.word(at).as_slice() {
            b"replace" => replace = true,
            b"db" if at + 1 < task.count() => {
                at += 1;
                database(task.arg(at))?;
            }
            _ => return Err(Fault::SYNTAX),
        }
        at += 1;
    }
    if from.bytes == to.bytes {
        return Err(Fault::text("ERR source and destination objects are the same"));
    }
    let free = replace || task.peek(to).is_none();
    let source = task.taken(from).filter(|_| free);
    let done = source.is_some();
    if let Some((value, kept)) = source {
        task.put(to, &[&value], kept)?;
    }
    task.reply_whether(done)
}

/// Whether a client may name this database: there is one.
pub(crate) fn database(number: &[u8]) -> Done {
    match integer(number).map(i32::try_from) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(_)) => Err(Fault::text("ERR DB index is out of range")),
        Some(Err(_)) => Err(Fault::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )),
        None => Err(Fault::NOT_INTEGER),
    }
}

/// OBJECT ENCODING, FREQ, IDLETIME, REFCOUNT key
pub(super) fn object(task: &mut Task<'_, '_>) -> Done {
    let word = task.word(1);
    let now = task.now();
    if word == b"help" {
        task.reply.array(HELP.len());
        HELP.iter().for_each(|line| task.reply.status(line));
        return Ok(());
    }
    let key: Key<'_> = task.key;
    let Some(item) = task.items.peek(key, now) else {
        task.reply.null();
        return Ok(());
    };
    match word.as_slice() {
        b"encoding" => task.reply.bulk(encoding(&item).as_bytes()),
        b"idletime" => task.reply.integer(now.since(item.accessed).as_secs() as i64),
        b"refcount" => task.reply.integer(1),
        _ => return Err(Fault::text(NO_FREQUENCY)),
    }
    Ok(())
}

/// What Redis would keep such a value as, had it been stored whole.
fn encoding(item: &Item<'_>) -> &'static str {
    match item.value.len() {
        _ if number(item.value).is_some() => "int",
        0..=EMBEDDED => "embstr",
        _ => "raw",
    }
}

const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not \
    tracked. Please note that when switching between policies at runtime LRU and LFU data will \
    take some time to adjust.";

const HELP: [&str; 15] = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
];
